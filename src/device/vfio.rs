//! An opened VFIO device.

use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::{DeviceError, InterruptKind, Interrupts, MappedBar};
use crate::iommu::AddressSpace;
use crate::types::{Bdf, VfioNode};

/// A region of a device: a BAR, the ROM, the configuration space, or one that its driver adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// VFIO's index: 0 to 5 the BARs, 6 the ROM, 7 the configuration space.
    pub index: u32,
    /// Bytes.
    pub size: u64,
    /// Whether it can be read.
    pub readable: bool,
    /// Whether it can be written.
    pub writable: bool,
    /// Whether it, or parts of it, can be mapped.
    pub mappable: bool,
}

/// A PCI device opened through VFIO and attached to an address space, which it keeps alive.
///
/// Dropping it leaves the device quiet: interrupts and bus mastering off, reset where it can be, then closed.
pub struct VfioDevice;

impl VfioDevice {
    /// Opens the device and attaches it to `space`.
    pub fn open(_space: &Arc<dyn AddressSpace>, _node: &VfioNode) -> Result<Self, DeviceError> {
        unimplemented!()
    }
    /// The device's address.
    #[must_use]
    pub fn bdf(&self) -> Bdf {
        unimplemented!()
    }
    /// The regions that the device has, by rising index.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        unimplemented!()
    }
    /// Maps a BAR, 0 to 5.
    pub fn map_bar(&self, _bar: u8) -> Result<MappedBar, DeviceError> {
        unimplemented!()
    }
    /// Reads configuration space.
    pub fn read_config(&self, _offset: u64, _into: &mut [u8]) -> Result<(), DeviceError> {
        unimplemented!()
    }
    /// Writes configuration space.
    pub fn write_config(&self, _offset: u64, _bytes: &[u8]) -> Result<(), DeviceError> {
        unimplemented!()
    }
    /// Reads a region.
    pub fn read_region(
        &self,
        _index: u32,
        _offset: u64,
        _into: &mut [u8],
    ) -> Result<(), DeviceError> {
        unimplemented!()
    }
    /// Writes a region.
    pub fn write_region(
        &self,
        _index: u32,
        _offset: u64,
        _bytes: &[u8],
    ) -> Result<(), DeviceError> {
        unimplemented!()
    }
    /// Whether the device may start transactions of its own.
    pub fn bus_master(&self) -> Result<bool, DeviceError> {
        unimplemented!()
    }
    /// Lets the device start transactions of its own, DMA among them, or stops it.
    pub fn set_bus_master(&self, _on: bool) -> Result<(), DeviceError> {
        unimplemented!()
    }
    /// Whether the kernel knows a way to reset this device alone.
    #[must_use]
    pub fn can_reset(&self) -> bool {
        unimplemented!()
    }
    /// Resets the device.
    pub fn reset(&self) -> Result<(), DeviceError> {
        unimplemented!()
    }
    /// How many interrupts the device has of each kind.
    #[must_use]
    pub fn interrupts(&self) -> Interrupts {
        unimplemented!()
    }
    /// Turns on the first `count` interrupts of a kind; each signals the eventfd of its number.
    pub fn enable_interrupts(
        &self,
        _kind: InterruptKind,
        _count: u32,
    ) -> Result<Vec<EventFd>, DeviceError> {
        unimplemented!()
    }
    /// Turns off all interrupts of a kind.
    pub fn disable_interrupts(&self, _kind: InterruptKind) -> Result<(), DeviceError> {
        unimplemented!()
    }
}
