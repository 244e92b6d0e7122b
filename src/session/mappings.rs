//! The table of mappings: found by IOVA and by name, each in logarithmic time, and taken out only whole.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Failure;
use super::protocol::{Extent, LARGEST_ANSWER, LARGEST_LISTING, MappingInfo, Selection};
use crate::types::{Iova, IovaRange};

/// Mappings, and with each what belongs to it.
pub(super) struct Mappings<M> {
    by_iova: BTreeMap<Iova, (MappingInfo, M)>,
    by_name: BTreeMap<String, Iova>,
}

/// A run of bytes in one mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'m, M> {
    /// What belongs to the mapping.
    pub held: &'m M,
    /// What it is.
    pub info: &'m MappingInfo,
    /// Where in it.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

impl MappingInfo {
    /// Its IOVAs.
    #[must_use]
    pub fn range(&self) -> IovaRange {
        IovaRange::new(self.iova, self.size).expect("what is mapped has a size and an end")
    }

    /// What it is called in messages.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("'{name}' at {}", self.range()),
            None => self.range().to_string(),
        }
    }
}

impl<M> Mappings<M> {
    pub(super) fn new() -> Self {
        Self {
            by_iova: BTreeMap::new(),
            by_name: BTreeMap::new(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_iova.len()
    }

    /// Keeps a name for the mapping that is being made at this IOVA.
    pub(super) fn reserve_name(&mut self, name: &str, iova: Iova) -> Result<(), Failure> {
        if let Some(other) = self.by_name.get(name) {
            return Err(Failure::usage(format!(
                "the name '{name}' is taken by the mapping at {other}"
            )));
        }
        self.by_name.insert(name.to_owned(), iova);
        Ok(())
    }

    /// Gives a name back whose mapping did not come about.
    pub(super) fn free_name(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Takes in a mapping. Its IOVAs are free, and its name is reserved.
    pub(super) fn insert(&mut self, info: MappingInfo, held: M) {
        self.by_iova.insert(info.iova, (info, held));
    }

    /// Takes out the mapping that begins here.
    pub(super) fn remove(&mut self, iova: Iova) -> Option<(MappingInfo, M)> {
        let (info, held) = self.by_iova.remove(&iova)?;
        if let Some(name) = &info.name {
            self.by_name.remove(name);
        }
        Some((info, held))
    }

    /// What belongs to all mappings.
    pub(super) fn into_held(self) -> impl Iterator<Item = M> {
        self.by_iova.into_values().map(|(_, held)| held)
    }

    /// The mapping that this IOVA is in.
    pub(super) fn around(&self, iova: Iova) -> Option<&MappingInfo> {
        let (info, _) = self.by_iova.range(..=iova).next_back()?.1;
        (iova <= info.range().last()).then_some(info)
    }

    /// The first mapping that shares an address with the range.
    pub(super) fn overlapping(&self, range: IovaRange) -> Option<&MappingInfo> {
        let inside = || {
            let inside = self.by_iova.range(range.start()..=range.last()).next();
            inside.map(|(_, (info, _))| info)
        };
        self.around(range.start()).or_else(inside)
    }

    /// Where the mappings begin that are meant: each of them whole, and at least one unless all are meant.
    pub(super) fn select(&self, selection: &Selection) -> Result<Vec<Iova>, Failure> {
        match selection {
            Selection::All => Ok(self.by_iova.keys().copied().collect()),
            Selection::Name(name) => match self.by_name.get(name) {
                // A reserved name may have no mapping yet.
                Some(iova) if self.by_iova.contains_key(iova) => Ok(vec![*iova]),
                _ => Err(Failure::usage(format!("no mapping is called '{name}'"))),
            },
            Selection::At(iova) if self.by_iova.contains_key(iova) => Ok(vec![*iova]),
            Selection::At(iova) => Err(match self.around(*iova) {
                Some(whole) => in_part(whole, &format!("{iova} is")),
                None => Failure::usage(format!("nothing is mapped at {iova}")),
            }),
            Selection::Within { iova, size } => self.within(
                IovaRange::new(*iova, *size).map_err(|error| Failure::usage(error.to_string()))?,
            ),
        }
    }

    fn within(&self, range: IovaRange) -> Result<Vec<Iova>, Failure> {
        let (start, last) = (range.start(), range.last());
        let ends = [self.around(start), self.around(last)];
        if let Some(whole) = ends
            .into_iter()
            .flatten()
            .find(|info| !range.contains(info.range()))
        {
            return Err(in_part(whole, &format!("{range} covers")));
        }
        let found: Vec<_> = self
            .by_iova
            .range(start..=last)
            .map(|(at, _)| *at)
            .collect();
        if found.is_empty() {
            return Err(Failure::usage(format!("nothing is mapped in {range}")));
        }
        Ok(found)
    }

    /// The mappings that end at `from` or after it, and where to go on.
    pub(super) fn listing(&self, from: Iova) -> (Vec<MappingInfo>, Option<Iova>) {
        let first = self.around(from).map_or(from, |info| info.iova);
        let mut page: Vec<MappingInfo> = Vec::new();
        let mut bytes = 0;
        for (_, (info, _)) in self.by_iova.range(first..) {
            bytes += longest_form(info);
            if page.len() == LARGEST_LISTING || bytes > LARGEST_ANSWER - ENVELOPE {
                return (page, Some(info.iova));
            }
            page.push(info.clone());
        }
        (page, None)
    }

    /// The bytes of a range, in the order of their IOVAs, as far as they are mapped.
    pub(super) fn pieces(&self, range: IovaRange) -> (Extent, Vec<Piece<'_, M>>) {
        let first = self.around(range.start()).map_or(range.start(), |i| i.iova);
        let pieces: Vec<_> = self
            .by_iova
            .range((Bound::Included(first), Bound::Included(range.last())))
            .map(|(_, (info, held))| {
                let start = info.iova.max(range.start());
                let last = info.range().last().min(range.last());
                Piece {
                    held,
                    info,
                    offset: start.0 - info.iova.0,
                    length: last.0 - start.0 + 1,
                }
            })
            .collect();
        let mapped: u128 = pieces.iter().map(|piece| u128::from(piece.length)).sum();
        let extent = match mapped {
            0 => Extent::Nothing,
            bytes if bytes == range.size() => Extent::Whole,
            _ => Extent::Part,
        };
        (extent, pieces)
    }
}

/// The bytes of an answer beside the mappings in it, amply.
const ENVELOPE: usize = 4 << 10;

/// The most bytes that a mapping may take as JSON: its numbers and names of fields, and each byte of a path escaped (`\\u0000`).
fn longest_form(info: &MappingInfo) -> usize {
    let path = info.file.as_ref().map_or(0, |file| file.path.len());
    512 + 6 * path
}

fn in_part(whole: &MappingInfo, what: &str) -> Failure {
    Failure::usage(format!(
        "{what} only a part of the mapping {}; mappings are unmapped whole: unmap it with --iova {}",
        whole.title(),
        whole.iova
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Protection;

    /// Mappings from (IOVA, size), each holding its number.
    fn table(mappings: &[(u64, u64)]) -> Mappings<usize> {
        let mut table = Mappings::new();
        for (number, (iova, size)) in mappings.iter().enumerate() {
            table.insert(
                MappingInfo {
                    iova: Iova(*iova),
                    size: *size,
                    pages: "4K".to_owned(),
                    way: None,
                    protection: Protection::ReadWrite,
                    name: None,
                    file: None,
                },
                number,
            );
        }
        table
    }

    fn within(iova: u64, size: u64) -> Selection {
        Selection::Within {
            iova: Iova(iova),
            size,
        }
    }

    #[test]
    fn only_whole_mappings_are_selected() {
        let table = table(&[(0x1000, 0x2000), (0x3000, 0x1000), (0x8000, 0x4000)]);
        let select = |selection| table.select(&selection).map_err(|error| error.message);
        assert_eq!(select(Selection::At(Iova(0x3000))), Ok(vec![Iova(0x3000)]));
        assert_eq!(
            select(within(0x1000, 0x3000)),
            Ok(vec![Iova(0x1000), Iova(0x3000)])
        );
        assert_eq!(
            select(within(0, u64::MAX)),
            Ok(vec![Iova(0x1000), Iova(0x3000), Iova(0x8000)])
        );
        for (selection, message) in [
            (Selection::At(Iova(0x2000)), "0x2000 is only a part of"),
            (Selection::At(Iova(0x4000)), "nothing is mapped at 0x4000"),
            (within(0x2000, 0x2000), "unmap it with --iova 0x1000"),
            (within(0x1000, 0x1000), "unmap it with --iova 0x1000"),
            (within(0x9000, 0x1000), "the mapping 0x8000-0xbfff"),
            (within(0x4000, 0x4000), "nothing is mapped in"),
            (within(0x4000, u64::MAX), "past the last"),
            (Selection::Name("none".into()), "no mapping is called"),
        ] {
            let error = select(selection.clone()).unwrap_err();
            assert!(error.contains(message), "{selection:?}: {error}");
        }
    }

    #[test]
    fn all_may_be_none() {
        assert_eq!(table(&[]).select(&Selection::All), Ok(vec![]));
    }

    #[test]
    fn a_name_is_given_once() {
        let mut table = table(&[]);
        table.reserve_name("ring", Iova(0x1000)).unwrap();
        assert!(table.reserve_name("ring", Iova(0x2000)).is_err());
        assert!(table.select(&Selection::Name("ring".into())).is_err());
        table.free_name("ring");
        table.reserve_name("ring", Iova(0x2000)).unwrap();
    }

    #[test]
    fn a_listing_goes_on_where_it_ended() {
        let many: Vec<_> = (0..LARGEST_LISTING as u64 + 1)
            .map(|index| (index * 0x1000, 0x1000))
            .collect();
        let table = table(&many);
        let (first, next) = table.listing(Iova(0));
        assert_eq!(first.len(), LARGEST_LISTING);
        let (second, end) = table.listing(next.unwrap());
        assert_eq!((second.len(), end), (1, None));
        assert_eq!(table.listing(Iova(0x1fff)).0[0].iova, Iova(0x1000));
    }

    #[test]
    fn bytes_are_found_across_mappings() {
        let table = table(&[(0x1000, 0x1000), (0x2000, 0x1000), (0x4000, 0x1000)]);
        let pieces = |start, size| {
            let (extent, pieces) = table.pieces(IovaRange::new(Iova(start), size).unwrap());
            let places: Vec<_> = pieces
                .iter()
                .map(|piece| (*piece.held, piece.offset, piece.length))
                .collect();
            (extent, places)
        };
        assert_eq!(
            pieces(0x1800, 0x1000),
            (Extent::Whole, vec![(0, 0x800, 0x800), (1, 0, 0x800)])
        );
        assert_eq!(
            pieces(0x2ff0, 0x1020),
            (Extent::Part, vec![(1, 0xff0, 0x10), (2, 0, 0x10)])
        );
        assert_eq!(pieces(0x3000, 0x1000), (Extent::Nothing, vec![]));
    }
}
