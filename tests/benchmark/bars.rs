//! The bars: what was measured, beside the bound that it is to keep.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// One line of the table.
#[derive(Serialize, Deserialize)]
pub struct Row {
    /// The number of the bar.
    pub bar: u8,
    /// What was measured, and in what state.
    pub what: String,
    /// What came out, launch by launch.
    pub launches: Vec<Measured>,
    /// What is promised of it.
    pub bound: Bound,
}

/// What came out.
#[derive(Clone, Serialize, Deserialize)]
pub enum Measured {
    /// How one time stands to another, and where the truth lies with 95 % confidence.
    Ratio(f64, Option<(f64, f64)>),
    /// Instructions of the processor.
    Instructions(f64),
    /// Milliseconds of the processor.
    Milliseconds(f64),
    /// A part of all, in percent.
    Percent(f64),
    /// This machine cannot tell, for this reason.
    NotHere(String),
}

/// What is promised.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "<= {bound}"),
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
        }
    }
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl Measured {
    fn value(&self) -> Option<f64> {
        match self {
            Self::Ratio(value, _)
            | Self::Instructions(value)
            | Self::Milliseconds(value)
            | Self::Percent(value) => Some(*value),
            Self::NotHere(_) => None,
        }
    }
}

impl Row {
    /// What came out in one launch.
    pub fn new(bar: u8, what: String, measured: Measured, bound: Bound) -> Self {
        Self {
            bar,
            what,
            launches: vec![measured],
            bound,
        }
    }

    /// The launch in the middle.
    fn typical(&self) -> &Measured {
        let mut sorted: Vec<_> = self.launches.iter().collect();
        sorted.sort_by(|a, b| a.value().partial_cmp(&b.value()).unwrap_or(Ordering::Equal));
        sorted[sorted.len() / 2]
    }

    /// From the lowest launch to the highest, if there are several.
    fn spread(&self) -> Option<(f64, f64)> {
        let values = || self.launches.iter().filter_map(Measured::value);
        let (low, high) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
        (self.launches.len() > 1).then_some((low, high))
    }

    fn verdict(&self) -> &'static str {
        match self.typical().value() {
            None => "not measurable here",
            Some(value) if self.bound.holds(value) => "held",
            Some(_) => "NOT HELD",
        }
    }
}

/// Adds a row, or a launch to one that is there.
pub fn add(rows: &mut Vec<Row>, row: Row) {
    match rows.iter_mut().find(|known| known.what == row.what) {
        Some(known) => known.launches.extend(row.launches),
        None => rows.push(row),
    }
}

/// Four digits that count, no more.
fn ratio(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.4}"),
        _ => format!("{value:.1}"),
    }
}

/// Prints the table.
pub fn print(rows: &[Row]) {
    let range = |(low, high): (f64, f64)| format!("{}..{}", ratio(low), ratio(high));
    let cells = |row: &Row| {
        let (measured, interval) = match row.typical() {
            Measured::Ratio(value, interval) => (format!("{} x", ratio(*value)), *interval),
            Measured::Instructions(count) => (format!("{count:.0} instr."), None),
            Measured::Milliseconds(time) => (format!("{time:.1} ms"), None),
            Measured::Percent(part) => (format!("{part:.1} %"), None),
            Measured::NotHere(reason) => (reason.clone(), None),
        };
        [
            row.bar.to_string(),
            row.what.clone(),
            measured,
            interval.map_or_else(String::new, range),
            row.spread().map_or_else(String::new, range),
            row.bound.to_string(),
            row.verdict().to_owned(),
        ]
    };
    let heading = [
        "bar",
        "what",
        "measured",
        "95 % interval",
        "launches",
        "bound",
        "verdict",
    ];
    let mut lines = vec![heading.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let widths: [usize; 7] = std::array::from_fn(|column| {
        let width = |line: &[String; 7]| line[column].chars().count();
        lines.iter().map(width).max().unwrap_or(0)
    });
    for line in lines {
        let padded = line.iter().zip(widths);
        let text: Vec<_> = padded
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        println!("{}", text.join("  ").trim_end());
    }
}
