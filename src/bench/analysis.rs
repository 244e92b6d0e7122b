//! What the samples of a run say: the series, how they stand to each other, how times grow, and what to be careful with.

use super::environment::Environment;
use super::fit::{Line, Point};
use super::plan::Plan;
use super::record::{
    ANY_PAGES, Breakdown, Comparison, Fit, Key, Part, Phase, Record, Route, Series,
};
use super::run::Act;
use super::statistics::{Interval, Summary, distribution, median, paired_ratio, unpaired_ratio};
use super::warning::{Warned, Warning};
use crate::types::Suite;

/// The size that times per page and fits are counted in: the smallest page of IOMMUs.
const PAGE: u64 = 4096;

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
    record.fits = acts.iter().flat_map(fits).collect();
    record.breakdowns = breakdowns(&record.series, acts, plan.guest.map(|size| size.bytes()));
    let warnings = warnings(&record.environment, &record.series, &record.fits);
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

/// The fits of a suite: for each kind of pages and way over the sizes, and for each way over all kinds, whose pieces differ.
fn fits(act: &Act) -> Vec<Fit> {
    let mut fits: Vec<Fit> = Vec::new();
    for row in &act.rows {
        let key = &row.key;
        let Some(pages) = &key.pages else { continue };
        if !matches!(key.suite, Suite::Map | Suite::Cold) {
            continue;
        }
        for (phase, pages) in row
            .steps
            .iter()
            .flat_map(|phase| [pages.as_str(), ANY_PAGES].map(|pages| (*phase, pages)))
        {
            let known =
                |fit: &Fit| (&*fit.pages, fit.route, fit.phase) == (pages, key.route, phase);
            if fits.iter().any(known) {
                continue;
            }
            let points = points(act, pages, key.route, phase);
            let Some(line) = line(&points, pages) else {
                continue;
            };
            fits.push(Fit {
                suite: key.suite,
                backend: key.backend,
                pages: pages.to_owned(),
                route: key.route,
                phase,
                base: line.coefficients[0],
                page: line.coefficients[1],
                run: line.coefficients.get(2).copied(),
                error: line.error,
                points: points.len(),
            });
        }
    }
    fits
}

/// The line through points of one kind of pages, by pages alone; of all kinds, by pages and contiguous pieces, where it fits: a page costs more
/// where it is a piece by itself.
fn line(points: &[Measured], pages: &str) -> Option<Line> {
    if pages != ANY_PAGES {
        let plain: Vec<Point> = points.iter().map(Measured::plain).collect();
        return line_through(&plain);
    }
    let pieces: Option<Vec<Point>> = points.iter().map(Measured::with_pieces).collect();
    Line::through(&pieces?).filter(|line| {
        let grows = line.coefficients.iter().all(|part| *part >= 0.0);
        grows && line.error <= MISFIT
    })
}

/// A line through times at three sizes at least: through two there always is one.
fn line_through(points: &[Point]) -> Option<Line> {
    let mut sizes: Vec<u64> = points.iter().map(|point| point.factors[1] as u64).collect();
    sizes.sort_unstable();
    sizes.dedup();
    (sizes.len() >= 3).then(|| Line::through(points)).flatten()
}

/// The median of a block, and what it depends on.
struct Measured {
    pages: f64,
    pieces: Option<f64>,
    time: f64,
}

impl Measured {
    fn plain(&self) -> Point {
        Point {
            factors: vec![1.0, self.pages],
            time: self.time,
        }
    }

    fn with_pieces(&self) -> Option<Point> {
        Some(Point {
            factors: vec![1.0, self.pages, self.pieces?],
            time: self.time,
        })
    }
}

fn points(act: &Act, pages: &str, route: Route, phase: Phase) -> Vec<Measured> {
    let mut points = Vec::new();
    for (row, samples) in act.rows.iter().zip(&act.samples) {
        let step = row.steps.iter().position(|step| *step == phase);
        let (Some(step), Some(size)) = (step, row.key.size) else {
            continue;
        };
        let of_pages = pages == ANY_PAGES || row.key.pages.as_deref() == Some(pages);
        if !of_pages || row.key.route != route {
            continue;
        }
        for block in samples.blocks(step) {
            let pieces = samples
                .runs
                .iter()
                .find(|(launch, _)| *launch == block.launch);
            points.push(Measured {
                pages: size.div_ceil(PAGE) as f64,
                pieces: pieces.map(|(_, pieces)| *pieces as f64),
                time: block.median as f64,
            });
        }
    }
    points
}

/// The parts of the start and the end of a guest's memory: for each backend and kind of pages at the guest's size, or the largest measured.
fn breakdowns(series: &[Series], acts: &[Act], guest: Option<u64>) -> Vec<Breakdown> {
    let mut all: Vec<Breakdown> = Vec::new();
    for act in acts {
        for row in act.rows.iter().filter(|row| row.key.suite == Suite::Cold) {
            let (Some(pages), route) = (&row.key.pages, row.key.route) else {
                continue;
            };
            let largest = act
                .rows
                .iter()
                .filter(|other| other.key.pages == row.key.pages && other.key.route == route)
                .filter_map(|other| other.key.size)
                .max();
            // Once for each kind: at its largest size.
            let Some(largest) = largest.filter(|largest| row.key.size == Some(*largest)) else {
                continue;
            };
            let size = guest.unwrap_or(largest);
            let time = |phase: Phase| {
                if size == largest {
                    let series = series.iter().find(|one| one.key == row.key_of(phase))?;
                    let summary = series.summary;
                    return Some((summary.p50 as f64, summary.interval));
                }
                let points: Vec<Point> = points(act, pages, route, phase)
                    .iter()
                    .map(Measured::plain)
                    .collect();
                let line = line_through(&points)?;
                let (time, interval) = line.at(&[1.0, size.div_ceil(PAGE) as f64]);
                Some((time.max(0.0), Some(interval)))
            };
            let parts = parts(time);
            if !parts.is_empty() {
                all.push(Breakdown {
                    backend: act.backend,
                    pages: pages.clone(),
                    route,
                    size,
                    extrapolated_from: (size != largest).then_some(largest),
                    parts,
                });
            }
        }
    }
    all
}

/// The parts in the order of time. Where pinning was measured, the map is split in that and the rest.
fn parts(time: impl Fn(Phase) -> Option<(f64, Option<Interval>)>) -> Vec<Part> {
    let part = |phase| {
        let (time, interval) = time(phase)?;
        Some(Part {
            phase,
            time,
            interval,
        })
    };
    let mut parts: Vec<Part> = Vec::new();
    match (part(Phase::Fault), part(Phase::Pin), part(Phase::Map)) {
        (Some(fault), Some(pin), Some(map)) => {
            // Measured apart, it can come out above the whole.
            let pin = Part {
                time: pin.time.min(map.time),
                ..pin
            };
            parts.extend([fault, pin]);
            parts.push(Part {
                phase: Phase::Enter,
                time: map.time - pin.time,
                interval: None,
            });
        }
        (Some(fault), None, Some(map)) => parts.extend([fault, map]),
        _ => parts.extend(part(Phase::Ready)),
    }
    parts.extend(part(Phase::Unmap));
    parts
}

/// Block medians whose middle half is further apart than this part of their median come from a host that is busy.
const NOISE: f64 = 0.05;

/// A fit that is off by more than this part says little.
const MISFIT: f64 = 0.15;

/// A look at a clock takes longer than this, in nanoseconds, where the kernel has to be asked, or a device.
const SLOW_CLOCK: f64 = 300.0;

fn slow_clock(nanoseconds: f64, environment: &Environment) -> Option<Warning> {
    let source = environment.clock_source.clone();
    (nanoseconds > SLOW_CLOCK).then_some(Warning::SlowClock {
        nanoseconds,
        source,
    })
}

fn warnings(environment: &Environment, series: &[Series], fits: &[Fit]) -> Vec<Warning> {
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
        .filter(|fit| fit.suite == Suite::Map)
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
    fn the_map_is_split_where_pinning_was_measured() {
        let times = |pin: Option<f64>| {
            move |phase| {
                let time = match phase {
                    Phase::Fault => 100.0,
                    Phase::Map => 50.0,
                    Phase::Pin => pin?,
                    Phase::Unmap => 20.0,
                    Phase::Ready => 150.0,
                    _ => return None,
                };
                Some((time, None))
            }
        };
        let of = |pin| -> Vec<(Phase, f64)> {
            parts(times(pin))
                .iter()
                .map(|part| (part.phase, part.time))
                .collect()
        };
        let end = (Phase::Unmap, 20.0);
        let fault = (Phase::Fault, 100.0);
        assert_eq!(of(None), [fault, (Phase::Map, 50.0), end]);
        let split = [fault, (Phase::Pin, 30.0), (Phase::Enter, 20.0), end];
        assert_eq!(of(Some(30.0)), split);
        // Measured apart, it took longer than the whole.
        let none = [fault, (Phase::Pin, 50.0), (Phase::Enter, 0.0), end];
        assert_eq!(of(Some(60.0)), none);
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
        let found = warnings(&environment, &series, &[]);
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
        assert_eq!(warnings(&environment, &record.series, &[]), []);
    }

    #[test]
    fn a_line_needs_three_sizes() {
        let point = |pages: f64| Point {
            factors: vec![1.0, pages],
            time: 100.0 + pages,
        };
        let two: Vec<Point> = [1.0, 1.0, 512.0, 512.0].map(point).to_vec();
        assert!(line_through(&two).is_none());
        let three: Vec<Point> = [1.0, 16.0, 512.0].map(point).to_vec();
        assert!(line_through(&three).is_some());
    }
}
