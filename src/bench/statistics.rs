//! What many samples of one operation say.
//!
//! Every sample counts: an outlier is a fact about the host, so none is dropped. The mean is left out on purpose: a few
//! outliers move it by several percent, while the median stays.

use serde::Serialize;

/// From how many samples the 99th percentile is shown: fewer leave too little above it to be repeatable.
pub const SAMPLES_FOR_P99: usize = 5_000;

/// The summary of a set of samples, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many samples there are.
    pub count: usize,
    /// The fastest.
    pub min: u64,
    /// The median: half of the samples took no longer.
    pub p50: u64,
    /// 90 % of the samples took no longer.
    pub p90: u64,
    /// 99 % of the samples took no longer; `None` below [`SAMPLES_FOR_P99`] samples.
    pub p99: Option<u64>,
    /// The slowest.
    pub max: u64,
}

impl Summary {
    /// The summary of these samples in nanoseconds, in any order; `None` of no samples.
    #[must_use]
    pub fn of(samples: &[u64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        Some(Self {
            count: sorted.len(),
            min,
            p50: percentile(&sorted, 50),
            p90: percentile(&sorted, 90),
            p99: (sorted.len() >= SAMPLES_FOR_P99).then(|| percentile(&sorted, 99)),
            max,
        })
    }
}

/// The smallest sample that `percent` (1 to 100) of all samples do not exceed: the nearest-rank method, which gives a time
/// that was really measured. `sorted` is not empty.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted[rank - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_that_were_taken() {
        let samples: Vec<u64> = (1..=10).rev().map(|n| n * 100).collect();

        let summary = Summary::of(&samples).unwrap();

        assert_eq!(
            summary,
            Summary {
                count: 10,
                min: 100,
                p50: 500,
                p90: 900,
                p99: None,
                max: 1000,
            }
        );
    }

    #[test]
    fn the_99th_percentile_needs_enough_samples() {
        let samples: Vec<u64> = (1..=SAMPLES_FOR_P99 as u64).collect();

        assert_eq!(Summary::of(&samples).unwrap().p99, Some(4950));
        assert_eq!(Summary::of(&samples[1..]).unwrap().p99, None);
    }

    #[test]
    fn an_outlier_shows_in_the_maximum_and_not_in_the_median() {
        let mut samples = vec![5; 99];
        samples.push(1_000_000);

        let summary = Summary::of(&samples).unwrap();

        assert_eq!((summary.p50, summary.max), (5, 1_000_000));
    }

    #[test]
    fn one_sample_is_every_percentile_and_none_is_no_summary() {
        let one = Summary::of(&[7]).unwrap();
        assert_eq!((one.min, one.p50, one.p90, one.max), (7, 7, 7, 7));
        assert_eq!(Summary::of(&[]), None);
    }
}
