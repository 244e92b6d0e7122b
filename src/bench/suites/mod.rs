//! The suites: each says which rows it has, and measures them in each launch.

mod churn;
mod cold;
mod devices;
mod dma;
mod file;
mod map;
mod open;
mod threads;

use std::ops::ControlFlow;
use std::ops::Range;
use std::time::Duration;

use super::BenchError;
use super::plan::{Plan, Row, Shape};
use super::sampler::{Amount, Pace, Samples, Subject, Turn, fill};
use super::space::Opened;
use crate::iommu::{DmaBuffer, PageKind};
use crate::types::{Backend, Size, Suite};

/// A suite.
pub struct SuiteEntry {
    /// Its name.
    pub suite: Suite,
    /// How long it takes with one backend, where the user does not say.
    pub time: Duration,
    /// Each row gets this many blocks of samples in each launch, however long they take.
    pub least: usize,
    /// Its rows for a backend; or why there are none.
    pub rows: fn(&Plan, Backend) -> Result<Rows, BenchError>,
    /// The memory that all its rows need at the same time, in bytes.
    pub memory: fn(&[Row]) -> Memory,
    /// Measures each of its rows once more.
    pub launch: fn(&mut Stage<'_>) -> Result<ControlFlow<()>, BenchError>,
}

/// The rows of a suite, and why some that one could expect are missing.
#[derive(Debug, Default)]
pub struct Rows {
    /// What is measured.
    pub rows: Vec<Row>,
    /// What is not, in words.
    pub missing: Vec<String>,
}

impl Rows {
    fn none(why: impl Into<String>) -> Self {
        Self {
            rows: Vec::new(),
            missing: vec![why.into()],
        }
    }
}

impl From<Vec<Row>> for Rows {
    fn from(rows: Vec<Row>) -> Self {
        Self {
            rows,
            missing: Vec::new(),
        }
    }
}

/// What a suite needs of memory at the same time, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of ordinary memory, and of each reserve of huge pages by the size of a page.
    pub pages: Vec<(Option<Size>, u64)>,
    /// What is locked, huge pages included.
    pub locked: u64,
}

impl Memory {
    /// The bytes that are taken where this shape's memory comes from.
    fn of(&mut self, shape: Shape) -> &mut u64 {
        let reserve = match shape.pages.kind {
            PageKind::Huge(page) => Some(page),
            PageKind::Base | PageKind::Transparent => None,
        };
        let at = self.pages.iter().position(|(known, _)| *known == reserve);
        let at = at.unwrap_or_else(|| {
            self.pages.push((reserve, 0));
            self.pages.len() - 1
        });
        &mut self.pages[at].1
    }

    /// Memory that is there beside all other.
    fn add(&mut self, shape: Shape, times: u64) {
        let bytes = self.of(shape);
        *bytes = bytes.saturating_add(shape.size.saturating_mul(times));
    }

    /// Memory that is there after other is gone.
    fn at_least(&mut self, shape: Shape, times: u64) {
        let bytes = self.of(shape);
        *bytes = shape.size.saturating_mul(times).max(*bytes);
    }

    /// What is mapped after other is unmapped.
    fn lock(&mut self, bytes: u64) {
        self.locked = self.locked.max(bytes);
    }
}

/// All suites, in the order in which they are measured and shown.
pub static SUITES: [SuiteEntry; 8] = [
    map::ENTRY,
    cold::ENTRY,
    churn::ENTRY,
    threads::ENTRY,
    devices::ENTRY,
    file::ENTRY,
    dma::ENTRY,
    open::ENTRY,
];

/// The entry of a suite.
#[must_use]
pub fn entry(suite: Suite) -> &'static SuiteEntry {
    let entry = SUITES.iter().find(|entry| entry.suite == suite);
    entry.expect("the table lists every suite")
}

/// One launch of a suite with a backend.
pub struct Stage<'s> {
    /// The whole plan.
    pub plan: &'s Plan,
    /// The kernel interface.
    pub backend: Backend,
    /// What is measured.
    pub rows: &'s [Row],
    /// The samples of each row.
    pub samples: &'s mut [Samples],
    /// Which launch it is, from 0.
    pub launch: u32,
    /// How many samples each row gets in it.
    pub amount: Amount,
    /// Sees which row is measured, and how much of this launch is done, from 0 to 1.
    pub watch: &'s mut dyn FnMut(&Row, f64) -> ControlFlow<()>,
}

impl<'s> Stage<'s> {
    /// Opens an address space and the device.
    fn open(&self) -> Result<Opened, BenchError> {
        Opened::open(&self.plan.devices[0].node, self.backend)
    }

    /// The memory of a row, in a suite whose rows all have some.
    fn shape(&self, row: usize) -> Shape {
        self.rows[row].shape()
    }

    /// Samples some of the rows in turn, one subject each.
    fn sample(
        &mut self,
        rows: Range<usize>,
        pace: Pace,
        subjects: Vec<Box<dyn Subject + '_>>,
    ) -> Result<ControlFlow<()>, BenchError> {
        let (first, share) = (
            rows.start as f64 / self.rows.len() as f64,
            rows.len() as f64 / self.rows.len() as f64,
        );
        let (own, watch) = (&self.rows[rows.clone()], &mut self.watch);
        let mut turns: Vec<Turn<'_>> = self.samples[rows]
            .iter_mut()
            .zip(subjects)
            .map(|(samples, subject)| Turn {
                subject,
                samples,
                pace,
            })
            .collect();
        fill(&mut turns, self.launch, self.amount, &mut |at, done| {
            watch(&own[at], first + share * done)
        })
    }

    /// Samples all rows in turn.
    fn sample_all(
        &mut self,
        pace: Pace,
        subjects: Vec<Box<dyn Subject + '_>>,
    ) -> Result<ControlFlow<()>, BenchError> {
        self.sample(0..self.rows.len(), pace, subjects)
    }

    /// Notes how many contiguous pieces the memory of a row has, if that is told and does not take long to find out.
    fn note_pieces(&mut self, row: usize, buffer: &DmaBuffer) {
        const MOST: u64 = 256 << 20;
        let size = self.rows[row].key.size.filter(|size| *size <= MOST);
        let pieces = size.and_then(|size| super::space::contiguous_pieces(buffer, size));
        let launch = self.launch;
        self.samples[row]
            .runs
            .extend(pieces.map(|pieces| (launch, pieces)));
    }
}

/// What the rows need if one is mapped at a time, with all their memory there.
fn one_mapped_at_a_time(rows: &[Row]) -> Memory {
    let mut known = Vec::new();
    let mut memory = Memory::default();
    for shape in rows.iter().filter_map(|row| row.shape) {
        memory.lock(shape.size);
        if !known.contains(&shape) {
            known.push(shape);
            memory.add(shape, 1);
        }
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn the_table_lists_every_suite_in_their_order() {
        let listed: Vec<_> = SUITES.iter().map(|entry| entry.suite).collect();
        assert_eq!(listed, Suite::value_variants());
    }
}
