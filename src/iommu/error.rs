//! What can go wrong with address spaces, each with its cause in words.

use nix::errno::Errno;

use crate::types::ExitClass;

/// Why an address space could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IommuError {
    /// Placeholder.
    #[error("{0}")]
    Placeholder(String),
}

impl IommuError {
    /// The kernel's error, where it was the kernel that refused.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        unimplemented!()
    }

    /// What the exit status says of it.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        unimplemented!()
    }
}
