//! What `bench` measured, as one HTML file with pictures.

mod facts;
mod pictures;
mod tables;

use super::date::date;
use super::html::{Page, Tone};
use super::series::confidence;
use crate::bench::Record;
use crate::types::Suite;

/// The page: what it comes to, what to be careful with, a picture for each question, and all figures.
#[must_use]
pub fn bench_page(record: &Record) -> String {
    let host = &record.environment;
    let devices: Vec<String> = host
        .devices
        .iter()
        .map(|device| format!("{} ({})", device.bdf, device.id))
        .collect();
    let mut page = Page::new(format!("What mapping costs: {}", devices.join(", ")));
    page.paragraph(&setting(record), Tone::Faint);
    if !record.complete {
        page.paragraph(
            "Partial: it was interrupted, and this is what was measured until then.",
            Tone::Caution,
        );
    }
    let facts = facts::facts(record);
    page.list(facts.iter().map(String::as_str));
    for warned in &record.warnings {
        let text = format!("Note: {}. What to do: {}.", warned.message, warned.remedy);
        page.paragraph(&text, Tone::Caution);
    }
    page.folded("The host", |page| tables::environment(page, record));
    for (suite, title, about) in SECTIONS {
        let figures = pictures::pictures(record, *suite);
        if figures.is_empty() {
            continue;
        }
        page.heading(title);
        page.paragraph(about, Tone::Plain);
        // What fills the page comes by itself; the others stand beside each other.
        page.figures(&figures);
        if *suite == Suite::Map {
            tables::fits(&mut page, record);
        }
    }
    tables::comparisons(&mut page, record);
    tables::skipped(&mut page, record);
    page.heading("All figures");
    let about = format!(
        "Median: half of the calls took no longer. ±: where the median is {}. 90 %, 99 %: so many took no longer. Outliers are far above the \
         rest of their row; they count like all others.",
        confidence(record)
    );
    page.paragraph(&about, Tone::Faint);
    page.folded(&format!("{} series", record.series.len()), |page| {
        tables::figures(page, record);
    });
    page.finish()
}

/// The sections with pictures: what answers the most common question comes first.
const SECTIONS: &[(Suite, &str, &str)] = &[
    (
        Suite::Cold,
        "The start of a guest",
        "How long a guest's memory takes from nothing to mapped, and at the end to be unmapped, and where the time goes.",
    ),
    (
        Suite::Map,
        "Map and unmap by size",
        "One call, for memory that is in RAM already. The lower, the faster. In the distributions, the steeper, the steadier.",
    ),
    (
        Suite::Churn,
        "Beside many mappings",
        "One call while so many other mappings are there. Flat lines are good.",
    ),
    (
        Suite::Threads,
        "Threads",
        "Several threads map at the same time in one address space. The higher, the better; one thread is 1.",
    ),
    (
        Suite::Devices,
        "Devices",
        "One call with so many devices in the address space.",
    ),
    (
        Suite::File,
        "Files",
        "Memory of huge pages, mapped by its address and as the memfd that it is.",
    ),
    (
        Suite::Dma,
        "The device's own access",
        "How long the device takes to read (load) and to write (store) mapped memory. A step up in the time over growing memory shows where the \
         IOMMU's cache of translations ends.",
    ),
    (
        Suite::Open,
        "Opening and closing",
        "What comes before the first map, and after the last unmap.",
    ),
];

fn setting(record: &Record) -> String {
    let (host, method) = (&record.environment, &record.method);
    let mut parts = vec![format!("Measured {}", date(method.started))];
    parts.extend(host.kernel.as_ref().map(|kernel| format!("Linux {kernel}")));
    let iommu = host
        .devices
        .first()
        .and_then(|device| device.iommu.as_ref());
    parts.extend(iommu.map(|iommu| iommu.kind.to_string()));
    parts.extend(host.processor.clone());
    parts.push(format!("{} processors", host.processors));
    parts.push(format!(
        "{:.0} s in {} launches",
        method.seconds, method.launches
    ));
    parts.push(format!("iommu-tool {}", host.version));
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::example;

    #[test]
    fn the_page_has_every_suite_and_every_figure() {
        let record = example::record(0);
        let html = bench_page(&record);
        for (_, title, _) in SECTIONS {
            assert!(html.contains(&format!("<h2>{title}</h2>")), "{title}");
        }
        for words in [
            "What mapping costs: 0000:00:03.0 (1234:11e8)",
            "2026-11-21",
            "Note: this is a virtual machine",
            "type1 cannot map a file as such",
            "DMA-FQ",
            "where the median is with 95 % confidence, by how much launches differ.",
        ] {
            assert!(html.contains(words), "{words}");
        }
        // Every series has its row, below the header.
        let figures = &html[html.find("<h2>All figures").unwrap()..];
        assert_eq!(figures.matches("<tr>").count(), 1 + record.series.len());
        assert!(!html.contains("Partial") && !html.contains("NaN"));
    }

    #[test]
    fn an_empty_record_is_a_page_without_pictures() {
        let mut record = example::record(0);
        record.complete = false;
        record.series.clear();
        record.breakdowns.clear();
        record.fits.clear();
        let html = bench_page(&record);
        assert!(html.contains("Partial") && !html.contains("<svg"));
    }
}
