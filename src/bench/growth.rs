//! How times grow with what is mapped, and what memory takes that is larger than what was measured.

use std::collections::BTreeSet;

use super::fit::{Line, Point};
use super::plan::Row;
use super::record::{ANY_PAGES, Breakdown, Fit, PAGE, Part, Phase, Route, Series};
use super::run::Act;
use super::statistics::{Interval, interval_of_launches, widest};
use crate::iommu::SHARED;
use crate::types::Suite;

/// A fit that is off by more than this part says little.
pub(super) const MISFIT: f64 = 0.15;

/// The fits of a suite: for each kind of pages and way over the sizes, and for each way over all kinds, whose pieces differ. Lines that a
/// guest's time is told by are those for its size.
pub(super) fn fits(act: &Act, guest: Option<u64>) -> Vec<Fit> {
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
            let points = points(act, pages, key.route, phase, guest);
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

/// A line needs as many sizes: through two there always is one.
pub(super) const LEAST_SIZES: usize = 3;

/// A line through times at different sizes, if they are enough.
fn line_through(points: &[Point]) -> Option<Line> {
    let mut sizes: Vec<u64> = points.iter().map(|point| point.factors[1] as u64).collect();
    sizes.sort_unstable();
    sizes.dedup();
    (sizes.len() >= LEAST_SIZES)
        .then(|| Line::through(points))
        .flatten()
}

/// The median of a block, and what it depends on.
struct Measured {
    launch: u32,
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

/// Whether the time at one size tells of that at another. By the fastest way it does not where one thread makes the memory of the one ready, and
/// all processors that of the other.
pub(super) fn tells_of(route: Route, size: u64, asked: u64) -> bool {
    let by_all = |size: u64| size >= SHARED as u64;
    route != Route::Strategy || by_all(size) == by_all(asked)
}

/// What was measured of a step, at the sizes that tell of the guest's; else of the largest.
fn points(act: &Act, pages: &str, route: Route, phase: Phase, guest: Option<u64>) -> Vec<Measured> {
    let is_meant = |row: &Row| {
        let of_pages = pages == ANY_PAGES || row.key.pages.as_deref() == Some(pages);
        of_pages && row.key.route == route
    };
    let sizes = act.rows.iter().filter(|row| is_meant(row));
    let Some(asked) = guest.or(sizes.filter_map(|row| row.key.size).max()) else {
        return Vec::new();
    };
    let mut points = Vec::new();
    for (row, samples) in act.rows.iter().zip(&act.samples) {
        let step = row.steps.iter().position(|step| *step == phase);
        let (Some(step), Some(size)) = (step, row.key.size) else {
            continue;
        };
        if !is_meant(row) || !tells_of(route, size, asked) {
            continue;
        }
        for block in samples.blocks(step) {
            let pieces = samples
                .runs
                .iter()
                .find(|(launch, _)| *launch == block.launch);
            points.push(Measured {
                launch: block.launch,
                pages: size.div_ceil(PAGE) as f64,
                pieces: pieces.map(|(_, pieces)| *pieces as f64),
                time: block.median as f64,
            });
        }
    }
    points
}

/// The parts of the start and the end of a guest's memory: for each backend and kind of pages at the guest's size, else at the largest measured.
pub(super) fn breakdowns(series: &[Series], acts: &[Act], guest: Option<u64>) -> Vec<Breakdown> {
    let mut all: Vec<Breakdown> = Vec::new();
    for act in acts {
        for row in act.rows.iter().filter(|row| row.key.suite == Suite::Cold) {
            let (Some(pages), route) = (&row.key.pages, row.key.route) else {
                continue;
            };
            let sizes = act
                .rows
                .iter()
                .filter(|other| other.key.pages == row.key.pages && other.key.route == route)
                .filter_map(|other| other.key.size);
            let as_asked = guest.filter(|guest| sizes.clone().any(|size| size == *guest));
            // Once for each kind.
            let measured = as_asked.or(sizes.max());
            let Some(measured) = measured.filter(|_| row.key.size == measured) else {
                continue;
            };
            let size = guest.unwrap_or(measured);
            let time = |phase: Phase| {
                if size == measured {
                    let series = series.iter().find(|one| one.key == row.key_of(phase))?;
                    let summary = series.summary;
                    return Some((summary.p50 as f64, summary.interval));
                }
                extrapolated(&points(act, pages, route, phase, Some(size)), size)
            };
            let parts = parts(time);
            if !parts.is_empty() {
                all.push(Breakdown {
                    backend: act.backend,
                    pages: pages.clone(),
                    route,
                    size,
                    extrapolated_from: (size != measured).then_some(measured),
                    parts,
                });
            }
        }
    }
    all
}

/// The time at a size by the line through all points, and where it lies: by their scatter, and by how much the lines of launches differ.
fn extrapolated(points: &[Measured], size: u64) -> Option<(f64, Option<Interval>)> {
    let at = |points: &mut dyn Iterator<Item = &Measured>| {
        let plain: Vec<Point> = points.map(Measured::plain).collect();
        Some(line_through(&plain)?.at(&[1.0, size.div_ceil(PAGE) as f64]))
    };
    let (time, of_blocks) = at(&mut points.iter())?;
    let launches: BTreeSet<u32> = points.iter().map(|point| point.launch).collect();
    let of_launch = |launch: u32| {
        let (time, _) = at(&mut points.iter().filter(|point| point.launch == launch))?;
        // A line that falls below nothing is far from the others, and says how little they say.
        Some(time.max(1.0))
    };
    let times: Vec<f64> = launches.into_iter().filter_map(of_launch).collect();
    let time = time.max(0.0);
    let interval = widest(Some(of_blocks), interval_of_launches(&times), time);
    Some((time, interval))
}

/// Whether a fit is one that a breakdown was extrapolated by.
pub(super) fn is_used(fit: &Fit, breakdowns: &[Breakdown]) -> bool {
    let by = |one: &Breakdown| {
        let same = (fit.backend, &fit.pages, fit.route) == (one.backend, &one.pages, one.route);
        let has = |part: &Part| match part.phase {
            Phase::Enter => fit.phase == Phase::Map,
            phase => fit.phase == phase,
        };
        same && one.extrapolated_from.is_some() && one.parts.iter().any(has)
    };
    fit.suite == Suite::Cold && breakdowns.iter().any(by)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::sampler::Samples;
    use crate::types::Backend;

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

    const MIB: u64 = 1 << 20;

    /// Samples of the fastest way, of two launches: `time` gives the nanoseconds for a size.
    fn measured(sizes: &[u64], time: impl Fn(u32, u64) -> u64) -> Act {
        let rows = sizes.iter().map(|size| {
            let mut row = Row::new(Suite::Cold, Backend::Iommufd, &[Phase::Ready]);
            row.key.size = Some(*size);
            row.key.pages = Some("best".to_owned());
            row.key.route = Route::Strategy;
            row
        });
        let mut act = Act::new(Suite::Cold, Backend::Iommufd, rows.collect());
        for (samples, size) in act.samples.iter_mut().zip(sizes) {
            for launch in 0..2 {
                for round in 0..3 {
                    let time = time(launch, *size) * (100 + u64::from(round)) / 101;
                    samples.append(Samples::block_of(launch, round, &[time]));
                }
            }
        }
        act
    }

    #[test]
    fn a_large_guest_is_told_of_by_sizes_that_all_processors_share() {
        let asked = 24 << 30;
        // What one thread does takes twice as long.
        let time = |_, size| if size < 64 * MIB { 2 * size } else { size };
        let sizes = [16 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB];

        let act = measured(&sizes, time);
        let found = &breakdowns(&[], &[act], Some(asked))[0];

        assert_eq!(
            (found.size, found.extrapolated_from),
            (asked, Some(1 << 30))
        );
        let part = found.parts[0].time / asked as f64;
        assert!((0.99..1.01).contains(&part), "{part}");
        // Two sizes are not enough, and the small one does not help.
        assert!(breakdowns(&[], &[measured(&sizes[..3], time)], Some(asked)).is_empty());
    }

    #[test]
    fn launches_that_differ_make_an_extrapolation_unsure() {
        let sizes = [64 * MIB, 256 * MIB, 1024 * MIB];
        let part = |time: fn(u32, u64) -> u64| {
            breakdowns(&[], &[measured(&sizes, time)], Some(24 << 30))[0].parts[0]
        };
        let width = |part: Part| {
            let Interval { low, high } = part.interval.unwrap();
            assert!(low <= part.time && part.time <= high);
            (high - low) / part.time
        };
        let steady = width(part(|_, size| size));
        let apart = width(part(|launch, size| size + size / 10 * u64::from(launch)));
        assert!(steady < 0.05, "{steady}");
        assert!(apart > 0.8, "{apart}");
    }

    #[test]
    fn fits_that_a_guest_is_told_by_count_and_others_of_cold_memory_do_not() {
        // It grows with the square.
        let act = measured(&[64 * MIB, 256 * MIB, 1024 * MIB], |_, size| {
            (size >> 12).pow(2)
        });
        let acts = [act];
        let fits = fits(&acts[0], Some(24 << 30));
        let fit = fits.iter().find(|fit| fit.pages == "best").unwrap();
        assert!(fit.error > MISFIT);
        assert!(is_used(fit, &breakdowns(&[], &acts, Some(24 << 30))));
        // What was measured needs no line.
        assert!(!is_used(fit, &breakdowns(&[], &acts, None)));
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
