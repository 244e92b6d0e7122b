//! The verdict first, then what is wrong, then all checks in a line for each name.

use std::io::{self, Write};

use super::{ValidateReport, alike, each, name_of_all, word};
use crate::checks::doctor::Health;
use crate::checks::validate::{Checked, Fitness};
use crate::report::{Painted, Report, Style};

impl Report for ValidateReport {
    const KIND: &'static str = "validate";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let verdict = word(self.verdict);
        let verdict = match self.verdict {
            Fitness::Fit => style.good(verdict),
            Fitness::Unfit => style.bad(verdict),
            Fitness::Incomplete | Fitness::Interrupted => style.caution(verdict),
        };
        writeln!(out, "{verdict}: {}", self.says)?;
        writeln!(
            out,
            "{} passed, {} warned, {} failed, {} skipped, {} not applicable; level {}, {:.0} s",
            self.passed,
            self.warned,
            self.failed,
            self.skipped,
            self.absent,
            self.level,
            self.seconds
        )?;
        for health in [Health::Fail, Health::Warn, Health::Skip] {
            let matters =
                |check: &&Checked| check.judged.verdict == health && !check.judged.optional;
            for same in alike(self.checks.iter().filter(matters)) {
                detail(&same, out, style)?;
            }
        }
        writeln!(out)?;
        let ids = each(self.checks.iter().map(|check| check.id));
        let width = ids.iter().map(|id| id.len()).max().unwrap_or(0);
        for id in ids {
            let of: Vec<&Checked> = self.checks.iter().filter(|check| check.id == id).collect();
            line(id, &of, width, out, style)?;
        }
        for latency in &self.map_latencies {
            writeln!(
                out,
                "      {}  map {:.1} us, unmap {:.1} us, {:.2} times the first",
                latency.bdf,
                latency.map_ns as f64 / 1e3,
                latency.unmap_ns as f64 / 1e3,
                latency.ratio
            )?;
        }
        Ok(())
    }
}

fn painted(verdict: Health, text: &str, style: Style) -> Painted<'_> {
    match verdict {
        Health::Pass => style.good(text),
        Health::Warn | Health::Skip => style.caution(text),
        Health::Fail => style.bad(text),
    }
}

/// A check that did not pass, with all that supports it.
fn detail(checks: &[&Checked], out: &mut dyn Write, style: Style) -> io::Result<()> {
    let Some(check) = checks.first() else {
        return Ok(());
    };
    let verdict = check.judged.verdict.to_string();
    writeln!(
        out,
        "\n{}  {}: {}",
        painted(check.judged.verdict, &verdict, style),
        name_of_all(checks),
        check.judged.detail
    )?;
    for line in &check.judged.evidence {
        writeln!(out, "      {}", style.faint(&format!("| {line}")))?;
    }
    for line in &check.kernel_log {
        writeln!(out, "      {}", style.faint(&format!("kernel: {line}")))?;
    }
    if let Some(remedy) = &check.judged.remedy {
        writeln!(out, "      {} {remedy}", style.heading("do:"))?;
    }
    Ok(())
}

/// All checks of a name in a line: the worst of them, or what the first one saw.
fn line(
    id: &str,
    checks: &[&Checked],
    width: usize,
    out: &mut dyn Write,
    style: Style,
) -> io::Result<()> {
    let severity = |check: &&&Checked| match check.judged.verdict {
        Health::Fail => 3,
        Health::Warn => 2,
        Health::Skip if !check.judged.optional => 1,
        Health::Skip | Health::Pass => 0,
    };
    // The first of the worst, and a pass rather than what is not there.
    let mut worst: Option<&&Checked> = None;
    for check in checks {
        let better = |known: &&Checked| {
            severity(&check) > severity(&known)
                || (severity(&known) == 0
                    && known.judged.verdict == Health::Skip
                    && check.judged.verdict == Health::Pass)
        };
        if worst.is_none_or(better) {
            worst = Some(check);
        }
    }
    let Some(worst) = worst else {
        return Ok(());
    };
    let verdict = worst.judged.verdict;
    let word = format!("{:<4}", result(worst));
    let same = checks
        .iter()
        .filter(|check| check.judged.verdict == verdict)
        .count();
    let times = match (same, checks.len()) {
        (1, 1) => String::new(),
        (1, all) => format!("1 of {all}: "),
        (same, all) if same == all => format!("{all} times, the first: "),
        (same, all) => format!("{same} of {all}, the first: "),
    };
    writeln!(
        out,
        "{}  {id:<width$}  {times}{}",
        painted(verdict, &word, style),
        worst.judged.detail
    )
}

/// What a check ended with, in a word. A skip that leaves no doubt has one of its own.
pub(super) fn result(check: &Checked) -> String {
    match check.judged.verdict {
        Health::Skip if check.judged.optional => "N/A".to_owned(),
        verdict => verdict.to_string(),
    }
}

#[cfg(test)]
pub(in crate::report::validate) mod tests {
    use super::super::{Validated, ValidatedDevice};
    use super::*;
    use crate::checks::validate::Judged;
    use crate::types::{Backend, Bdf, Level};

    fn checked(id: &'static str, device: &str, judged: Judged) -> Checked {
        Checked {
            id,
            device: Some(device.parse().unwrap()),
            backend: Some(Backend::Type1),
            judged,
            kernel_log: vec![],
            seconds: 0.5,
        }
    }

    pub(in crate::report::validate) fn report(
        checks: Vec<Checked>,
        interrupted: bool,
    ) -> ValidateReport {
        let bdf: Bdf = "02:00.0".parse().unwrap();
        ValidateReport::new(Validated {
            devices: vec![ValidatedDevice {
                bdf,
                id: "8086:10c9".into(),
                name: None,
                driver: Some("igb".into()),
                engine: Some("igb"),
            }],
            level: Level::Full,
            functions: true,
            latencies: vec![],
            checks,
            interrupted,
            seconds: 12.3,
        })
    }

    pub(in crate::report::validate) fn mixed() -> Vec<Checked> {
        let mut failed = checked(
            "function.reset",
            "02:10.2",
            Judged::fail("it does not answer", "update its firmware")
                .with_evidence(["class reads ones".to_owned()]),
        );
        failed.kernel_log = vec!["vfio-pci 0000:02:10.2: timed out".into()];
        vec![
            checked("function.open", "02:10.0", Judged::pass("opened")),
            checked("function.open", "02:10.2", Judged::pass("opened")),
            checked("function.reset", "02:10.0", Judged::pass("reset")),
            failed,
            checked(
                "loopback.huge",
                "02:10.0",
                Judged::not_here("no huge pages"),
            ),
        ]
    }

    fn text(report: &ValidateReport) -> String {
        let mut out = Vec::new();
        report.text(&mut out, Style::new(false)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_verdict_comes_first_and_failures_with_all_that_supports_them() {
        let report = report(mixed(), false);
        assert_eq!(
            text(&report),
            "UNFIT: do not hand out 0000:02:00.0 with 2 virtual functions: function.reset of 0000:02:10.2 through type1: it does not answer\n\
             3 passed, 0 warned, 1 failed, 0 skipped, 1 not applicable; level full, 12 s\n\
             \n\
             FAIL  function.reset of 0000:02:10.2 through type1: it does not answer\n      \
             | class reads ones\n      \
             kernel: vfio-pci 0000:02:10.2: timed out\n      \
             do: update its firmware\n\
             \n\
             PASS  function.open   2 times, the first: opened\n\
             FAIL  function.reset  1 of 2: it does not answer\n\
             N/A   loopback.huge   no huge pages\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            (
                &json["verdict"],
                &json["failed"],
                &json["checks"][3]["remedy"]
            ),
            (&"unfit".into(), &1.into(), &"update its firmware".into())
        );
    }

    #[test]
    fn what_fails_alike_is_said_once() {
        let failed = |device: &str| {
            let why = format!("cannot open 0000:{device}");
            checked("function.open", device, Judged::fail(why, "end it"))
        };
        let text = text(&report(vec![failed("02:10.0"), failed("02:10.2")], false));
        assert_eq!(text.matches("do: end it").count(), 1, "{text}");
        assert!(
            text.contains("FAIL  function.open of 0000:02:10.0, 0000:02:10.2 through type1: "),
            "{text}"
        );
    }

    #[test]
    fn what_passed_through_is_said() {
        let mut checks = mixed();
        checks.remove(3);
        let report = report(checks, false);
        let text = text(&report);
        let verdict = "FIT: 0000:02:00.0 with 2 virtual functions can be handed out: every check passed, through type1\n";
        assert!(text.starts_with(verdict), "{text}");
        assert_eq!(report.class() as u8, 0);
    }
}
