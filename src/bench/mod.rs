//! Measures what mapping and unmapping memory costs.

mod mapping;
mod sampler;
mod statistics;

pub use crate::iommu::PageKind;
pub use mapping::{BenchError, Configuration, Measured, Plan, Step, run};
pub use sampler::{Amount, Record};
pub use statistics::{SAMPLES_FOR_P99, Summary};
