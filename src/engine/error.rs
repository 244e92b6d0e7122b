//! What can go wrong with a DMA engine.

use std::time::Duration;

use crate::device::DeviceError;
use crate::iommu::{IommuError, IovaError};
use crate::types::{ExitClass, Iova};

/// Why an engine could not transfer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The device itself failed.
    #[error(transparent)]
    Device(#[from] DeviceError),

    /// Memory of the engine's own could not be had or mapped.
    #[error(transparent)]
    Memory(#[from] IommuError),

    /// There is no room in the IOVA space for memory of the engine's own.
    #[error(transparent)]
    Room(#[from] IovaError),

    /// There is no place for memory of the engine's own that is harmless if the IOMMU should not translate.
    #[error(
        "neither the physical addresses of this process's memory nor the top of the host's memory are known, so the engine's own memory has \
         no place where a device that is not held back would do no harm. Run it as root, or choose a place with --iova"
    )]
    NowhereHarmless,

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

    /// The device gave up.
    #[error("the {engine} device stopped while it was {what}: {reason}")]
    Stopped {
        /// The driver.
        engine: &'static str,
        /// What was started.
        what: String,
        /// What the device says of it.
        reason: &'static str,
    },

    /// The device answered with an error.
    #[error("the {engine} device failed {what}: status {status:#x}")]
    Status {
        /// The driver.
        engine: &'static str,
        /// What was started.
        what: String,
        /// The status, as the device's specification numbers it.
        status: u32,
    },

    /// The device gave an answer that makes no sense, so nothing it says can be trusted.
    #[error("the {engine} device makes no sense: {found}")]
    Nonsense {
        /// The driver.
        engine: &'static str,
        /// What it gave.
        found: String,
    },

    /// The device, or the way it is set up, lacks what the driver needs.
    #[error("the {engine} device cannot be used: {missing}")]
    Unusable {
        /// The driver.
        engine: &'static str,
        /// What is missing, and what to do.
        missing: String,
    },

    /// The device cannot be made to read memory and show what it read.
    #[error("this {engine} device only writes memory: {why}")]
    OnlyWrites {
        /// The driver.
        engine: &'static str,
        /// Why.
        why: &'static str,
    },

    /// Something that the device stores could not be put back.
    #[error("the {engine} device was not left as it was found: {what} is not what it was")]
    NotAsFound {
        /// The driver.
        engine: &'static str,
        /// What was changed.
        what: String,
        /// Why it is not put back.
        source: Box<EngineError>,
    },

    /// The device's clock was asked for.
    #[error("this device has no clock that can be set")]
    NoClock,

    /// More, or less, than the engine moves at once.
    #[error(
        "the {engine} device moves {unit} to {max} bytes at once, in multiples of {unit}, not {size}"
    )]
    Size {
        /// The driver.
        engine: &'static str,
        /// The bytes asked for.
        size: usize,
        /// The unit.
        unit: usize,
        /// The most it can.
        max: usize,
    },

    /// An address that the device cannot take.
    #[error("the {engine} device takes addresses that are multiples of {alignment}, not {iova}")]
    Alignment {
        /// The driver.
        engine: &'static str,
        /// The address.
        iova: Iova,
        /// What it must be a multiple of.
        alignment: usize,
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
            Self::Memory(error) => error.class(),
            Self::Room(error) => error.class(),
            Self::Size { .. } | Self::Alignment { .. } | Self::Range { .. } => ExitClass::Usage,
            Self::Unusable { .. }
            | Self::OnlyWrites { .. }
            | Self::NoClock
            | Self::NowhereHarmless => ExitClass::NoVerdict,
            Self::NotAsFound { .. }
            | Self::Unknown { .. }
            | Self::Gone { .. }
            | Self::Timeout { .. }
            | Self::Stopped { .. }
            | Self::Status { .. }
            | Self::Nonsense { .. } => ExitClass::Failed,
        }
    }
}
