//! DMA engines: what makes a device read or write memory at an IOVA of our choice.
//!
//! [`ENGINES`] lists the drivers; each knows one kind of device.

mod edu;
mod error;

pub use error::EngineError;

use crate::device::VfioDevice;
use crate::types::{Iova, PciId};

/// What an engine can transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineLimits {
    /// Every address below 2^this is reached for certain.
    pub address_bits: u32,
    /// Addresses up to 2^this can be written to the device's registers. Some devices drop the upper bits without a word
    /// (then it is more than `address_bits`): whoever uses more must first prove that they arrive.
    pub register_bits: u32,
    /// The most bytes in one transfer.
    pub max_size: usize,
    /// Addresses and sizes must be multiples of this.
    pub alignment: usize,
    /// Whether what was loaded can be stored elsewhere, unchanged.
    pub memory_to_memory: bool,
}

/// A device that moves bytes by DMA on demand.
///
/// A transfer that returns `Ok` was finished by the device; whether the bytes arrived is known from memory alone,
/// as devices report success for DMA that the IOMMU blocked.
/// Dropping an engine leaves the device idle, with bus mastering off.
pub trait DmaEngine {
    /// What it can transfer.
    fn limits(&self) -> EngineLimits;

    /// The device reads `size` bytes at `source` into itself.
    fn load(&mut self, source: Iova, size: usize) -> Result<(), EngineError>;

    /// The device writes the first `size` bytes that it loaded to `destination`.
    fn store(&mut self, destination: Iova, size: usize) -> Result<(), EngineError>;

    /// The device copies `size` bytes.
    fn copy(&mut self, source: Iova, destination: Iova, size: usize) -> Result<(), EngineError> {
        self.load(source, size)?;
        self.store(destination, size)
    }
}

/// A driver for one kind of DMA engine.
pub trait EngineDriver: Sync {
    /// Its short name, for reports and options.
    fn name(&self) -> &'static str;
    /// One line about the devices it drives.
    fn about(&self) -> &'static str;
    /// Whether it drives devices with this identity.
    fn drives(&self, id: &PciId) -> bool;
    /// Whether this driver was ever run on such a device, physical or emulated; otherwise only against fake registers.
    fn ran_on_hardware(&self) -> bool;
    /// Takes the device into use.
    fn open<'d>(&self, device: &'d VfioDevice) -> Result<Box<dyn DmaEngine + 'd>, EngineError>;
}

/// All engine drivers.
pub static ENGINES: &[&dyn EngineDriver] = &[&edu::EduDriver];

/// The driver for a device with this identity.
#[must_use]
pub fn driver_for(id: &PciId) -> Option<&'static dyn EngineDriver> {
    ENGINES.iter().copied().find(|driver| driver.drives(id))
}
