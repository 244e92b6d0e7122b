//! What changed between two records of `bench`.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use std::io::{self, Write};

use super::duration::duration;
use super::series::subject;
use super::{Report, Style};
use crate::bench::{CONFIDENCE_OF_ALL, Change, Changes, Key, Record, Verdict};
use crate::types::ExitClass;

/// Up to how many series all are shown, those too that did not change.
const FEW: usize = 12;

/// From what resolution on it is told what makes it better.
const UNSTEADY: f64 = 0.1;

/// How many series that only one record has are named.
const NAMED: usize = 8;

/// The result of `compare`. Times are nanoseconds.
#[derive(Debug, Serialize)]
pub struct CompareReport {
    before: Side,
    after: Side,
    /// The ratio that no series may exceed, if one was given.
    fail_above: Option<f64>,
    /// The series that exceed it beyond the noise; `null` if no ratio was given.
    regressions: Option<usize>,
    /// How sure the intervals of all series are together.
    confidence: f64,
    /// The change that would have been seen in half of the series, as a part.
    resolution: Option<f64>,
    #[serde(flatten)]
    changes: Changes,
    #[serde(skip)]
    all: bool,
}

/// Where one of the records comes from.
#[derive(Debug, Serialize)]
struct Side {
    file: String,
    /// Seconds since 1970.
    started: u64,
    device: Option<String>,
    kernel: Option<String>,
    version: String,
}

impl Side {
    fn of(file: String, record: &Record) -> Self {
        let host = &record.environment;
        let device = host.devices.first();
        Self {
            file,
            started: record.method.started,
            device: device.map(|device| format!("{} ({})", device.bdf, device.id)),
            kernel: host.kernel.clone(),
            version: host.version.clone(),
        }
    }

    fn text(&self) -> String {
        let unknown = || "unknown".to_owned();
        format!(
            "{}: {}, Linux {}, iommu-tool {}",
            self.file,
            self.device.clone().unwrap_or_else(unknown),
            self.kernel.clone().unwrap_or_else(unknown),
            self.version
        )
    }
}

impl CompareReport {
    /// From the records, each with the name of its file, and what changed from one to the other. `all` shows the series that did not
    /// change too.
    #[must_use]
    pub fn new(
        before: (String, &Record),
        after: (String, &Record),
        changes: Changes,
        fail_above: Option<f64>,
        all: bool,
    ) -> Self {
        let regressions = fail_above.map(|limit| {
            let series = changes.series.iter();
            series.filter(|change| change.is_regression(limit)).count()
        });
        Self {
            before: Side::of(before.0, before.1),
            after: Side::of(after.0, after.1),
            fail_above,
            regressions,
            confidence: CONFIDENCE_OF_ALL,
            resolution: changes.resolution(),
            changes,
            all,
        }
    }

    /// Whether something became slower than it may, or nothing could be said.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        if self.regressions.is_some_and(|count| count > 0) {
            ExitClass::Failed
        } else if self.resolution.is_none() {
            ExitClass::NoVerdict
        } else {
            ExitClass::Done
        }
    }

    fn differences(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        if self.changes.differences.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "{}: the records differ in more than their times:",
            style.caution("CAUTION")
        )?;
        for one in &self.changes.differences {
            writeln!(out, "  {}: {} -> {}", one.field, one.before, one.after)?;
        }
        writeln!(out)
    }

    fn table(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let all = self.all || self.changes.series.len() <= FEW;
        let is_shown =
            |change: &&Change| all || matches!(change.verdict, Verdict::Slower | Verdict::Faster);
        let shown: Vec<&Change> = self.changes.series.iter().filter(is_shown).collect();
        if shown.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header([
            "suite", "backend", "of", "step", "before", "after", "ratio", "interval", "",
        ]);
        for column in table.column_iter_mut().skip(4).take(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for change in &shown {
            table.add_row(cells(change).map(Cell::new));
        }
        let mut lines = table.lines();
        if let Some(header) = lines.next() {
            writeln!(out, "{}", header.trim_end())?;
        }
        for (line, change) in lines.zip(&shown) {
            // The last column is coloured afterwards, as the table would count the colours as text.
            let word = word(change.verdict);
            let start = line.trim_end().strip_suffix(word).unwrap_or(&line);
            match change.verdict {
                Verdict::Slower => writeln!(out, "{start}{}", style.bad(word))?,
                Verdict::Faster => writeln!(out, "{start}{}", style.good(word))?,
                Verdict::WithinNoise | Verdict::Unknown => {
                    writeln!(out, "{start}{}", style.faint(word))?;
                }
            }
        }
        writeln!(out)
    }

    fn missing(&self, out: &mut dyn Write) -> io::Result<()> {
        let sides = [
            (&self.before.file, &self.changes.only_before),
            (&self.after.file, &self.changes.only_after),
        ];
        for (file, keys) in sides.into_iter().filter(|(_, keys)| !keys.is_empty()) {
            writeln!(out, "only in {file}: {} series", keys.len())?;
            let named = if self.all { keys.len() } else { NAMED };
            for key in keys.iter().take(named) {
                writeln!(out, "  {}", name(key))?;
            }
            if keys.len() > named {
                writeln!(out, "  and {} more (--all)", keys.len() - named)?;
            }
        }
        Ok(())
    }

    fn summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let count = |verdict| self.changes.count(verdict);
        writeln!(
            out,
            "{} series in both: {} slower, {} faster, {} the same within the noise",
            self.changes.series.len(),
            count(Verdict::Slower),
            count(Verdict::Faster),
            count(Verdict::WithinNoise)
        )?;
        if let Some(part) = self.resolution {
            writeln!(
                out,
                "In half of them a change of {:.1} % or more would have been seen: intervals come from how much launches differ, and hold for \
                 all series together with {:.0} % confidence.",
                part * 100.0,
                CONFIDENCE_OF_ALL * 100.0
            )?;
            if part > UNSTEADY {
                writeln!(
                    out,
                    "Steadier runs show more: stop other work on the host, or give bench more time (--duration)."
                )?;
            }
        }
        match count(Verdict::Unknown) {
            0 => Ok(()),
            unknown => writeln!(
                out,
                "Of {unknown} nothing can be said: a record has fewer than two launches of them (was it interrupted?)."
            ),
        }
    }

    fn verdict(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        if self.resolution.is_none() {
            return writeln!(
                out,
                "{}: no series was measured in two launches by both records",
                style.caution("NO VERDICT")
            );
        }
        match (self.fail_above, self.regressions) {
            (Some(limit), Some(0)) => writeln!(
                out,
                "{}: no series takes more than {limit} times as long, beyond the noise",
                style.good("PASS")
            ),
            (Some(limit), Some(count)) => writeln!(
                out,
                "{}: {count} series {} more than {limit} times as long, beyond the noise",
                style.bad("FAIL"),
                if count == 1 { "takes" } else { "take" }
            ),
            _ => Ok(()),
        }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Slower => "slower",
        Verdict::Faster => "faster",
        Verdict::WithinNoise => "within the noise",
        Verdict::Unknown => "too few launches",
    }
}

fn name(key: &Key) -> String {
    let Key {
        suite,
        backend,
        phase,
        ..
    } = key;
    match subject(key) {
        what if what.is_empty() => format!("{suite}, {backend}: {phase}"),
        what => format!("{suite}, {backend}: {phase} {what}"),
    }
}

fn cells(change: &Change) -> [String; 9] {
    let key = &change.key;
    let interval = change.ratio.interval.map_or_else(
        || "-".to_owned(),
        |interval| format!("{:.3} to {:.3}", interval.low, interval.high),
    );
    [
        key.suite.to_string(),
        key.backend.to_string(),
        subject(key),
        key.phase.to_string(),
        duration(change.before),
        duration(change.after),
        format!("{:.3}", change.ratio.estimate),
        interval,
        word(change.verdict).to_owned(),
    ]
}

impl Report for CompareReport {
    const KIND: &'static str = "compare";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        writeln!(out, "{} {}", style.heading("before"), self.before.text())?;
        writeln!(out, "{}  {}", style.heading("after"), self.after.text())?;
        writeln!(out)?;
        self.differences(out, style)?;
        self.table(out, style)?;
        self.missing(out)?;
        self.summary(out)?;
        self.verdict(out, style)
    }
}
