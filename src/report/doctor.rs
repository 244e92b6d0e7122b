//! Whether the host is ready, check by check.

use serde::Serialize;
use std::io::{self, Write};

use super::{Report, Style};
use crate::checks::doctor::{Examined, Health};
use crate::types::{Bdf, Size};

/// What `doctor` found.
#[derive(Debug, Serialize)]
pub struct DoctorReport {
    /// Whether nothing failed; with `--strict`, and nothing was warned of.
    ready: bool,
    strict: bool,
    /// How much memory is to be mapped, in bytes.
    memory: Option<u64>,
    passed: usize,
    warned: usize,
    failed: usize,
    skipped: usize,
    checks: Vec<Outcome>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    id: &'static str,
    title: &'static str,
    device: Option<Bdf>,
    verdict: Health,
    evidence: String,
    remedy: Option<String>,
}

impl DoctorReport {
    /// From what the checks found.
    #[must_use]
    pub fn new(examined: Vec<Examined>, memory: Option<Size>, strict: bool) -> Self {
        let count = |health| {
            examined
                .iter()
                .filter(|one| one.diagnosis.health == health)
                .count()
        };
        let (warned, failed) = (count(Health::Warn), count(Health::Fail));
        Self {
            ready: failed == 0 && !(strict && warned > 0),
            strict,
            memory: memory.map(Size::bytes),
            passed: count(Health::Pass),
            warned,
            failed,
            skipped: count(Health::Skip),
            checks: examined.into_iter().map(Outcome::from).collect(),
        }
    }

    /// Whether the host is ready.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.ready
    }
}

impl From<Examined> for Outcome {
    fn from(examined: Examined) -> Self {
        Self {
            id: examined.id,
            title: examined.title,
            device: examined.device,
            verdict: examined.diagnosis.health,
            evidence: examined.diagnosis.evidence,
            remedy: examined.diagnosis.remedy,
        }
    }
}

impl Report for DoctorReport {
    const KIND: &'static str = "doctor";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let width = self.checks.iter().map(|check| check.id.len()).max();
        let width = width.unwrap_or(0);
        let mut device = None;
        for check in &self.checks {
            if check.device != device {
                device = check.device;
                let heading = device.map_or_else(String::new, |bdf| bdf.to_string());
                writeln!(out, "\n{}", style.heading(&heading))?;
            }
            let verdict = check.verdict.to_string();
            let painted = match check.verdict {
                Health::Pass => style.good(&verdict),
                Health::Warn => style.caution(&verdict),
                Health::Fail => style.bad(&verdict),
                Health::Skip => style.faint(&verdict),
            };
            writeln!(out, "{painted}  {:<width$}  {}", check.id, check.evidence)?;
            if let Some(remedy) = &check.remedy {
                writeln!(
                    out,
                    "      {:<width$}  {} {remedy}",
                    "",
                    style.heading("do:")
                )?;
            }
        }
        writeln!(
            out,
            "\n{}: {} passed, {} warned, {} failed, {} skipped",
            if self.ready {
                style.good("ready")
            } else {
                style.bad("not ready")
            },
            self.passed,
            self.warned,
            self.failed,
            self.skipped
        )
    }
}
