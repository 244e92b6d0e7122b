//! What every IOMMU address space can do, whichever kernel interface gives it.

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use super::{DeviceFd, IommuError};
use crate::types::{Backend, Iova, IovaRange, PageSizes, Protection, VfioNode};

/// An IOVA space: a VFIO container or an iommufd IOAS.
///
/// A type1 container takes mappings only once a device is attached. It keeps a group attached until the address space goes,
/// even when the group's last device was closed.
pub trait AddressSpace: Send + Sync {
    /// The kernel interface behind it.
    fn backend(&self) -> Backend;

    /// Opens the device and attaches it to this address space.
    fn attach(&self, node: &VfioNode) -> Result<DeviceFd, IommuError>;

    /// Makes `range` reach the memory at `memory`.
    ///
    /// # Safety
    /// The memory is as long as the range and stays valid, and no plain Rust reference to it lives, until the range is unmapped.
    unsafe fn map(
        &self,
        range: IovaRange,
        memory: NonNull<u8>,
        protection: Protection,
    ) -> Result<(), IommuError>;

    /// Makes `range` reach a memfd's bytes from `offset` on. Faster than by address for huge pages.
    ///
    /// `false`, and nothing is mapped, where the kernel interface has no such thing.
    fn map_file(
        &self,
        _range: IovaRange,
        _file: BorrowedFd<'_>,
        _offset: u64,
        _protection: Protection,
    ) -> Result<bool, IommuError> {
        Ok(false)
    }

    /// Takes out all mappings in `range`, each whole; returns how many bytes that were.
    /// [`IommuError::NothingToUnmap`] if there are none.
    fn unmap(&self, range: IovaRange) -> Result<u64, IommuError>;

    /// Takes out every mapping; returns how many bytes that were, 0 if there were none.
    fn unmap_all(&self) -> Result<u64, IommuError>;

    /// The usable IOVAs, rising, as the kernel reports them now; attaching a device can narrow them.
    fn iova_ranges(&self) -> Result<Vec<IovaRange>, IommuError>;

    /// The page sizes; iommufd reports only the smallest.
    fn page_sizes(&self) -> Result<PageSizes, IommuError>;

    /// How many more mappings the kernel lets in; `None` where it sets no limit.
    fn entries_left(&self) -> Result<Option<u32>, IommuError>;

    /// The kernel's file behind it, and the number of the IOAS in it if it is an iommufd; for calls that go past this trait.
    /// `None` if it is none of the kernel's own.
    fn file(&self) -> Option<(BorrowedFd<'_>, Option<u32>)> {
        None
    }
}

/// The bytes of a range as the kernel takes them. All 2^64 do not fit and give 0, which it refuses.
pub(super) fn length(range: IovaRange) -> u64 {
    (range.last().0 - range.start().0).wrapping_add(1)
}

/// Every IOVA there is.
pub(super) fn everything() -> IovaRange {
    IovaRange::from_ends(Iova(0), Iova(u64::MAX)).expect("0 is not above the last address")
}
