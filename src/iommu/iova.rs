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
