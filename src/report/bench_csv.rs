//! What `bench` measured, for spreadsheets.

use serde::Serialize;

use crate::bench::{Phase, Record, Route, Series};
use crate::types::{Backend, Iova, Suite};

/// A line of the file. The names are the header's: new ones come at the end.
#[derive(Serialize)]
struct Row<'r> {
    suite: Suite,
    backend: Backend,
    size: Option<u64>,
    pages: Option<&'r str>,
    route: Route,
    threads: u32,
    devices: u32,
    live: u64,
    working_set: Option<u64>,
    phase: Phase,
    iova: Option<Iova>,
    runs: Option<u64>,
    count: usize,
    outliers: usize,
    min_ns: u64,
    p50_ns: u64,
    p50_low_ns: Option<f64>,
    p50_high_ns: Option<f64>,
    p90_ns: u64,
    p99_ns: Option<u64>,
    p99_9_ns: Option<u64>,
    max_ns: u64,
    per_page_ns: Option<f64>,
    bytes_per_second: Option<f64>,
}

impl<'r> Row<'r> {
    fn of(series: &'r Series) -> Self {
        let (key, summary) = (&series.key, &series.summary);
        Self {
            suite: key.suite,
            backend: key.backend,
            size: key.size,
            pages: key.pages.as_deref(),
            route: key.route,
            threads: key.threads,
            devices: key.devices,
            live: key.live,
            working_set: key.working_set,
            phase: key.phase,
            iova: series.iova,
            runs: series.runs,
            count: summary.count,
            outliers: summary.outliers,
            min_ns: summary.min,
            p50_ns: summary.p50,
            p50_low_ns: summary.interval.map(|interval| interval.low),
            p50_high_ns: summary.interval.map(|interval| interval.high),
            p90_ns: summary.p90,
            p99_ns: summary.p99,
            p99_9_ns: summary.p99_9,
            max_ns: summary.max,
            per_page_ns: series.per_page,
            bytes_per_second: series.rate,
        }
    }
}

/// Writing into memory cannot fail.
const WRITES: &str = "CSV is written in memory";

/// A header, and a line for each series: CSV (RFC 4180, with plain line ends). Times are nanoseconds, sizes bytes; what there is not is empty.
///
/// # Panics
/// Never, as it is written in memory.
#[must_use]
pub fn bench_csv(record: &Record) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for series in &record.series {
        writer.serialize(Row::of(series)).expect(WRITES);
    }
    let bytes = writer.into_inner().expect(WRITES);
    String::from_utf8(bytes).expect(WRITES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::example;

    #[test]
    fn each_series_is_a_line_below_the_header() {
        let record = example::record(0);
        let text = bench_csv(&record);
        let mut lines = text.lines();
        assert_eq!(
            lines.next().unwrap(),
            "suite,backend,size,pages,route,threads,devices,live,working_set,phase,iova,runs,count,outliers,min_ns,p50_ns,p50_low_ns,\
             p50_high_ns,p90_ns,p99_ns,p99_9_ns,max_ns,per_page_ns,bytes_per_second"
        );
        assert_eq!(lines.clone().count(), record.series.len());
        let series = &record.series[0];
        let first = lines.next().unwrap();
        assert!(
            first.starts_with("map,type1,4096,4K,address,1,1,0,,map,0x100000000,1,200,"),
            "{first}"
        );
        let cells: Vec<&str> = first.split(',').collect();
        assert_eq!(cells.len(), 24);
        assert_eq!(cells[15], series.summary.p50.to_string());
        assert_eq!((cells[19], cells[20], cells[23]), ("", "", ""));
        let space = text.lines().find(|line| line.contains(",space,")).unwrap();
        assert!(space.starts_with("open,iommufd,,,address,"), "{space}");
    }

    #[test]
    fn what_would_break_a_line_is_quoted() {
        let mut record = example::record(0);
        record.series.truncate(1);
        record.series[0].key.pages = Some("odd, \"pages\"".to_owned());
        let text = bench_csv(&record);
        assert!(
            text.contains(r#",4096,"odd, ""pages""",address,"#),
            "{text}"
        );
    }
}
