//! The bars: what was measured, beside the bound that it is to keep.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One line of the table.
#[derive(Serialize, Deserialize)]
pub struct Row {
    /// The number of the bar.
    pub bar: u8,
    /// What was measured, and in what state.
    pub what: String,
    /// What came out.
    pub measured: Measured,
    /// What is promised of it.
    pub bound: Bound,
}

/// What came out.
#[derive(Serialize, Deserialize)]
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

impl Row {
    fn verdict(&self) -> &'static str {
        match self.measured {
            Measured::NotHere(_) => "not measurable here",
            Measured::Ratio(value, _)
            | Measured::Instructions(value)
            | Measured::Milliseconds(value)
            | Measured::Percent(value) => match self.bound.holds(value) {
                true => "held",
                false => "NOT HELD",
            },
        }
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
    let cells = |row: &Row| {
        let (measured, spread) = match &row.measured {
            Measured::Ratio(value, spread) => (
                format!("{} x", ratio(*value)),
                spread.map_or(String::new(), |(low, high)| {
                    format!("{}..{}", ratio(low), ratio(high))
                }),
            ),
            Measured::Instructions(count) => (format!("{count:.0} instr."), String::new()),
            Measured::Milliseconds(time) => (format!("{time:.1} ms"), String::new()),
            Measured::Percent(part) => (format!("{part:.1} %"), String::new()),
            Measured::NotHere(reason) => (format!("- ({reason})"), String::new()),
        };
        [
            row.bar.to_string(),
            row.what.clone(),
            measured,
            spread,
            row.bound.to_string(),
            row.verdict().to_owned(),
        ]
    };
    let heading = [
        "bar",
        "what",
        "measured",
        "95 % interval",
        "bound",
        "verdict",
    ];
    let mut lines = vec![heading.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let width = |line: &[String; 6]| line[column].chars().count();
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
