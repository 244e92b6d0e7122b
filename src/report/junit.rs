//! Results as JUnit XML, which continuous integration systems read.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

use super::DeviceReport;
use crate::checks::Verdict;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JunitResult<'r> {
    /// It passed.
    Passed,
    /// It failed, for this reason.
    Failed(&'r str),
    /// It could not be done, for this reason.
    Skipped(&'r str),
}

/// One check.
#[derive(Debug, Clone, Copy)]
pub(super) struct JunitCase<'r> {
    /// Its stable ID.
    pub id: &'r str,
    /// How it ended.
    pub result: JunitResult<'r>,
    /// How long it took.
    pub took: Duration,
    /// What there is to read beside the result: evidence, lines of the kernel's log, what to do.
    pub details: &'r str,
}

/// What `test` found, for a continuous integration system: a suite for each device, a case for each check.
///
/// # Errors
/// XML cannot be made of it; the texts have no such characters left.
pub fn test_junit(devices: &[DeviceReport]) -> Result<String, quick_junit::SerializeError> {
    let mut junit = Junit::new("test");
    for device in devices {
        let details: Vec<String> = device
            .checks
            .iter()
            .map(|check| check.finding.evidence.join("\n"))
            .collect();
        let cases = device.checks.iter().zip(&details);
        junit.add(
            &device.subject.bdf.to_string(),
            cases.map(|(check, details)| JunitCase {
                id: check.id,
                result: match check.finding.verdict {
                    Verdict::Pass => JunitResult::Passed,
                    Verdict::Fail => JunitResult::Failed(&check.finding.detail),
                    Verdict::Skip => JunitResult::Skipped(&check.finding.detail),
                },
                took: Duration::try_from_secs_f64(check.seconds).unwrap_or_default(),
                details,
            }),
        );
    }
    junit.finish()
}

/// Results in the making: a suite for each device.
#[derive(Debug)]
pub(super) struct Junit(Report);

impl Junit {
    /// No results yet, of the command that has this name.
    pub fn new(command: &str) -> Self {
        Self(Report::new(format!("iommu-tool {command}")))
    }

    /// The results of one device.
    pub fn add<'r>(&mut self, device: &str, cases: impl IntoIterator<Item = JunitCase<'r>>) {
        let mut suite = TestSuite::new(device);
        let mut whole = Duration::ZERO;
        for case in cases {
            let status = match case.result {
                JunitResult::Passed => TestCaseStatus::success(),
                JunitResult::Failed(reason) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(reason);
                    status.set_description(case.details);
                    status
                }
                JunitResult::Skipped(reason) => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(reason);
                    status
                }
            };
            let mut test = TestCase::new(case.id, status);
            test.set_classname(device);
            test.set_time(case.took);
            if !case.details.is_empty() {
                test.set_system_out(case.details);
            }
            suite.add_test_case(test);
            whole += case.took;
        }
        suite.set_time(whole);
        self.0.add_test_suite(suite);
    }

    /// The file's contents.
    ///
    /// # Errors
    /// XML cannot be made of it; the texts have no such characters left.
    pub fn finish(&self) -> Result<String, quick_junit::SerializeError> {
        self.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_is_a_case_of_its_device() {
        let case = |id, result, details| JunitCase {
            id,
            result,
            took: Duration::from_millis(1500),
            details,
        };
        let mut junit = Junit::new("validate");
        junit.add(
            "0000:01:00.0",
            [
                case("device.open", JunitResult::Passed, ""),
                case(
                    "device.reset",
                    JunitResult::Failed("FLR <hung>"),
                    "log: \u{1b}[1mtimeout\u{0}",
                ),
                case("loopback.sizes", JunitResult::Skipped("no engine"), ""),
            ],
        );
        junit.add("0000:01:00.1", []);

        let xml = junit.finish().unwrap();

        let read = Report::deserialize_from_str(&xml).unwrap();
        assert_eq!(
            (read.tests, read.failures, read.test_suites.len()),
            (3, 1, 2)
        );
        let suite = &read.test_suites[0];
        assert_eq!(suite.name.as_str(), "0000:01:00.0");
        assert!(matches!(
            suite.test_cases[2].status,
            TestCaseStatus::Skipped { .. }
        ));
        assert_eq!(suite.time, Some(Duration::from_millis(4500)));
        let failed = &suite.test_cases[1];
        let TestCaseStatus::NonSuccess {
            message,
            description,
            ..
        } = &failed.status
        else {
            panic!("{failed:?}")
        };
        assert_eq!(message.as_ref().unwrap().as_str(), "FLR <hung>");
        assert_eq!(description.as_ref().unwrap().as_str(), "log: timeout");
    }
}
