//! Measures what mapping and unmapping memory costs, and what belongs to it.
//!
//! [`run`] measures a [`Plan`] and makes a [`Record`] of it, which is all that reports and comparisons are made from.

mod analysis;
mod compare;
mod difference;
mod environment;
mod error;
#[cfg(test)]
pub(crate) mod example;
mod fit;
mod growth;
mod launch;
mod plan;
mod record;
mod run;
mod sampler;
mod space;
mod statistics;
mod student;
mod suites;
mod warning;

pub use crate::iommu::PageKind;
pub use compare::{CONFIDENCE_OF_ALL, Change, Changes, Verdict, compare};
pub use difference::Difference;
pub use environment::{Environment, HugePageReserve, MeasuredDevice, MeasuredIommu, MeasuredSpace};
pub use error::BenchError;
pub use launch::{End, Job, Launched, Step, launch};
pub use plan::{LAUNCHES, Plan, PlannedDevice, PlannedPages, Row, Shape};
pub use record::{
    ANY_PAGES, Block, Breakdown, Comparison, Fit, Key, Method, ParseRecordError, Part, Phase,
    Record, Route, Series, Skipped, Unit,
};
pub use run::{Outcome, run};
pub use statistics::{
    Interval, Ratio, SAMPLES_FOR_P99, SAMPLES_FOR_P99_9, Summary, distribution, interval_of_median,
    median,
};
pub use warning::{Warned, Warning};
