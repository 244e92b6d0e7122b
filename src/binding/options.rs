//! How devices are to be bound.

use crate::types::{DriverChoice, UseReason};

/// How devices are to be bound.
#[derive(Debug, Clone, Default)]
pub struct BindOptions {
    /// The driver. Without a choice it is vfio-pci, and a device on any VFIO driver stays where it is.
    pub driver: Option<DriverChoice>,
    /// The reasons for which a device in use is taken all the same.
    pub allow: Vec<UseReason>,
}
