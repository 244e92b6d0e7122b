//! An opened VFIO device.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::MmapOptions;
use nix::errno::Errno;
use vfio_bindings::bindings::vfio::{
    VFIO_DEVICE_FLAGS_RESET, VFIO_PCI_BAR5_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_REGION_INFO_FLAG_MMAP, VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE,
};

use super::{DeviceError, InterruptKind, MappedBar, RegionName};
use crate::iommu::{AddressSpace, DeviceFd};
use crate::sys::vfio::{self, RegionInfo};
use crate::types::{Bdf, VfioNode};

/// The Command register in configuration space, and its bit that lets the device start transactions (PCI Local Bus 3.0, section 6.2.2).
const COMMAND: u64 = 0x04;
const BUS_MASTER: u16 = 1 << 2;

/// A region of a device: a BAR, the ROM, the configuration space, or one that its driver adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// VFIO's index: 0 to 5 the BARs, 6 the ROM, 7 the configuration space.
    pub index: u32,
    /// Bytes, more than 0.
    pub size: u64,
    /// Whether it can be read.
    pub readable: bool,
    /// Whether it can be written.
    pub writable: bool,
    /// The parts that can be mapped, offset and size in bytes; none for I/O ports and the like.
    pub mappable: Vec<(u64, u64)>,
    /// Where it begins in the device file.
    file_offset: u64,
}

/// A PCI device opened through VFIO and attached to an address space, which it keeps alive.
///
/// Dropping it leaves the device quiet: bus mastering and interrupts off, reset where it can be, then closed.
pub struct VfioDevice {
    bdf: Bdf,
    regions: Vec<Region>,
    resettable: bool,
    interrupts_on: Mutex<Vec<InterruptKind>>,
    quiet: AtomicBool,
    fd: DeviceFd,
    /// Kept until the device file is closed.
    _space: Arc<dyn AddressSpace>,
}

/// Bus mastering that is on until this is dropped.
pub struct BusMaster<'d> {
    device: &'d VfioDevice,
}

impl VfioDevice {
    /// Opens the device and attaches it to `space`. Bus mastering is off.
    pub fn open(space: &Arc<dyn AddressSpace>, node: &VfioNode) -> Result<Self, DeviceError> {
        let fd = space.attach(node)?;
        let describe = |errno| DeviceError::Describe {
            bdf: node.bdf,
            errno,
        };
        let info = vfio::device_info(fd.as_fd()).map_err(describe)?;
        let mut regions = Vec::new();
        for index in 0..info.num_regions {
            match vfio::region_info(fd.as_fd(), index) {
                Ok(info) if info.size > 0 => regions.push(Region::new(index, &info)),
                // The device has no such region: no BAR of that number, no ROM, no VGA.
                Ok(_) | Err(Errno::EINVAL) => {}
                Err(errno) => return Err(describe(errno)),
            }
        }
        let device = Self {
            bdf: node.bdf,
            regions,
            resettable: info.flags & VFIO_DEVICE_FLAGS_RESET != 0,
            interrupts_on: Mutex::default(),
            quiet: AtomicBool::new(false),
            fd,
            _space: space.clone(),
        };
        device.set_bus_master(false)?;
        Ok(device)
    }

    /// The device's address.
    #[must_use]
    pub fn bdf(&self) -> Bdf {
        self.bdf
    }

    /// The regions that the device has, by rising index.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Maps a BAR, 0 to 5, or the parts of it that can be mapped.
    pub fn map_bar(&self, bar: u8) -> Result<MappedBar<'_>, DeviceError> {
        let region = self.region(u32::from(bar))?;
        if region.mappable.is_empty() || region.index > VFIO_PCI_BAR5_REGION_INDEX {
            return Err(DeviceError::NotMappable {
                bdf: self.bdf,
                region: RegionName(region.index),
            });
        }
        let map = |&(offset, size): &(u64, u64)| {
            let mapping = usize::try_from(size)
                .map_err(|_| Errno::ENOMEM.into())
                .and_then(|length| {
                    MmapOptions::new()
                        .offset(region.file_offset + offset)
                        .len(length)
                        .map_raw(self.fd.file())
                });
            mapping
                .map(|mapping| (offset, mapping))
                .map_err(|error| self.access_failed("map", region, offset, &error))
        };
        let parts = region.mappable.iter().map(map);
        Ok(MappedBar::new(
            region.size,
            parts.collect::<Result<_, _>>()?,
        ))
    }

    /// Reads configuration space.
    pub fn read_config(&self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.read_region(VFIO_PCI_CONFIG_REGION_INDEX, offset, into)
    }

    /// Writes configuration space.
    pub fn write_config(&self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.write_region(VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes)
    }

    /// Reads a region through the kernel. Kernels split an access of 8 bytes into two.
    pub fn read_region(&self, index: u32, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        let region = self.region(index)?;
        region
            .file_offset(offset, into.len())
            .and_then(|place| self.fd.file().read_exact_at(into, place))
            .map_err(|error| self.access_failed("read", region, offset, &error))
    }

    /// Writes a region through the kernel. Kernels split an access of 8 bytes into two, so 64-bit registers need [`Self::map_bar`].
    pub fn write_region(&self, index: u32, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let region = self.region(index)?;
        region
            .file_offset(offset, bytes.len())
            .and_then(|place| self.fd.file().write_all_at(bytes, place))
            .map_err(|error| self.access_failed("write", region, offset, &error))
    }

    /// Whether the device may start transactions of its own.
    pub fn bus_master(&self) -> Result<bool, DeviceError> {
        self.command().map(|command| command & BUS_MASTER != 0)
    }

    /// Lets the device start transactions of its own, DMA and MSI among them, or stops it.
    pub fn set_bus_master(&self, on: bool) -> Result<(), DeviceError> {
        let command = self.command()?;
        let wanted = if on {
            command | BUS_MASTER
        } else {
            command & !BUS_MASTER
        };
        self.write_config(COMMAND, &wanted.to_le_bytes())
    }

    /// Lets the device start transactions of its own for as long as the answer lives.
    pub fn master_bus(&self) -> Result<BusMaster<'_>, DeviceError> {
        self.set_bus_master(true)?;
        Ok(BusMaster { device: self })
    }

    /// Whether the kernel knows a way to reset this device alone.
    #[must_use]
    pub fn can_reset(&self) -> bool {
        self.resettable
    }

    /// Resets the device.
    pub fn reset(&self) -> Result<(), DeviceError> {
        let bdf = self.bdf;
        if !self.resettable {
            return Err(DeviceError::CannotReset { bdf });
        }
        vfio::reset(self.fd.as_fd()).map_err(|errno| DeviceError::Reset { bdf, errno })
    }

    /// Tells a physical function which token whoever opens one of its virtual functions must show: a UUID. It holds until the device leaves
    /// its VFIO driver.
    pub fn set_function_token(&self, token: &str) -> Result<(), DeviceError> {
        let digits: String = token.chars().filter(|c| *c != '-').collect();
        let number = u128::from_str_radix(&digits, 16).map_err(|_| Errno::EINVAL);
        number
            .and_then(|uuid| vfio::set_vf_token(self.fd.as_fd(), uuid.to_be_bytes()))
            .map_err(|errno| DeviceError::Token {
                bdf: self.bdf,
                errno,
            })
    }

    pub(super) fn fd(&self) -> &DeviceFd {
        &self.fd
    }

    /// Remembers which interrupts are to be turned off at the end.
    pub(super) fn note_interrupts(&self, kind: InterruptKind, on: bool) {
        let mut kinds = self.interrupts_on();
        kinds.retain(|known| *known != kind);
        if on {
            kinds.push(kind);
        }
    }

    fn interrupts_on(&self) -> MutexGuard<'_, Vec<InterruptKind>> {
        // A list of plain values is whole even if a thread that held it panicked.
        self.interrupts_on
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self) -> Result<u16, DeviceError> {
        let mut command = [0; 2];
        self.read_config(COMMAND, &mut command)?;
        Ok(u16::from_le_bytes(command))
    }

    fn region(&self, index: u32) -> Result<&Region, DeviceError> {
        let found = self.regions.iter().find(|region| region.index == index);
        found.ok_or(DeviceError::NoRegion {
            bdf: self.bdf,
            region: RegionName(index),
        })
    }

    fn access_failed(
        &self,
        access: &'static str,
        region: &Region,
        offset: u64,
        error: &io::Error,
    ) -> DeviceError {
        DeviceError::Access {
            bdf: self.bdf,
            access,
            region: RegionName(region.index),
            offset,
            // The kernel ends a read early, without an error, where the device does not answer.
            errno: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        }
    }
}

impl Drop for VfioDevice {
    fn drop(&mut self) {
        self.quiesce();
    }
}

impl VfioDevice {
    /// Leaves the device quiet for good: bus mastering and interrupts off, reset where it can be. Dropping it does the same, once;
    /// this is for memory that must not go before.
    pub fn quiesce(&self) {
        if self.quiet.swap(true, Ordering::Relaxed) {
            return;
        }
        // DMA ends first. Each step is tried whatever became of those before it: the device may be gone.
        let mut steps = vec![self.set_bus_master(false)];
        let kinds = self.interrupts_on().clone();
        steps.extend(kinds.into_iter().map(|kind| self.disable_interrupts(kind)));
        if self.resettable {
            steps.push(self.reset());
        }
        for error in steps.into_iter().filter_map(Result::err) {
            log::warn!("closing: {error}");
        }
    }
}

impl Drop for BusMaster<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.device.set_bus_master(false) {
            log::warn!("{error}");
        }
    }
}

impl Region {
    fn new(index: u32, info: &RegionInfo) -> Self {
        let has = |flag| info.flags & flag != 0;
        let mappable = match (&info.sparse, has(VFIO_REGION_INFO_FLAG_MMAP)) {
            (_, false) => Vec::new(),
            (None, true) => vec![(0, info.size)],
            (Some(parts), true) => parts.clone(),
        };
        Self {
            index,
            size: info.size,
            readable: has(VFIO_REGION_INFO_FLAG_READ),
            writable: has(VFIO_REGION_INFO_FLAG_WRITE),
            mappable: mappable.into_iter().filter(|(_, size)| *size > 0).collect(),
            file_offset: info.offset,
        }
    }

    /// The place in the device file of `length` bytes at `offset`; an error if they are not all within the region.
    fn file_offset(&self, offset: u64, length: usize) -> io::Result<u64> {
        let end = offset.checked_add(length as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(Errno::EINVAL.into());
        }
        Ok(self.file_offset + offset)
    }
}
