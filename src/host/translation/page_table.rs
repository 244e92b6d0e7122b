//! The second step: a page table, level by level, from the paths to its leaves.

use serde::Serialize;

use super::vtd_entries::{paging_entry, readable, writable};
use super::{ADDRESS, Entry, Stage, hex};
use crate::types::{Iova, IovaRange};

/// The most levels that a page table has.
pub(super) const LEVELS: usize = 5;

/// A leaf of a page table, and the entries on the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The first IOVA that the leaf maps.
    pub iova: Iova,
    /// The entries, the lowest level (PTE) first; 0 below a leaf that is a large page, and above the table's top.
    pub entries: [u64; LEVELS],
}

/// A page that is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Leaf {
    /// Its first IOVA.
    pub iova: Iova,
    /// Its size in bytes.
    pub size: u64,
    /// The physical address of its first byte.
    #[serde(serialize_with = "hex")]
    pub physical: u64,
    /// Whether the device may read it.
    pub readable: bool,
    /// Whether the device may write it.
    pub writable: bool,
}

/// What is mapped next to an IOVA where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Neighbours {
    /// The last mapped page before it.
    pub before: Option<Leaf>,
    /// The first mapped page after it.
    pub after: Option<Leaf>,
}

/// How an IOVA is translated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableWalk {
    /// How many bits of an IOVA the table translates; it has nothing for larger ones.
    pub address_bits: u32,
    /// The entries on the way, down to the first that is not present, or the leaf.
    pub entries: Vec<Entry>,
    /// The page that it leads to.
    pub leaf: Option<Leaf>,
    /// If it leads nowhere, what is mapped nearest to it.
    pub neighbours: Neighbours,
}

/// The size of what an entry of a level maps, the lowest level being 1.
pub(super) fn size_at(level: usize) -> u64 {
    1 << (12 + 9 * (level - 1))
}

impl Path {
    /// The leaf itself; `None` for a path without one.
    #[must_use]
    pub fn leaf(&self, stage: Stage) -> Option<Leaf> {
        let level = self.entries.iter().position(|entry| *entry != 0)? + 1;
        let (entry, size) = (self.entries[level - 1], size_at(level));
        Some(Leaf {
            iova: self.iova,
            size,
            physical: entry & ADDRESS & !(size - 1),
            readable: readable(entry, stage),
            writable: writable(entry, stage),
        })
    }
}

impl Leaf {
    /// The IOVAs that it maps.
    #[must_use]
    pub fn range(&self) -> Option<IovaRange> {
        IovaRange::new(self.iova, self.size).ok()
    }

    /// The physical address behind one of its IOVAs.
    #[must_use]
    pub fn translate(&self, iova: Iova) -> Option<u64> {
        let offset = iova.0.checked_sub(self.iova.0)?;
        (offset < self.size)
            .then(|| self.physical.checked_add(offset))
            .flatten()
    }
}

/// Follows one IOVA through a page table, of which it sees all paths in order.
#[derive(Debug)]
pub struct Walker {
    iova: Iova,
    stage: Stage,
    root: u64,
    levels: usize,
    /// The entries on the IOVA's way, the lowest level first.
    found: [u64; LEVELS],
    leaf: Option<Leaf>,
    neighbours: Neighbours,
}

impl Walker {
    /// Follows `iova` through the table of `levels` levels at `root`.
    #[must_use]
    pub fn new(iova: Iova, stage: Stage, root: u64, levels: u8) -> Self {
        Self {
            iova,
            stage,
            root,
            levels: usize::from(levels).clamp(1, LEVELS),
            found: [0; LEVELS],
            leaf: None,
            neighbours: Neighbours::default(),
        }
    }

    /// Looks at a path.
    pub fn visit(&mut self, path: Path) {
        let Some(leaf) = path.leaf(self.stage) else {
            return;
        };
        // An entry is on the way if it maps what the IOVA lies in: the address bits above its level are equal.
        for level in (1..=self.levels).rev() {
            let block = !(size_at(level) - 1);
            if path.iova.0 & block == self.iova.0 & block && path.entries[level - 1] != 0 {
                self.found[level - 1] = path.entries[level - 1];
            }
        }
        if leaf.translate(self.iova).is_some() {
            self.leaf = Some(leaf);
        } else if leaf.iova < self.iova {
            self.neighbours.before = Some(leaf);
        } else {
            self.neighbours.after.get_or_insert(leaf);
        }
    }

    /// What it found, after all paths.
    #[must_use]
    pub fn finish(self) -> TableWalk {
        let mut entries = Vec::new();
        let mut table = self.root;
        // At most 12 + 9 * 5.
        let address_bits = 12 + 9 * self.levels as u32;
        let is_beyond = self.iova.0 >> address_bits != 0;
        for level in (1..=self.levels).rev().filter(|_| !is_beyond) {
            let value = self.found[level - 1];
            entries.push(paging_entry(level, self.iova, table, value, self.stage));
            let is_leaf = self.leaf.is_some_and(|leaf| leaf.size == size_at(level));
            if value == 0 || is_leaf {
                break;
            }
            table = value & ADDRESS;
        }
        TableWalk {
            address_bits,
            entries,
            leaf: self.leaf,
            neighbours: match self.leaf {
                Some(_) => Neighbours::default(),
                None => self.neighbours,
            },
        }
    }
}

/// IOVAs without a gap that a page table maps with the same permission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MappedRange {
    /// Which.
    #[serde(flatten)]
    pub range: IovaRange,
    /// Whether the device may read.
    pub readable: bool,
    /// Whether the device may write.
    pub writable: bool,
    /// The physical address of the first byte.
    #[serde(serialize_with = "hex")]
    pub physical: u64,
    /// How many pieces of physical memory without a gap it is made of.
    pub pieces: u64,
    /// How many pages there are of each size in bytes, the smallest first.
    pub pages: Vec<(u64, u64)>,
}

/// Joins the leaves of a page table to ranges.
#[derive(Debug)]
pub struct RangeCollector {
    stage: Stage,
    ranges: Vec<MappedRange>,
    /// The IOVA and the physical address that would go on with the last range; `None` at the end of 64 bits.
    next: Option<(u64, u64)>,
}

impl RangeCollector {
    /// For a table of this format.
    #[must_use]
    pub fn new(stage: Stage) -> Self {
        Self {
            stage,
            ranges: Vec::new(),
            next: None,
        }
    }

    /// Looks at a path.
    pub fn visit(&mut self, path: Path) {
        let Some(leaf) = path.leaf(self.stage) else {
            return;
        };
        self.add(leaf);
    }

    /// Adds a page; pages come by rising IOVA.
    pub fn add(&mut self, leaf: Leaf) {
        let Some(range) = leaf.range() else {
            return;
        };
        let goes_on = self.next.is_some_and(|(iova, _)| iova == leaf.iova.0);
        match self.ranges.last_mut() {
            Some(last)
                if goes_on && (last.readable, last.writable) == (leaf.readable, leaf.writable) =>
            {
                last.range =
                    IovaRange::from_ends(last.range.start(), range.last()).unwrap_or(last.range);
                let is_adjacent = self.next.is_some_and(|(_, next)| next == leaf.physical);
                last.pieces += u64::from(!is_adjacent);
                match last
                    .pages
                    .binary_search_by_key(&leaf.size, |(size, _)| *size)
                {
                    Ok(at) => last.pages[at].1 += 1,
                    Err(at) => last.pages.insert(at, (leaf.size, 1)),
                }
            }
            _ => self.ranges.push(MappedRange {
                range,
                readable: leaf.readable,
                writable: leaf.writable,
                physical: leaf.physical,
                pieces: 1,
                pages: vec![(leaf.size, 1)],
            }),
        }
        self.next = leaf
            .iova
            .0
            .checked_add(leaf.size)
            .zip(leaf.physical.checked_add(leaf.size));
    }

    /// The ranges, by rising IOVA.
    #[must_use]
    pub fn finish(self) -> Vec<MappedRange> {
        self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths of a table with 4K pages at 0x1000 and 0x2000, and a 2M page at 4M; the table's pages lie at 0xa000, 0xb000, …
    fn paths() -> [Path; 3] {
        let path = |iova, pte, pde| Path {
            iova: Iova(iova),
            entries: [pte, pde, 0xb003, 0xa003, 0],
        };
        [
            path(0x1000, 0x7000_0003, 0xc003),
            path(0x2000, 0x5000_0003, 0xc003),
            path(0x40_0000, 0, 0x4060_0083),
        ]
    }

    fn walk(iova: u64) -> TableWalk {
        let mut walker = Walker::new(Iova(iova), Stage::Second, 0x9000, 4);
        paths().into_iter().for_each(|path| walker.visit(path));
        walker.finish()
    }

    #[test]
    fn a_mapped_address_leads_down_to_its_page() {
        let found = walk(0x2abc);
        let places: Vec<_> = found
            .entries
            .iter()
            .map(|entry| (entry.name, entry.at))
            .collect();
        assert_eq!(
            places,
            [
                ("PML4E", Some(0x9000)),
                ("PDPE", Some(0xa000)),
                ("PDE", Some(0xb000)),
                ("PTE", Some(0xc010)),
            ]
        );
        assert_eq!(
            found.leaf.unwrap().translate(Iova(0x2abc)),
            Some(0x5000_0abc)
        );
        assert_eq!(found.neighbours, Neighbours::default());
    }

    #[test]
    fn a_large_page_ends_the_walk_earlier() {
        let found = walk(0x5f_ffff);
        let names: Vec<_> = found.entries.iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["PML4E", "PDPE", "PDE"]);
        assert_eq!(found.leaf.unwrap().size, 2 << 20);
        assert_eq!(
            found.leaf.unwrap().translate(Iova(0x5f_ffff)),
            Some(0x407f_ffff)
        );
    }

    #[test]
    fn an_address_that_is_not_mapped_ends_at_the_empty_entry() {
        let found = walk(0x3000);
        assert_eq!(found.leaf, None);
        assert_eq!(found.entries.last().unwrap().name, "PTE");
        assert_eq!(found.neighbours.before.unwrap().iova, Iova(0x2000));
        assert_eq!(found.neighbours.after.unwrap().iova, Iova(0x40_0000));
        let far = walk(1 << 40);
        assert_eq!(far.entries.len(), 1);
        // The lower 48 bits alone would lead to a page.
        assert_eq!(walk(1 << 48 | 0x1000).entries, []);
        assert_eq!(far.neighbours.after, None);
    }

    #[test]
    fn ranges_join_what_is_next_to_each_other() {
        let mut ranges = RangeCollector::new(Stage::Second);
        paths().into_iter().for_each(|path| ranges.visit(path));
        let ranges = ranges.finish();
        assert_eq!(ranges.len(), 2);
        assert_eq!(ranges[0].range.to_string(), "0x1000-0x2fff");
        assert_eq!((ranges[0].pieces, &ranges[0].pages), (2, &vec![(4096, 2)]));
        assert_eq!(ranges[1].pages, [(2 << 20, 1)]);
        assert!(ranges[1].writable);
    }

    #[test]
    fn the_last_page_of_64_bits_ends_no_range_wrongly() {
        let mut ranges = RangeCollector::new(Stage::Second);
        for iova in [0xffff_ffff_ffff_f000, 0] {
            ranges.add(Leaf {
                iova: Iova(iova),
                size: 4096,
                physical: ADDRESS,
                readable: true,
                writable: true,
            });
        }
        assert_eq!(ranges.finish().len(), 2);
    }
}
