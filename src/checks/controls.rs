//! What the checks do to a device beside having it transfer.

use std::sync::Arc;

use crate::device::DeviceError;
use crate::engine::{DmaEngine, EngineError};
use crate::iommu::AddressSpace;
use crate::types::{Bdf, IovaRange};

/// The device as a PCI device.
pub trait Controls<'a> {
    /// Its address.
    fn bdf(&self) -> Bdf;

    /// Lets the device start transactions, or stops it.
    ///
    /// # Errors
    /// The device does not answer.
    fn set_bus_master(&self, on: bool) -> Result<(), DeviceError>;

    /// Whether the kernel knows a way to reset this device alone.
    fn can_reset(&self) -> bool;

    /// Resets the device. No engine may be in use.
    ///
    /// # Errors
    /// The kernel knows no way, or the device did not come back.
    fn reset(&self) -> Result<(), DeviceError>;

    /// Takes the device's engine into use, for the first time or after a reset; `None` if no engine drives it.
    ///
    /// # Errors
    /// The device does not do what the engine expects.
    fn open_engine(&self) -> Result<Option<Box<dyn DmaEngine + 'a>>, EngineError>;

    /// The IOVAs in use by the engine's own memory.
    fn engine_memory(&self) -> Vec<IovaRange>;
}

/// A second device, of another IOMMU group.
pub struct Other {
    /// Its address.
    pub bdf: Bdf,
    /// The address space that it is attached to. The device under test is not.
    pub space: Arc<dyn AddressSpace>,
}
