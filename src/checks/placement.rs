//! Where in the IOVA space the test mappings go.

use super::Problem;
use crate::iommu::{IovaAllocator, IovaError};
use crate::types::{Iova, IovaRange};

/// What the checks need at most for their mappings.
const ROOM: u64 = 16 << 20;

/// The smallest page of any IOMMU.
const PAGE: u64 = 4096;

/// Where a PC has its system BIOS.
const BIOS: u64 = 0xf_0000;
const BIOS_SIZE: u64 = 0x1_0000;

/// Around the first address of more than 32 bits: as much on both sides as the largest page of an IOMMU's smallest.
const BORDER: (Iova, u64) = (Iova((1 << 32) - (64 << 10)), 128 << 10);

/// How many places for a harmless range are tried.
const SPANS: u64 = 16;

/// Gives out IOVAs for test mappings; none twice, so nothing about them can be cached in the IOMMU.
///
/// They lie above all memory and all devices of the host where that is possible: there, DMA that is not translated
/// hits nothing.
pub(super) struct Placement {
    iovas: IovaAllocator,
    lowest: Option<Iova>,
    above_memory: bool,
    within_reach: Vec<IovaRange>,
    border: Option<IovaRange>,
}

impl Placement {
    /// Looks for room in the usable ranges, up to the last address that the engine reaches. `physical_top` is the first
    /// address above all memory and devices, if it is known; `chosen` is the lowest IOVA that the user wants, and there
    /// must be room from there on. `reserved` are in use by the engine; those out of reach do not matter.
    pub(super) fn new(
        usable: &[IovaRange],
        reach: Iova,
        physical_top: Option<u64>,
        chosen: Option<Iova>,
        reserved: &[IovaRange],
    ) -> Result<Self, Problem> {
        let clipped: Vec<IovaRange> = usable
            .iter()
            .filter_map(|range| IovaRange::from_ends(range.start(), range.last().min(reach)))
            .collect();
        let mut iovas = IovaAllocator::new(&clipped);
        for range in reserved {
            let _ = iovas.reserve(*range);
        }
        let top = physical_top
            .and_then(|top| top.checked_next_multiple_of(1 << 30))
            .map(Iova);
        let mut room_from = |lowest| match iovas.allocate_above(lowest, ROOM, PAGE) {
            Ok(room) => Ok((lowest, room)),
            Err(source) => Err(Problem::NoRoom { lowest, source }),
        };
        let room = match chosen {
            Some(chosen) => Some(room_from(chosen)?),
            None => top.and_then(|top| room_from(top).ok()),
        };
        let lowest = room.map(|(lowest, room)| {
            iovas.free(room);
            lowest
        });
        let above_memory = matches!((lowest, top), (Some(lowest), Some(top)) if top <= lowest);
        let border = IovaRange::new(BORDER.0, BORDER.1).ok();
        let border = border.filter(|range| chosen.is_none_or(|lowest| lowest <= range.start()));
        Ok(Self {
            // Kept aside: with 4 GiB of memory and devices, others would begin right there.
            border: border.filter(|range| iovas.reserve(*range).is_ok()),
            iovas,
            lowest,
            above_memory,
            within_reach: clipped,
        })
    }

    /// A range of this size and alignment in bytes.
    pub(super) fn allocate(&mut self, size: u64, alignment: u64) -> Result<IovaRange, IovaError> {
        match self.lowest {
            Some(lowest) => self.iovas.allocate_above(lowest, size, alignment),
            None => self.iovas.allocate(size, alignment),
        }
    }

    /// Two ranges at which DMA harms nobody even if it is not translated, and even if the device drops the address bits
    /// from `certain_bits` on, which may make the second of the first. `None` if there are none here.
    ///
    /// The first lies above all memory. The second is where the system BIOS of every PC lies, 64 KiB of read-only memory
    /// below 1 MiB; it is `None` if no bits can be dropped.
    pub(super) fn harmless(
        &mut self,
        size: u64,
        certain_bits: u32,
        register_bits: u32,
    ) -> Option<(IovaRange, Option<IovaRange>)> {
        let lowest = self.lowest.filter(|_| self.above_memory)?;
        if register_bits <= certain_bits {
            return Some((self.allocate(size, PAGE).ok()?, None));
        }
        if !cfg!(target_arch = "x86_64") || size > BIOS_SIZE {
            return None;
        }
        let bios = IovaRange::new(Iova(BIOS), size).ok()?;
        // The same place above, in the first of the spans that differ in the dropped bits only where it is free.
        let span = 1 << certain_bits;
        let start = lowest.0.checked_next_multiple_of(span)?.checked_add(BIOS)?;
        let above = (0..SPANS)
            .filter_map(|n| IovaRange::new(Iova(start.checked_add(n * span)?), size).ok())
            .find(|range| self.take(*range))?;
        self.take(bios).then_some((above, Some(bios)))
    }

    /// The usable ranges as far as the engine reaches, by rising IOVA.
    pub(super) fn within_reach(&self) -> &[IovaRange] {
        &self.within_reach
    }

    /// Takes what is kept aside around the first address of more than 32 bits, if it is within reach.
    pub(super) fn take_border(&mut self) -> Option<IovaRange> {
        self.border.take()
    }

    /// Takes a range back, to be given out again.
    pub(super) fn free(&mut self, range: IovaRange) {
        self.iovas.free(range);
    }

    /// As [`Self::take`], but not below all test mappings.
    pub(super) fn take_stray(&mut self, range: IovaRange) -> bool {
        self.lowest.is_none_or(|lowest| lowest <= range.start()) && self.take(range)
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
