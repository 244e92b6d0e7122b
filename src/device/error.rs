//! What can go wrong with an opened device.

use crate::iommu::IommuError;
use crate::types::ExitClass;

/// Why a device could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// It could not be opened or attached.
    #[error(transparent)]
    Attach(#[from] IommuError),
}

impl DeviceError {
    /// What the exit status says of it.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        unimplemented!()
    }
}
