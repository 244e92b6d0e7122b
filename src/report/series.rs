//! What a measured series is about, in words.

use crate::bench::{ANY_PAGES, Interval, Key, Record, Route, Series, Summary};
use crate::types::{Size, Suite};

/// Bytes as people write them: `2M`.
pub(super) fn size(bytes: u64) -> String {
    Size::new(bytes).map_or_else(|| "0".to_owned(), |size| size.to_string())
}

/// The kind of pages in words: `4K pages`, `THP`.
pub(super) fn pages(kind: &str) -> String {
    match kind {
        "thp" => "THP".to_owned(),
        ANY_PAGES => "pages of any size".to_owned(),
        "best" => "the best pages".to_owned(),
        size => format!("{size} pages"),
    }
}

/// What a series is about, without its suite, backend and step: `16M of THP, 4 threads`.
pub(super) fn subject(key: &Key) -> String {
    let mut parts = Vec::new();
    match (key.size, &key.pages) {
        (Some(bytes), Some(kind)) => parts.push(format!("{} of {}", size(bytes), pages(kind))),
        (Some(bytes), None) => parts.push(size(bytes)),
        (None, Some(kind)) => parts.push(pages(kind)),
        (None, None) => {}
    }
    match key.route {
        Route::Address => {}
        Route::File => parts.push("as a file".to_owned()),
        Route::Strategy => parts.push("as 'map' does it".to_owned()),
        Route::Bare => parts.push("bare loop".to_owned()),
    }
    let number = |count: u32, name: &str| match count {
        1 => format!("1 {name}"),
        count => format!("{count} {name}s"),
    };
    if key.threads != 1 || key.suite == Suite::Threads {
        parts.push(number(key.threads, "thread"));
    }
    if key.devices != 1 || key.suite == Suite::Devices {
        parts.push(number(key.devices, "device"));
    }
    if key.live != 0 || key.suite == Suite::Churn {
        parts.push(format!("beside {} others", key.live));
    }
    if let Some(bytes) = key.working_set {
        parts.push(format!("within {}", size(bytes)));
    }
    parts.join(", ")
}

/// How far a median may be off, as a part of it: `0.4 %`, at most `> 100 %`; `None` where that is not known.
pub(super) fn uncertainty(summary: &Summary) -> Option<String> {
    let time = summary.p50 as f64;
    let Interval { low, high } = summary.interval.filter(|_| time > 0.0)?;
    let off = (high - time).max(time - low) / time * 100.0;
    Some(match off {
        ..99.95 => format!("{off:.1} %"),
        _ => "> 100 %".to_owned(),
    })
}

/// What intervals of a record hold with, and by what.
pub(super) fn confidence(record: &Record) -> &'static str {
    let has_one_launch = |series: &Series| {
        let launches = series.blocks.iter().map(|block| block.launch);
        launches.clone().min() == launches.max()
    };
    let of_one = record.series.iter().filter(|one| has_one_launch(one));
    match of_one.count() {
        0 => "with 95 % confidence, by how much launches differ",
        all if all == record.series.len() => {
            "with 95 % confidence within this run, which had one launch only"
        }
        _ => {
            "with 95 % confidence, by how much launches differ; within this run where there was one launch only"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Phase;
    use crate::bench::example::{key, record};
    use crate::types::Backend;

    #[test]
    fn words_say_what_varies_and_no_more() {
        let plain = |suite| key(suite, Backend::Type1, 2 << 20, "thp", Phase::Map);
        assert_eq!(subject(&plain(Suite::Map)), "2M of THP");
        assert_eq!(subject(&plain(Suite::Threads)), "2M of THP, 1 thread");
        assert_eq!(subject(&plain(Suite::Churn)), "2M of THP, beside 0 others");
        let mut all = key(Suite::Dma, Backend::Type1, 4096, "4K", Phase::Load);
        (all.threads, all.devices, all.live) = (4, 8, 1000);
        (all.route, all.working_set) = (Route::File, Some(1 << 30));
        assert_eq!(
            subject(&all),
            "4K of 4K pages, as a file, 4 threads, 8 devices, beside 1000 others, within 1G"
        );
        (all.size, all.pages, all.working_set) = (None, None, None);
        assert_eq!(
            subject(&all),
            "as a file, 4 threads, 8 devices, beside 1000 others"
        );
    }

    #[test]
    fn what_is_not_sure_is_said_and_by_what() {
        let mut record = record(1);
        assert!(confidence(&record).ends_with("by how much launches differ"));
        record.series[0].blocks.retain(|block| block.launch == 3);
        assert!(confidence(&record).ends_with("within this run where there was one launch only"));
        record.series.truncate(1);
        assert!(confidence(&record).starts_with("with 95 % confidence within this run"));

        let summary = &mut record.series[0].summary;
        summary.p50 = 1000;
        for (high, text) in [(1004.0, "0.4 %"), (1990.0, "99.0 %"), (2990.0, "> 100 %")] {
            summary.interval = Some(Interval { low: 999.0, high });
            assert_eq!(uncertainty(summary).as_deref(), Some(text));
        }
        summary.interval = None;
        assert_eq!(uncertainty(summary), None);
    }
}
