//! The same for other programs: JUnit XML, metrics, a page.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::text::result;
use super::{ValidateReport, alike, each, name_of_all, word};
use crate::checks::doctor::Health;
use crate::checks::validate::{Checked, Fitness};
use crate::report::html::{Cell, Page, Tone};
use crate::report::junit::{Junit, JunitCase, JunitResult};
use crate::report::prometheus::Prometheus;

/// A suite for each device, one for the host, and a case for each check.
///
/// # Errors
/// XML cannot be made of it; the texts have no such characters left.
pub fn validate_junit(report: &ValidateReport) -> Result<String, quick_junit::SerializeError> {
    let mut junit = Junit::new("validate");
    for device in each(report.checks.iter().map(|check| check.device)) {
        let suite = device.map_or_else(|| "host".to_owned(), |bdf| bdf.to_string());
        let of = report.checks.iter().filter(|check| check.device == device);
        let texts: Vec<(&Checked, String, String)> = of
            .map(|check| (check, case_name(check), supporting(check)))
            .collect();
        let cases = texts.iter().map(|(check, name, details)| JunitCase {
            id: name,
            result: match check.judged.verdict {
                Health::Pass | Health::Warn => JunitResult::Passed,
                Health::Fail => JunitResult::Failed(&check.judged.detail),
                Health::Skip => JunitResult::Skipped(&check.judged.detail),
            },
            took: Duration::try_from_secs_f64(check.seconds).unwrap_or_default(),
            details,
        });
        junit.add(&suite, cases);
    }
    junit.finish()
}

fn case_name(check: &Checked) -> String {
    match check.backend {
        Some(backend) => format!("{} ({backend})", check.id),
        None => check.id.to_owned(),
    }
}

/// Evidence and the kernel's log, in lines.
fn seen(check: &Checked) -> Vec<String> {
    let log = check.kernel_log.iter();
    let log = log.map(|line| format!("kernel: {line}"));
    check.judged.evidence.iter().cloned().chain(log).collect()
}

/// The same, and what to do.
fn supporting(check: &Checked) -> String {
    let mut lines = seen(check);
    let remedy = check.judged.remedy.iter();
    lines.extend(remedy.map(|remedy| format!("do: {remedy}")));
    lines.join("\n")
}

fn tone_of(check: &Checked) -> Tone {
    match check.judged.verdict {
        Health::Pass => Tone::Good,
        Health::Fail => Tone::Bad,
        Health::Skip if check.judged.optional => Tone::Faint,
        Health::Warn | Health::Skip => Tone::Caution,
    }
}

/// Gauges: the verdict, how many checks ended how, each check that did not pass, and what mapping costs.
#[must_use]
pub fn validate_metrics(report: &ValidateReport) -> String {
    let devices: Vec<String> = report.devices.iter().map(|d| d.bdf.to_string()).collect();
    let device = devices.join(" ");
    let labels = || vec![("device", device.as_str())];
    let mut metrics = Prometheus::new();
    metrics.gauge(
        "validate_fit",
        "Whether every check of the last validation passed (1), or not (0).",
        [(
            labels(),
            f64::from(u8::from(report.verdict == Fitness::Fit)),
        )],
    );
    metrics.gauge(
        "validate_virtual_functions",
        "How many virtual functions were checked.",
        [(labels(), report.functions.len() as f64)],
    );
    metrics.gauge(
        "validate_duration_seconds",
        "How long the last validation took.",
        [(labels(), report.seconds)],
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    metrics.gauge(
        "validate_end_timestamp_seconds",
        "When the last validation ended, in seconds since 1970.",
        [(labels(), now.unwrap_or_default().as_secs_f64().floor())],
    );
    metrics.gauge(
        "validate_checks",
        "How many checks of the last validation ended so.",
        [
            ("passed", report.passed),
            ("warned", report.warned),
            ("failed", report.failed),
            ("skipped", report.skipped),
            ("absent", report.absent),
        ]
        .map(|(result, count)| {
            let mut labels = labels();
            labels.push(("result", result));
            (labels, count as f64)
        }),
    );
    let failed: Vec<(&Checked, String, String)> = report
        .checks
        .iter()
        .filter(|check| check.judged.verdict == Health::Fail)
        .map(|check| {
            let device = check.device.map_or_else(String::new, |bdf| bdf.to_string());
            let backend = check.backend.map_or_else(String::new, |b| b.to_string());
            (check, device, backend)
        })
        .collect();
    let mut samples: Vec<(Vec<(&str, &str)>, f64)> = Vec::new();
    for (check, device, backend) in &failed {
        let labels = vec![
            ("device", device.as_str()),
            ("check", check.id),
            ("backend", backend.as_str()),
        ];
        // The same check fails once more in the end where something was not given back; a metric has each set of labels once.
        if samples.iter().all(|(known, _)| *known != labels) {
            samples.push((labels, 1.0));
        }
    }
    metrics.gauge(
        "validate_check_failed",
        "A check of the last validation that failed.",
        samples,
    );
    let functions: Vec<String> = report
        .map_latencies
        .iter()
        .map(|l| l.bdf.to_string())
        .collect();
    metrics.gauge(
        "validate_map_latency_ratio",
        "Mapping and unmapping 64 KiB for a function, as a multiple of the first function's.",
        report
            .map_latencies
            .iter()
            .zip(&functions)
            .map(|(latency, bdf)| (vec![("device", bdf.as_str())], latency.ratio)),
    );
    metrics.finish()
}

/// A page: the verdict, what is wrong, all checks.
#[must_use]
pub fn validate_page(report: &ValidateReport) -> String {
    let devices: Vec<String> = report.devices.iter().map(|d| d.bdf.to_string()).collect();
    let mut page = Page::new(format!("Fit to be handed out? {}", devices.join(", ")));
    let tone = match report.verdict {
        Fitness::Fit => Tone::Good,
        Fitness::Unfit => Tone::Bad,
        Fitness::Incomplete | Fitness::Interrupted => Tone::Caution,
    };
    page.verdict(&format!("{}: {}", word(report.verdict), report.says), tone);
    let rows = report.devices.iter().map(|device| {
        vec![
            Cell::text(device.bdf.to_string()),
            Cell::text(device.id.clone()),
            Cell::text(device.name.clone().unwrap_or_default()),
            Cell::text(device.driver.clone().unwrap_or_default()),
        ]
    });
    page.table(
        &["device", "IDs", "name", "driver"],
        &rows.collect::<Vec<_>>(),
    );
    let matters = |check: &&Checked| check.judged.verdict != Health::Pass && !check.judged.optional;
    let wrong = alike(report.checks.iter().filter(matters));
    if !wrong.is_empty() {
        page.heading("What did not pass");
        for same in wrong {
            let check = same[0];
            page.minor_heading(&name_of_all(&same));
            let text = format!("{}: {}", check.judged.verdict, check.judged.detail);
            page.paragraph(&text, tone_of(check));
            let seen = seen(check);
            if !seen.is_empty() {
                page.verbatim(&seen.join("\n"));
            }
            if let Some(remedy) = &check.judged.remedy {
                page.paragraph(&format!("What to do: {remedy}"), Tone::Plain);
            }
        }
    }
    if !report.map_latencies.is_empty() {
        page.heading("What mapping costs for each function");
        let rows = report.map_latencies.iter().map(|latency| {
            vec![
                Cell::text(latency.bdf.to_string()),
                Cell::number(format!("{:.1} us", latency.map_ns as f64 / 1e3)),
                Cell::number(format!("{:.1} us", latency.unmap_ns as f64 / 1e3)),
                Cell::number(format!("{:.2}", latency.ratio)),
            ]
        });
        page.table(
            &["function", "map 64 KiB", "unmap", "times the first"],
            &rows.collect::<Vec<_>>(),
        );
    }
    page.heading("All checks");
    let rows = report.checks.iter().map(|check| {
        vec![
            Cell::toned(result(check), tone_of(check)),
            Cell::text(check.id),
            Cell::text(check.device.map_or_else(String::new, |bdf| bdf.to_string())),
            Cell::text(check.backend.map_or_else(String::new, |b| b.to_string())),
            Cell::text(check.judged.detail.clone()),
            Cell::number(format!("{:.1} s", check.seconds)),
        ]
    });
    page.table(
        &["result", "check", "device", "through", "seen", "time"],
        &rows.collect::<Vec<_>>(),
    );
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::{mixed, report};
    use super::*;

    #[test]
    fn each_device_is_a_suite_and_each_failure_has_its_reason() {
        let xml = validate_junit(&report(mixed(), false)).unwrap();
        let read = quick_junit::Report::deserialize_from_str(&xml).unwrap();
        assert_eq!((read.tests, read.failures), (5, 1));
        let names: Vec<&str> = read.test_suites.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["0000:02:10.0", "0000:02:10.2"]);
        assert!(xml.contains("function.reset (type1)") && xml.contains("do: update its firmware"));
    }

    #[test]
    fn metrics_name_what_failed_once() {
        let mut checks = mixed();
        checks.push(checks[3].clone());
        let text = validate_metrics(&report(checks, false));
        for line in [
            "iommu_tool_validate_fit{device=\"0000:02:00.0\"} 0",
            "iommu_tool_validate_checks{device=\"0000:02:00.0\",result=\"passed\"} 3",
        ] {
            assert!(text.lines().any(|known| known == line), "{text}");
        }
        assert_eq!(text.matches("function.reset").count(), 1, "{text}");
    }

    #[test]
    fn the_page_has_the_verdict_and_every_check() {
        let html = validate_page(&report(mixed(), false));
        for words in ["UNFIT", "timed out", "function.open", "update its firmware"] {
            assert!(html.contains(words), "{words}: {html}");
        }
    }
}
