//! Two records beside each other: what became slower or faster beyond the noise.
//!
//! What is decided once for all that follows, as which physical pages memory is made of, makes whole launches differ, for scattered memory by
//! half. So it is launches that count as independent, not samples and not blocks: each gives one value, the median of its blocks' medians, and
//! the interval of a ratio is Student's for the difference of the means of their logarithms. Blocks may only make it wider.
//!
//! Runs differ by more than their launches let expect, as what slows a host down lasts longer than a launch. A run by itself cannot tell by
//! how much, so it is allowed for by [`RUNS_VARY`].
//!
//! Every time holds one reading of the clock. Where the clock itself became slower, as when the kernel takes another clock source, that much of
//! a change is the clock's: the interval reaches to what the ratio is without it.
//!
//! Of a hundred series, some always seem to have changed. So the intervals are as wide as it takes for all of them together to hold the
//! truth with [`CONFIDENCE_OF_ALL`] (Bonferroni): each by itself is surer than that.

use serde::Serialize;
use std::collections::HashMap;

use super::difference::{Difference, differences};
use super::record::{Key, Record, Series};
use super::statistics::{Interval, Ratio, interval_of_blocks, median, times_of_launches};
use super::student::{self, Logarithms};

/// How sure the intervals of all series are together: of a hundred comparisons of equal hosts, one may show a change.
pub const CONFIDENCE_OF_ALL: f64 = 0.99;

/// How much equal runs differ by themselves, as a part of the variance of launches. Measured on a busy host: 0.18 in the mean of 46 series over
/// 14 runs of 3 launches, 0.14 over 14 runs of 5; more for safety.
const RUNS_VARY: f64 = 1.0 / 3.0;

/// What two records say together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changes {
    /// The series that both have: slower ones, faster ones, those that did not change beyond the noise, and those of which nothing can be
    /// said; the largest changes first.
    pub series: Vec<Change>,
    /// What only the first record has.
    pub only_before: Vec<Key>,
    /// What only the second record has.
    pub only_after: Vec<Key>,
    /// What else is different and can change times.
    pub differences: Vec<Difference>,
}

/// How a series changed. Times are nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// What it is.
    #[serde(flatten)]
    pub key: Key,
    /// What it took: the geometric mean of the launches' medians.
    pub before: f64,
    /// What it takes.
    pub after: f64,
    /// The second by the first. The intervals of all series hold together with [`CONFIDENCE_OF_ALL`]; there is none if a record has fewer
    /// than two launches of this.
    pub ratio: Ratio,
    /// What that means.
    pub verdict: Verdict,
}

/// What a ratio with its interval means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Slower, beyond the noise.
    Slower,
    /// Faster, beyond the noise.
    Faster,
    /// The same, or the noise is too large to see a difference.
    WithinNoise,
    /// Too few launches to say.
    Unknown,
}

impl Verdict {
    fn of(ratio: &Ratio) -> Self {
        match ratio.interval {
            None => Self::Unknown,
            Some(interval) if interval.low > 1.0 => Self::Slower,
            Some(interval) if interval.high < 1.0 => Self::Faster,
            Some(_) => Self::WithinNoise,
        }
    }
}

impl Change {
    /// Whether it takes more than `limit` times as long, and is slower beyond the noise.
    #[must_use]
    pub fn is_regression(&self, limit: f64) -> bool {
        self.verdict == Verdict::Slower && self.ratio.estimate > limit
    }

    /// The change that would just have been seen, as a part: half of what the interval spans.
    #[must_use]
    pub fn resolution(&self) -> Option<f64> {
        let Interval { low, high } = self.ratio.interval?;
        Some((high / low).sqrt() - 1.0)
    }
}

impl Changes {
    /// How many series have this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        let all = self.series.iter();
        all.filter(|change| change.verdict == verdict).count()
    }

    /// The change that would have been seen in half of the series, as a part; `None` if nothing can be said of any.
    #[must_use]
    pub fn resolution(&self) -> Option<f64> {
        median(self.series.iter().filter_map(Change::resolution).collect())
    }
}

/// What changed from one record to another.
#[must_use]
pub fn compare(before: &Record, after: &Record) -> Changes {
    let of_before: HashMap<&Key, &Series> = by_key(before);
    let of_after: HashMap<&Key, &Series> = by_key(after);
    let pairs: Vec<_> = after
        .series
        .iter()
        .filter_map(|series| {
            let earlier = *of_before.get(&series.key)?;
            Some((launches(earlier), earlier, launches(series), series))
        })
        .collect();
    let judged = pairs.iter().filter(|(a, _, b, _)| a.vary() && b.vary());
    let tail = (1.0 - CONFIDENCE_OF_ALL) / 2.0 / judged.count().max(1) as f64;
    // Most series have as many launches.
    let mut quantiles = HashMap::new();
    let mut quantile = |freedom| {
        *quantiles
            .entry(freedom)
            .or_insert_with(|| student::quantile(freedom, tail))
    };
    let clock = after.method.clock - before.method.clock;
    let mut series: Vec<Change> = pairs
        .iter()
        .map(|(a, earlier, b, later)| {
            let ratio = ratio(a, earlier, b, later, &mut quantile);
            let ratio = allow_for_clock(ratio, b.mean.exp(), clock);
            Change {
                key: later.key.clone(),
                before: a.mean.exp(),
                after: b.mean.exp(),
                ratio,
                verdict: Verdict::of(&ratio),
            }
        })
        .collect();
    series.sort_by(|one, other| {
        let far = |change: &Change| change.ratio.estimate.ln().abs();
        let by_size = || far(other).total_cmp(&far(one));
        one.verdict.cmp(&other.verdict).then_with(by_size)
    });
    let only = |record: &Record, other: &HashMap<&Key, &Series>| {
        let keys = record.series.iter().map(|series| &series.key);
        keys.filter(|key| !other.contains_key(key))
            .cloned()
            .collect()
    };
    Changes {
        series,
        only_before: only(before, &of_after),
        only_after: only(after, &of_before),
        differences: differences(before, after),
    }
}

fn by_key(record: &Record) -> HashMap<&Key, &Series> {
    let all = record.series.iter();
    all.map(|series| (&series.key, series)).collect()
}

/// The launches of a series, by their medians.
fn launches(series: &Series) -> Logarithms {
    let mut times = times_of_launches(&series.blocks);
    if times.is_empty() {
        times.push(series.summary.p50.max(1) as f64);
    }
    Logarithms::of(&times)
}

/// The ratio of the second to the first; `quantile` is Student's for so many degrees of freedom.
fn ratio(
    a: &Logarithms,
    before: &Series,
    b: &Logarithms,
    after: &Series,
    quantile: &mut impl FnMut(u32) -> f64,
) -> Ratio {
    let difference = b.mean - a.mean;
    let interval = (a.vary() && b.vary()).then(|| {
        let freedom = a.count + b.count - 2;
        let variance = (a.squares + b.squares) / f64::from(freedom);
        let of_run = |run: &Logarithms| variance * (1.0 / f64::from(run.count) + RUNS_VARY);
        let error = (of_run(a) + of_run(b)).sqrt();
        let far = quantile(freedom) * error;
        let of_launches = Interval {
            low: (difference - far).exp(),
            high: (difference + far).exp(),
        };
        // Launches that happen to agree, as by a coarse clock, make nothing surer than its blocks.
        let blocks = |series: &Series| interval_of_blocks(&series.blocks, series.summary.p50);
        let of_blocks = blocks(after).zip(blocks(before));
        let of_blocks = of_blocks.and_then(|(after, before)| after.over(before));
        of_blocks.map_or(of_launches, |blocks| blocks.hull(of_launches))
    });
    Ratio {
        estimate: difference.exp(),
        interval,
    }
}

/// The ratio with an interval that holds it without the change of the clock too: `after` is the second time, and `clock` by how much longer
/// the clock takes to read then, in nanoseconds.
fn allow_for_clock(ratio: Ratio, after: f64, clock: f64) -> Ratio {
    let without = ((after - clock) / after).max(f64::MIN_POSITIVE);
    Ratio {
        interval: ratio.interval.map(|Interval { low, high }| Interval {
            low: low * without.min(1.0),
            high: high * without.max(1.0),
        }),
        ..ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::example::{Noise, key, record, series};
    use crate::bench::{Block, Phase};
    use crate::types::{Backend, Suite};

    fn of(series: Vec<Series>) -> Record {
        Record {
            series,
            ..record(0)
        }
    }

    fn sized(size: u64) -> Key {
        key(Suite::Map, Backend::Iommufd, size, "thp", Phase::Map)
    }

    fn slow_down(series: &mut Series, factor: f64) {
        let slow = |time: u64| (time as f64 * factor) as u64;
        series.summary.p50 = slow(series.summary.p50);
        for block in &mut series.blocks {
            block.median = slow(block.median);
        }
    }

    #[test]
    fn twenty_runs_of_the_same_raise_no_alarm() {
        let before = record(0);
        for seed in 1..=20 {
            let changes = compare(&before, &record(seed));
            assert_eq!(changes.series.len(), before.series.len());
            let alarms = changes.series.iter().filter(|one| one.is_regression(1.05));
            assert_eq!(alarms.count(), 0, "{seed}");
        }
    }

    #[test]
    fn intervals_of_all_series_hold_together_as_often_as_they_say() {
        let held = (0..200).filter(|seed| {
            let run = |noise: &mut Noise| {
                let one = |size| series(sized(size), 1e5, 0.02, noise);
                of([1, 2, 3, 4, 5, 6, 7, 8].map(one).to_vec())
            };
            let mut noise = Noise::new(7000 + *seed);
            let changes = compare(&run(&mut noise), &run(&mut noise));
            changes.count(Verdict::WithinNoise) == 8
        });
        let part = held.count() as f64 / 200.0;
        assert!(part >= 0.98, "{part}");
    }

    #[test]
    fn a_planted_slowdown_of_ten_percent_is_found_and_first() {
        for seed in 1..=20 {
            let mut after = record(seed);
            let slowed = after.series[2].key.clone();
            slow_down(&mut after.series[2], 1.1);

            let changes = compare(&record(0), &after);

            let worst = &changes.series[0];
            assert_eq!((&worst.key, worst.verdict), (&slowed, Verdict::Slower));
            assert!((1.05..1.15).contains(&worst.ratio.estimate), "{worst:?}");
            assert!(worst.is_regression(1.05) && !worst.is_regression(1.2));
        }
    }

    #[test]
    fn launches_that_differ_by_half_hide_a_slowdown_that_steady_blocks_would_show() {
        let mut noise = Noise::new(3);
        let scattered = series(sized(4096), 1e5, 0.5, &mut noise);
        let mut slower = scattered.clone();
        slow_down(&mut slower, 1.2);

        let changes = compare(&of(vec![scattered]), &of(vec![slower]));

        assert_eq!(changes.series[0].verdict, Verdict::WithinNoise);
        assert!(changes.resolution().unwrap() > 0.2);
    }

    #[test]
    fn a_coarse_clock_makes_nothing_sure() {
        // Every launch agrees, but half of the blocks are a step of the clock apart.
        let coarse = |steps: [u64; 2]| {
            let mut one = series(sized(4096), 1e5, 0.0, &mut Noise::new(1));
            for block in &mut one.blocks {
                block.median = steps[block.round as usize % 2];
            }
            one.summary.p50 = steps[0];
            of(vec![one])
        };
        let changes = compare(&coarse([400, 440]), &coarse([400, 480]));
        assert_eq!(changes.series[0].verdict, Verdict::WithinNoise);
    }

    #[test]
    fn one_launch_says_nothing_and_other_series_are_listed() {
        let mut noise = Noise::new(5);
        let mut one = |size| series(sized(size), 1e5, 0.01, &mut noise);
        let before = of(vec![one(4096), one(8192)]);
        let mut short = one(8192);
        short.blocks.retain(|block: &Block| block.launch == 0);
        let after = of(vec![short, one(16384)]);

        let changes = compare(&before, &after);

        assert_eq!(changes.series.len(), 1);
        assert_eq!(changes.series[0].verdict, Verdict::Unknown);
        assert_eq!(changes.series[0].ratio.interval, None);
        assert!(!changes.series[0].is_regression(1.0));
        assert_eq!(changes.only_before, [sized(4096)]);
        assert_eq!(changes.only_after, [sized(16384)]);
        assert_eq!(changes.resolution(), None);
    }

    #[test]
    fn a_slower_clock_is_no_slower_call_and_hides_no_slowdown_of_a_long_one() {
        let mut noise = Noise::new(9);
        let (short, long) = (
            series(sized(4096), 4e3, 0.002, &mut noise),
            series(sized(8192), 4e6, 0.002, &mut noise),
        );
        let before = of(vec![short.clone(), long.clone()]);
        let (mut slower_short, mut slower_long) = (short, long);
        slow_down(&mut slower_short, 1.25);
        slow_down(&mut slower_long, 1.25);
        let mut after = of(vec![slower_short, slower_long]);
        let verdicts = |changes: &Changes| {
            let of = |size| {
                let one = changes.series.iter().find(|one| one.key == sized(size));
                one.unwrap().verdict
            };
            (of(4096), of(8192))
        };
        assert_eq!(
            verdicts(&compare(&before, &after)),
            (Verdict::Slower, Verdict::Slower)
        );

        // The short call is slower by 1000 ns, and so is the clock.
        after.method.clock += 1000.0;
        assert_eq!(
            verdicts(&compare(&before, &after)),
            (Verdict::WithinNoise, Verdict::Slower)
        );

        // The other way round nothing became faster.
        assert_eq!(
            verdicts(&compare(&after, &before)),
            (Verdict::WithinNoise, Verdict::Faster)
        );
    }
}
