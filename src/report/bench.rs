//! What `bench` measured, as tables: one for each suite.

use comfy_table::{Cell, CellAlignment, Table, presets};
use std::io::{self, Write};

use super::duration::duration;
use super::sparkline::{bar, sparkline};
use super::{Report, Style};
use crate::bench::{
    Breakdown, Fit, Interval, Key, MeasuredDevice, Phase, Ratio, Record, Route, SAMPLES_FOR_P99,
    Series,
};
use crate::types::{Size, Suite};

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
        let columns = Columns::of(suite, series);
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let mut header = columns.names();
        let labels = header.len();
        header.extend(["median", "±", "p90", "p99", "max", "count"]);
        let last = match suite {
            Suite::Dma => "rate",
            Suite::Open => "",
            _ => "per page",
        };
        header.push(last);
        if style.is_colored() {
            header.push("spread");
        }
        table.set_header(header);
        for column in table.column_iter_mut().skip(labels).take(7) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for one in series {
            let summary = &one.summary;
            let time = |nanoseconds: u64| duration(nanoseconds as f64);
            let mut cells = columns.cells(one);
            cells.extend([
                time(summary.p50),
                uncertainty(summary.p50 as f64, summary.interval),
                time(summary.p90),
                summary.p99.map_or_else(|| "-".to_owned(), time),
                time(summary.max),
                summary.count.to_string(),
                match (one.per_page, one.rate) {
                    (_, Some(rate)) => format!("{}/s", bytes(rate)),
                    (Some(time), _) => duration(time),
                    _ => String::new(),
                },
            ]);
            if style.is_colored() {
                cells.push(sparkline(&one.distribution));
            }
            table.add_row(cells.into_iter().map(Cell::new));
        }
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
        for comparison in &self.comparisons {
            let (of, with) = (&self.series[comparison.of], &self.series[comparison.with]);
            if of.key.suite == suite && of.key.phase != Phase::Unmap {
                let statement = statement(&of.key, &with.key, comparison.ratio);
                writeln!(out, "  {statement}")?;
            }
        }
        for fit in self.fits.iter().filter(|fit| fit.suite == suite) {
            if fit.suite == Suite::Map && fit.route == Route::Address {
                writeln!(out, "  {}", formula(fit))?;
            }
        }
        Ok(())
    }

    fn write_legend(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "median: half of the calls took no longer. ±: where the median is with 95 % confidence. p90, p99: 90 and 99 of 100 took no longer. \
             Reading the clock takes {}, and is in every time once. per page: for each 4 KiB.",
            duration(self.method.clock)
        )?;
        if self.series.iter().any(|one| one.summary.p99.is_none()) {
            writeln!(
                out,
                "p99 is shown from {SAMPLES_FOR_P99} samples on: with fewer it says more about chance than about the host."
            )?;
        }
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
        Suite::Map => "memory that is in RAM already",
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

/// The columns that name a row: those in which the rows of a table differ.
struct Columns(Vec<(&'static str, fn(&Key) -> String)>);

impl Columns {
    fn of(suite: Suite, series: &[Series]) -> Self {
        let size = |key: &Key| key.size.map_or_else(String::new, size_text);
        let pages = |key: &Key| key.pages.clone().unwrap_or_default();
        let all: [(&str, fn(&Key) -> String); 9] = [
            ("backend", |key| key.backend.to_string()),
            (
                if suite == Suite::Dma {
                    "transfer"
                } else {
                    "size"
                },
                size,
            ),
            ("pages", pages),
            ("way", |key| key.route.to_string()),
            ("threads", |key| key.threads.to_string()),
            ("devices", |key| key.devices.to_string()),
            ("others", |key| key.live.to_string()),
            ("in memory of", |key| {
                key.working_set.map_or_else(String::new, size_text)
            }),
            ("step", |key| key.phase.to_string()),
        ];
        let varies = |text: fn(&Key) -> String| {
            series
                .iter()
                .any(|one| text(&one.key) != text(&series[0].key))
        };
        let needed = |name: &str| matches!(name, "backend" | "step");
        let used = |(name, text): &(&str, fn(&Key) -> String)| {
            let has_size = *name == "size" && series[0].key.size.is_some();
            needed(name) || has_size || varies(*text)
        };
        Self(all.into_iter().filter(used).collect())
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }

    fn cells(&self, series: &Series) -> Vec<String> {
        self.0.iter().map(|(_, text)| text(&series.key)).collect()
    }
}

/// What a row is about, in a few words.
#[must_use]
pub fn row_name(key: &Key) -> String {
    let mut words = vec![key.suite.to_string(), key.backend.to_string()];
    words.extend(key.size.map(size_text));
    words.extend(key.pages.as_ref().map(|pages| format!("of {pages} pages")));
    match key.route {
        Route::Address => {}
        Route::File => words.push("as a file".to_owned()),
        Route::Strategy => words.push("the fastest way".to_owned()),
        Route::Bare => words.push("by bare calls".to_owned()),
    }
    if key.threads > 1 {
        words.push(format!("by {} threads", key.threads));
    }
    if key.devices > 1 {
        words.push(format!("with {} devices", key.devices));
    }
    if key.live > 0 {
        words.push(format!("beside {} mappings", key.live));
    }
    if let Some(set) = key.working_set {
        words.push(format!("in {}", size_text(set)));
    }
    words.join(" ")
}

/// A ratio in words: what was varied, and what that costs.
fn statement(of: &Key, with: &Key, ratio: Ratio) -> String {
    let shape = [
        of.size.map(size_text),
        of.pages.as_ref().map(|pages| format!("of {pages} pages")),
        Some(format!("through {}", of.backend)),
    ];
    let shape: Vec<String> = shape.into_iter().flatten().collect();
    let shape = format!("{} {}", of.phase, shape.join(" "));
    let Ratio { estimate, interval } = ratio;
    let range = interval.map_or_else(String::new, |Interval { low, high }| {
        format!(" ({low:.3} to {high:.3})")
    });
    match of.suite {
        Suite::Threads => {
            let faster = 1.0 / estimate;
            let range = interval.map_or_else(String::new, |Interval { low, high }| {
                format!(" ({:.2} to {:.2})", 1.0 / high, 1.0 / low)
            });
            format!(
                "{shape}: {} threads make {faster:.2}{range} times as many as one",
                of.threads
            )
        }
        Suite::Map => format!("{shape}: {estimate:.3}{range} times the bare call"),
        Suite::Churn => format!(
            "{shape}: beside {} others {estimate:.2}{range} times as long as alone",
            of.live
        ),
        Suite::Devices => format!(
            "{shape}: with {} devices {estimate:.2}{range} times as long as with one",
            of.devices
        ),
        _ => format!(
            "{shape}: by {} {estimate:.3}{range} times as long as by {}",
            of.route, with.route
        ),
    }
}

/// How a time grows, as a formula.
fn formula(fit: &Fit) -> String {
    let Fit {
        backend,
        phase,
        pages,
        base,
        page,
        run,
        error,
        ..
    } = fit;
    let mut text = format!(
        "{phase} of {pages} pages through {backend}: {}",
        duration(*base)
    );
    if base < &0.0 {
        text = format!("{phase} of {pages} pages through {backend}: 0");
    }
    text += &format!(" + {} for each 4 KiB", duration(page.max(0.0)));
    if let Some(run) = run {
        text += &format!(" + {} for each contiguous piece", duration(*run));
    }
    text + &format!(", within {:.0} %", error * 100.0)
}

/// How long a guest's memory takes, and where the time goes.
fn write_breakdown(out: &mut dyn Write, style: Style, breakdown: &Breakdown) -> io::Result<()> {
    let Breakdown {
        backend,
        pages,
        route,
        size,
        extrapolated_from,
        parts,
    } = breakdown;
    let start = || parts.iter().filter(|part| part.phase != Phase::Unmap);
    let total: f64 = start().map(|part| part.time).sum();
    let how = match route {
        Route::Strategy => "the fastest way, as 'map' takes it".to_owned(),
        _ => format!("{pages} pages, one map"),
    };
    write!(
        out,
        "  {} through {backend}, {how}: {}",
        size_text(*size),
        style.heading(&duration(total))
    )?;
    let several = start().count() > 1;
    if several {
        let shares: Vec<String> = start()
            .map(|part| format!("{} {}", part.phase, duration(part.time)))
            .collect();
        write!(out, " = {}", shares.join(" + "))?;
    }
    if let Some(unmap) = parts.iter().find(|part| part.phase == Phase::Unmap) {
        write!(out, "; unmap {}", duration(unmap.time))?;
    }
    if let Some(from) = extrapolated_from {
        write!(out, " (extrapolated from up to {})", size_text(*from))?;
    }
    writeln!(out)?;
    if several && style.is_colored() && total > 0.0 {
        let shares: Vec<f64> = start().map(|part| part.time / total).collect();
        writeln!(out, "    {}", bar(&shares))?;
    }
    Ok(())
}

fn device(device: &MeasuredDevice) -> String {
    format!("{} ({})", device.bdf, device.id)
}

fn size_text(bytes: u64) -> String {
    Size::new(bytes).map_or_else(|| "0".to_owned(), |size| size.to_string())
}

/// Half the width of an interval around a time, as a part of it.
fn uncertainty(time: f64, interval: Option<Interval>) -> String {
    match interval {
        Some(Interval { low, high }) if time > 0.0 => {
            let off = (high - time).max(time - low) / time * 100.0;
            format!("{off:.1} %")
        }
        _ => "?".to_owned(),
    }
}

/// A number of bytes with three digits that matter.
fn bytes(bytes: f64) -> String {
    let units = [
        ("B", 1.0),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
    ];
    let (unit, scale) = units
        .into_iter()
        .find(|(_, scale)| bytes / scale < 999.5)
        .unwrap_or(units[3]);
    let value = bytes / scale;
    let digits = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
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
