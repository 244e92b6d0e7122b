//! How an IOMMU translates an address, drawn step by step.

mod cpu;
mod ranges;
mod steps;
mod table;

pub use cpu::{CpuPiece, CpuView};

use serde::Serialize;
use std::io::{self, Write};

use super::{Report, Style};
use crate::host::{Attachment, IommuUnit, Leaf, Lookup, MappedRange, TableWalk};
use crate::types::{Bdf, Iova, Size};
use ranges::write_ranges;

/// Where the second step was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The IOMMU's page table, as debugfs shows it.
    Debugfs,
    /// The trace events of the mapping that this program made.
    TraceEvents,
}

/// What of an IOMMU belongs to a walk.
fn name_and_kind<S: serde::Serializer>(
    unit: &Option<IommuUnit>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    unit.as_ref()
        .map(|unit| serde_json::json!({ "name": unit.name, "kind": unit.kind }))
        .serialize(serializer)
}

/// How an IOVA of a device is translated.
#[derive(Debug, Serialize)]
pub struct WalkReport {
    /// The device.
    pub device: Bdf,
    /// The address; `None` if only the ranges were asked for.
    pub iova: Option<Iova>,
    /// The IOMMU that the device is behind.
    #[serde(serialize_with = "name_and_kind")]
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
            writeln!(out, "\n{}", style.heading(cpu::HEADING))?;
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
}

fn write_missing(out: &mut dyn Write, style: Style, why: &str) -> io::Result<()> {
    writeln!(out, "   {} {why}", style.caution("Not shown:"))
}

fn size(bytes: u64) -> String {
    Size::new(bytes).map_or("0".to_owned(), |size| size.to_string())
}
