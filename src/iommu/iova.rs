//! The allocator of IOVAs.

use crate::types::{Iova, IovaRange};

/// Why a range of IOVAs cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IovaError {
    /// Placeholder.
    #[error("{0}")]
    Placeholder(String),
}

/// Gives out ranges of the usable IOVAs, each at most once.
pub struct IovaAllocator;

impl IovaAllocator {
    /// An allocator over the usable ranges, as [`super::AddressSpace::iova_ranges`] reports them.
    #[must_use]
    pub fn new(_usable: &[IovaRange]) -> Self {
        unimplemented!()
    }
    /// Takes exactly this range.
    pub fn reserve(&mut self, _range: IovaRange) -> Result<(), IovaError> {
        unimplemented!()
    }
    /// The lowest free range of `size` bytes at a multiple of `alignment`, a power of two.
    pub fn allocate(&mut self, _size: u64, _alignment: u64) -> Result<IovaRange, IovaError> {
        unimplemented!()
    }
    /// As [`Self::allocate`], with no address below `floor`.
    pub fn allocate_above(
        &mut self,
        _floor: Iova,
        _size: u64,
        _alignment: u64,
    ) -> Result<IovaRange, IovaError> {
        unimplemented!()
    }
    /// Gives back a range that was reserved or allocated.
    pub fn free(&mut self, _range: IovaRange) {
        unimplemented!()
    }
    /// The size of the largest free range in bytes.
    #[must_use]
    pub fn largest_free(&self) -> u128 {
        unimplemented!()
    }
}
