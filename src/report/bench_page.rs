//! What `bench` measured, as one HTML file with pictures.

use crate::bench::Record;

/// The page.
#[must_use]
pub fn bench_page(record: &Record) -> String {
    format!("{record:?}")
}
