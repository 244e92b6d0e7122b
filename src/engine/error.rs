//! What can go wrong with a DMA engine.

use crate::device::DeviceError;
use crate::types::ExitClass;

/// Why an engine could not transfer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The device itself failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl EngineError {
    /// What the exit status says of it.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        unimplemented!()
    }
}
