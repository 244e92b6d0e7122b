//! Measures what mapping and unmapping memory costs.

mod environment;
mod mapping;
mod record;
mod sampler;
mod statistics;
mod warning;

pub use crate::iommu::PageKind;
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
