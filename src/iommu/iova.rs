//! The allocator of IOVAs.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{ExitClass, Iova, IovaRange};

/// Below this an IOVA is given out only when asked for by address: devices and firmware have habits there, and 0 looks like no address.
const LEGACY: u64 = 1 << 20;

/// Why a range of IOVAs cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IovaError {
    /// The IOMMU or the devices cannot use all of it.
    #[error("{range} is not within the usable IOVAs: {usable}")]
    Outside {
        /// What was asked for.
        range: IovaRange,
        /// The usable ranges.
        usable: String,
    },
    /// A part of it is in use.
    #[error("a part of {range} is in use already")]
    Taken {
        /// What was asked for.
        range: IovaRange,
    },
    /// No free range is large enough.
    #[error(
        "no free IOVAs for {size} bytes at a multiple of {alignment:#x} from {floor} on; the largest free range has {largest} bytes"
    )]
    Full {
        /// The bytes asked for.
        size: u64,
        /// The alignment asked for.
        alignment: u64,
        /// The lowest address asked for.
        floor: Iova,
        /// The bytes of the largest free range anywhere.
        largest: u128,
    },
}

impl IovaError {
    /// What the exit status says of it.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::Outside { .. } | Self::Taken { .. } => ExitClass::Usage,
            Self::Full { .. } => ExitClass::Failed,
        }
    }
}

/// Gives out ranges of the usable IOVAs, each at most once.
///
/// Reserving, allocating and freeing take O(log n) for n free ranges. Only an allocation that finds no range of twice its size
/// looks at all of them.
#[derive(Debug, Clone)]
pub struct IovaAllocator {
    usable: Vec<IovaRange>,
    /// Free ranges that do not touch: first address to last.
    free: BTreeMap<u64, u64>,
    /// The first addresses of the free ranges, by the binary logarithm of their size, rounded down.
    classes: Vec<BTreeSet<u64>>,
}

impl IovaAllocator {
    /// An allocator over the usable ranges, as [`super::AddressSpace::iova_ranges`] reports them. All of them are free.
    #[must_use]
    pub fn new(usable: &[IovaRange]) -> Self {
        let mut allocator = Self {
            usable: usable.to_vec(),
            free: BTreeMap::new(),
            classes: vec![BTreeSet::new(); u64::BITS as usize + 1],
        };
        for range in usable {
            allocator.free(*range);
        }
        allocator
    }

    /// Takes exactly this range.
    pub fn reserve(&mut self, range: IovaRange) -> Result<(), IovaError> {
        let around = self.free.range(..=range.start().0).next_back();
        match around {
            Some((&start, &last)) if range.last().0 <= last => {
                self.carve(start, last, range);
                Ok(())
            }
            _ if self.usable.iter().any(|usable| usable.contains(range)) => {
                Err(IovaError::Taken { range })
            }
            _ => {
                let usable: Vec<_> = self.usable.iter().map(IovaRange::to_string).collect();
                Err(IovaError::Outside {
                    range,
                    usable: usable.join(", "),
                })
            }
        }
    }

    /// A free range of `size` bytes at a multiple of `alignment`, low in the space, but above the legacy first MiB.
    ///
    /// # Panics
    /// If `size` is 0, or `alignment` is no power of two.
    pub fn allocate(&mut self, size: u64, alignment: u64) -> Result<IovaRange, IovaError> {
        self.allocate_above(Iova(LEGACY), size, alignment)
    }

    /// As [`Self::allocate`], with no address below `floor`.
    ///
    /// # Panics
    /// If `size` is 0, or `alignment` is no power of two.
    pub fn allocate_above(
        &mut self,
        floor: Iova,
        size: u64,
        alignment: u64,
    ) -> Result<IovaRange, IovaError> {
        assert!(size > 0, "an IOVA range has at least one byte");
        assert!(alignment.is_power_of_two(), "alignments are powers of two");
        let lowest = floor.0.max(LEGACY);
        let found = self
            .first_ample(lowest, size, alignment)
            .or_else(|| self.first_fitting(lowest, size, alignment));
        let Some((start, last, range)) = found else {
            return Err(IovaError::Full {
                size,
                alignment,
                floor: Iova(lowest),
                largest: self.largest_free(),
            });
        };
        self.carve(start, last, range);
        Ok(range)
    }

    /// Gives back a range that was reserved or allocated.
    ///
    /// # Panics
    /// If a part of it is free already.
    pub fn free(&mut self, range: IovaRange) {
        let (mut start, mut last) = (range.start().0, range.last().0);
        let below = self.free.range(..=last).next_back();
        let below = below.map(|(&start, &last)| (start, last));
        assert!(
            below.is_none_or(|(_, end)| end < start),
            "a part of {range} is free already"
        );
        if let Some((first, end)) = below.filter(|(_, end)| end.checked_add(1) == Some(start)) {
            self.remove(first, end);
            start = first;
        }
        let above = last.checked_add(1);
        if let Some((first, end)) = above.and_then(|next| Some((next, *self.free.get(&next)?))) {
            self.remove(first, end);
            last = end;
        }
        self.insert(start, last);
    }

    /// The free ranges, rising.
    pub fn free_ranges(&self) -> impl Iterator<Item = IovaRange> {
        let range = |(start, last): (&u64, &u64)| IovaRange::from_ends(Iova(*start), Iova(*last));
        self.free.iter().filter_map(range)
    }

    /// The size of the largest free range in bytes.
    #[must_use]
    pub fn largest_free(&self) -> u128 {
        let largest = self.classes.iter().rev().find(|class| !class.is_empty());
        largest
            .into_iter()
            .flatten()
            .map(|start| size(*start, self.free[start]))
            .max()
            .unwrap_or(0)
    }

    /// The lowest place in the free ranges that are ample, wherever in them the aligned address lies.
    fn first_ample(&self, floor: u64, size: u64, alignment: u64) -> Option<(u64, u64, IovaRange)> {
        let ample = (u128::from(size) + u128::from(alignment) - 1).next_power_of_two();
        let first_class = ample.trailing_zeros() as usize;
        let around = self.free.range(..=floor).next_back();
        let above = self
            .classes
            .iter()
            .skip(first_class)
            .filter_map(|class| class.range(floor..).next())
            .min()
            .map(|start| (start, &self.free[start]));
        around
            .into_iter()
            .chain(above)
            .find_map(|(&start, &last)| place(start, last, floor, size, alignment))
    }

    /// The lowest place in any free range.
    fn first_fitting(
        &self,
        floor: u64,
        size: u64,
        alignment: u64,
    ) -> Option<(u64, u64, IovaRange)> {
        self.free
            .range(floor..)
            .find_map(|(&start, &last)| place(start, last, floor, size, alignment))
    }

    /// Takes `range` out of the free range around it.
    fn carve(&mut self, start: u64, last: u64, range: IovaRange) {
        self.remove(start, last);
        if start < range.start().0 {
            self.insert(start, range.start().0 - 1);
        }
        if range.last().0 < last {
            self.insert(range.last().0 + 1, last);
        }
    }

    fn insert(&mut self, start: u64, last: u64) {
        self.free.insert(start, last);
        self.classes[class(start, last)].insert(start);
    }

    fn remove(&mut self, start: u64, last: u64) {
        self.free.remove(&start);
        self.classes[class(start, last)].remove(&start);
    }
}

fn size(start: u64, last: u64) -> u128 {
    u128::from(last - start) + 1
}

fn class(start: u64, last: u64) -> usize {
    size(start, last).ilog2() as usize
}

/// The lowest aligned range of `size` bytes from `floor` on within the free range, with the latter's ends; `None` if it does not fit.
fn place(
    start: u64,
    last: u64,
    floor: u64,
    size: u64,
    alignment: u64,
) -> Option<(u64, u64, IovaRange)> {
    let at = start.max(floor).checked_next_multiple_of(alignment)?;
    let range = IovaRange::new(Iova(at), size).ok()?;
    (range.last().0 <= last).then_some((start, last, range))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, last: u64) -> IovaRange {
        IovaRange::from_ends(Iova(start), Iova(last)).unwrap()
    }

    /// What a VT-d container reports: all but the interrupt window.
    fn usable() -> [IovaRange; 2] {
        [range(0, 0xfedf_ffff), range(0xfef0_0000, 0x7f_ffff_ffff)]
    }

    #[test]
    fn allocations_are_aligned_and_start_above_the_legacy_area() {
        let mut allocator = IovaAllocator::new(&usable());
        let first = allocator.allocate(0x1000, 0x1000).unwrap();
        assert_eq!(first, range(0x10_0000, 0x10_0fff));
        let huge = allocator.allocate(4 << 20, 2 << 20).unwrap();
        assert_eq!(huge, range(0x20_0000, 0x5f_ffff));
        let above = allocator.allocate_above(Iova(0x10_0000_0001), 1, 0x1000);
        assert_eq!(above.unwrap(), range(0x10_0000_1000, 0x10_0000_1000));
    }

    #[test]
    fn any_usable_address_can_be_reserved_once() {
        let mut allocator = IovaAllocator::new(&usable());
        allocator.reserve(range(0, 0xfff)).unwrap();
        assert_eq!(
            allocator.reserve(range(0xfff, 0x1fff)),
            Err(IovaError::Taken {
                range: range(0xfff, 0x1fff)
            })
        );
        let window = allocator
            .reserve(range(0xfee0_0000, 0xfee0_0fff))
            .unwrap_err();
        assert_eq!(
            window.to_string(),
            "0xfee00000-0xfee00fff is not within the usable IOVAs: 0x0-0xfedfffff, 0xfef00000-0x7fffffffff"
        );
        assert_eq!(window.class(), ExitClass::Usage);
        allocator.free(range(0, 0xfff));
        allocator.reserve(range(0, 0xfff)).unwrap();
    }

    #[test]
    fn a_range_that_only_just_fits_is_found() {
        let mut allocator = IovaAllocator::new(&[range(0x20_0800, 0x20_27ff)]);
        let only = allocator.allocate(0x1000, 0x1000).unwrap();
        assert_eq!(only, range(0x20_1000, 0x20_1fff));
        let error = allocator.allocate(0x1000, 0x1000).unwrap_err();
        assert!(
            matches!(error, IovaError::Full { largest: 0x800, .. }),
            "{error}"
        );
    }

    #[test]
    fn the_whole_64_bits_are_one_range() {
        let all = range(0, u64::MAX);
        let mut allocator = IovaAllocator::new(&[all]);
        assert_eq!(allocator.largest_free(), 1 << 64);
        let top = allocator
            .allocate_above(Iova(u64::MAX - 0xfff), 0x1000, 0x1000)
            .unwrap();
        assert_eq!(top.last(), Iova(u64::MAX));
        assert!(allocator.allocate_above(Iova(u64::MAX), 1, 2).is_err());
        allocator.free(top);
        allocator.reserve(all).unwrap();
        assert_eq!(allocator.largest_free(), 0);
    }

    #[test]
    #[should_panic(expected = "is free already")]
    fn freeing_twice_is_a_mistake() {
        let mut allocator = IovaAllocator::new(&usable());
        let part = allocator.allocate(0x3000, 0x1000).unwrap();
        allocator.free(part);
        allocator.free(range(part.start().0 + 0x1000, part.last().0));
    }

    /// Pages of a small space, each taken or not.
    struct Model {
        taken: Vec<bool>,
        first: u64,
    }

    impl Model {
        fn pages(&self, range: IovaRange) -> std::ops::Range<usize> {
            let start = (range.start().0 - self.first) >> 12;
            start as usize..(start + (range.size() >> 12) as u64) as usize
        }

        fn set(&mut self, range: IovaRange, taken: bool) {
            let pages = self.pages(range);
            for page in &mut self.taken[pages] {
                assert_ne!(*page, taken, "{range}");
                *page = taken;
            }
        }

        fn fits(&self, floor: u64, size: u64, alignment: u64) -> bool {
            let start = floor.next_multiple_of(alignment);
            let end = self.first + ((self.taken.len() as u64) << 12);
            (start..=end.saturating_sub(size))
                .step_by(alignment as usize)
                .any(|at| {
                    let range = IovaRange::new(Iova(at), size).unwrap();
                    self.taken[self.pages(range)].iter().all(|taken| !taken)
                })
        }

        fn longest_free(&self) -> u128 {
            let runs = self.taken.split(|taken| *taken);
            runs.map(|run| (run.len() as u128) << 12).max().unwrap_or(0)
        }
    }

    /// A generator of numbers below a bound (Marsaglia's xorshift), the same each time.
    fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed;
        move |bound| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        }
    }

    #[test]
    fn thousands_of_random_steps_agree_with_a_naive_model() {
        const FIRST: u64 = LEGACY;
        const PAGES: u64 = 256;
        for seed in 1..=20 {
            let mut below = numbers(seed * 0x9e37_79b9);
            let space = IovaRange::new(Iova(FIRST), PAGES << 12).unwrap();
            let mut allocator = IovaAllocator::new(&[space]);
            let mut model = Model {
                taken: vec![false; PAGES as usize],
                first: FIRST,
            };
            let mut held: Vec<IovaRange> = Vec::new();
            for _ in 0..2000 {
                let size = (1 + below(24)) << 12;
                match below(4) {
                    0 | 1 if !held.is_empty() => {
                        let range = held.swap_remove(below(held.len() as u64) as usize);
                        allocator.free(range);
                        model.set(range, false);
                    }
                    2 => {
                        let start = FIRST + (below(PAGES - (size >> 12) + 1) << 12);
                        let range = IovaRange::new(Iova(start), size).unwrap();
                        let free = model.taken[model.pages(range)].iter().all(|taken| !taken);
                        assert_eq!(allocator.reserve(range).is_ok(), free, "{range}");
                        if free {
                            model.set(range, true);
                            held.push(range);
                        }
                    }
                    _ => {
                        let alignment = 0x1000 << below(6);
                        let floor = FIRST + (below(PAGES) << 12);
                        let got = allocator.allocate_above(Iova(floor), size, alignment);
                        let fits = model.fits(floor, size, alignment);
                        assert_eq!(got.is_ok(), fits, "{size:#x} {alignment:#x} {floor:#x}");
                        if let Ok(range) = got {
                            assert!(range.start().is_aligned(alignment), "{range}");
                            assert!(range.start().0 >= floor, "{range}");
                            assert_eq!(range.size(), u128::from(size));
                            model.set(range, true);
                            held.push(range);
                        }
                    }
                }
                assert_eq!(allocator.largest_free(), model.longest_free());
            }
        }
    }
}
