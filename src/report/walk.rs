//! How an IOMMU translates an address, drawn step by step.

use serde::Serialize;
use std::io::{self, Write};

use super::{Report, Style};
use crate::host::{Attachment, Entry, IommuUnit, Leaf, Lookup, MappedRange, Neighbours, TableWalk};
use crate::types::{Bdf, Iova, IovaRange, Size};

/// How many lines of a long list the text shows.
const LINES: usize = 16;

const CPU_HEADING: &str = "3. What does the CPU see?";

/// Where the second step was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The IOMMU's page table, as debugfs shows it.
    Debugfs,
    /// The trace events of the mapping that this program made.
    TraceEvents,
}

/// How an IOVA of a device is translated.
#[derive(Debug, Serialize)]
pub struct WalkReport {
    /// The device.
    pub device: Bdf,
    /// The address; `None` if only the ranges were asked for.
    pub iova: Option<Iova>,
    /// The IOMMU that the device is behind.
    pub iommu: Option<IommuUnit>,
    /// The first step: from the device to its page table.
    pub lookup: Option<Lookup>,
    /// The second step: through the page table.
    pub walk: Option<TableWalk>,
    /// Whether the address is in the window of interrupts, which no page table translates.
    pub is_for_interrupts: bool,
    /// The page, or the piece of memory, that the address leads to.
    pub page: Option<Leaf>,
    /// The physical address that it leads to.
    pub physical_address: Option<PhysicalAddress>,
    /// Where the second step was learned.
    pub source: Option<Source>,
    /// All that is mapped, if it was asked for.
    pub ranges: Option<Vec<MappedRange>>,
    /// The processor's way to the same memory, if a process is known that has it.
    pub cpu: Option<CpuView>,
    /// The same after other memory was mapped there.
    pub remapped: Option<Box<Self>>,
    /// What is not shown, and why.
    pub missing: Missing,
    /// Whether each bit is explained in the text.
    #[serde(skip)]
    pub bits: bool,
}

/// Why parts of a [`WalkReport`] are not there.
#[derive(Debug, Default, Serialize)]
pub struct Missing {
    /// The first step.
    pub lookup: Option<String>,
    /// The levels of the page table.
    pub walk: Option<String>,
    /// The mapping's trace events, in place of the page table.
    pub trace: Option<String>,
    /// All that is mapped.
    pub ranges: Option<String>,
    /// The processor's side.
    pub cpu: Option<String>,
}

/// A physical address; printed as `0x…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhysicalAddress(pub u64);

impl Serialize for PhysicalAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::fmt::Display for PhysicalAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// What the page tables of a process say of the memory that an IOMMU maps.
#[derive(Debug, Serialize)]
pub struct CpuView {
    /// The process.
    pub process: u32,
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
            pieces,
            agrees: answers.map(|answers| answers.into_iter().all(|agrees| agrees)),
        }
    }
}

impl Report for WalkReport {
    const KIND: &'static str = "walk";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        self.write_answer(out, style)?;
        self.write_lookup(out, style)?;
        if self.iova.is_some() && !self.is_answered() {
            self.write_walk(out, style)?;
        }
        if let Some(ranges) = &self.ranges {
            write_ranges(out, style, ranges)?;
        }
        if let Some(why) = &self.missing.ranges {
            writeln!(out, "\n{}", style.heading("What is mapped"))?;
            write_missing(out, style, why)?;
        }
        if let Some(cpu) = &self.cpu {
            cpu.write(out, style, self.source)?;
        }
        if let Some(why) = &self.missing.cpu {
            writeln!(out, "\n{}", style.heading(CPU_HEADING))?;
            write_missing(out, style, why)?;
        }
        match &self.remapped {
            Some(again) => self.write_remapped(out, style, again),
            None => Ok(()),
        }
    }
}

impl WalkReport {
    /// Whether the first step answers already.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.lookup.as_ref().is_some_and(|lookup| {
            matches!(
                lookup.attachment,
                Attachment::PassThrough | Attachment::Blocked
            )
        })
    }

    fn write_remapped(&self, out: &mut dyn Write, style: Style, again: &Self) -> io::Result<()> {
        let heading = "Now unmapped, and other memory mapped at the same IOVA";
        writeln!(out, "\n{}\n", style.heading(heading))?;
        again.text(out, style)?;
        match (self.physical_address, again.physical_address) {
            (Some(before), Some(after)) if before != after => {
                let text = format!("The IOVA led to {before}, and now to {after}.");
                writeln!(out, "\n{}", style.good(&text))
            }
            (Some(before), Some(_)) => {
                let text =
                    format!("The IOVA leads to {before} as before: the IOMMU was NOT changed.");
                writeln!(out, "\n{}", style.bad(&text))
            }
            _ => Ok(()),
        }
    }

    /// The answer in one line.
    fn write_answer(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let Some(iova) = self.iova else {
            return writeln!(out, "{}", style.heading(&self.device.to_string()));
        };
        let heading = format!("{} IOVA {iova}", self.device);
        write!(out, "{}  ", style.heading(&heading))?;
        if self.is_for_interrupts {
            let text = "AN INTERRUPT: writes there are interrupts, whatever the page table says";
            return writeln!(out, "{}", style.bad(text));
        }
        let attachment = self.lookup.as_ref().map(|lookup| &lookup.attachment);
        match (self.physical_address, self.page, attachment) {
            (Some(physical), Some(page), _) => {
                let unit = match self.source {
                    Some(Source::TraceEvents) => "a piece",
                    _ => "a page",
                };
                let answer = format!("-> physical address {physical}");
                writeln!(
                    out,
                    "{}, in {unit} of {}",
                    style.good(&answer),
                    size(page.size)
                )
            }
            (_, _, Some(Attachment::PassThrough)) => writeln!(
                out,
                "{}",
                style.bad("NOT TRANSLATED: the device reaches this physical address itself")
            ),
            (_, _, Some(Attachment::Blocked)) => {
                writeln!(out, "{}", style.bad("NOT MAPPED: every request is blocked"))
            }
            _ if self.walk.is_some() || self.source.is_some() => {
                writeln!(out, "{}", style.bad("NOT MAPPED: a request is blocked"))
            }
            _ => writeln!(out, "{}", style.caution("not known")),
        }
    }

    fn write_lookup(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let heading = style.heading("1. Which page table does the device use?");
        let unit = self.iommu.as_ref().map_or("", |unit| unit.name.as_str());
        if let Some(lookup) = &self.lookup {
            writeln!(out, "\n{heading}  {unit}, {}", lookup.mode)?;
            let start = lookup.start.map(|start| Line {
                name: "root table",
                chosen_by: String::new(),
                says: format!("begins at {start:#x}"),
                entry: None,
            });
            let entries = lookup.entries.iter().map(Line::from);
            return self.write_lines(out, style, start.into_iter().chain(entries));
        }
        writeln!(out, "\n{heading}  {unit}")?;
        let why = self.missing.lookup.as_deref().unwrap_or("not asked");
        write_missing(out, style, why)
    }

    fn write_walk(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let heading = "2. Where does the address lead?";
        writeln!(out, "\n{}", style.heading(heading))?;
        if let Some(walk) = &self.walk {
            return self.write_levels(out, style, walk);
        }
        for why in [&self.missing.walk, &self.missing.trace]
            .into_iter()
            .flatten()
        {
            write_missing(out, style, why)?;
        }
        let (Some(piece), Some(physical)) = (self.page, self.physical_address) else {
            return Ok(());
        };
        let range = piece.range().map_or(String::new(), |r| r.to_string());
        writeln!(
            out,
            "   The kernel's trace of the mapping: {range} -> {:#x} ({})",
            piece.physical,
            size(piece.size)
        )?;
        let answer = format!("= physical address {physical}");
        writeln!(out, "   {}", style.good(&answer))
    }

    fn write_levels(&self, out: &mut dyn Write, style: Style, walk: &TableWalk) -> io::Result<()> {
        let offset = self.iova.zip(walk.leaf).map(|(iova, leaf)| Line {
            name: "offset",
            chosen_by: format!("IOVA bits {}:0", leaf.size.trailing_zeros() - 1),
            says: format!("+ {:#x}", iova.0 & (leaf.size - 1)),
            entry: None,
        });
        let lines = walk.entries.iter().map(Line::from).chain(offset);
        self.write_lines(out, style, lines)?;
        match self.physical_address {
            Some(physical) => {
                let answer = format!("= physical address {physical}");
                writeln!(out, "   {}", style.good(&answer))
            }
            None => write_neighbours(out, &walk.neighbours),
        }
    }

    fn write_lines<'e>(
        &self,
        out: &mut dyn Write,
        style: Style,
        lines: impl Iterator<Item = Line<'e>>,
    ) -> io::Result<()> {
        let lines: Vec<Line> = lines.collect();
        let width = |of: fn(&Line) -> usize| lines.iter().map(of).max().unwrap_or_default();
        let (names, choices) = (width(|l| l.name.len()), width(|l| l.chosen_by.len()));
        let says = width(|l| l.says.chars().count()).min(76);
        for line in &lines {
            write!(
                out,
                "   {:<names$}  {:<choices$}  ",
                line.name, line.chosen_by
            )?;
            match line.entry {
                Some(entry) => {
                    let contents = contents(entry);
                    writeln!(out, "{:<says$}  {}", line.says, style.faint(&contents))?;
                }
                None => writeln!(out, "{}", line.says)?,
            }
            if self.bits {
                write_fields(out, style, line)?;
            }
        }
        Ok(())
    }
}

/// A line of the drawing: an entry, or what comes before and after them.
struct Line<'e> {
    name: &'e str,
    chosen_by: String,
    says: String,
    entry: Option<&'e Entry>,
}

impl<'e> From<&'e Entry> for Line<'e> {
    fn from(entry: &'e Entry) -> Self {
        Self {
            name: entry.name,
            chosen_by: entry.chosen_by.clone(),
            says: entry.says.clone(),
            entry: Some(entry),
        }
    }
}

/// What the entry holds and where it lies: `[0xc07180] = 0x502:0x0000000000f85001`, the highest word first.
fn contents(entry: &Entry) -> String {
    let mut words = entry.words.as_slice();
    while let [rest @ .., 0] = words {
        if rest.is_empty() {
            break;
        }
        words = rest;
    }
    let value: Vec<String> = words
        .iter()
        .rev()
        .enumerate()
        .map(|(place, word)| match place {
            0 => format!("{word:#x}"),
            _ => format!("{word:016x}"),
        })
        .collect();
    let at = entry.at.map_or("?".to_owned(), |at| format!("{at:#x}"));
    format!("[{at}] = {}", value.join(":"))
}

fn write_fields(out: &mut dyn Write, style: Style, line: &Line) -> io::Result<()> {
    let Some(entry) = line.entry else {
        return Ok(());
    };
    for field in &entry.fields {
        let meaning = match field.meaning {
            "" => String::new(),
            meaning => format!(": {meaning}"),
        };
        let text = format!(
            "     {:>8}  {} = {:#x}{meaning}",
            field.bits, field.name, field.value
        );
        writeln!(out, "{}", style.faint(&text))?;
    }
    let text = format!("               {}", entry.section);
    writeln!(out, "{}", style.faint(&text))
}

fn write_neighbours(out: &mut dyn Write, neighbours: &Neighbours) -> io::Result<()> {
    let range = |leaf: Option<Leaf>| leaf.and_then(|leaf| leaf.range());
    let (before, after) = (range(neighbours.before), range(neighbours.after));
    if let Some(range) = before {
        writeln!(out, "   The nearest page below that is mapped: {range}")?;
    }
    if let Some(range) = after {
        writeln!(out, "   The nearest page above that is mapped: {range}")?;
    }
    if before.or(after).is_none() {
        writeln!(out, "   Nothing at all is mapped.")?;
    }
    Ok(())
}

fn write_missing(out: &mut dyn Write, style: Style, why: &str) -> io::Result<()> {
    writeln!(out, "   {} {why}", style.caution("Not shown:"))
}

fn size(bytes: u64) -> String {
    Size::new(bytes).map_or("0".to_owned(), |size| size.to_string())
}

/// `1 page`, `2 pages`.
fn count(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn write_ranges(out: &mut dyn Write, style: Style, ranges: &[MappedRange]) -> io::Result<()> {
    writeln!(out, "\n{}", style.heading("What is mapped"))?;
    if ranges.is_empty() {
        return writeln!(out, "   Nothing.");
    }
    let rows: Vec<[String; 4]> = ranges
        .iter()
        .map(|range| {
            let pages: Vec<String> = range
                .pages
                .iter()
                .map(|(page, count)| format!("{count} x {}", size(*page)))
                .collect();
            let access = match (range.readable, range.writable) {
                (true, true) => "rw",
                (true, false) => "r",
                (false, true) => "w",
                (false, false) => "-",
            };
            let place = match range.pieces {
                1 => format!("{:#x}, in one piece", range.physical),
                pieces => format!("{pieces} pieces, the first at {:#x}", range.physical),
            };
            [
                range.range.to_string(),
                access.to_owned(),
                pages.join(" + "),
                place,
            ]
        })
        .collect();
    write_table(
        out,
        style,
        ["IOVAs", "may", "pages", "physical memory"],
        &rows,
        rows.len(),
    )?;
    let bytes: u128 = ranges.iter().map(|range| range.range.size()).sum();
    let pieces: u64 = ranges.iter().map(|range| range.pieces).sum();
    let entries: u64 = ranges
        .iter()
        .flat_map(|range| &range.pages)
        .map(|(_, count)| count)
        .sum();
    let bytes = u64::try_from(bytes).map_or("2^64".to_owned(), size);
    writeln!(
        out,
        "   {bytes} in {}: {}, {} of physical memory.",
        count(ranges.len() as u64, "range"),
        count(entries, "page"),
        count(pieces, "piece")
    )
}

impl CpuView {
    fn write(&self, out: &mut dyn Write, style: Style, source: Option<Source>) -> io::Result<()> {
        writeln!(
            out,
            "\n{}  process {}",
            style.heading(CPU_HEADING),
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

fn write_table<const COLUMNS: usize>(
    out: &mut dyn Write,
    style: Style,
    headings: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
    most: usize,
) -> io::Result<()> {
    let shown = &rows[..rows.len().min(most)];
    let mut widths = headings.map(str::len);
    for row in shown {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let line = |cells: [&str; COLUMNS]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    writeln!(out, "   {}", style.faint(&line(headings)))?;
    for row in shown {
        writeln!(out, "   {}", line(row.each_ref().map(String::as_str)))?;
    }
    if rows.len() > most {
        writeln!(out, "   ... and {} more", rows.len() - most)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
