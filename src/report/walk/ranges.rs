//! All that is mapped, a line for each range.

use std::io::{self, Write};

use super::size;
use super::table::write_table;
use crate::host::MappedRange;
use crate::report::Style;

/// `1 page`, `2 pages`.
fn count(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

pub(super) fn write_ranges(
    out: &mut dyn Write,
    style: Style,
    ranges: &[MappedRange],
) -> io::Result<()> {
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
