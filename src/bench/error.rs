//! Why something could not be measured.

use std::error::Error;
use std::io;

use nix::errno::Errno;

use crate::device::DeviceError;
use crate::engine::EngineError;
use crate::iommu::{IommuError, IovaError};
use crate::types::{Backend, ExitClass, Iova, Size, Suite};

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
    /// The kernel refused a map or an unmap of the bare loop.
    #[error("a bare call to map or unmap failed: {}", .0.desc())]
    Bare(Errno),
    /// A file of the run's own.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The process of a launch says why it ended early, in words.
    #[error("{reason}")]
    Launch {
        /// The exit status that this leads to.
        class: ExitClass,
        /// Why.
        reason: String,
    },
    /// The IOMMU lets the device reach memory at its physical address.
    #[error(
        "the IOMMU does not translate what the device writes: it reached physical memory, so no more is written. Run 'iommu-tool test'"
    )]
    NotTranslated,
    /// Not known where the device's writes do no harm.
    #[error(
        "it is not known where the device can write without harm: run it as root, who sees physical addresses"
    )]
    NowhereHarmless,
    /// The engine's addresses are too short.
    #[error("{size} cannot be mapped where the device's engine reaches it, below {end}")]
    OutOfReach {
        /// How much.
        size: Size,
        /// The end of what it reaches.
        end: Iova,
    },
    /// The engine did not bring the bytes where they belong.
    #[error(
        "the device's engine said it wrote to mapped memory, and nothing arrived there. Run 'iommu-tool test'"
    )]
    NotWritten,
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
        "the suite {suite} needs {needed} of {what} at once, and {available} MiB are free: give --sizes smaller values, or leave the largest out"
    )]
    Memory {
        /// The suite.
        suite: Suite,
        /// What it needs.
        needed: Size,
        /// What kind of memory.
        what: String,
        /// What there is, in MiB.
        available: u64,
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
    /// What went wrong and why, in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let causes = std::iter::successors(self.source(), |cause| (*cause).source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }

    /// The exit status that this error leads to.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::Iommu(error) => error.class(),
            Self::Device(error) => error.class(),
            Self::Engine(error) => error.class(),
            Self::Launch { class, .. } => *class,
            Self::Bare(_)
            | Self::Io { .. }
            | Self::NotTranslated
            | Self::NotWritten
            | Self::NowhereHarmless
            | Self::OutOfReach { .. } => ExitClass::Failed,
            // All sizes were chosen by the user.
            Self::NoRoom { .. } | Self::Memory { .. } | Self::Locked { .. } => ExitClass::Usage,
        }
    }
}
