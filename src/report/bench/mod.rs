//! What `bench` measured, as tables: one for each suite.

mod tables;
mod words;

pub use words::row_name;

use std::io::{self, Write};

use super::duration::duration;
use super::series::confidence;
use super::{Report, Style};
use crate::bench::{
    ANY_PAGES, Comparison, Fit, MeasuredDevice, Record, Route, SAMPLES_FOR_P99, Series,
};
use crate::types::Suite;
use tables::{parts_table, rows_table, steps_table};
use words::{formula, write_breakdown};

impl Report for Record {
    const KIND: &'static str = "bench";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let mut heads = self.environment.devices.iter().map(device);
        let first = heads.next().unwrap_or_default();
        let others: Vec<String> = heads.collect();
        write!(out, "{}", style.heading(&first))?;
        if !others.is_empty() {
            write!(out, " with {}", others.join(", "))?;
        }
        writeln!(out, ": {}", self.setting())?;
        let mut rest: &[Series] = &self.series;
        while let Some(first) = rest.first() {
            let suite = first.key.suite;
            let count = rest.iter().take_while(|one| one.key.suite == suite).count();
            let (own, later) = rest.split_at(count);
            rest = later;
            writeln!(out)?;
            writeln!(
                out,
                "{}: {}",
                style.heading(&suite.to_string()),
                about(suite)
            )?;
            self.write_table(out, style, suite, own)?;
            self.write_conclusions(out, style, suite)?;
        }
        if !self.series.is_empty() {
            writeln!(out)?;
            self.write_legend(out)?;
        }
        for skipped in &self.skipped {
            let backend = skipped
                .backend
                .map_or_else(String::new, |backend| format!(", {backend}"));
            writeln!(
                out,
                "{} {}{backend}: {}",
                style.faint("not measured:"),
                skipped.suite,
                skipped.reason
            )?;
        }
        for warned in &self.warnings {
            writeln!(
                out,
                "{} {}. {}",
                style.caution("note:"),
                capital(&warned.message),
                sentence(&warned.remedy)
            )?;
        }
        if !self.complete {
            writeln!(
                out,
                "{}: interrupted; this is what was measured until then.",
                style.caution("PARTIAL")
            )?;
        }
        Ok(())
    }
}

impl Record {
    /// Where and how it was measured, in a line.
    fn setting(&self) -> String {
        let environment = &self.environment;
        let mut parts = Vec::new();
        if let Some(kernel) = &environment.kernel {
            parts.push(format!("Linux {kernel}"));
        }
        let device = environment.devices.first();
        if let Some(iommu) = device.and_then(|device| device.iommu.as_ref()) {
            parts.push(iommu.kind.to_string());
        }
        parts.push(format!("{} processors", environment.processors));
        parts.push(format!(
            "{:.0} s, {} launches",
            self.method.seconds, self.method.launches
        ));
        parts.join(", ")
    }

    fn write_table(
        &self,
        out: &mut dyn Write,
        style: Style,
        suite: Suite,
        series: &[Series],
    ) -> io::Result<()> {
        let table = match suite {
            Suite::Cold => parts_table(series),
            Suite::Open => steps_table(style, series),
            _ => rows_table(style, suite, series, &|key| {
                let known = |one: &&Comparison| self.series[one.of].key == *key;
                Some(self.comparisons.iter().find(known)?.ratio)
            }),
        };
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    /// What the figures of a suite come to.
    fn write_conclusions(&self, out: &mut dyn Write, style: Style, suite: Suite) -> io::Result<()> {
        for breakdown in &self.breakdowns {
            if suite == Suite::Cold {
                write_breakdown(out, style, breakdown)?;
            }
        }
        // One for all kinds of pages says more than one for each.
        let plain = |fit: &&Fit| (fit.suite, fit.route) == (Suite::Map, Route::Address);
        for fit in self
            .fits
            .iter()
            .filter(plain)
            .filter(|_| suite == Suite::Map)
        {
            let whole = |other: &Fit| {
                other.pages == ANY_PAGES && (other.backend, other.phase) == (fit.backend, fit.phase)
            };
            let has_whole = self.fits.iter().filter(plain).any(whole);
            if fit.pages == ANY_PAGES || !has_whole {
                writeln!(out, "  {}", formula(fit))?;
            }
        }
        Ok(())
    }

    fn write_legend(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "Times are medians: half of the calls took no longer. ±: where the median is {}.",
            confidence(self)
        )?;
        writeln!(
            out,
            "p99: 99 of 100 took no longer, shown from {SAMPLES_FOR_P99} samples on. Reading the clock takes {}, and is in every time once.",
            duration(self.method.clock)
        )?;
        let outliers: usize = self.series.iter().map(|one| one.summary.outliers).sum();
        let all: usize = self.series.iter().map(|one| one.summary.count).sum();
        if outliers > 0 {
            writeln!(
                out,
                "{outliers} of {all} samples are outliers, far above the rest of their row. They count like all others."
            )?;
        }
        Ok(())
    }
}

/// What a suite measures.
fn about(suite: Suite) -> &'static str {
    match suite {
        Suite::Map => "memory that is in RAM already, its base pages scattered on purpose",
        Suite::Cold => "memory from nothing to mapped, and back, as the start of a guest needs it",
        Suite::Churn => "one page, beside many other mappings",
        Suite::Threads => {
            "several threads at the same time in one address space; the time of all for one map"
        }
        Suite::Devices => "several devices in one address space",
        Suite::File => "memory of huge pages, mapped by its address and through its memfd",
        Suite::Dma => "the device reads (load) and writes (store) mapped memory",
        Suite::Open => {
            "an address space is made (space), the device attached, reset, and both closed"
        }
    }
}

fn device(device: &MeasuredDevice) -> String {
    format!("{} ({})", device.bdf, device.id)
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn sentence(text: &str) -> String {
    capital(text) + "."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Phase, Ratio, example};

    fn text(record: &Record) -> String {
        let mut text = Vec::new();
        record.text(&mut text, Style::new(false)).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_row_has_its_steps_beside_each_other_and_each_suite_a_table() {
        let record = example::record(1);
        let text = text(&record);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let heading = [
            "backend", "pages", "size", "map", "±", "p99", "unmap", "±", "p99", "count", "map/4",
            "KiB",
        ];
        assert!(lines.iter().any(|line| *line == heading), "{text}");
        let row = |start: &[&str]| lines.iter().find(|line| line.starts_with(start));
        assert!(row(&["type1", "4K", "64K"]).is_some(), "{text}");
        for suite in [
            "map", "cold", "churn", "threads", "devices", "file", "dma", "open",
        ] {
            let heading = format!("{suite}:");
            assert!(row(&[&heading]).is_some(), "no {heading} in {text}");
        }
        assert!(row(&["24G", "through", "iommufd,"]).is_some(), "{text}");
        assert!(text.contains("not measured: file, type1"), "{text}");
        assert!(
            text.contains("confidence, by how much launches differ.\n"),
            "{text}"
        );
        assert!(!text.contains("PARTIAL"));
    }

    #[test]
    fn what_was_interrupted_says_so_and_ratios_have_a_column() {
        let mut record = example::record(1);
        record.complete = false;
        let churn = |one: &Series| one.key.suite == Suite::Churn;
        let of = record.series.iter().rposition(churn).unwrap();
        let ratio = Ratio {
            estimate: 1.25,
            interval: None,
        };
        record.comparisons = vec![Comparison { of, with: 0, ratio }];
        let row = of - usize::from(record.series[of].key.phase != Phase::Map);
        record.comparisons[0].of = row;
        let text = text(&record);
        assert!(text.contains("map to alone"), "{text}");
        assert!(text.contains(" 1.250\n"), "{text}");
        assert!(text.ends_with("measured until then.\n"), "{text}");
    }
}
