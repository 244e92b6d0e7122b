//! What `bench` measured, as one HTML file with pictures.

use super::bench::BenchReport;
use super::duration::duration;
use super::html::{Axis, Cell, Line, LineChart, Page, Scale, Tone};
use crate::bench::{Measured, Summary};
use crate::types::Size;

/// The most lines that a reader can tell apart in one picture.
const MOST_LINES: usize = 8;

/// Points of a distribution's line.
const STEPS: usize = 200;

/// One of the two calls: its name, and its times in a record.
type Call = (&'static str, fn(&Measured) -> &[u64]);

const CALLS: [Call; 2] = [
    ("map", |measured| &measured.record.map_ns),
    ("unmap", |measured| &measured.record.unmap_ns),
];

/// The page: the medians by size and the distributions as pictures, and all figures in a table.
#[must_use]
pub fn bench_page(report: &BenchReport, measured: &[Measured]) -> String {
    let mut page = Page::new(format!("What mapping costs: {}", report.device()));
    page.paragraph(
        "How long one map call and one unmap call take, for memory that is in RAM already.",
        Tone::Plain,
    );
    for note in report.notes() {
        page.paragraph(&note, Tone::Caution);
    }
    for (name, times) in CALLS {
        page.heading(&format!("{name} calls"));
        let lines = medians(measured, times);
        picture(
            &mut page,
            &format!("The median of {name} by size. The lower, the faster."),
            lines,
            Axis {
                title: "size",
                scale: Scale::Doublings,
                label: size,
            },
            Axis {
                title: "time of a call",
                scale: Scale::Decades,
                label: duration,
            },
        );
        picture(
            &mut page,
            &format!("How the times of {name} spread. The steeper, the steadier."),
            distributions(measured, times),
            Axis {
                title: "time of a call",
                scale: Scale::Decades,
                label: duration,
            },
            Axis {
                title: "calls that took no longer, %",
                scale: Scale::Linear,
                label: |percent| format!("{percent:.0}"),
            },
        );
    }
    page.heading("All figures");
    let rows: Vec<Vec<Cell>> = CALLS
        .iter()
        .flat_map(|(name, times)| {
            measured
                .iter()
                .filter_map(|measured| row(measured, name, summary_of(times(measured))?))
        })
        .collect();
    page.table(
        &[
            "backend", "size", "pages", "call", "count", "min", "median", "90 %", "99 %", "max",
        ],
        &rows,
    );
    page.finish()
}

fn picture(page: &mut Page, caption: &str, mut lines: Vec<Line>, x: Axis, y: Axis) {
    if lines.len() > MOST_LINES {
        let all = lines.len();
        lines.truncate(MOST_LINES);
        let note = format!("The first {MOST_LINES} of {all}; the table has all.");
        page.paragraph(&note, Tone::Faint);
    }
    let chart = LineChart { x, y, lines };
    if let Some(svg) = chart.svg() {
        page.figure(
            caption,
            chart.lines.iter().map(|line| line.name.as_str()),
            &svg,
        );
    }
}

/// A line for each backend and kind of pages, in the order in which they were measured.
fn medians(measured: &[Measured], times: fn(&Measured) -> &[u64]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for measured in measured {
        let configuration = measured.configuration;
        let name = format!(
            "{}, pages of {}",
            configuration.backend, configuration.pages
        );
        let Some(summary) = summary_of(times(measured)) else {
            continue;
        };
        let point = (configuration.size.bytes() as f64, summary.p50 as f64);
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

fn summary_of(times: &[u64]) -> Option<Summary> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    Summary::of(&sorted, &[])
}

/// A line for each combination: how many of its calls took no longer than a time.
fn distributions(measured: &[Measured], times: fn(&Measured) -> &[u64]) -> Vec<Line> {
    let line = |measured: &Measured| {
        let configuration = measured.configuration;
        let mut sorted = times(measured).to_vec();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        let steps = STEPS.min(last.max(1));
        let point = |step: usize| {
            let at = last * step / steps;
            (
                sorted[at] as f64,
                100.0 * (at + 1) as f64 / sorted.len() as f64,
            )
        };
        Some(Line {
            name: format!(
                "{}, {} of {}",
                configuration.backend, configuration.size, configuration.pages
            ),
            points: (0..=steps).map(point).collect(),
        })
    };
    measured.iter().filter_map(line).collect()
}

fn row(measured: &Measured, call: &str, summary: Summary) -> Option<Vec<Cell>> {
    let configuration = measured.configuration;
    let time = |nanoseconds: u64| Cell::number(duration(nanoseconds as f64));
    Some(vec![
        Cell::text(configuration.backend.to_string()),
        Cell::number(configuration.size.to_string()),
        Cell::text(configuration.pages.to_string()),
        Cell::text(call),
        Cell::number(summary.count.to_string()),
        time(summary.min),
        time(summary.p50),
        time(summary.p90),
        summary.p99.map_or_else(|| Cell::number("-"), time),
        time(summary.max),
    ])
}

fn size(bytes: f64) -> String {
    Size::new(bytes as u64).map_or_else(String::new, |size| size.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Configuration, PageKind, Samples};
    use crate::types::{Backend, Iova};

    fn measured(size: &str, backend: Backend, map_ns: Vec<u64>) -> Measured {
        Measured {
            configuration: Configuration {
                backend,
                size: size.parse().unwrap(),
                pages: PageKind::Base,
            },
            iova: Iova(0x10_0000),
            record: Samples {
                unmap_ns: map_ns.iter().map(|time| time * 2).collect(),
                map_ns,
            },
        }
    }

    #[test]
    fn the_page_has_a_line_for_each_backend_and_every_figure() {
        let measured = [
            measured("64K", Backend::Type1, vec![4000; 300]),
            measured("4K", Backend::Type1, (1..=300).map(|n| n * 10).collect()),
            measured("4K", Backend::Iommufd, vec![700]),
            measured("64K", Backend::Iommufd, vec![]),
        ];
        let lines = medians(&measured, CALLS[0].1);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].points, [(4096.0, 1500.0), (65536.0, 4000.0)]);
        let spread = distributions(&measured, CALLS[0].1);
        assert_eq!(spread.len(), 3);
        assert_eq!(spread[1].points.last(), Some(&(3000.0, 100.0)));
        assert!(spread[1].points.is_sorted_by(|one, other| one <= other));

        let report = BenchReport::new(
            "01:00.0".parse().unwrap(),
            "1b36:0010".into(),
            false,
            true,
            &measured,
        );
        let html = bench_page(&report, &measured);
        assert_eq!(html.matches("<svg ").count(), 4);
        assert_eq!(html.matches("<tr>").count(), 1 + 6);
        for words in [
            "0000:01:00.0",
            "iommufd, pages of 4K",
            "interrupted",
            "virtual machine",
        ] {
            assert!(html.contains(words), "{words}");
        }
    }
}
