//! What the checks work with: an address space, the device's engine, room for test mappings, and eyes on the host.

use std::ptr::NonNull;
use std::sync::Arc;

use super::Problem;
use crate::engine::{DmaEngine, EngineError};
use crate::iommu::{AddressSpace, DmaBuffer, IommuError, IovaAllocator, PageKind};
use crate::types::{Iova, IovaRange, Size};

/// What the checks ask of the host, beside the kernel's interface for IOMMUs.
pub trait Observer {
    /// The physical address behind an address of this process.
    ///
    /// # Errors
    /// Why it cannot be known, in words.
    fn physical_address(&self, address: NonNull<u8>) -> Result<u64, String>;

    /// Remembers where the kernel log ends now.
    ///
    /// # Errors
    /// Why the log cannot be read, in words.
    fn mark_log(&self) -> Result<(), String>;

    /// What the kernel logged since the mark; gives it the time it needs to log a fault.
    ///
    /// # Errors
    /// Why the log cannot be read, in words.
    fn log_since_mark(&self) -> Result<Vec<String>, String>;
}

/// What a run of the checks is made of.
pub struct Equipment<'a> {
    /// The address space that the device is attached to.
    pub space: Arc<dyn AddressSpace>,
    /// What makes the device do DMA; `None` if no engine drives it.
    pub engine: Option<Box<dyn DmaEngine + 'a>>,
    /// Eyes on the host.
    pub observer: &'a dyn Observer,
    /// Whether the user wants the run to end.
    pub stop: &'a dyn Fn() -> bool,
    /// The first address above all memory and all devices of the host; `None` if it is not known.
    pub physical_top: Option<u64>,
    /// The lowest IOVA for test mappings, if the user chose one.
    pub lowest_iova: Option<Iova>,
    /// Where pseudo-random contents start from.
    pub seed: u64,
}

/// The equipment in use.
pub struct Rig<'a> {
    pub(super) space: Arc<dyn AddressSpace>,
    pub(super) observer: &'a dyn Observer,
    pub(super) seed: u64,
    engine: Option<Box<dyn DmaEngine + 'a>>,
    stop: &'a dyn Fn() -> bool,
    iovas: IovaAllocator,
    lowest: Option<Iova>,
    above_memory: bool,
    page: usize,
    turn: u64,
    transfers: u64,
    bytes: u64,
}

/// What the checks need at most for their mappings.
const ROOM: u64 = 16 << 20;

impl<'a> Rig<'a> {
    /// Sets the equipment up: looks where in the IOVA space there is room that the engine can reach.
    ///
    /// Test mappings go above all memory and all devices of the host where that is possible: there, DMA that is not
    /// translated hits nothing.
    ///
    /// # Errors
    /// The address space cannot be asked, or has no room.
    pub fn new(equipment: Equipment<'a>) -> Result<Self, Problem> {
        let engine = equipment.engine;
        let reach = engine.as_ref().map_or(u64::MAX, |engine| {
            last_address(engine.limits().address_bits)
        });
        let usable: Vec<IovaRange> = equipment
            .space
            .iova_ranges()?
            .into_iter()
            .filter_map(|range| IovaRange::from_ends(range.start(), range.last().min(Iova(reach))))
            .collect();
        let page = equipment.space.page_sizes()?.smallest().unwrap_or(4096);
        let mut iovas = IovaAllocator::new(&usable);
        let above_memory = equipment
            .physical_top
            .and_then(|top| top.checked_next_multiple_of(1 << 30).map(Iova));
        let mut has_room_from = |lowest: Iova| match iovas.allocate_above(lowest, ROOM, page) {
            Ok(range) => {
                iovas.free(range);
                true
            }
            Err(_) => false,
        };
        let lowest = match equipment.lowest_iova {
            Some(chosen) => Some(chosen),
            None => above_memory.filter(|lowest| has_room_from(*lowest)),
        };
        Ok(Self {
            space: equipment.space,
            observer: equipment.observer,
            seed: equipment.seed,
            engine,
            stop: equipment.stop,
            iovas,
            lowest,
            above_memory: lowest
                .is_some_and(|lowest| above_memory.is_some_and(|top| top <= lowest)),
            // An IOMMU page of 4 KiB to 64 KiB fits any usize.
            page: page as usize,
            turn: 0,
            transfers: 0,
            bytes: 0,
        })
    }

    /// Whether an engine drives the device.
    #[must_use]
    pub fn has_engine(&self) -> bool {
        self.engine.is_some()
    }

    /// Whether test mappings lie above all memory and all devices of the host.
    #[must_use]
    pub fn is_above_memory(&self) -> bool {
        self.above_memory
    }

    /// The unit of mapping in bytes.
    pub(super) fn page(&self) -> usize {
        self.page
    }

    /// The most bytes of one transfer, at most a page.
    pub(super) fn largest_transfer(&self) -> usize {
        self.engine
            .as_ref()
            .map_or(0, |engine| engine.limits().max_size.min(self.page))
    }

    /// The multiple that sizes and addresses of transfers must be of.
    pub(super) fn alignment(&self) -> usize {
        self.engine
            .as_ref()
            .map_or(1, |engine| engine.limits().alignment.max(1))
    }

    /// Pages of memory, each of its own: not part of a huge page.
    pub(super) fn memory(&self, pages: usize) -> Result<Arc<DmaBuffer>, IommuError> {
        let size = Size::new((pages * self.page) as u64).expect("checks ask for at least one page");
        DmaBuffer::allocate(size, PageKind::Base).map(Arc::new)
    }

    /// A range of IOVAs that no mapping of this run had before: nothing about it can be cached in the IOMMU.
    pub(super) fn iovas(&mut self, pages: usize) -> Result<IovaRange, Problem> {
        let (size, page) = ((pages * self.page) as u64, self.page as u64);
        Ok(match self.lowest {
            Some(lowest) => self.iovas.allocate_above(lowest, size, page)?,
            None => self.iovas.allocate(size, page)?,
        })
    }

    /// Takes exactly this range; `false` if it is not usable, not in the engine's reach, or taken.
    pub(super) fn take(&mut self, range: IovaRange) -> bool {
        self.iovas.reserve(range).is_ok()
    }

    /// A number that grows with each call, to make contents differ.
    pub(super) fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// The device reads memory into itself.
    pub(super) fn load(&mut self, source: Iova, size: usize) -> Result<(), Problem> {
        self.transfer(size, |engine| engine.load(source, size))
    }

    /// The device writes what it read to memory.
    pub(super) fn store(&mut self, destination: Iova, size: usize) -> Result<(), Problem> {
        self.transfer(size, |engine| engine.store(destination, size))
    }

    fn transfer(
        &mut self,
        size: usize,
        go: impl FnOnce(&mut dyn DmaEngine) -> Result<(), EngineError>,
    ) -> Result<(), Problem> {
        if (self.stop)() {
            return Err(Problem::Interrupted);
        }
        let engine = self
            .engine
            .as_mut()
            .expect("checks that do DMA run only where there is an engine");
        self.transfers += 1;
        self.bytes += size as u64;
        Ok(go(engine.as_mut())?)
    }

    /// The transfers and their bytes since the last call.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        (
            std::mem::take(&mut self.transfers),
            std::mem::take(&mut self.bytes),
        )
    }
}

/// The last address that this many address bits reach.
fn last_address(bits: u32) -> u64 {
    1u64.checked_shl(bits).map_or(u64::MAX, |size| size - 1)
}
