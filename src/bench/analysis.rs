//! What the samples of a run say: the series, how they stand to each other, and what to be careful with.

use super::environment::Environment;
use super::growth::{MISFIT, breakdowns, fits, is_used};
use super::plan::Plan;
use super::record::{Breakdown, Comparison, Fit, Key, PAGE, Phase, Record, Route, Series};
use super::run::Act;
use super::statistics::{Summary, distribution, median, paired_ratio, unpaired_ratio};
use super::warning::{Warned, Warning};
use crate::types::Suite;

/// The series of a suite with a backend, without those that have no samples.
pub fn series(act: &Act, keep_samples: bool) -> Vec<Series> {
    let mut all = Vec::new();
    for (row, samples) in act.rows.iter().zip(&act.samples) {
        for (step, phase) in row.steps.iter().enumerate() {
            let key = row.key_of(*phase);
            let mut sorted = samples.steps[step].clone();
            sorted.sort_unstable();
            let blocks = samples.blocks(step);
            let Some(summary) = Summary::of(&sorted, &blocks) else {
                continue;
            };
            let moves = matches!(phase, Phase::Load | Phase::Store);
            let size = key.size.filter(|_| summary.p50 > 0);
            all.push(Series {
                iova: samples.iova,
                runs: samples.runs.last().map(|(_, runs)| *runs),
                per_page: size
                    .filter(|_| !moves)
                    .map(|size| summary.p50 as f64 / size.div_ceil(PAGE) as f64),
                rate: size
                    .filter(|_| moves)
                    .map(|size| size as f64 * 1e9 / summary.p50 as f64),
                summary,
                blocks,
                distribution: distribution(&sorted),
                samples: keep_samples.then(|| samples.by_block(step)),
                key,
            });
        }
    }
    all
}

/// Fills in what follows from the series.
pub fn conclude(record: &mut Record, plan: &Plan, acts: &[Act]) {
    record.comparisons = comparisons(&record.series);
    let guest = plan.guest.map(|size| size.bytes());
    record.fits = acts.iter().flat_map(|act| fits(act, guest)).collect();
    record.breakdowns = breakdowns(&record.series, acts, guest);
    let warnings = warnings(
        &record.environment,
        &record.series,
        &record.fits,
        &record.breakdowns,
    );
    let clock = slow_clock(record.method.clock, &record.environment);
    record.warnings = warnings
        .into_iter()
        .chain(clock)
        .map(Warned::from)
        .collect();
}

/// What a series is compared with: the plain case of the same suite. `None` for the plain case itself.
fn plain(key: &Key) -> Option<Key> {
    let mut plain = key.clone();
    match key.suite {
        Suite::Map => {
            // The program's own path against the bare one.
            (key.route == Route::Address).then(|| plain.route = Route::Bare)?;
        }
        Suite::Churn => plain.live = 0,
        Suite::Threads => plain.threads = 1,
        Suite::Devices => plain.devices = 1,
        Suite::File => plain.route = Route::Address,
        Suite::Cold | Suite::Dma | Suite::Open => return None,
    }
    (plain != *key).then_some(plain)
}

fn comparisons(series: &[Series]) -> Vec<Comparison> {
    let mut all = Vec::new();
    for (of, one) in series.iter().enumerate() {
        let Some(plain) = plain(&one.key) else {
            continue;
        };
        let Some(with) = series.iter().position(|other| other.key == plain) else {
            continue;
        };
        let other = &series[with];
        let ratio = match one.key.suite {
            // Each level is measured by itself.
            Suite::Churn | Suite::Devices => unpaired_ratio(&one.summary, &other.summary),
            _ => paired_ratio(&one.blocks, &other.blocks),
        };
        all.extend(ratio.map(|ratio| Comparison { of, with, ratio }));
    }
    all
}

/// Block medians whose middle half is further apart than this part of their median come from a host that is busy.
const NOISE: f64 = 0.05;

/// A look at a clock takes longer than this, in nanoseconds, where the kernel has to be asked, or a device.
const SLOW_CLOCK: f64 = 300.0;

fn slow_clock(nanoseconds: f64, environment: &Environment) -> Option<Warning> {
    let source = environment.clock_source.clone();
    (nanoseconds > SLOW_CLOCK).then_some(Warning::SlowClock {
        nanoseconds,
        source,
    })
}

fn warnings(
    environment: &Environment,
    series: &[Series],
    fits: &[Fit],
    breakdowns: &[Breakdown],
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Some(spread) = median(series.iter().filter_map(spread).collect()) {
        if spread > NOISE {
            let load = environment.load;
            warnings.push(Warning::NoisyHost { spread, load });
        }
    }
    if let Some(governor) = &environment.governor {
        if governor != "performance" {
            let governor = governor.clone();
            warnings.push(Warning::FrequencyScaling { governor });
        }
    }
    if matches!(
        environment.transparent_huge_pages.as_deref(),
        None | Some("never")
    ) {
        warnings.push(Warning::NoTransparentHugePages);
    }
    let device = environment.devices.first();
    if let (Some(processor), Some(device)) =
        (environment.node, device.and_then(|device| device.node))
    {
        if processor != device {
            warnings.push(Warning::OtherNode { processor, device });
        }
    }
    if environment.virtual_machine {
        warnings.push(Warning::VirtualMachine);
    }
    let iommu = device.and_then(|device| device.iommu.as_ref());
    if iommu.is_some_and(|iommu| iommu.features.iter().any(|one| one == "caching mode")) {
        warnings.push(Warning::CachingMode);
    }
    let unsure = series.iter().filter(|one| one.summary.interval.is_none());
    match unsure.count() {
        0 => {}
        series => warnings.push(Warning::TooFewSamples { series }),
    }
    let error = fits
        .iter()
        .filter(|fit| fit.suite == Suite::Map || is_used(fit, breakdowns))
        .map(|fit| fit.error)
        .fold(0.0, f64::max);
    if error > MISFIT {
        warnings.push(Warning::PoorFit { error });
    }
    warnings
}

/// How far apart the middle half of a series' block medians is, as a part of its median; `None` of few blocks.
fn spread(series: &Series) -> Option<f64> {
    let mut medians: Vec<u64> = series.blocks.iter().map(|block| block.median).collect();
    medians.sort_unstable();
    let quarter = medians.len() / 4;
    if quarter < 2 || series.summary.p50 == 0 {
        return None;
    }
    let range = medians[medians.len() - 1 - quarter] - medians[quarter];
    Some(range as f64 / series.summary.p50 as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::example;

    #[test]
    fn each_row_is_compared_with_the_plain_one_of_its_suite() {
        let record = example::record(1);
        let all = comparisons(&record.series);
        assert!(!all.is_empty());
        for Comparison { of, with, ratio } in all {
            let (of, with) = (&record.series[of].key, &record.series[with].key);
            assert_eq!((of.suite, of.phase), (with.suite, with.phase));
            assert_eq!((with.live, with.threads, with.devices), (0, 1, 1));
            assert!(ratio.estimate > 0.0);
        }
        let has = |suite| {
            let all = comparisons(&record.series);
            all.iter()
                .any(|one| record.series[one.of].key.suite == suite)
        };
        for suite in [Suite::Churn, Suite::Threads, Suite::Devices, Suite::File] {
            assert!(has(suite), "{suite}");
        }
    }

    #[test]
    fn warnings_come_from_the_host_and_from_the_figures() {
        let record = example::record(1);
        let mut environment = record.environment.clone();
        environment.governor = Some("powersave".to_owned());
        environment.transparent_huge_pages = Some("never".to_owned());
        environment.virtual_machine = true;
        environment.node = Some(1);
        environment.devices[0].node = Some(0);
        if let Some(iommu) = &mut environment.devices[0].iommu {
            iommu.features = vec!["caching mode".to_owned()];
        }
        let mut series = record.series.clone();
        series[0].summary.interval = None;
        let found = warnings(&environment, &series, &[], &[]);
        for expected in [
            Warning::FrequencyScaling {
                governor: "powersave".to_owned(),
            },
            Warning::NoTransparentHugePages,
            Warning::OtherNode {
                processor: 1,
                device: 0,
            },
            Warning::VirtualMachine,
            Warning::CachingMode,
            Warning::TooFewSamples { series: 1 },
        ] {
            assert!(found.contains(&expected), "{expected:?} in {found:?}");
        }

        assert_eq!(slow_clock(60.0, &environment), None);
        assert!(slow_clock(1000.0, &environment).is_some());

        environment.governor = Some("performance".to_owned());
        environment.transparent_huge_pages = Some("madvise".to_owned());
        environment.virtual_machine = false;
        environment.node = Some(0);
        environment.devices[0].iommu = None;
        assert_eq!(warnings(&environment, &record.series, &[], &[]), []);
    }
}
