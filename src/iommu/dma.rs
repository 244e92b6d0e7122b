//! Memory that devices reach by DMA.

use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use super::{AddressSpace, IommuError};
use crate::types::{Iova, IovaRange, Protection, Size};

/// The pages that back a [`DmaBuffer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageKind {
    /// The processor's base pages, 4 KiB on x86 (MADV_NOHUGEPAGE).
    Base,
    /// Transparent huge pages (MADV_HUGEPAGE).
    Transparent,
    /// Pages of this size from the kernel's reserve (hugetlb).
    Huge(Size),
}

impl fmt::Display for PageKind {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}

/// Anonymous memory, its pages populated, for devices to reach.
///
/// Devices may read and write it at any time while it is mapped, so it is only accessed by raw pointer, never by reference.
pub struct DmaBuffer;

impl DmaBuffer {
    /// Memory of at least `size` bytes, rounded up to and aligned to the page kind's size.
    pub fn allocate(_size: Size, _pages: PageKind) -> Result<Self, IommuError> {
        unimplemented!()
    }
    /// The length in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        unimplemented!()
    }
    /// The first byte.
    #[must_use]
    pub fn address(&self) -> NonNull<u8> {
        unimplemented!()
    }
    /// Copies `bytes` to `offset`.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write(&self, _offset: usize, _bytes: &[u8]) {
        unimplemented!()
    }
    /// Copies what is at `offset` to `into`.
    ///
    /// # Panics
    /// If the buffer ends before.
    pub fn read(&self, _offset: usize, _into: &mut [u8]) {
        unimplemented!()
    }
    /// Sets every byte.
    pub fn fill(&self, _byte: u8) {
        unimplemented!()
    }
}

/// A buffer, or a part of it, at an IOVA; unmapped on drop.
///
/// If the kernel refuses to unmap, the memory is kept for the life of the process, as a device may still reach it.
pub struct DmaMapping;

impl DmaMapping {
    /// Maps `part` of the buffer, in bytes, at `iova`.
    pub fn new(
        _space: &Arc<dyn AddressSpace>,
        _buffer: &Arc<DmaBuffer>,
        _part: Range<usize>,
        _iova: Iova,
        _protection: Protection,
    ) -> Result<Self, IommuError> {
        unimplemented!()
    }
    /// The mapped IOVAs.
    #[must_use]
    pub fn range(&self) -> IovaRange {
        unimplemented!()
    }
    /// The first mapped IOVA.
    #[must_use]
    pub fn iova(&self) -> Iova {
        unimplemented!()
    }
    /// What the device may do with it.
    #[must_use]
    pub fn protection(&self) -> Protection {
        unimplemented!()
    }
    /// Unmaps now, and says whether that worked.
    pub fn unmap(self) -> Result<(), IommuError> {
        unimplemented!()
    }
}
