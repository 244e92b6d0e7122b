//! What can go wrong with a DMA engine.

use std::time::Duration;

use crate::device::DeviceError;
use crate::types::{ExitClass, Iova};

/// Why an engine could not transfer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The device itself failed.
    #[error(transparent)]
    Device(#[from] DeviceError),

    /// The device does not say what this driver expects.
    #[error(
        "the device does not answer as {engine}: its identification register reads {found:#x}, not {expected:#x}"
    )]
    Unknown {
        /// The driver.
        engine: &'static str,
        /// What the register reads.
        found: u64,
        /// What it should read.
        expected: u64,
    },

    /// The device does not answer any more.
    #[error(
        "the {engine} device does not answer: its registers read as all ones. It was unplugged, or its link or memory access is off"
    )]
    Gone {
        /// The driver.
        engine: &'static str,
    },

    /// The device does not finish.
    #[error("the {engine} device did not finish {what} within {} s. Reset it, or unplug it", .limit.as_secs_f32())]
    Timeout {
        /// The driver.
        engine: &'static str,
        /// What was started.
        what: String,
        /// How long it was waited for.
        limit: Duration,
    },

    /// More, or less, than the engine moves at once.
    #[error("the {engine} device moves 1 to {max} bytes at once, not {size}")]
    Size {
        /// The driver.
        engine: &'static str,
        /// The bytes asked for.
        size: usize,
        /// The most it can.
        max: usize,
    },

    /// The transfer would run past the last address.
    #[error("{size} bytes from {iova} run past the last 64-bit address")]
    Range {
        /// Where it would begin.
        iova: Iova,
        /// The bytes asked for.
        size: usize,
    },
}

impl EngineError {
    /// What the exit status says of it.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::Device(error) => error.class(),
            Self::Size { .. } | Self::Range { .. } => ExitClass::Usage,
            Self::Unknown { .. } | Self::Gone { .. } | Self::Timeout { .. } => ExitClass::Failed,
        }
    }
}
