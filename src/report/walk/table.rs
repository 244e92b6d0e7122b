//! Columns of text.

use std::io::{self, Write};

use crate::report::Style;

/// Aligned columns below headings: `most` rows, and how many more there are.
pub(super) fn write_table<const COLUMNS: usize>(
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
