//! The tables of series, one form for each kind of suite.

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::words::{bytes, ratio_name, ratio_text};
use crate::bench::{Key, Phase, Ratio, Route, Series};
use crate::report::Style;
use crate::report::duration::duration;
use crate::report::series::{self, size};
use crate::report::sparkline::sparkline;
use crate::types::Suite;

/// A line for each row: the medians of its steps beside each other, and how sure their sum is.
pub fn parts_table(series: &[Series]) -> Table {
    let columns = Columns::of(series);
    let mut steps: Vec<Phase> = Vec::new();
    for one in series {
        if !steps.contains(&one.key.phase) {
            steps.push(one.key.phase);
        }
    }
    // In the order of time; what is measured apart comes last.
    let order = [
        Phase::Fault,
        Phase::Map,
        Phase::Ready,
        Phase::Unmap,
        Phase::Pin,
    ];
    steps.sort_by_key(|step| order.iter().position(|known| known == step));
    let mut names = Vec::new();
    for step in &steps {
        names.push(match step {
            Phase::Pin => "pin alone".to_owned(),
            step => step.to_string(),
        });
        if *step == Phase::Ready {
            names.push("±".to_owned());
        }
    }
    names.push("count".to_owned());
    let mut table = columns.table(names);
    for rows in rows_of(series) {
        let mut cells = columns.cells(rows[0]);
        for step in &steps {
            let one = rows.iter().find(|one| one.key.phase == *step);
            let median = one.map(|one| one.summary.p50 as f64);
            cells.push(median.map_or_else(String::new, duration));
            if *step == Phase::Ready {
                cells.push(one.map_or_else(String::new, |one| uncertainty(one)));
            }
        }
        cells.push(rows[0].summary.count.to_string());
        table.add_row(cells.into_iter().map(Cell::new));
    }
    table
}

/// A line for each row, with the figures of its steps beside each other.
///
/// `ratio` gives how the first step of a row stands to that of the plain row.
pub fn rows_table(
    style: Style,
    suite: Suite,
    series: &[Series],
    ratio: &dyn Fn(&Key) -> Option<Ratio>,
) -> Table {
    let columns = Columns::of(series);
    let rows = rows_of(series);
    let mut names = Vec::new();
    for one in &rows[0] {
        names.extend([one.key.phase.to_string(), "±".to_owned(), "p99".to_owned()]);
    }
    names.push("count".to_owned());
    names.push(
        if suite == Suite::Dma {
            "rate"
        } else {
            "map/4 KiB"
        }
        .to_owned(),
    );
    let has_ratios = series.iter().any(|one| ratio(&one.key).is_some());
    if has_ratios {
        names.push(ratio_name(suite).to_owned());
    }
    if style.is_colored() {
        names.push("spread".to_owned());
    }
    let mut table = columns.table(names);
    for row in rows {
        let first = row[0];
        let mut cells = columns.cells(first);
        for one in &row {
            let p99 = one.summary.p99.map(|time| duration(time as f64));
            cells.extend([
                duration(one.summary.p50 as f64),
                uncertainty(one),
                p99.unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        cells.push(first.summary.count.to_string());
        cells.push(match (first.per_page, first.rate) {
            (_, Some(rate)) => format!("{}/s", bytes(rate)),
            (Some(time), None) => duration(time),
            (None, None) => String::new(),
        });
        if has_ratios {
            let ratio = ratio(&first.key);
            cells.push(ratio.map_or_else(String::new, |ratio| ratio_text(suite, ratio)));
        }
        if style.is_colored() {
            cells.push(sparkline(&first.distribution));
        }
        table.add_row(cells.into_iter().map(Cell::new));
    }
    table
}

/// A line for each step.
pub fn steps_table(style: Style, series: &[Series]) -> Table {
    let columns = Columns::of(series);
    let mut names = ["step", "median", "±", "p90", "max", "count"]
        .map(str::to_owned)
        .to_vec();
    if style.is_colored() {
        names.push("spread".to_owned());
    }
    let mut table = columns.table(names);
    for one in series {
        let time = |nanoseconds: u64| duration(nanoseconds as f64);
        let mut cells = columns.cells(one);
        cells.extend([
            one.key.phase.to_string(),
            time(one.summary.p50),
            uncertainty(one),
            time(one.summary.p90),
            time(one.summary.max),
            one.summary.count.to_string(),
        ]);
        if style.is_colored() {
            cells.push(sparkline(&one.distribution));
        }
        table.add_row(cells.into_iter().map(Cell::new));
    }
    table
}

/// The series of each row, in the order of steps; the rows of one kind of pages together.
fn rows_of(series: &[Series]) -> Vec<Vec<&Series>> {
    let mut rows: Vec<Vec<&Series>> = Vec::new();
    for one in series {
        let same = |row: &&mut Vec<&Series>| {
            let phase = row[0].key.phase;
            Key {
                phase,
                ..one.key.clone()
            } == row[0].key
        };
        match rows.iter_mut().find(same) {
            Some(row) => row.push(one),
            None => rows.push(vec![one]),
        }
    }
    let mut kinds: Vec<&Option<String>> = Vec::new();
    for row in &rows {
        if !kinds.contains(&&row[0].key.pages) {
            kinds.push(&row[0].key.pages);
        }
    }
    let place = |key: &Key| kinds.iter().position(|kind| **kind == key.pages);
    let first = series[0].key.backend;
    rows.sort_by_key(|row| {
        (
            row[0].key.backend != first,
            row[0].key.route == Route::Strategy,
            place(&row[0].key),
        )
    });
    rows
}

/// A part of a key that a column shows: its heading, and its text.
type Label = (&'static str, fn(&Key) -> String);

/// The columns that name a row: those in which the rows of a table differ.
struct Columns(Vec<Label>);

impl Columns {
    fn of(series: &[Series]) -> Self {
        let all: [Label; 8] = [
            ("backend", |key| key.backend.to_string()),
            ("pages", |key| key.pages.clone().unwrap_or_default()),
            ("size", |key| key.size.map_or_else(String::new, size)),
            ("way", |key| key.route.to_string()),
            ("threads", |key| key.threads.to_string()),
            ("devices", |key| key.devices.to_string()),
            ("others", |key| key.live.to_string()),
            ("within", |key| {
                key.working_set.map_or_else(String::new, size)
            }),
        ];
        let Some(first) = series.first() else {
            return Self(Vec::new());
        };
        let used = |(name, text): &Label| {
            let varies = series.iter().any(|one| text(&one.key) != text(&first.key));
            varies || *name == "backend" || (*name == "size" && first.key.size.is_some())
        };
        Self(all.into_iter().filter(used).collect())
    }

    /// An empty table with these columns, and more of numbers.
    fn table(&self, more: Vec<String>) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let own = self.0.iter().map(|(name, _)| (*name).to_owned());
        table.set_header(own.chain(more));
        let names = self.0.len();
        for (at, column) in table.column_iter_mut().enumerate() {
            let right = at >= names || matches!(self.0[at].0, "size" | "within" | "others");
            if right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    fn cells(&self, series: &Series) -> Vec<String> {
        self.0.iter().map(|(_, text)| text(&series.key)).collect()
    }
}

/// How far the median may be off.
fn uncertainty(series: &Series) -> String {
    series::uncertainty(&series.summary).unwrap_or_else(|| "?".to_owned())
}
