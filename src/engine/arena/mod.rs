//! Memory of an engine's own: for its rings, queues and what passes through.

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub use fake::FakeMemory;

use std::cell::RefCell;
use std::ptr::NonNull;
use std::sync::Arc;

use super::EngineError;
use crate::iommu::{AddressSpace, DmaBuffer, DmaMapping, IovaAllocator, PageKind};
use crate::types::{Iova, IovaRange, Protection, Size};

/// The least size of a page in bytes, and what an engine may count on.
pub const PAGE: usize = 4096;

/// A page of memory that a device can read and write.
pub struct DmaPage {
    // First, as it must go before the memory.
    _mapping: Option<DmaMapping>,
    memory: Arc<DmaBuffer>,
    iova: Iova,
}

impl DmaPage {
    /// Where the device sees it.
    #[must_use]
    pub fn iova(&self) -> Iova {
        self.iova
    }

    /// The memory, of at least 4096 bytes, zeros at first.
    #[must_use]
    pub fn memory(&self) -> &DmaBuffer {
        &self.memory
    }
}

/// Where an engine gets its pages.
pub trait Pages {
    /// A page of zeros.
    ///
    /// # Errors
    /// There is no memory or no IOVA left, or the kernel refused to map.
    fn page(&self) -> Result<DmaPage, EngineError>;
}

/// The physical address behind an address of this process; `None` where it cannot be known.
pub type PhysicalAddress<'a> = dyn Fn(NonNull<u8>) -> Option<u64> + 'a;

/// Gives out pages in one address space.
///
/// Where it can, it maps a page at the IOVA that equals its physical address: then rings and queues work, and the device touches
/// nothing but them, even if the IOMMU should not translate. Otherwise pages lie above all memory of the host, where it hits nothing.
pub struct Arena<'a> {
    space: Arc<dyn AddressSpace>,
    lowest: Option<Iova>,
    physical: &'a PhysicalAddress<'a>,
    room: RefCell<Room>,
}

struct Room {
    iovas: IovaAllocator,
    taken: Vec<IovaRange>,
}

impl Room {
    /// A range of this size, a power of two; and whether it lies where DMA that is not translated does no harm.
    fn place(
        &mut self,
        lowest: Option<Iova>,
        size: u64,
    ) -> Result<(IovaRange, Result<(), EngineError>), EngineError> {
        let harmful = match lowest {
            None => EngineError::NowhereHarmless,
            Some(lowest) => match self.iovas.allocate_above(lowest, size, size) {
                Ok(range) => return Ok((range, Ok(()))),
                Err(error) => error.into(),
            },
        };
        Ok((self.iovas.allocate(size, size)?, Err(harmful)))
    }
}

impl<'a> Arena<'a> {
    /// An arena in the usable ranges of the address space, to which the device must be attached already.
    ///
    /// `lowest` is the first IOVA above all memory and devices of the host; `None` if it is not known, and then all
    /// pages must lie at their physical address.
    ///
    /// # Errors
    /// The kernel does not tell the usable ranges.
    pub fn new(
        space: Arc<dyn AddressSpace>,
        lowest: Option<Iova>,
        physical: &'a PhysicalAddress<'a>,
    ) -> Result<Self, EngineError> {
        let usable = space.iova_ranges()?;
        Ok(Self::of_ranges(space, &usable, lowest, physical))
    }

    /// An arena in a range that its owner has set aside for it, in an address space with mappings of others.
    #[must_use]
    pub fn within(
        space: Arc<dyn AddressSpace>,
        range: IovaRange,
        physical: &'a PhysicalAddress<'a>,
    ) -> Self {
        Self::of_ranges(space, &[range], Some(range.start()), physical)
    }

    fn of_ranges(
        space: Arc<dyn AddressSpace>,
        usable: &[IovaRange],
        lowest: Option<Iova>,
        physical: &'a PhysicalAddress<'a>,
    ) -> Self {
        let room = Room {
            iovas: IovaAllocator::new(usable),
            taken: Vec::new(),
        };
        Self {
            space,
            lowest,
            physical,
            room: RefCell::new(room),
        }
    }

    /// The IOVAs in use by pages that were given out: no one else can map there.
    #[must_use]
    pub fn taken(&self) -> Vec<IovaRange> {
        self.room.borrow().taken.clone()
    }

    fn map(&self, memory: &Arc<DmaBuffer>, at: IovaRange) -> Result<DmaMapping, EngineError> {
        let whole = 0..memory.size();
        Ok(DmaMapping::new(
            self.space.clone(),
            memory,
            whole,
            at.start(),
            Protection::ReadWrite,
        )?)
    }
}

impl Pages for Arena<'_> {
    fn page(&self) -> Result<DmaPage, EngineError> {
        let size = Size::new(PAGE as u64).expect("a page is not empty");
        let memory = Arc::new(DmaBuffer::allocate(size, PageKind::Base)?);
        let size = memory.size() as u64;
        let mut room = self.room.borrow_mut();
        let (place, harmless) = room.place(self.lowest, size)?;
        // Mapped, the page is pinned, and only then its physical address stays what it is.
        let pinned = self.map(&memory, place)?;
        let same = (self.physical)(memory.address())
            .and_then(|address| IovaRange::new(Iova(address), size).ok())
            .filter(|range| room.iovas.reserve(*range).is_ok());
        let (mapping, range) = match same {
            Some(same) => {
                let mapping = self.map(&memory, same)?;
                pinned.unmap()?;
                room.iovas.free(place);
                (mapping, same)
            }
            None => {
                harmless?;
                (pinned, place)
            }
        };
        room.taken.push(range);
        Ok(DmaPage {
            iova: range.start(),
            _mapping: Some(mapping),
            memory,
        })
    }
}
