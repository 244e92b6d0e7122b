//! Where in the IOVA space the test mappings go.

use crate::iommu::{IovaAllocator, IovaError};
use crate::types::{Iova, IovaRange};

/// What the checks need at most for their mappings.
const ROOM: u64 = 16 << 20;

/// Gives out IOVAs for test mappings; none twice, so nothing about them can be cached in the IOMMU.
///
/// They lie above all memory and all devices of the host where that is possible: there, DMA that is not translated
/// hits nothing.
pub(super) struct Placement {
    iovas: IovaAllocator,
    lowest: Option<Iova>,
    above_memory: bool,
}

impl Placement {
    /// Looks for room in the usable ranges, up to the last address that the engine reaches. `physical_top` is the first
    /// address above all memory and devices, if it is known; `chosen` is the lowest IOVA that the user wants, and there
    /// must be room from there on.
    pub(super) fn new(
        usable: &[IovaRange],
        reach: Iova,
        physical_top: Option<u64>,
        chosen: Option<Iova>,
    ) -> Result<Self, IovaError> {
        let clipped: Vec<IovaRange> = usable
            .iter()
            .filter_map(|range| IovaRange::from_ends(range.start(), range.last().min(reach)))
            .collect();
        let mut iovas = IovaAllocator::new(&clipped);
        let top = physical_top
            .and_then(|top| top.checked_next_multiple_of(1 << 30))
            .map(Iova);
        let mut room_from = |lowest| iovas.allocate_above(lowest, ROOM, 1);
        let room = match (chosen, top) {
            (Some(chosen), _) => Some((chosen, room_from(chosen)?)),
            (None, Some(top)) => room_from(top).ok().map(|room| (top, room)),
            (None, None) => None,
        };
        let lowest = room.map(|(lowest, room)| {
            iovas.free(room);
            lowest
        });
        let above_memory = matches!((lowest, top), (Some(lowest), Some(top)) if top <= lowest);
        Ok(Self {
            iovas,
            lowest,
            above_memory,
        })
    }

    /// Whether all test mappings lie above all memory and all devices of the host.
    pub(super) fn is_above_memory(&self) -> bool {
        self.above_memory
    }

    /// A range of this size and alignment in bytes.
    pub(super) fn allocate(&mut self, size: u64, alignment: u64) -> Result<IovaRange, IovaError> {
        match self.lowest {
            Some(lowest) => self.iovas.allocate_above(lowest, size, alignment),
            None => self.iovas.allocate(size, alignment),
        }
    }

    /// Takes exactly this range; `false` if it is not usable, out of reach, or taken.
    pub(super) fn take(&mut self, range: IovaRange) -> bool {
        self.iovas.reserve(range).is_ok()
    }
}

/// The last address that this many address bits reach.
pub(super) fn last_address(bits: u32) -> Iova {
    Iova(1u64.checked_shl(bits).map_or(u64::MAX, |size| size - 1))
}
