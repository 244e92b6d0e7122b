//! Which IOVAs are in use, and by nobody else.

use std::collections::BTreeSet;

use crate::iommu::{IovaAllocator, IovaError};
use crate::types::{Iova, IovaRange};

/// The IOVAs of an address space. Each operation but [`Self::renew`] and [`Self::take_all_below`] takes logarithmic time.
pub(super) struct Places {
    free: IovaAllocator,
    /// All that are in use: mapped, about to be, or lost because they could not be unmapped.
    taken: BTreeSet<IovaRange>,
    /// Those of them that the request took which is being begun.
    latest: Vec<IovaRange>,
}

impl Places {
    /// None at all, until the usable ranges are known.
    pub(super) fn new() -> Self {
        Self {
            free: IovaAllocator::new(&[]),
            taken: BTreeSet::new(),
            latest: Vec::new(),
        }
    }

    /// Takes note of the usable ranges, which change with the devices. What is taken stays taken.
    pub(super) fn renew(&mut self, usable: &[IovaRange]) -> Result<(), IovaError> {
        let mut free = IovaAllocator::new(usable);
        for range in &self.taken {
            free.reserve(*range)?;
        }
        self.free = free;
        Ok(())
    }

    /// Notes from now on what is taken.
    pub(super) fn begin(&mut self) {
        self.latest.clear();
    }

    /// What was taken since [`Self::begin`].
    pub(super) fn taken_since(&mut self) -> Vec<IovaRange> {
        std::mem::take(&mut self.latest)
    }

    /// Takes a free range.
    pub(super) fn take(&mut self, size: u64, alignment: u64) -> Result<IovaRange, IovaError> {
        let range = self.free.allocate(size, alignment)?;
        Ok(self.note(range))
    }

    /// As [`Self::take`], with no address below `floor`.
    pub(super) fn take_above(
        &mut self,
        floor: Iova,
        size: u64,
        alignment: u64,
    ) -> Result<IovaRange, IovaError> {
        let range = self.free.allocate_above(floor, size, alignment)?;
        Ok(self.note(range))
    }

    /// Takes all that is free below `end`.
    pub(super) fn take_all_below(&mut self, end: Iova) -> Vec<IovaRange> {
        let Some(last) = end.0.checked_sub(1).map(Iova) else {
            return Vec::new();
        };
        let below: Vec<_> = self
            .free
            .free_ranges()
            .filter_map(|range| IovaRange::from_ends(range.start(), range.last().min(last)))
            .collect();
        below
            .into_iter()
            .filter(|range| self.take_at(*range).is_ok())
            .collect()
    }

    /// Takes this range.
    pub(super) fn take_at(&mut self, range: IovaRange) -> Result<(), IovaError> {
        self.free.reserve(range)?;
        self.note(range);
        Ok(())
    }

    fn note(&mut self, range: IovaRange) -> IovaRange {
        self.taken.insert(range);
        self.latest.push(range);
        range
    }

    /// Makes a range free that was taken.
    pub(super) fn give_back(&mut self, range: IovaRange) {
        if self.taken.remove(&range) {
            self.free.free(range);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, size: u64) -> IovaRange {
        IovaRange::new(Iova(start), size).unwrap()
    }

    #[test]
    fn what_is_taken_stays_taken_when_the_limits_change() {
        let mut places = Places::new();
        places.renew(&[range(0, 1 << 32)]).unwrap();
        places.take_at(range(0x20_0000, 0x1000)).unwrap();
        places.renew(&[range(0, 1 << 28)]).unwrap();
        assert!(places.take_at(range(0x20_0000, 0x1000)).is_err());
        assert!(places.renew(&[range(0, 0x20_0000)]).is_err());
        places.give_back(range(0x20_0000, 0x1000));
        places.take_at(range(0x20_0000, 0x1000)).unwrap();
    }

    #[test]
    fn all_below_an_address_can_be_had_at_once_and_given_back() {
        let mut places = Places::new();
        places
            .renew(&[range(0, 0x1000_0000), range(0x2000_0000, 0x1000_0000)])
            .unwrap();
        places.take_at(range(0x100_0000, 0x1000)).unwrap();
        let below = places.take_all_below(Iova(0x2100_0000));
        assert_eq!(
            below,
            [
                range(0, 0x100_0000),
                range(0x100_1000, 0xeff_f000),
                range(0x2000_0000, 0x100_0000)
            ]
        );
        assert_eq!(
            places.take(0x1000, 0x1000).unwrap(),
            range(0x2100_0000, 0x1000)
        );
        below.into_iter().for_each(|range| places.give_back(range));
        places.take_at(range(0, 0x1000)).unwrap();
    }
}
