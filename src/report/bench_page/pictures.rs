//! The pictures of each suite.

use crate::bench::{Breakdown, Key, Phase, Record, Route, Series};
use crate::report::duration::duration;
use crate::report::html::{Axis, Bar, BarChart, Figure, Line, LineChart, Scale};
use crate::report::series::{pages, size};
use crate::types::{Backend, Suite};

/// The most lines that a reader can tell apart in one picture.
const MOST_LINES: usize = 8;

const TIME: Axis = Axis {
    title: "time of a call",
    scale: Scale::Decades,
    label: round_time,
};

const SIZE: Axis = Axis {
    title: "size",
    scale: Scale::Doublings,
    label: |bytes| size(bytes as u64),
};

const COUNT: fn(f64) -> String = |count| format!("{count:.0}");

/// A round time: `10 us`, without digits after the point that are all 0.
fn round_time(nanoseconds: f64) -> String {
    let text = duration(nanoseconds);
    match text.split_once(' ') {
        _ if nanoseconds == 0.0 => "0".to_owned(),
        Some((number, unit)) if number.contains('.') => {
            format!(
                "{} {unit}",
                number.trim_end_matches('0').trim_end_matches('.')
            )
        }
        _ => text,
    }
}

/// The pictures of a suite; none if it was not measured.
pub(super) fn pictures(record: &Record, suite: Suite) -> Vec<Figure> {
    let all = Vec::from_iter(record.series.iter().filter(|one| one.key.suite == suite));
    match suite {
        Suite::Cold => starts(record).into_iter().collect(),
        Suite::Map => {
            let mut figures = by_size(&all);
            figures.extend(distributions(&all));
            figures
        }
        Suite::Churn => [Phase::Map, Phase::Unmap]
            .into_iter()
            .filter_map(|phase| beside_others(&all, phase))
            .collect(),
        Suite::Threads => [Phase::Map, Phase::Unmap]
            .into_iter()
            .filter_map(|phase| speed_up(&all, phase))
            .collect(),
        Suite::Devices => [Phase::Map, Phase::Unmap]
            .into_iter()
            .filter_map(|phase| with_devices(&all, phase))
            .collect(),
        Suite::File => by_size(&all),
        Suite::Dma => transfers(&all),
        Suite::Open => bring_up(&all).into_iter().collect(),
    }
}

/// A line for each name, of the points of the series that have it, in their order of x.
fn lines(
    series: &[&Series],
    name: impl Fn(&Key) -> String,
    point: impl Fn(&Series) -> Option<(f64, f64)>,
) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for one in series {
        let Some(point) = point(one) else { continue };
        let name = name(&one.key);
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line {
                name,
                points: vec![point],
            }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    lines
}

/// A picture of lines over what was varied; `None` if there is no point to show.
fn figure(caption: impl Into<String>, lines: Vec<Line>, x: Axis, y: Axis) -> Option<Figure> {
    let marks = true;
    chart(caption.into(), LineChart { x, y, lines, marks })
}

fn chart(mut caption: String, mut chart: LineChart) -> Option<Figure> {
    let count = chart.lines.len();
    if count > MOST_LINES {
        caption += &format!(" ({MOST_LINES} of {count} shown)");
        let kept = |at: usize| chart.lines[at * (count - 1) / (MOST_LINES - 1)].clone();
        chart.lines = (0..MOST_LINES).map(kept).collect();
    }
    Some(Figure {
        svg: chart.svg()?,
        caption,
        names: chart.lines.into_iter().map(|line| line.name).collect(),
    })
}

fn median(series: &Series) -> f64 {
    series.summary.p50 as f64
}

fn of_phase<'s>(series: &[&'s Series], phase: Phase) -> Vec<&'s Series> {
    let all = series.iter().copied();
    all.filter(|one| one.key.phase == phase).collect()
}

/// `iommufd, THP`, and the way if it is not the plain one.
fn memory(key: &Key) -> String {
    let kind = key.pages.as_deref().map_or_else(String::new, pages);
    match key.route {
        Route::Address => format!("{}, {kind}", key.backend),
        route => format!("{}, {kind}, {route}", key.backend),
    }
}

/// Map and unmap over the size. A bare loop would lie on the program's own line.
fn by_size(series: &[&Series]) -> Vec<Figure> {
    let picture = |phase: Phase| {
        let shown: Vec<&Series> = of_phase(series, phase)
            .into_iter()
            .filter(|one| one.key.route != Route::Bare)
            .collect();
        let point = |one: &Series| Some((one.key.size? as f64, median(one)));
        figure(
            format!("{phase}: the median by size"),
            lines(&shown, memory, point),
            SIZE,
            TIME,
        )
    };
    [Phase::Map, Phase::Unmap]
        .into_iter()
        .filter_map(picture)
        .collect()
}

/// How many of the calls took no longer than a time.
fn distributions(series: &[&Series]) -> Vec<Figure> {
    let picture = |backend: Backend, phase: Phase| {
        let shown: Vec<Line> = of_phase(series, phase)
            .into_iter()
            .filter(|one| (one.key.backend, one.key.route) == (backend, Route::Address))
            .map(|one| Line {
                name: format!(
                    "{} of {}",
                    one.key.size.map_or_else(String::new, size),
                    one.key.pages.as_deref().map_or_else(String::new, pages)
                ),
                points: steps(&one.distribution),
            })
            .collect();
        let distribution = LineChart {
            x: TIME,
            y: Axis {
                title: "calls that took no longer",
                scale: Scale::Linear,
                label: |part| format!("{part:.0} %"),
            },
            lines: shown,
            marks: false,
        };
        chart(
            format!("{phase} through {backend}: how the times spread"),
            distribution,
        )
    };
    let mut figures = Vec::new();
    for backend in [Backend::Type1, Backend::Iommufd] {
        for phase in [Phase::Map, Phase::Unmap] {
            figures.extend(picture(backend, phase));
        }
    }
    figures
}

fn steps(distribution: &[u64]) -> Vec<(f64, f64)> {
    let last = distribution.len().saturating_sub(1).max(1) as f64;
    let times = distribution.iter().enumerate();
    times
        .map(|(at, time)| (*time as f64, 100.0 * at as f64 / last))
        .collect()
}

/// The starts of guests as bars, with their ends.
fn starts(record: &Record) -> Option<Figure> {
    const PHASES: [(Phase, &str); 6] = [
        (Phase::Fault, "fault: pages are found and filled with zeros"),
        (Phase::Pin, "pin"),
        (Phase::Enter, "enter: written to the IOMMU's table"),
        (Phase::Map, "map: pinned and entered"),
        (Phase::Ready, "all of the start together"),
        (Phase::Unmap, "unmap, at the end"),
    ];
    let all = &record.breakdowns;
    let first = all.first()?;
    let same_size = all.iter().all(|one| one.size == first.size);
    let has = |phase: Phase| {
        let mut parts = all.iter().flat_map(|one| &one.parts);
        parts.any(|part| part.phase == phase)
    };
    let phases: Vec<_> = PHASES
        .into_iter()
        .filter(|(phase, _)| has(*phase))
        .collect();
    let bar = |one: &Breakdown| {
        let time = |phase: Phase| {
            let parts = one.parts.iter().filter(|part| part.phase == phase);
            parts.map(|part| part.time).sum::<f64>()
        };
        let parts: Vec<f64> = phases.iter().map(|(phase, _)| time(*phase)).collect();
        let end = time(Phase::Unmap);
        let start = parts.iter().sum::<f64>() - end;
        let mut name = match one.route {
            Route::Strategy => format!("{}, as 'map' does it", one.backend),
            Route::Address => format!("{}, {}", one.backend, pages(&one.pages)),
            route => format!("{}, {}, {route}", one.backend, pages(&one.pages)),
        };
        if !same_size {
            name = format!("{} {name}", size(one.size));
        }
        Bar {
            name,
            parts,
            label: format!("{}, end {}", duration(start), duration(end)),
        }
    };
    let chart = BarChart {
        axis: Axis {
            title: "time",
            scale: Scale::Linear,
            label: round_time,
        },
        bars: all.iter().map(bar).collect(),
    };
    let mut caption = if same_size {
        format!("The memory of a guest of {}", size(first.size))
    } else {
        "The memory of guests".to_owned()
    };
    if let Some(from) = first.extrapolated_from {
        caption += &format!(", extrapolated from up to {}", size(from));
    }
    Some(Figure {
        caption,
        names: phases.iter().map(|(_, name)| (*name).to_owned()).collect(),
        svg: chart.svg()?,
    })
}

fn beside_others(series: &[&Series], phase: Phase) -> Option<Figure> {
    figure(
        format!("{phase} beside other mappings"),
        lines(&of_phase(series, phase), sized, |one| {
            Some((one.key.live as f64, median(one)))
        }),
        Axis {
            title: "other mappings",
            scale: Scale::Linear,
            label: COUNT,
        },
        Axis {
            scale: Scale::Linear,
            ..TIME
        },
    )
}

/// How many times as many maps so many threads make.
fn speed_up(series: &[&Series], phase: Phase) -> Option<Figure> {
    let shown = of_phase(series, phase);
    let alone = |key: &Key| {
        let one = Key {
            threads: 1,
            ..key.clone()
        };
        shown.iter().find(|other| other.key == one)
    };
    let point = |one: &Series| {
        let alone = median(alone(&one.key)?);
        Some((f64::from(one.key.threads), alone / median(one).max(1.0)))
    };
    figure(
        format!("{phase}: how many times as many as by one thread"),
        lines(&shown, sized, point),
        Axis {
            title: "threads",
            scale: Scale::Doublings,
            label: COUNT,
        },
        Axis {
            title: "times as many",
            scale: Scale::Linear,
            label: |ratio| format!("{ratio:.1}"),
        },
    )
}

fn with_devices(series: &[&Series], phase: Phase) -> Option<Figure> {
    figure(
        format!("{phase} with several devices"),
        lines(&of_phase(series, phase), sized, |one| {
            Some((f64::from(one.key.devices), median(one)))
        }),
        Axis {
            title: "devices",
            scale: Scale::Doublings,
            label: COUNT,
        },
        TIME,
    )
}

/// `iommufd, 16M of THP`.
fn sized(key: &Key) -> String {
    let kind = key.pages.as_deref().map_or_else(String::new, pages);
    match key.size {
        Some(bytes) => format!("{}, {} of {kind}", key.backend, size(bytes)),
        None => format!("{}, {kind}", key.backend),
    }
}

/// Transfers over their size, within as little memory as they need, and the smallest ones over the memory that they go round in.
fn transfers(series: &[&Series]) -> Vec<Figure> {
    let smallest = |of: fn(&Key) -> Option<u64>| {
        let all = series.iter().filter_map(|one| of(&one.key));
        all.min().unwrap_or(0)
    };
    let (least, page) = (smallest(|key| key.size), smallest(|key| key.working_set));
    let time = |scale: Scale| Axis {
        title: "time of a transfer",
        scale,
        label: round_time,
    };
    let in_place: Vec<&Series> = series
        .iter()
        .copied()
        .filter(|one| one.key.working_set <= one.key.size.map(|bytes| bytes.max(page)))
        .collect();
    let by_size = figure(
        "Transfers by size",
        lines(
            &in_place,
            |key| format!("{}, {}", key.phase, memory(key)),
            |one| Some((one.key.size? as f64, median(one))),
        ),
        SIZE,
        time(Scale::Decades),
    );
    let by_memory = |phase: Phase| {
        let of_phase = of_phase(series, phase);
        let around = of_phase.into_iter();
        let around: Vec<&Series> = around.filter(|one| one.key.size == Some(least)).collect();
        figure(
            format!("{phase} of {least} bytes, spread over memory of a size"),
            lines(&around, memory, |one| {
                Some((one.key.working_set? as f64, median(one)))
            }),
            Axis {
                title: "memory that the transfers are spread over",
                ..SIZE
            },
            time(Scale::Linear),
        )
    };
    [by_size, by_memory(Phase::Load), by_memory(Phase::Store)]
        .into_iter()
        .flatten()
        .collect()
}

/// What opening, resetting and closing take, for each backend.
fn bring_up(series: &[&Series]) -> Option<Figure> {
    const PHASES: [(Phase, &str); 4] = [
        (Phase::Space, "space: an address space is made"),
        (Phase::Attach, "attach: the device is opened and attached"),
        (Phase::Reset, "reset"),
        (Phase::Close, "close, which resets once more"),
    ];
    let bar = |backend: Backend| {
        let own = || series.iter().filter(move |one| one.key.backend == backend);
        let time = |phase: Phase| {
            own()
                .filter(|one| one.key.phase == phase)
                .map(|one| median(one))
                .sum()
        };
        let parts: Vec<f64> = PHASES.iter().map(|(phase, _)| time(*phase)).collect();
        own().next()?;
        Some(Bar {
            name: backend.to_string(),
            label: duration(parts.iter().sum()),
            parts,
        })
    };
    let chart = BarChart {
        axis: Axis {
            title: "time",
            scale: Scale::Linear,
            label: round_time,
        },
        bars: [Backend::Type1, Backend::Iommufd]
            .into_iter()
            .filter_map(bar)
            .collect(),
    };
    Some(Figure {
        caption: "From nothing to an attached device, and back".to_owned(),
        names: PHASES.iter().map(|(_, name)| (*name).to_owned()).collect(),
        svg: chart.svg()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::example;

    #[test]
    fn each_suite_has_its_pictures_with_a_name_for_each_line() {
        let record = example::record(0);
        let of = |suite| pictures(&record, suite);
        let count = |suite| of(suite).len();
        assert_eq!(count(Suite::Map), 2 + 4);
        assert_eq!(
            [Suite::Cold, Suite::Churn, Suite::Threads, Suite::Devices].map(count),
            [1, 2, 1, 1]
        );
        assert_eq!([Suite::File, Suite::Dma, Suite::Open].map(count), [1, 2, 1]);
        assert_eq!(
            of(Suite::Map)[0].names,
            [
                "type1, 4K pages",
                "type1, THP",
                "iommufd, 4K pages",
                "iommufd, THP"
            ]
        );
        assert_eq!(
            of(Suite::Threads)[0].names,
            ["type1, 16M of THP", "iommufd, 16M of THP"]
        );
        let cold = &of(Suite::Cold)[0];
        assert_eq!(
            cold.caption,
            "The memory of a guest of 24G, extrapolated from up to 1G"
        );
        assert_eq!(cold.names.len(), 4);
    }

    #[test]
    fn threads_are_shown_as_times_of_one() {
        let record = example::record(0);
        let all: Vec<&Series> = record
            .series
            .iter()
            .filter(|one| one.key.suite == Suite::Threads)
            .collect();
        let alone = all.iter().find(|one| one.key.threads == 1).unwrap();
        let figure = speed_up(&[alone], Phase::Map).unwrap();
        assert!(figure.svg.contains("1.0"));
    }

    #[test]
    fn marks_of_time_are_short() {
        let marks = [0.0, 1.0, 1_500.0, 1e6, 1e8, 2e10].map(round_time);
        assert_eq!(marks, ["0", "1 ns", "1.5 us", "1 ms", "100 ms", "20 s"]);
    }

    #[test]
    fn a_distribution_rises_to_all_and_many_lines_are_thinned() {
        assert_eq!(steps(&[5, 7, 9]), [(5.0, 0.0), (7.0, 50.0), (9.0, 100.0)]);
        assert_eq!(steps(&[5]), [(5.0, 0.0)]);
        let line = |at: usize| Line {
            name: at.to_string(),
            points: vec![(1.0, 1.0)],
        };
        let Figure { caption, names, .. } =
            figure("many", (0..15).map(line).collect(), SIZE, TIME).unwrap();
        assert_eq!(caption, "many (8 of 15 shown)");
        assert_eq!(names, ["0", "2", "4", "6", "8", "10", "12", "14"]);
    }
}
