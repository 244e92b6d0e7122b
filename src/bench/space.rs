//! Address spaces to measure in, and memory to measure with.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::BenchError;
use super::plan::Shape;
use crate::device::VfioDevice;
use crate::host::Pagemap;
use crate::iommu::{
    self, AddressSpace, DmaBuffer, IommuError, IovaAllocator, IovaError, PageKind, base_page,
};
use crate::types::{Backend, Iova, IovaRange, Size, VfioNode};

/// An address space with a device attached: without one, a mapping would be a note and no more.
pub struct Opened {
    // The device goes first: it keeps the address space alive.
    pub device: VfioDevice,
    pub room: Room,
}

impl Opened {
    /// Opens both.
    ///
    /// # Errors
    /// Why one of them cannot be had.
    pub fn open(node: &VfioNode, backend: Backend) -> Result<Self, BenchError> {
        let space = iommu::open(backend)?;
        let device = VfioDevice::open(&space, node)?;
        let iovas = IovaAllocator::new(&space.iova_ranges()?);
        Ok(Self {
            device,
            room: Room { space, iovas },
        })
    }
}

/// An address space and its free IOVAs.
pub struct Room {
    pub space: Arc<dyn AddressSpace>,
    iovas: IovaAllocator,
}

impl Room {
    /// An IOVA for this many bytes that no one else has: aligned for the largest page that fits.
    ///
    /// # Errors
    /// There is no room.
    pub fn place(&mut self, size: u64) -> Result<Iova, BenchError> {
        let alignment = iommu::alignment(size, base_page());
        let placed = self.iovas.allocate(size, alignment);
        placed
            .map(IovaRange::start)
            .map_err(|source| self.no_room(size, source))
    }

    /// The same from this IOVA on; `None` if there is no room, or none that ends before `end`.
    pub fn place_between(&mut self, start: Iova, end: u64, size: u64) -> Option<Iova> {
        let alignment = iommu::alignment(size, base_page());
        let range = self.iovas.allocate_above(start, size, alignment).ok()?;
        if range.last().0 < end {
            return Some(range.start());
        }
        self.iovas.free(range);
        None
    }

    /// The IOVA that the user chose, if this many bytes from it on are free; else as [`Self::place`].
    ///
    /// # Errors
    /// There is no room.
    pub fn place_at(&mut self, chosen: Option<Iova>, size: u64) -> Result<Iova, BenchError> {
        let Some(iova) = chosen else {
            return self.place(size);
        };
        let range = IovaRange::new(iova, size).map_err(IommuError::from)?;
        match self.iovas.reserve(range) {
            Ok(()) => {
                // Only one is mapped there at a time.
                self.iovas.free(range);
                Ok(iova)
            }
            Err(source) => Err(self.no_room(size, source)),
        }
    }

    /// Takes exactly these IOVAs; `false` if they are not free.
    pub fn keep(&mut self, range: IovaRange) -> bool {
        self.iovas.reserve(range).is_ok()
    }

    /// Takes IOVAs back that were given out. Nothing may be mapped there.
    pub fn give_back(&mut self, range: IovaRange) {
        self.iovas.free(range);
    }

    fn no_room(&self, size: u64, source: IovaError) -> BenchError {
        BenchError::NoRoom {
            size: Size::new(size).expect("nothing is no size to place"),
            backend: self.space.backend(),
            source,
        }
    }
}

/// Memory of this shape, all of it in RAM, its base pages in no order.
///
/// How many base pages happen to follow each other in RAM decides how long they take to map, by a factor of 4 (2 MiB in the lab). The kernel
/// hands out what was freed last, so it goes by what ran before on the host: it stays the same for a while, and is another for the next run.
/// Populated in a random order, next to no two of them follow each other, whatever the kernel has: every page is a piece by itself.
///
/// # Errors
/// It cannot be had.
pub fn allocate(shape: Shape) -> Result<DmaBuffer, IommuError> {
    let (size, kind) = (shape.size(), shape.pages.kind);
    if kind != PageKind::Base {
        return DmaBuffer::allocate(size, kind);
    }
    let buffer = DmaBuffer::reserve(size, kind)?;
    let page = base_page() as usize;
    let mut places: Vec<usize> = (0..buffer.size()).step_by(page).collect();
    let random = RandomState::new();
    places.sort_by_cached_key(|place| random.hash_one(place));
    for place in places {
        buffer.populate(place..place + page, kind, 1)?;
    }
    Ok(buffer)
}

/// How many contiguous pieces the first `size` bytes of a buffer are made of; `None` if the kernel does not tell.
pub fn contiguous_pieces(buffer: &DmaBuffer, size: u64) -> Option<u64> {
    let pages = Pagemap::of_self().ok()?;
    let (first, step) = (buffer.address().as_ptr() as u64, pages.page_size());
    let mut pieces = 0;
    let mut expected = None;
    for offset in (0..size).step_by(usize::try_from(step).ok()?) {
        let physical = pages.physical_address(first + offset).ok()?;
        if expected != Some(physical) {
            pieces += 1;
        }
        expected = physical.checked_add(step);
    }
    Some(pieces)
}
