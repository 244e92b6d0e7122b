//! What a measured series is about, in words.

use crate::bench::{ANY_PAGES, Key, Route};
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Phase, example::key};
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
}
