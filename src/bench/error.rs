//! Why something could not be measured.

use crate::device::DeviceError;
use crate::engine::EngineError;
use crate::iommu::{IommuError, IovaError};
use crate::types::{Backend, ExitClass, Size, Suite};

/// Why nothing could be measured, or not all.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The kernel refused to map or unmap, or to give memory.
    #[error(transparent)]
    Iommu(#[from] IommuError),
    /// The device cannot be opened.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device's engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no room for it in the IOVA space.
    #[error("{size} cannot be mapped by {backend}")]
    NoRoom {
        /// How much was to be mapped.
        size: Size,
        /// Through what.
        backend: Backend,
        /// What is in the way.
        source: IovaError,
    },
    /// More memory than there is.
    #[error(
        "the suite {suite} needs {needed} of memory, and {available} are available: {fits} would fit"
    )]
    Memory {
        /// The suite.
        suite: Suite,
        /// What it needs.
        needed: Size,
        /// What there is.
        available: Size,
        /// What to ask for instead.
        fits: String,
    },
    /// More memory than this process may lock.
    #[error(
        "the suite {suite} locks {needed} of memory, and this process may lock {lockable}: run it as root, raise the limit (ulimit -l), or keep to {lockable}"
    )]
    Locked {
        /// The suite.
        suite: Suite,
        /// What it needs.
        needed: Size,
        /// The limit.
        lockable: Size,
    },
}

impl BenchError {
    /// The exit status that this error leads to.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::Iommu(error) => error.class(),
            Self::Device(error) => error.class(),
            Self::Engine(error) => error.class(),
            // All sizes were chosen by the user.
            Self::NoRoom { .. } | Self::Memory { .. } | Self::Locked { .. } => ExitClass::Usage,
        }
    }
}
