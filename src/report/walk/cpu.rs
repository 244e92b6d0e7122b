//! The processor's side.

use serde::Serialize;
use std::io::{self, Write};

use super::table::write_table;
use super::{PhysicalAddress, Source};
use crate::report::Style;
use crate::types::IovaRange;

/// How many lines of a long list the text shows.
const LINES: usize = 16;

pub(super) const HEADING: &str = "3. What does the CPU see?";

/// What the page tables of a process say of the memory that an IOMMU maps.
#[derive(Debug, Serialize)]
pub struct CpuView {
    /// The process.
    pub process: u32,
    /// The mapping that the memory belongs to, where the process is a holder: `'ring' at 0x100000-0x100fff`.
    pub mapping: Option<String>,
    /// Its memory, by rising IOVA, in pieces that go on without a gap in each of the address spaces.
    pub pieces: Vec<CpuPiece>,
    /// Whether the processor and the IOMMU come to the same physical memory everywhere; `None` if one of the two is not known.
    pub agrees: Option<bool>,
}

/// A piece of memory as the processor and the IOMMU see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CpuPiece {
    /// Its IOVAs.
    #[serde(flatten)]
    pub range: IovaRange,
    /// Its first byte's virtual address.
    pub virtual_address: PhysicalAddress,
    /// Its first byte's physical address, by the process's page tables.
    pub cpu_physical: Option<PhysicalAddress>,
    /// Its first byte's physical address, by the IOMMU.
    pub iommu_physical: Option<PhysicalAddress>,
}

impl CpuPiece {
    /// Whether both come to the same memory; `None` if one of the two is not known.
    #[must_use]
    pub fn agrees(&self) -> Option<bool> {
        Some(self.cpu_physical? == self.iommu_physical?)
    }

    /// This piece with the next page at its end, if that goes on without a gap everywhere.
    fn joined(&self, next: &Self) -> Option<Self> {
        let size = u64::try_from(self.range.size()).ok()?;
        let goes_on =
            |here: Option<PhysicalAddress>, there: Option<PhysicalAddress>| match (here, there) {
                (Some(here), Some(there)) => here.0.checked_add(size) == Some(there.0),
                (None, None) => true,
                _ => false,
            };
        let is_next = self.range.last().checked_add(1) == Some(next.range.start())
            && goes_on(Some(self.virtual_address), Some(next.virtual_address))
            && goes_on(self.cpu_physical, next.cpu_physical)
            && goes_on(self.iommu_physical, next.iommu_physical);
        is_next.then_some(Self {
            range: IovaRange::from_ends(self.range.start(), next.range.last())?,
            ..*self
        })
    }
}

impl CpuView {
    /// From pages by rising IOVA, which are joined where they go on without a gap.
    #[must_use]
    pub fn new(process: u32, pages: impl IntoIterator<Item = CpuPiece>) -> Self {
        let mut pieces: Vec<CpuPiece> = Vec::new();
        for page in pages {
            match pieces.last_mut() {
                Some(last) => match last.joined(&page) {
                    Some(joined) => *last = joined,
                    None => pieces.push(page),
                },
                None => pieces.push(page),
            }
        }
        let answers: Option<Vec<bool>> = pieces.iter().map(CpuPiece::agrees).collect();
        Self {
            process,
            mapping: None,
            pieces,
            agrees: answers.map(|answers| answers.into_iter().all(|agrees| agrees)),
        }
    }
}

impl CpuView {
    /// As memory of this mapping, which the process holds.
    #[must_use]
    pub fn of_mapping(self, mapping: String) -> Self {
        Self {
            mapping: Some(mapping),
            ..self
        }
    }

    pub(super) fn write(
        &self,
        out: &mut dyn Write,
        style: Style,
        source: Option<Source>,
    ) -> io::Result<()> {
        let mapping = self.mapping.as_ref().map_or(String::new(), |mapping| {
            format!(", which holds the mapping {mapping}")
        });
        writeln!(
            out,
            "\n{}  process {}{mapping}",
            style.heading(HEADING),
            self.process
        )?;
        let is_traced = source == Some(Source::TraceEvents);
        let address = |address: Option<PhysicalAddress>| {
            address.map_or("?".to_owned(), |address| address.to_string())
        };
        let rows: Vec<[String; 5]> = self
            .pieces
            .iter()
            .map(|piece| {
                let agrees = match piece.agrees() {
                    Some(true) => "the same",
                    Some(false) => "DIFFERENT",
                    None => "",
                };
                [
                    piece.range.to_string(),
                    piece.virtual_address.to_string(),
                    address(piece.cpu_physical),
                    address(piece.iommu_physical),
                    agrees.to_owned(),
                ]
            })
            .collect();
        write_table(
            out,
            style,
            [
                "IOVAs",
                "virtual address",
                "CPU: physical",
                if is_traced {
                    "mapped: physical"
                } else {
                    "IOMMU: physical"
                },
                "",
            ],
            &rows,
            LINES,
        )?;
        match self.agrees {
            Some(true) if is_traced => {
                let text = "The kernel mapped the memory that the CPU has.";
                let proof = "Whether the IOMMU follows, DMA shows: iommu-tool test";
                writeln!(out, "   {} {proof}", style.good(text))
            }
            Some(true) => {
                let text = "The CPU and the IOMMU come to the same physical memory.";
                writeln!(out, "   {}", style.good(text))
            }
            Some(false) => {
                let text = "The CPU and the IOMMU come to DIFFERENT physical memory.";
                writeln!(out, "   {}", style.bad(text))
            }
            None => writeln!(out, "   Whether both come to the same memory is not known."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Iova;

    fn page(iova: u64, va: u64, cpu: u64, iommu: Option<u64>) -> CpuPiece {
        CpuPiece {
            range: IovaRange::new(Iova(iova), 4096).unwrap(),
            virtual_address: PhysicalAddress(va),
            cpu_physical: Some(PhysicalAddress(cpu)),
            iommu_physical: iommu.map(PhysicalAddress),
        }
    }

    #[test]
    fn pages_that_go_on_everywhere_are_one_piece() {
        let view = CpuView::new(
            7,
            [
                page(0x1000, 0x7000, 0x20000, Some(0x20000)),
                page(0x2000, 0x8000, 0x21000, Some(0x21000)),
                page(0x3000, 0x9000, 0x50000, Some(0x50000)),
            ],
        );
        let ranges: Vec<_> = view.pieces.iter().map(|p| p.range.to_string()).collect();
        assert_eq!(ranges, ["0x1000-0x2fff", "0x3000-0x3fff"]);
        assert_eq!(view.agrees, Some(true));
    }

    #[test]
    fn one_page_that_differs_is_a_disagreement() {
        let view = CpuView::new(
            7,
            [
                page(0x1000, 0x7000, 0x20000, Some(0x20000)),
                page(0x2000, 0x8000, 0x21000, Some(0x22000)),
            ],
        );
        assert_eq!(view.pieces.len(), 2);
        assert_eq!(view.agrees, Some(false));
        let unknown = CpuView::new(7, [page(0x1000, 0x7000, 0x20000, None)]);
        assert_eq!(unknown.agrees, None);
    }
}
