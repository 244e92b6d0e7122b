//! What `bench` measured, as CSV.

use crate::bench::Record;

/// The lines.
#[must_use]
pub fn bench_csv(record: &Record) -> String {
    format!("{record:?}")
}
