//! What `test` found, and the list of its checks.

use serde::Serialize;
use std::io::{self, Write};

use super::{Report, Style};
use crate::checks::{CHECKS, Check, Conclusion, Finding, Outcome, Verdict};
use crate::types::{Backend, Bdf, EngineLimits, GroupId, Level, TestScope};

/// What was tested, and with what.
#[derive(Debug, Clone, Serialize)]
pub struct Subject {
    /// The device.
    pub bdf: Bdf,
    /// Vendor and device ID, as `8086:10c9`.
    pub id: String,
    /// The device's name in the list of PCI IDs.
    pub name: Option<String>,
    /// The kernel interface that was used.
    pub backend: Backend,
    /// The engine that made the device do DMA.
    pub engine: Option<&'static str>,
    /// Whether this engine was ever run on a device, physical or emulated.
    pub engine_ran_on_hardware: Option<bool>,
    /// The device's IOMMU group.
    pub group: Option<GroupId>,
    /// How the host's own drivers of that group are translated, as `DMA-FQ` or `identity`.
    pub domain_type: Option<String>,
    /// Where the pseudo-random contents started from.
    pub seed: u64,
}

/// The checks of one device.
#[derive(Debug, Serialize)]
pub struct DeviceReport {
    /// What was tested.
    #[serde(flatten)]
    pub subject: Subject,
    /// Which checks were asked for, and what they might do.
    pub scope: TestScope,
    /// What all checks together say.
    pub conclusion: Conclusion,
    /// What the checks cannot prove with this device, whatever they found.
    pub limits: Vec<String>,
    /// What the engine can transfer; `None` if no engine drives the device.
    pub engine_limits: Option<EngineLimits>,
    /// How fast the device transferred; `None` if it never did.
    pub rate: Option<Rate>,
    /// Each check, in the order in which they ran.
    pub checks: Vec<Outcome>,
}

/// How fast a device transferred, one transfer after the other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Transfers a second, each from the command until the device was done.
    pub transfers_per_second: f64,
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// What the rate tells of: always the engine, never the IOMMU.
    pub limited_by: &'static str,
}

impl Rate {
    /// That of all checks together; `None` if there was no transfer.
    #[must_use]
    pub fn of(outcomes: &[Outcome]) -> Option<Self> {
        let seconds: f64 = outcomes.iter().map(|outcome| outcome.dma_seconds).sum();
        let sum = |count: fn(&Outcome) -> u64| outcomes.iter().map(count).sum::<u64>() as f64;
        (seconds > 0.0).then(|| Self {
            transfers_per_second: sum(|outcome| outcome.transfers) / seconds,
            bytes_per_second: sum(|outcome| outcome.bytes) / seconds,
            limited_by: "engine",
        })
    }
}

/// The result of `test`.
#[derive(Debug, Serialize)]
pub struct TestReport {
    /// One for each device.
    pub devices: Vec<DeviceReport>,
}

/// What `test` found inside the processes that hold the devices.
#[derive(Debug, Serialize)]
pub struct HeldTestReport {
    /// One for each device, as in [`TestReport`].
    pub devices: Vec<serde_json::Value>,
}

impl Report for HeldTestReport {
    const KIND: &'static str = TestReport::KIND;

    fn text(&self, _out: &mut dyn Write, _style: Style) -> io::Result<()> {
        // The holders sent it.
        Ok(())
    }
}

impl Report for TestReport {
    const KIND: &'static str = "test";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        for device in &self.devices {
            device.subject.text(out, style)?;
            for outcome in &device.checks {
                outcome_text(outcome, out, style)?;
            }
            device.conclusion_text(out, style)?;
        }
        Ok(())
    }
}

impl Subject {
    /// The line above the checks.
    ///
    /// # Errors
    /// What writing to `out` gave.
    pub fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let name = self
            .name
            .as_deref()
            .map(|name| format!(" {name}"))
            .unwrap_or_default();
        let group = self
            .group
            .map(|group| format!(", IOMMU group {group}"))
            .unwrap_or_default();
        let engine = match (self.engine, self.engine_ran_on_hardware) {
            (None, _) => "no engine for DMA".to_owned(),
            (Some(engine), Some(false)) => format!("engine {engine}, untested on hardware"),
            (Some(engine), _) => format!("engine {engine}"),
        };
        writeln!(
            out,
            "{} ({}{name}){group}, through {}, {engine}",
            style.heading(&self.bdf.to_string()),
            self.id,
            self.backend
        )
    }
}

/// The line of one check, and what supports a verdict below it.
///
/// # Errors
/// What writing to `out` gave.
pub fn outcome_text(outcome: &Outcome, out: &mut dyn Write, style: Style) -> io::Result<()> {
    let Finding {
        verdict,
        blocking,
        detail,
        evidence,
        optional: _,
    } = &outcome.finding;
    let word = verdict.to_string();
    let word = match verdict {
        Verdict::Pass => style.good(&word),
        Verdict::Fail => style.bad(&word),
        Verdict::Skip => style.caution(&word),
    };
    let class = blocking
        .map(|blocking| format!("{blocking}: "))
        .unwrap_or_default();
    writeln!(
        out,
        "  {word}  {:<width$}  {class}{detail}",
        outcome.id,
        width = id_width()
    )?;
    for line in evidence {
        writeln!(out, "        {}", style.faint(&format!("| {line}")))?;
    }
    Ok(())
}

fn id_width() -> usize {
    CHECKS.iter().map(|check| check.id.len()).max().unwrap_or(0)
}

impl DeviceReport {
    /// The line below the checks.
    ///
    /// # Errors
    /// What writing to `out` gave.
    pub fn conclusion_text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let count = |verdict| {
            self.checks
                .iter()
                .filter(|outcome| outcome.finding.verdict == verdict)
                .count()
        };
        let picked = !(self.scope.only.is_empty() && self.scope.skip.is_empty());
        let (word, says) = match self.conclusion {
            Conclusion::Passed if picked => (
                style.good("PASSED"),
                "the checks that were picked passed; what the others would prove is not known",
            ),
            Conclusion::Passed => (
                style.good("PASSED"),
                "the device reached exactly the memory that was mapped for it, and nothing else that was tried",
            ),
            Conclusion::Incomplete => (
                style.caution("INCOMPLETE"),
                "what could be checked passed; what was skipped is not known, so there is no verdict on this device",
            ),
            Conclusion::Interrupted => (
                style.caution("INTERRUPTED"),
                "the checks that are missing were not run; the device was reset and nothing is mapped",
            ),
            Conclusion::Failed => (
                style.bad("FAILED"),
                "do not give this device to a guest before the cause is known",
            ),
            Conclusion::NotTranslated => (
                style.bad("NOT TRANSLATED"),
                "this IOMMU lets the device reach memory by its physical address. Do not give any device of this host to a guest: \
                 it could read and overwrite everything. The run ended before the device could do harm",
            ),
        };
        let seconds: f64 = self.checks.iter().map(|outcome| outcome.seconds).sum();
        writeln!(
            out,
            "{word}: {says} ({} passed, {} failed, {} skipped, in {seconds:.1} s)",
            count(Verdict::Pass),
            count(Verdict::Fail),
            count(Verdict::Skip)
        )?;
        if let Some(rate) = &self.rate {
            let transfers: u64 = self.checks.iter().map(|outcome| outcome.transfers).sum();
            writeln!(
                out,
                "  {transfers} transfers by DMA, {:.0} a second, {} a second: as fast as the engine goes, no measure of the IOMMU",
                rate.transfers_per_second,
                amount(rate.bytes_per_second)
            )?;
        }
        for limit in &self.limits {
            writeln!(out, "  {} {limit}", style.caution("Not proved:"))?;
        }
        Ok(())
    }
}

/// Bytes as people read them: `85 B`, `1.5 KiB`, `48 MiB`.
fn amount(bytes: f64) -> String {
    let units = [("B", 1.0), ("KiB", 1024.0), ("MiB", 1048576.0)];
    let (unit, scale) = units
        .into_iter()
        .find(|(_, scale)| bytes / scale < 1000.0)
        .unwrap_or(("GiB", 1073741824.0));
    let value = bytes / scale;
    let digits = usize::from(value < 10.0 && scale > 1.0);
    format!("{value:.digits$} {unit}")
}

/// From which level on a check is done, to be put behind its name; nothing where each level does it.
pub(super) fn since(level: Level) -> &'static str {
    match level {
        Level::Quick => "",
        Level::Full => "  (from level full on)",
        Level::Soak => "  (level soak)",
    }
}

/// The checks and engines that there are, for `test --list`.
#[derive(Debug, Serialize)]
pub struct CheckList {
    checks: Vec<ListedCheck>,
    engines: Vec<ListedEngine>,
}

#[derive(Debug, Serialize)]
struct ListedCheck {
    id: &'static str,
    level: Level,
    title: &'static str,
    proves: &'static str,
}

/// An engine, as it is listed.
#[derive(Debug, Serialize)]
pub struct ListedEngine {
    /// Its name.
    pub name: &'static str,
    /// Which devices it drives.
    pub about: &'static str,
    /// What it can transfer, in words.
    pub limits: &'static str,
    /// Whether it was ever run on such a device, physical or emulated.
    pub ran_on_hardware: bool,
}

impl CheckList {
    /// All checks, and these engines.
    #[must_use]
    pub fn new(engines: Vec<ListedEngine>) -> Self {
        let check = |check: &Check| ListedCheck {
            id: check.id,
            level: check.level,
            title: check.title,
            proves: check.proves,
        };
        Self {
            checks: CHECKS.iter().map(check).collect(),
            engines,
        }
    }
}

impl Report for CheckList {
    const KIND: &'static str = "checks";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        for check in &self.checks {
            writeln!(out, "{}{}", style.heading(check.id), since(check.level))?;
            writeln!(out, "    does    {}", check.title)?;
            writeln!(out, "    proves  {}", check.proves)?;
        }
        writeln!(out, "\nEngines, which make a device do DMA:")?;
        for engine in &self.engines {
            let untested = match engine.ran_on_hardware {
                true => "",
                false => "; untested on hardware",
            };
            writeln!(out, "{}", style.heading(engine.name))?;
            writeln!(out, "    drives  {}{untested}", engine.about)?;
            writeln!(out, "    limits  {}", engine.limits)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{Blocking, End};

    fn outcome(id: &'static str, verdict: Verdict, blocking: Option<Blocking>) -> Outcome {
        Outcome {
            id,
            finding: Finding {
                verdict,
                blocking,
                detail: "what was seen".into(),
                evidence: vec!["a line of the log".into()],
                optional: false,
            },
            transfers: 2,
            bytes: 128,
            dma_seconds: 0.125,
            seconds: 0.25,
        }
    }

    fn report(checks: Vec<Outcome>, end: End) -> TestReport {
        TestReport {
            devices: vec![DeviceReport {
                subject: Subject {
                    bdf: "0000:00:03.0".parse().unwrap(),
                    id: "1234:11e8".into(),
                    name: None,
                    backend: Backend::Type1,
                    engine: Some("edu"),
                    engine_ran_on_hardware: Some(true),
                    group: Some(GroupId(3)),
                    domain_type: Some("DMA-FQ".into()),
                    seed: 7,
                },
                scope: TestScope::default(),
                conclusion: Conclusion::of(&checks, end),
                engine_limits: None,
                rate: Rate::of(&checks),
                limits: vec!["what its cache holds".into()],
                checks,
            }],
        }
    }

    fn text(report: &TestReport) -> String {
        let mut out = Vec::new();
        report.text(&mut out, Style::new(false)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_and_json_say_the_same() {
        let report = report(
            vec![
                outcome("mapping.round-trip", Verdict::Pass, None),
                outcome(
                    "translation.canary",
                    Verdict::Fail,
                    Some(Blocking::NotTranslated),
                ),
                outcome("loopback.sizes", Verdict::Skip, None),
            ],
            End::Complete,
        );

        assert_eq!(
            text(&report),
            "0000:00:03.0 (1234:11e8), IOMMU group 3, through type1, engine edu\n  \
             PASS  mapping.round-trip        what was seen\n        | a line of the log\n  \
             FAIL  translation.canary        NOT TRANSLATED: what was seen\n        | a line of the log\n  \
             SKIP  loopback.sizes            what was seen\n        | a line of the log\n\
             NOT TRANSLATED: this IOMMU lets the device reach memory by its physical address. Do not give any device of this host to a guest: \
             it could read and overwrite everything. The run ended before the device could do harm \
             (1 passed, 1 failed, 1 skipped, in 0.8 s)\n  \
             6 transfers by DMA, 16 a second, 1.0 KiB a second: as fast as the engine goes, no measure of the IOMMU\n  \
             Not proved: what its cache holds\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        let device = &json["devices"][0];
        assert_eq!(
            (&device["conclusion"], &device["engine"], &device["backend"]),
            (&"not-translated".into(), &"edu".into(), &"type1".into())
        );
        let canary = &device["checks"][1];
        assert_eq!(
            (&canary["id"], &canary["verdict"], &canary["blocking"]),
            (
                &"translation.canary".into(),
                &"fail".into(),
                &"not-translated".into()
            )
        );
    }

    #[test]
    fn checks_that_were_picked_prove_no_more_than_they_do() {
        let checks = || vec![outcome("loopback.sizes", Verdict::Pass, None)];
        let mut report = report(checks(), End::Complete);
        assert!(text(&report).contains("and nothing else that was tried"));
        report.devices[0].scope.only = vec!["loopback.sizes".into()];
        let text = text(&report);
        assert!(text.contains("checks that were picked passed"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["devices"][0]["scope"]["level"], "quick");
    }

    #[test]
    fn the_conclusion_follows_the_worst_check() {
        let conclusion = |verdicts: &[Verdict], end| {
            let checks = verdicts
                .iter()
                .map(|verdict| outcome("mapping.round-trip", *verdict, None));
            report(checks.collect(), end).devices[0].conclusion
        };
        use Verdict::{Fail, Pass, Skip};
        for (verdicts, end, expected, status) in [
            (&[Pass, Pass][..], End::Complete, Conclusion::Passed, 0),
            (&[Pass, Skip], End::Complete, Conclusion::Incomplete, 4),
            (&[Pass, Skip, Fail], End::Complete, Conclusion::Failed, 1),
            (&[Pass], End::Interrupted, Conclusion::Interrupted, 1),
            (&[Fail], End::Interrupted, Conclusion::Failed, 1),
        ] {
            let conclusion = conclusion(verdicts, end);
            assert_eq!(
                (conclusion, conclusion.class() as u8),
                (expected, status),
                "{verdicts:?}"
            );
        }
    }
}
