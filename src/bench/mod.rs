//! Measures what mapping and unmapping memory costs.

mod sampler;
mod statistics;

pub use sampler::{Amount, Record, Sample, Subject, fill};
pub use statistics::{SAMPLES_FOR_P99, Summary};
