//! The two steps, a line for each entry.

use std::io::{self, Write};

use super::{WalkReport, size, write_missing};
use crate::host::{Entry, Leaf, Neighbours, TableWalk};
use crate::report::Style;

impl WalkReport {
    pub(super) fn write_lookup(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
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

    pub(super) fn write_walk(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
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
            return match &self.lookup {
                // Said there, in the first step.
                None => write_missing(out, style, "the same"),
                Some(_) => Ok(()),
            };
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
        if walk.entries.is_empty() {
            let bits = walk.address_bits;
            writeln!(
                out,
                "   Nowhere: the table translates addresses of {bits} bits."
            )?;
        }
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
