//! What a record comes to, in a few sentences.

use crate::bench::{Breakdown, Phase, Record, Route, Series};
use crate::report::duration::duration;
use crate::report::series::{pages, size};
use crate::types::{Backend, Suite};

/// The sentences; those whose suites were not measured are missing.
pub(super) fn facts(record: &Record) -> Vec<String> {
    let mut facts = Vec::new();
    facts.extend(start(record));
    facts.extend(call(record));
    facts.extend(huge_pages(record));
    facts.extend(own_cost(record));
    facts
}

/// How long the start of a guest takes, at best and at worst.
fn start(record: &Record) -> Option<String> {
    let of_size = |breakdown: &&Breakdown| breakdown.size == record.breakdowns[0].size;
    let by_time = |one: &&Breakdown, other: &&Breakdown| time(one).total_cmp(&time(other));
    let all = || record.breakdowns.iter().filter(of_size);
    let (best, worst) = (all().min_by(by_time)?, all().max_by(by_time)?);
    let how = |breakdown: &Breakdown| {
        let way = match breakdown.route {
            Route::Strategy => "as 'map' does it".to_owned(),
            _ => format!("from {}", pages(&breakdown.pages)),
        };
        format!("through {}, {way}", breakdown.backend)
    };
    let extrapolated = match best.extrapolated_from {
        Some(from) => format!(" Extrapolated from up to {}.", size(from)),
        None => String::new(),
    };
    Some(format!(
        "The memory of a guest of {} is ready in {} at best ({}), and in {} at worst ({}).{extrapolated}",
        size(best.size),
        duration(time(best)),
        how(best),
        duration(time(worst)),
        how(worst),
    ))
}

/// What the start takes.
fn time(breakdown: &Breakdown) -> f64 {
    let start = breakdown
        .parts
        .iter()
        .filter(|part| part.phase != Phase::Unmap);
    start.map(|part| part.time).sum()
}

/// The series of a plain map in the suite `map`.
fn maps(record: &Record) -> impl Iterator<Item = &Series> {
    record.series.iter().filter(|series| {
        let key = &series.key;
        (key.suite, key.route, key.phase) == (Suite::Map, Route::Address, Phase::Map)
    })
}

/// What the smallest map takes through each backend.
fn call(record: &Record) -> Option<String> {
    let smallest = maps(record).filter_map(|series| series.key.size).min()?;
    let mut parts = Vec::new();
    for backend in [Backend::Type1, Backend::Iommufd] {
        let series = maps(record)
            .find(|series| series.key.backend == backend && series.key.size == Some(smallest));
        parts
            .extend(series.map(|series| {
                format!("{} through {backend}", duration(series.summary.p50 as f64))
            }));
    }
    Some(format!(
        "A map of {} takes {}.",
        size(smallest),
        parts.join(", ")
    ))
}

/// What huge pages gain: the largest size that is measured with small ones too.
fn huge_pages(record: &Record) -> Option<String> {
    let of = |kind: &'static str| {
        maps(record).filter(move |series| series.key.pages.as_deref() == Some(kind))
    };
    let pair = |huge: &Series| {
        let small = of("4K").find(|small| {
            (small.key.size, small.key.backend) == (huge.key.size, huge.key.backend)
        })?;
        let gain = small.summary.p50 as f64 / huge.summary.p50.max(1) as f64;
        Some((huge.key.size?, huge.key.backend, gain))
    };
    let (bytes, backend, gain) = of("thp").filter_map(pair).max_by_key(|pair| pair.0)?;
    (gain > 1.0).then(|| {
        format!(
            "Huge pages make a map of {} {gain:.1} times as fast (THP against 4K pages, through {backend}).",
            size(bytes)
        )
    })
}

/// What this program adds to the bare system call, where that was measured.
fn own_cost(record: &Record) -> Option<String> {
    let bare = |index: usize| record.series[index].key.route == Route::Bare;
    let mut pairs: Vec<_> = record
        .comparisons
        .iter()
        .filter(|one| bare(one.with) && record.series[one.of].key.phase == Phase::Map)
        .collect();
    pairs.sort_by_key(|one| record.series[one.of].key.size);
    let one = pairs.first()?;
    let key = &record.series[one.of].key;
    let interval = one.ratio.interval.map_or_else(String::new, |interval| {
        format!(" ({:.3} to {:.3})", interval.low, interval.high)
    });
    Some(format!(
        "This program takes {:.3}{interval} times as long as a bare loop of system calls: a map of {}, through {}.",
        one.ratio.estimate,
        size(key.size?),
        key.backend,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Comparison, Ratio, example};

    #[test]
    fn sentences_say_what_was_measured() {
        let mut record = example::record(0);
        let bare = |series: &Series| Series {
            key: crate::bench::Key {
                route: Route::Bare,
                ..series.key.clone()
            },
            ..series.clone()
        };
        record.series.push(bare(&record.series[0]));
        record.comparisons.push(Comparison {
            of: 0,
            with: record.series.len() - 1,
            ratio: Ratio {
                estimate: 1.004,
                interval: None,
            },
        });

        let facts = facts(&record);

        assert_eq!(facts.len(), 4, "{facts:?}");
        assert!(
            facts[0].starts_with("The memory of a guest of 24G is ready in 2."),
            "{}",
            facts[0]
        );
        assert!(facts[0].contains("at best (through ") && facts[0].ends_with("from up to 1G."));
        assert!(facts[1].starts_with("A map of 4K takes 3."), "{}", facts[1]);
        assert!(
            facts[2].starts_with("Huge pages make a map of 2M "),
            "{}",
            facts[2]
        );
        assert!(
            facts[3].contains("1.004 times as long as a bare loop"),
            "{}",
            facts[3]
        );
    }
}
