//! The tables: the host, fits, comparisons and all figures.

use crate::bench::{Environment, Fit, MeasuredDevice, MeasuredSpace, Ratio, Record, Route, Series};
use crate::report::duration::duration;
use crate::report::html::{Cell, Page, Tone};
use crate::report::series::{confidence, pages, size, subject, uncertainty};
use crate::types::Suite;

/// The host during the run.
pub(super) fn environment(page: &mut Page, record: &Record) {
    let host = &record.environment;
    let mut rows = Vec::new();
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            rows.push(vec![Cell::text(name), Cell::text(value)]);
        }
    };
    row("iommu-tool", Some(host.version.clone()));
    row("kernel", host.kernel.clone());
    row("kernel parameters", Some(host.kernel_parameters.join(" ")));
    row("processor", host.processor.clone());
    row("processors", Some(host.processors.to_string()));
    row("NUMA node", host.node.map(|node| node.to_string()));
    row("scaling governor", host.governor.clone());
    row("clock source", host.clock_source.clone());
    row("load before", host.load.map(|load| format!("{load:.2}")));
    let virtual_machine = if host.virtual_machine { "yes" } else { "no" };
    row("virtual machine", Some(virtual_machine.to_owned()));
    row("memory", host.memory.map(gibibytes));
    row(
        "transparent huge pages",
        host.transparent_huge_pages.clone(),
    );
    row("reserved huge pages", Some(reserves(host)));
    row(
        "locked memory",
        Some(
            host.locked_memory
                .map_or_else(|| "not limited".to_owned(), size),
        ),
    );
    for device in &host.devices {
        row("device", Some(of_device(device)));
        row("IOMMU", of_iommu(device));
    }
    for space in &host.spaces {
        row(
            &format!("address space of {}", space.backend),
            Some(of_space(space)),
        );
    }
    row(
        "reading the clock",
        Some(format!(
            "{}, once in every time",
            duration(record.method.clock)
        )),
    );
    page.table(&["", ""], &rows);
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64)
}

fn sizes(bytes: &[u64]) -> String {
    let sizes: Vec<String> = bytes.iter().map(|bytes| size(*bytes)).collect();
    sizes.join(", ")
}

fn reserves(host: &Environment) -> String {
    let all = host.huge_pages.iter().filter(|reserve| reserve.total > 0);
    let texts: Vec<String> = all
        .map(|one| format!("{} of {}, {} free", one.total, size(one.size), one.free))
        .collect();
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.join("; ")
    }
}

fn of_device(device: &MeasuredDevice) -> String {
    let mut text = format!("{} ({})", device.bdf, device.id);
    if let Some(driver) = &device.driver {
        text += &format!(", on {driver}");
    }
    if let Some(node) = device.node {
        text += &format!(", NUMA node {node}");
    }
    if let Some(domain) = &device.domain {
        text += &format!(", default domain {domain}");
    }
    text
}

fn of_iommu(device: &MeasuredDevice) -> Option<String> {
    let iommu = device.iommu.as_ref()?;
    let mut parts = vec![format!("{}, {}", iommu.name, iommu.kind)];
    parts.extend(
        iommu
            .version
            .as_ref()
            .map(|version| format!("version {version}")),
    );
    parts.extend(iommu.address_width.map(|bits| format!("{bits} bits")));
    if !iommu.page_sizes.is_empty() {
        parts.push(format!("pages of {}", sizes(&iommu.page_sizes)));
    }
    parts.extend(iommu.features.iter().cloned());
    Some(parts.join(", "))
}

fn of_space(space: &MeasuredSpace) -> String {
    let entries = space.entries.map_or_else(
        || "any number of mappings".to_owned(),
        |most| format!("up to {most} mappings"),
    );
    format!("pages of {}, {entries}", sizes(&space.page_sizes))
}

/// How the times of a map and an unmap grow, as formulas.
pub(super) fn fits(page: &mut Page, record: &Record) {
    let is_plain = |fit: &&Fit| (fit.suite, fit.route) == (Suite::Map, Route::Address);
    let time = |time: f64| {
        // A fit may come out below what is possible.
        Cell::number(if time > 0.0 {
            duration(time)
        } else {
            "0".to_owned()
        })
    };
    let row = |fit: &Fit| {
        vec![
            Cell::text(fit.backend.to_string()),
            Cell::text(pages(&fit.pages)),
            Cell::text(fit.phase.to_string()),
            time(fit.base),
            time(fit.page),
            fit.run.map_or_else(|| Cell::number("-"), time),
            Cell::number(format!("{:.0} %", fit.error * 100.0)),
        ]
    };
    let rows: Vec<Vec<Cell>> = record.fits.iter().filter(is_plain).map(row).collect();
    if rows.is_empty() {
        return;
    }
    page.paragraph(
        "How the times grow: a call by itself, and what each page of 4 KiB and each contiguous piece of memory add to it. Measured times are \
         off from that by the error, in the median.",
        Tone::Plain,
    );
    page.table(
        &[
            "backend",
            "memory",
            "step",
            "call",
            "+ each page",
            "+ each piece",
            "error",
        ],
        &rows,
    );
}

/// What was compared within the run.
pub(super) fn comparisons(page: &mut Page, record: &Record) {
    if record.comparisons.is_empty() {
        return;
    }
    page.heading("Side by side");
    let about = format!(
        "How many times as long one takes as the other, and where that is {}.",
        confidence(record)
    );
    page.paragraph(&about, Tone::Plain);
    let rows: Vec<Vec<Cell>> = record
        .comparisons
        .iter()
        .map(|one| {
            let (of, with) = (&record.series[one.of].key, &record.series[one.with].key);
            vec![
                Cell::text(of.suite.to_string()),
                Cell::text(of.backend.to_string()),
                Cell::text(of.phase.to_string()),
                Cell::text(subject(of)),
                Cell::text(subject(with)),
                Cell::number(format!("{:.3}", one.ratio.estimate)),
                Cell::number(range(&one.ratio)),
            ]
        })
        .collect();
    page.folded(&format!("{} pairs", rows.len()), |page| {
        page.table(
            &[
                "suite", "backend", "step", "of", "against", "ratio", "interval",
            ],
            &rows,
        );
    });
}

fn range(ratio: &Ratio) -> String {
    ratio.interval.map_or_else(
        || "-".to_owned(),
        |interval| format!("{:.3} to {:.3}", interval.low, interval.high),
    )
}

/// What could not be measured.
pub(super) fn skipped(page: &mut Page, record: &Record) {
    if record.skipped.is_empty() {
        return;
    }
    page.heading("Not measured");
    let texts: Vec<String> = record
        .skipped
        .iter()
        .map(|one| {
            let backend = one
                .backend
                .map_or_else(String::new, |name| format!(", {name}"));
            format!("{}{backend}: {}", one.suite, one.reason)
        })
        .collect();
    page.list(texts.iter().map(String::as_str));
}

/// Every series.
pub(super) fn figures(page: &mut Page, record: &Record) {
    let rows: Vec<Vec<Cell>> = record.series.iter().map(row).collect();
    page.table(
        &[
            "suite",
            "backend",
            "of",
            "step",
            "count",
            "outliers",
            "min",
            "median",
            "±",
            "90 %",
            "99 %",
            "99.9 %",
            "max",
            "per 4 KiB",
            "rate",
        ],
        &rows,
    );
}

fn row(series: &Series) -> Vec<Cell> {
    let (key, summary) = (&series.key, &series.summary);
    let time = |nanoseconds: u64| Cell::number(duration(nanoseconds as f64));
    let none = || Cell::number("-");
    vec![
        Cell::text(key.suite.to_string()),
        Cell::text(key.backend.to_string()),
        Cell::text(subject(key)),
        Cell::text(key.phase.to_string()),
        Cell::number(summary.count.to_string()),
        Cell::number(summary.outliers.to_string()),
        time(summary.min),
        time(summary.p50),
        uncertainty(summary).map_or_else(none, Cell::number),
        time(summary.p90),
        summary.p99.map_or_else(none, time),
        summary.p99_9.map_or_else(none, time),
        time(summary.max),
        series
            .per_page
            .map_or_else(none, |time| Cell::number(duration(time))),
        series
            .rate
            .map_or_else(none, |rate| Cell::number(format!("{:.1} MB/s", rate / 1e6))),
    ]
}
