//! What many samples say.
//!
//! Samples that follow each other are alike: a processor's clock, a neighbour's work and the state of caches last longer than a call. An
//! interval that takes them for independent covers the truth one time in ten. So samples are taken in short blocks, spread over the whole
//! launch, and it is the medians of blocks that count: within a launch they are independent, and intervals are made of them by their ranks
//! alone, whatever their distribution.
//!
//! Launches differ by more than their blocks. Where these differ by as much as blocks do, an interval of the blocks of five launches covers the
//! truth one time in three. So where there are several launches, each counts once, by the median of its blocks, and the interval is Student's of
//! their logarithms; the blocks may only make it wider.
//!
//! Every sample counts: an outlier is a fact about the host, so none is dropped. The mean is left out on purpose: a few outliers move it by
//! several percent, while the median stays.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::record::Block;
use super::student::Logarithms;

/// From how many samples the 99th percentile is shown: fewer leave too little above it to be repeatable.
pub const SAMPLES_FOR_P99: usize = 5_000;

/// The same for the percentile 99.9.
pub const SAMPLES_FOR_P99_9: usize = 50_000;

/// How sure an interval is: it holds the truth in at least this part of all cases.
const CONFIDENCE: f64 = 0.95;

/// The most points of a [`distribution`].
const POINTS: usize = 101;

/// No time is 0, but a clock can be too coarse to see it: then it counts as this, in nanoseconds.
const LEAST_TIME: f64 = 0.5;

/// Where the truth lies with 95 % confidence: as far as launches tell, where there are two or more of them; else within the one launch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Not below this.
    pub low: f64,
    /// Not above this.
    pub high: f64,
}

impl Interval {
    /// Of one value.
    fn at(value: f64) -> Self {
        Self {
            low: value,
            high: value,
        }
    }

    /// The least that holds both.
    #[must_use]
    pub(super) fn hull(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }

    /// Of what lies in the one, divided by what lies in the other; `None` where that may be nothing.
    #[must_use]
    pub(super) fn over(self, other: Self) -> Option<Self> {
        (other.low > 0.0).then(|| Self {
            low: self.low / other.high,
            high: self.high / other.low,
        })
    }
}

/// How one time stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// One divided by the other.
    pub estimate: f64,
    /// Where the truth lies; `None` if there are too few blocks to say.
    pub interval: Option<Interval>,
}

/// The summary of a set of samples, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many samples there are.
    pub count: usize,
    /// How many of them are outliers: more than three times the range of the middle half above it. They count like all others.
    pub outliers: usize,
    /// The fastest.
    pub min: u64,
    /// The median: half of the samples took no longer.
    pub p50: u64,
    /// Where the median lies; `None` if there are too few blocks to say.
    pub interval: Option<Interval>,
    /// 90 % of the samples took no longer.
    pub p90: u64,
    /// 99 % of the samples took no longer; `None` below [`SAMPLES_FOR_P99`] samples.
    pub p99: Option<u64>,
    /// 99.9 % of the samples took no longer; `None` below [`SAMPLES_FOR_P99_9`] samples.
    pub p99_9: Option<u64>,
    /// The slowest.
    pub max: u64,
}

impl Summary {
    /// The summary of samples that rise, and of the blocks that they were taken in; `None` of no samples.
    #[must_use]
    pub fn of(sorted: &[u64], blocks: &[Block]) -> Option<Self> {
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let p50 = percentile(sorted, 0.5);
        let (low, high) = (percentile(sorted, 0.25), percentile(sorted, 0.75));
        // Where most samples are equal, the clock's own steps are no outliers.
        let usual = (high - low).max(p50 / 50);
        let far = high.saturating_add(usual.saturating_mul(3));
        Some(Self {
            count: sorted.len(),
            outliers: sorted.len() - sorted.partition_point(|sample| *sample <= far),
            min,
            p50,
            interval: widest(
                interval_of_blocks(blocks, p50),
                interval_of_launches(&times_of_launches(blocks)),
                p50 as f64,
            ),
            p90: percentile(sorted, 0.9),
            p99: (sorted.len() >= SAMPLES_FOR_P99).then(|| percentile(sorted, 0.99)),
            p99_9: (sorted.len() >= SAMPLES_FOR_P99_9).then(|| percentile(sorted, 0.999)),
            max,
        })
    }
}

/// The median of a block's samples, in any order; they are not empty.
#[must_use]
pub fn block_median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    percentile(&sorted, 0.5)
}

/// The smallest sample that this part of all samples do not exceed: the nearest-rank method, which gives a time that was really
/// measured. `sorted` is not empty.
fn percentile(sorted: &[u64], part: f64) -> u64 {
    // Less a little, as 0.9 of 10 may come out a hair above 9.
    let rank = (sorted.len() as f64 * part - 1e-9).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Samples at evenly spaced ranks, from the first to the last of those that rise.
#[must_use]
pub fn distribution(sorted: &[u64]) -> Vec<u64> {
    let points = sorted.len().min(POINTS);
    let last = sorted.len().saturating_sub(1);
    let steps = points.saturating_sub(1).max(1);
    (0..points).map(|at| sorted[last * at / steps]).collect()
}

/// The median of values in any order; of two in the middle their mean. `None` of none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    let upper = *values.get(half)?;
    Some(if values.len() % 2 == 1 {
        upper
    } else {
        (values[half - 1] + upper) / 2.0
    })
}

/// The interval of the median of what these independent values were drawn from; `None` if there are fewer than 6, whose range is
/// not sure enough.
///
/// It lies between two of the values, those as far from the ends as the confidence allows: how many of n values are below the median
/// goes by the binomial distribution with a half.
#[must_use]
pub fn interval_of_median(mut values: Vec<f64>) -> Option<Interval> {
    let outside = ranks_outside(values.len())?;
    values.sort_unstable_by(f64::total_cmp);
    Some(Interval {
        low: values[outside],
        high: values[values.len() - 1 - outside],
    })
}

/// How many of `count` values may be left out at each end: the most k with P(Binomial(count, 1/2) <= k) at most (1 - confidence) / 2, where the
/// interval then goes from the value of rank k + 1 (from 1) to that of rank count - k.
fn ranks_outside(count: usize) -> Option<usize> {
    let tail = (1.0 - CONFIDENCE) / 2.0;
    // By logarithms, as 2^-count vanishes.
    let mut term = -(count as f64) * std::f64::consts::LN_2;
    let mut below = 0.0;
    let mut outside = None;
    for rank in 0..count {
        below += term.exp();
        if below > tail {
            break;
        }
        outside = Some(rank);
        term += ((count - rank) as f64 / (rank + 1) as f64).ln();
    }
    outside
}

/// The interval of a median by the blocks of its samples, as if all were of one launch.
pub(super) fn interval_of_blocks(blocks: &[Block], p50: u64) -> Option<Interval> {
    let medians = blocks.iter().map(|block| block.median as f64).collect();
    // Samples that lean to one side have another median than their blocks' medians.
    interval_of_median(medians).map(|interval| interval.hull(Interval::at(p50 as f64)))
}

/// The interval of what each launch gave one value above 0 for; `None` of fewer than two.
pub(super) fn interval_of_launches(values: &[f64]) -> Option<Interval> {
    Logarithms::of(values).interval((1.0 - CONFIDENCE) / 2.0)
}

/// What each launch says of a time: the median of its blocks' medians.
pub(super) fn times_of_launches(blocks: &[Block]) -> Vec<f64> {
    let times = blocks
        .iter()
        .map(|block| (block.launch, block.median as f64));
    let medians = medians_of_launches(times).into_iter();
    medians.map(|time| time.max(LEAST_TIME)).collect()
}

/// The median of the values of each launch.
fn medians_of_launches(values: impl Iterator<Item = (u32, f64)>) -> Vec<f64> {
    let mut launches: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for (launch, value) in values {
        launches.entry(launch).or_default().push(value);
    }
    launches.into_values().filter_map(median).collect()
}

/// The interval of an estimate, as wide as both blocks and launches ask for.
pub(super) fn widest(
    blocks: Option<Interval>,
    launches: Option<Interval>,
    estimate: f64,
) -> Option<Interval> {
    let both = blocks.into_iter().chain(launches);
    let interval = both.reduce(Interval::hull)?;
    Some(interval.hull(Interval::at(estimate)))
}

/// The ratio of two series of one run, by blocks that stood side by side in time, so that what was slow for one was slow for the other.
/// `None` if no two blocks did.
#[must_use]
pub fn paired_ratio(of: &[Block], with: &[Block]) -> Option<Ratio> {
    let place = |block: &Block| (block.launch, block.round);
    let mut partners = with.iter().peekable();
    let mut ratios = Vec::new();
    for block in of {
        while partners
            .next_if(|other| place(other) < place(block))
            .is_some()
        {}
        if let Some(other) = partners.next_if(|other| place(other) == place(block)) {
            if block.median > 0 && other.median > 0 {
                ratios.push((block.launch, block.median as f64 / other.median as f64));
            }
        }
    }
    let all: Vec<f64> = ratios.iter().map(|(_, ratio)| *ratio).collect();
    let estimate = median(all.clone())?;
    let of_launches = interval_of_launches(&medians_of_launches(ratios.into_iter()));
    Some(Ratio {
        estimate,
        interval: widest(interval_of_median(all), of_launches, estimate),
    })
}

/// The ratio of two medians whose blocks have nothing to do with each other: the interval goes from one's low by the other's high to the
/// reverse, which is more than sure enough. `None` where the second takes no time.
#[must_use]
pub fn unpaired_ratio(of: &Summary, with: &Summary) -> Option<Ratio> {
    if with.p50 == 0 {
        return None;
    }
    let both = of.interval.zip(with.interval);
    Some(Ratio {
        estimate: of.p50 as f64 / with.p50 as f64,
        interval: both.and_then(|(of, with)| of.over(with)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::example::Noise;

    fn blocks(medians: impl IntoIterator<Item = u64>) -> Vec<Block> {
        let block = |(round, median)| Block {
            launch: 0,
            round,
            count: 25,
            median,
        };
        (0..).zip(medians).map(block).collect()
    }

    #[test]
    fn percentiles_are_samples_that_were_taken() {
        let samples: Vec<u64> = (1..=10).map(|n| n * 100).collect();

        let summary = Summary::of(&samples, &[]).unwrap();

        assert_eq!(
            summary,
            Summary {
                count: 10,
                outliers: 0,
                min: 100,
                p50: 500,
                interval: None,
                p90: 900,
                p99: None,
                p99_9: None,
                max: 1000,
            }
        );
    }

    #[test]
    fn high_percentiles_need_enough_samples() {
        let samples: Vec<u64> = (1..=50_000).collect();
        let of = |count: usize| {
            let summary = Summary::of(&samples[..count], &[]).unwrap();
            (summary.p99, summary.p99_9)
        };
        assert_eq!(of(4_999), (None, None));
        assert_eq!(of(5_000), (Some(4_950), None));
        assert_eq!(of(49_999), (Some(49_500), None));
        assert_eq!(of(50_000), (Some(49_500), Some(49_950)));
    }

    #[test]
    fn an_outlier_is_counted_and_kept_and_does_not_move_the_median() {
        let mut samples = vec![500; 98];
        samples.extend([525, 1_000_000]);

        let summary = Summary::of(&samples, &[]).unwrap();

        let Summary {
            p50, max, outliers, ..
        } = summary;
        assert_eq!((p50, max, outliers), (500, 1_000_000, 1));
    }

    #[test]
    fn one_sample_is_every_percentile_and_none_is_no_summary() {
        let one = Summary::of(&[7], &[]).unwrap();
        assert_eq!((one.min, one.p50, one.p90, one.max), (7, 7, 7, 7));
        assert_eq!(Summary::of(&[], &[]), None);
    }

    /// The ranks that tables of the sign test give for 95 %.
    #[test]
    fn intervals_leave_out_as_many_values_as_tables_say() {
        for (count, outside) in [
            (0, None),
            (5, None),
            (6, Some(0)),
            (8, Some(0)),
            (9, Some(1)),
            (20, Some(5)),
            (40, Some(13)),
            (100, Some(39)),
        ] {
            assert_eq!(ranks_outside(count), outside, "{count}");
        }
        assert!(ranks_outside(100_000).unwrap() > 49_000);
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        // A sequence of numbers without a pattern (xorshift64), skewed like times are.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let uniform = (state >> 11) as f64 / (1_u64 << 53) as f64;
            100.0 - 10.0 * uniform.ln()
        };
        let truth = 100.0 + 10.0 * std::f64::consts::LN_2;
        let held = (0..2000).filter(|_| {
            let values = (0..40).map(|_| next()).collect();
            let Interval { low, high } = interval_of_median(values).unwrap();
            (low..=high).contains(&truth)
        });
        let part = held.count() as f64 / 2000.0;
        assert!((0.94..0.98).contains(&part), "{part}");
    }

    /// How many of 400 runs have an interval that holds the truth.
    fn part_held(run: impl Fn(&mut Noise) -> Option<Interval>, truth: f64) -> f64 {
        let held = (0..400).filter(|seed| {
            let Interval { low, high } = run(&mut Noise::new(*seed)).unwrap();
            (low..=high).contains(&truth)
        });
        held.count() as f64 / 400.0
    }

    /// The blocks of 5 launches, about `time`; launches and blocks differ by these parts.
    fn launched(time: f64, launches: f64, blocks: f64, noise: &mut Noise) -> Vec<Block> {
        let mut all = Vec::new();
        for launch in 0..5 {
            let time = time * (launches * noise.normal()).exp();
            all.extend((0..40).map(|round| Block {
                launch,
                round,
                count: 25,
                median: (time * (blocks * noise.normal()).exp()) as u64,
            }));
        }
        all
    }

    #[test]
    fn intervals_hold_the_truth_however_much_launches_differ() {
        for launches in [0.0, 0.01, 0.03, 0.3] {
            let summary = |noise: &mut Noise| {
                let blocks = launched(1e6, launches, 0.01, noise);
                let mut sorted: Vec<u64> = blocks.iter().map(|block| block.median).collect();
                sorted.sort_unstable();
                Summary::of(&sorted, &blocks)?.interval
            };
            let part = part_held(summary, 1e6);
            assert!(part >= 0.9, "{launches}: {part}");

            let ratio = |noise: &mut Noise| {
                let of = launched(1.02e6, launches, 0.01, noise);
                let with = launched(1e6, launches, 0.01, noise);
                paired_ratio(&of, &with)?.interval
            };
            let part = part_held(ratio, 1.02);
            assert!(part >= 0.9, "ratios, {launches}: {part}");
        }
    }

    #[test]
    fn an_interval_is_never_narrower_than_that_of_its_blocks() {
        // Launches agree to the nanosecond, blocks do not.
        let all: Vec<Block> = (0..5)
            .flat_map(|launch| {
                (0..8).map(move |round| Block {
                    launch,
                    round,
                    count: 1,
                    median: 400 + 40 * u64::from(round % 2),
                })
            })
            .collect();
        let sorted = [400; 20].into_iter().chain([440; 20]).collect::<Vec<u64>>();
        let interval = Summary::of(&sorted, &all).unwrap().interval.unwrap();
        assert_eq!((interval.low, interval.high), (400.0, 440.0));
        // One launch says nothing of others: then the blocks say all there is.
        let one = Summary::of(&sorted[12..20], &all[..8]).unwrap();
        assert_eq!(one.interval, interval_of_blocks(&all[..8], one.p50));
        // Two launches of one block each say something, where their blocks would not.
        let two = [all[0], all[9]];
        let interval = Summary::of(&[400, 440], &two).unwrap().interval.unwrap();
        assert!(interval.low < 400.0 && interval.high > 440.0);
        assert_eq!(interval_of_blocks(&two, 400), None);
    }

    #[test]
    fn a_ratio_takes_blocks_of_the_same_time() {
        // Everything takes twice as long in the second half, for both.
        let slow = |round: u64| if round < 10 { 1 } else { 2 };
        let with = blocks((0..20).map(|round| 1000 * slow(round)));
        let mut of = blocks((0..20).map(|round| 1100 * slow(round)));
        of.remove(3);

        let ratio = paired_ratio(&of, &with).unwrap();

        let exactly = Interval {
            low: 1.1,
            high: 1.1,
        };
        assert_eq!((ratio.estimate, ratio.interval), (1.1, Some(exactly)));
        assert_eq!(paired_ratio(&of[..0], &with), None);
        assert_eq!(paired_ratio(&of[..5], &with).unwrap().interval, None);
    }

    #[test]
    fn the_interval_of_an_unpaired_ratio_is_that_of_both() {
        let summary = |medians: [u64; 6]| Summary::of(&medians, &blocks(medians)).unwrap();
        let (of, with) = (
            summary([98, 99, 100, 100, 101, 102]),
            summary([196, 198, 200, 200, 202, 204]),
        );

        let ratio = unpaired_ratio(&of, &with).unwrap();

        assert_eq!(ratio.estimate, 0.5);
        let interval = ratio.interval.unwrap();
        assert_eq!((interval.low, interval.high), (98.0 / 204.0, 102.0 / 196.0));
    }

    #[test]
    fn a_distribution_has_both_ends_and_percentiles_between() {
        let many: Vec<u64> = (0..=1000).collect();
        let points = distribution(&many);
        assert_eq!(points.len(), 101);
        assert_eq!((points[0], points[50], points[100]), (0, 500, 1000));
        assert_eq!(distribution(&[1, 5, 9]), [1, 5, 9]);
        assert_eq!(distribution(&[3]), [3]);
        assert!(distribution(&[]).is_empty());
    }
}
