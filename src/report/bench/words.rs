//! What figures come to, in words.

use std::io::{self, Write};

use crate::bench::{Breakdown, Fit, Interval, Key, Phase, Ratio, Route};
use crate::report::Style;
use crate::report::duration::duration;
use crate::report::series::{pages as kind, size, subject};
use crate::report::sparkline::bar;
use crate::types::Suite;

/// What is measured, for the progress.
#[must_use]
pub fn row_name(key: &Key) -> String {
    let Key { suite, backend, .. } = key;
    format!("{suite} {backend} {}", subject(key))
}

/// What the ratio of a row says, as the heading of its column.
pub fn ratio_name(suite: Suite) -> &'static str {
    match suite {
        Suite::Map => "map to bare",
        Suite::Churn => "map to alone",
        Suite::Threads => "maps in the same time",
        Suite::Devices => "map to one device",
        _ => "map to address",
    }
}

/// A ratio, and where it is. For threads how many times as much they do.
pub fn ratio_text(suite: Suite, ratio: Ratio) -> String {
    let Ratio { estimate, interval } = ratio;
    let (estimate, interval) = match (suite, interval) {
        (Suite::Threads, interval) => (
            1.0 / estimate,
            interval.map(|Interval { low, high }| (1.0 / high, 1.0 / low)),
        ),
        (_, interval) => (estimate, interval.map(|Interval { low, high }| (low, high))),
    };
    match interval {
        Some((low, high)) => format!("{estimate:.3} ({low:.3} to {high:.3})"),
        None => format!("{estimate:.3}"),
    }
}

/// How a time grows, as a formula.
pub fn formula(fit: &Fit) -> String {
    let Fit {
        backend,
        phase,
        pages,
        base,
        page,
        run,
        error,
        ..
    } = fit;
    // A fit may come out below what is possible.
    let (base, page) = (duration(base.max(0.0)), duration(page.max(0.0)));
    let memory = kind(pages);
    let mut text = format!("{phase} of {memory} through {backend}: {base} + {page} for each 4 KiB");
    if let Some(run) = run {
        text += &format!(" + {} for each contiguous piece", duration(*run));
    }
    text + &format!(", within {:.0} %", error * 100.0)
}

/// How long a guest's memory takes, and where the time goes.
pub fn write_breakdown(out: &mut dyn Write, style: Style, breakdown: &Breakdown) -> io::Result<()> {
    let Breakdown {
        backend,
        pages,
        route,
        size: bytes,
        extrapolated_from,
        parts,
    } = breakdown;
    let start = || parts.iter().filter(|part| part.phase != Phase::Unmap);
    let total: f64 = start().map(|part| part.time).sum();
    let how = match route {
        Route::Strategy => "the fastest way, as 'map' takes it".to_owned(),
        _ => format!("{pages} pages, by one thread"),
    };
    write!(
        out,
        "  {} through {backend}, {how}: {}",
        size(*bytes),
        style.heading(&duration(total))
    )?;
    let several = start().count() > 1;
    if several {
        let shares: Vec<String> = start()
            .map(|part| format!("{} {}", part.phase, duration(part.time)))
            .collect();
        write!(out, " = {}", shares.join(" + "))?;
    }
    if let Some(unmap) = parts.iter().find(|part| part.phase == Phase::Unmap) {
        write!(out, "; unmap {}", duration(unmap.time))?;
    }
    if let Some(from) = extrapolated_from {
        write!(out, " (extrapolated from up to {})", size(*from))?;
    }
    writeln!(out)?;
    if several && style.is_colored() && total > 0.0 {
        let shares: Vec<f64> = start().map(|part| part.time / total).collect();
        writeln!(out, "    {}", bar(&shares))?;
    }
    Ok(())
}

/// A number of bytes with three digits that matter.
pub fn bytes(bytes: f64) -> String {
    let units = [
        ("B", 1.0),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
    ];
    let (unit, scale) = units
        .into_iter()
        .find(|(_, scale)| bytes / scale < 999.5)
        .unwrap_or(units[3]);
    let value = bytes / scale;
    let digits = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}
