//! A part of an address space, for work that must not touch what is mapped in the rest.

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;

use super::{AddressSpace, DeviceFd, IommuError};
use crate::types::{Backend, IovaRange, PageSizes, Protection, VfioNode};

/// An address space of which only some ranges can be used. Its owner has set them aside.
pub struct Part {
    whole: Arc<dyn AddressSpace>,
    /// Rising.
    ranges: Vec<IovaRange>,
    /// What is mapped through this part.
    mapped: Mutex<Vec<IovaRange>>,
}

impl Part {
    /// The part of `whole` that these ranges are, which do not overlap.
    #[must_use]
    pub fn new(whole: Arc<dyn AddressSpace>, mut ranges: Vec<IovaRange>) -> Self {
        ranges.sort_unstable();
        Self {
            whole,
            ranges,
            mapped: Mutex::default(),
        }
    }

    fn contains(&self, range: IovaRange) -> bool {
        let after = self
            .ranges
            .partition_point(|own| own.start() <= range.start());
        after > 0 && self.ranges[after - 1].contains(range)
    }

    fn with_mapped<T>(&self, work: impl FnOnce(&mut Vec<IovaRange>) -> T) -> T {
        // A list of plain values is whole even if a thread that held it panicked.
        work(&mut self.mapped.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AddressSpace for Part {
    fn backend(&self) -> Backend {
        self.whole.backend()
    }

    fn attach(&self, node: &VfioNode) -> Result<DeviceFd, IommuError> {
        self.whole.attach(node)
    }

    unsafe fn map(
        &self,
        range: IovaRange,
        memory: NonNull<u8>,
        protection: Protection,
    ) -> Result<(), IommuError> {
        if !self.contains(range) {
            return Err(IommuError::Outside {
                range,
                errno: Errno::EINVAL,
                usable: self.ranges.clone(),
            });
        }
        // SAFETY: the caller answers for the memory.
        unsafe { self.whole.map(range, memory, protection) }?;
        self.with_mapped(|mapped| mapped.push(range));
        Ok(())
    }

    fn unmap(&self, range: IovaRange) -> Result<u64, IommuError> {
        if !self.contains(range) {
            return Err(IommuError::NothingToUnmap { range });
        }
        let bytes = self.whole.unmap(range)?;
        self.with_mapped(|mapped| mapped.retain(|other| !range.contains(*other)));
        Ok(bytes)
    }

    fn unmap_all(&self) -> Result<u64, IommuError> {
        let mapped = self.with_mapped(std::mem::take);
        mapped
            .into_iter()
            .map(|range| self.whole.unmap(range))
            .sum()
    }

    fn iova_ranges(&self) -> Result<Vec<IovaRange>, IommuError> {
        Ok(self.ranges.clone())
    }

    fn page_sizes(&self) -> Result<PageSizes, IommuError> {
        self.whole.page_sizes()
    }

    fn entries_left(&self) -> Result<Option<u32>, IommuError> {
        self.whole.entries_left()
    }
}
