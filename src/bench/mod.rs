//! Measures what mapping and unmapping memory costs.

mod compare;
mod difference;
mod environment;
#[cfg(test)]
pub(crate) mod example;
mod mapping;
mod record;
mod sampler;
mod statistics;
mod student;
mod warning;

pub use crate::iommu::PageKind;
pub use compare::{CONFIDENCE_OF_ALL, Change, Changes, Verdict, compare};
pub use difference::Difference;
pub use environment::{Environment, HugePageReserve, MeasuredDevice, MeasuredIommu, MeasuredSpace};
pub use mapping::{BenchError, Configuration, Measured, Plan, Step, run};
pub use record::{
    Block, Breakdown, Comparison, Fit, Key, Method, ParseRecordError, Part, Phase, Record, Route,
    Series, Skipped, Unit,
};
pub use sampler::{Amount, Samples};
pub use statistics::{
    Interval, Ratio, SAMPLES_FOR_P99, SAMPLES_FOR_P99_9, Summary, block_median, distribution,
    interval_of_median, median, paired_ratio, unpaired_ratio,
};
pub use warning::{Warned, Warning};
