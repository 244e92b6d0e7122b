//! How devices are to be bound.

use super::{Owner, Process};
use crate::types::{DriverChoice, UseReason};

/// How devices are to be bound.
#[derive(Debug, Clone, Default)]
pub struct BindOptions {
    /// The driver. Without a choice it is vfio-pci, and a device on any VFIO driver stays where it is.
    pub driver: Option<DriverChoice>,
    /// To whom the nodes are given.
    pub owner: Option<Owner>,
    /// The `run` that binds for as long as its program runs. It takes what is on a VFIO driver already as it is.
    pub run: Option<Process>,
    /// The reasons for which a device in use is taken all the same.
    pub allow: Vec<UseReason>,
}
