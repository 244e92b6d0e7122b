//! What can go wrong with a DMA engine.

use std::time::Duration;

use crate::device::DeviceError;
use crate::iommu::{IommuError, IovaError};
use crate::types::ExitClass;

/// Why an engine could not transfer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The device itself failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The engine's own memory could not be mapped.
    #[error(transparent)]
    Memory(#[from] IommuError),
    /// There is no IOVA for the engine's own memory.
    #[error(transparent)]
    Iova(#[from] IovaError),
    /// Every register reads as all ones.
    #[error(
        "the device's registers read as all ones: it was unplugged, powered down, or its bus failed; look in the kernel log"
    )]
    Gone,
    /// The device did not do in time what it was told.
    #[error("the device did not {what} within {limit:?}")]
    Timeout {
        /// What it was to do.
        what: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// The device stopped on an error of its own.
    #[error("the device reports that it cannot go on: {0}")]
    Fatal(&'static str),
    /// The device gave back an error for a command.
    #[error("the device answered {command} with status {status:#x}")]
    Status {
        /// The command.
        command: &'static str,
        /// The status as the device wrote it.
        status: u32,
    },
    /// The device is not what its identity promises.
    #[error("the device's {what} reads {found:#x}, which this engine does not know")]
    Unknown {
        /// The register or field.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// The device makes no sense, or lacks what the engine needs.
    #[error("{0}")]
    Unusable(String),
    /// A transfer that the engine cannot do.
    #[error("{size} bytes at {address} are outside the engine's limits")]
    Limit {
        /// The IOVA.
        address: crate::types::Iova,
        /// The bytes.
        size: usize,
    },
    /// The device cannot be made to read memory of the caller's.
    #[error("this device only writes memory")]
    NeverReads,
}

impl EngineError {
    /// What the exit status says of it.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::Device(error) => error.class(),
            Self::Memory(error) => error.class(),
            Self::Limit { .. } => ExitClass::Usage,
            Self::NeverReads => ExitClass::NoVerdict,
            _ => ExitClass::Failed,
        }
    }
}
