//! What `bench` measured.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use std::io::{self, Write};

use super::duration::duration;
use super::{Report, Style};
use crate::bench::{Measured, SAMPLES_FOR_P99, Summary};
use crate::types::{Backend, Bdf, Iova, Size};

/// The unit of the column "per page".
const PAGE: u64 = 4096;

const VIRTUAL_MACHINE: &str = "This is a virtual machine: the ratios between the rows mean something, the times by themselves do not.";

/// The result of `bench`. All times are nanoseconds.
#[derive(Debug, Serialize)]
pub struct BenchReport {
    /// The device whose IOMMU was measured.
    bdf: Bdf,
    /// Vendor and device ID, as `8086:10c9`.
    id: String,
    /// The unit of all times.
    unit: &'static str,
    /// Whether everything that was asked for was measured.
    complete: bool,
    /// Whether this is a virtual machine, where times mean little by themselves.
    virtual_machine: bool,
    results: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    backend: Backend,
    /// Bytes.
    size: u64,
    /// The pages that the memory is made of: `4K`, `thp`, `2M`, `1G`.
    pages: String,
    iova: Iova,
    map: Option<Figures>,
    unmap: Option<Figures>,
}

/// The figures of one call.
#[derive(Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    summary: Summary,
    /// The median divided by the number of 4 KiB pages.
    per_page: f64,
}

impl Figures {
    fn of(samples: &[u64], size: Size) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let summary = Summary::of(&sorted, &[])?;
        let pages = size.bytes() as f64 / PAGE as f64;
        Some(Self {
            summary,
            per_page: summary.p50 as f64 / pages,
        })
    }
}

impl BenchReport {
    /// From what was measured; `complete` is whether that is all.
    #[must_use]
    pub fn new(
        bdf: Bdf,
        id: String,
        complete: bool,
        virtual_machine: bool,
        measured: &[Measured],
    ) -> Self {
        let row = |measured: &Measured| {
            let configuration = measured.configuration;
            Row {
                backend: configuration.backend,
                size: configuration.size.bytes(),
                pages: configuration.pages.to_string(),
                iova: measured.iova,
                map: Figures::of(&measured.record.map_ns, configuration.size),
                unmap: Figures::of(&measured.record.unmap_ns, configuration.size),
            }
        };
        Self {
            bdf,
            id,
            unit: "ns",
            complete,
            virtual_machine,
            results: measured.iter().map(row).collect(),
        }
    }

    /// The device, by its address and IDs.
    pub(super) fn device(&self) -> String {
        format!("{} ({})", self.bdf, self.id)
    }

    /// What a reader has to keep in mind.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.virtual_machine {
            notes.push(VIRTUAL_MACHINE.to_owned());
        }
        if !self.complete {
            notes.push("This was interrupted; it is what was measured until then.".to_owned());
        }
        notes
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header([
            "backend", "size", "pages", "call", "count", "min", "p50", "p90", "p99", "max",
            "p50/page",
        ]);
        for column in table.column_iter_mut().skip(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in &self.results {
            let size = Size::new(row.size).map_or_else(String::new, |size| size.to_string());
            for (call, figures) in [("map", &row.map), ("unmap", &row.unmap)] {
                let mut cells = vec![
                    row.backend.to_string(),
                    size.clone(),
                    row.pages.clone(),
                    call.to_owned(),
                ];
                cells.extend(
                    figures
                        .as_ref()
                        .map_or_else(|| vec!["0".to_owned()], cells_of),
                );
                table.add_row(cells.into_iter().map(Cell::new));
            }
        }
        table
    }
}

fn cells_of(figures: &Figures) -> Vec<String> {
    let Figures { summary, per_page } = figures;
    let time = |nanoseconds: u64| duration(nanoseconds as f64);
    vec![
        summary.count.to_string(),
        time(summary.min),
        time(summary.p50),
        time(summary.p90),
        summary.p99.map_or_else(|| "-".to_owned(), time),
        time(summary.max),
        duration(*per_page),
    ]
}

impl Report for BenchReport {
    const KIND: &'static str = "bench";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        writeln!(
            out,
            "{} ({}): how long one map call and one unmap call take, for memory that is in RAM already",
            style.heading(&self.bdf.to_string()),
            self.id
        )?;
        for line in self.table().lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        writeln!(
            out,
            "p50: half of the calls took no longer (the median); p90 and p99: 90 and 99 of 100. p50/page: the median for each 4 KiB."
        )?;
        let all = || {
            let calls = self.results.iter().flat_map(|row| [&row.map, &row.unmap]);
            calls.flatten()
        };
        if all().any(|figures| figures.summary.p99.is_none()) {
            writeln!(
                out,
                "p99 is shown from {SAMPLES_FOR_P99} samples on: with fewer it says more about chance than about the host."
            )?;
        }
        if self.virtual_machine {
            writeln!(out, "{VIRTUAL_MACHINE}")?;
        }
        if !self.complete {
            writeln!(
                out,
                "{}: interrupted; this is what was measured until then.",
                style.caution("PARTIAL")
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Configuration, PageKind, Samples};

    fn report(complete: bool) -> BenchReport {
        let configuration = |size: &str, pages| Configuration {
            backend: Backend::Type1,
            size: size.parse().unwrap(),
            pages,
        };
        let measured = [
            Measured {
                configuration: configuration("4K", PageKind::Base),
                iova: Iova(0x10_0000),
                record: Samples {
                    map_ns: (1..=5000).collect(),
                    unmap_ns: vec![900; 5000],
                },
            },
            Measured {
                configuration: configuration("2M", PageKind::Transparent),
                iova: Iova(0x20_0000),
                record: Samples {
                    map_ns: vec![51_200, 51_200, 102_400],
                    unmap_ns: vec![1_000_000; 3],
                },
            },
            Measured {
                configuration: configuration("1G", PageKind::Transparent),
                iova: Iova(0x4000_0000),
                record: Samples::default(),
            },
        ];
        let bdf = "0000:00:03.0".parse().unwrap();
        BenchReport::new(bdf, "1234:11e8".into(), complete, true, &measured)
    }

    #[test]
    fn the_table_shows_each_call_and_says_what_the_columns_mean() {
        let mut text = Vec::new();
        report(false).text(&mut text, Style::new(false)).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(
            text,
            "\
0000:00:03.0 (1234:11e8): how long one map call and one unmap call take, for memory that is in RAM already
 backend  size  pages  call   count      min      p50      p90      p99      max  p50/page
 type1    4K    4K     map     5000  1.00 ns  2.50 us  4.50 us  4.95 us  5.00 us   2.50 us
 type1    4K    4K     unmap   5000   900 ns   900 ns   900 ns   900 ns   900 ns    900 ns
 type1    2M    thp    map        3  51.2 us  51.2 us   102 us        -   102 us    100 ns
 type1    2M    thp    unmap      3  1.00 ms  1.00 ms  1.00 ms        -  1.00 ms   1.95 us
 type1    1G    thp    map        0
 type1    1G    thp    unmap      0
p50: half of the calls took no longer (the median); p90 and p99: 90 and 99 of 100. p50/page: the median for each 4 KiB.
p99 is shown from 5000 samples on: with fewer it says more about chance than about the host.
This is a virtual machine: the ratios between the rows mean something, the times by themselves do not.
PARTIAL: interrupted; this is what was measured until then.
"
        );
    }

    #[test]
    fn json_holds_integers_of_nanoseconds() {
        let json = serde_json::to_value(report(true)).unwrap();
        assert_eq!(
            (&json["unit"], &json["complete"]),
            (&"ns".into(), &true.into())
        );
        let map = &json["results"][1]["map"];
        assert_eq!(
            (&map["count"], &map["p50"], &map["p99"], &map["per_page"]),
            (
                &3.into(),
                &51_200.into(),
                &serde_json::Value::Null,
                &100.0.into()
            )
        );
        assert_eq!(json["results"][2]["map"], serde_json::Value::Null);
    }
}
