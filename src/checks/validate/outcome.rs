//! What a check of `validate` found, and what all of them together say.

use serde::Serialize;

use super::super::doctor::{Diagnosis, Health};
use super::super::{Finding, Verdict};
use crate::types::{Backend, Bdf, ExitClass};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The result.
    pub verdict: Health,
    /// Whether the others are believed without it: what it is about is not there, or it was not asked for. For skips only.
    pub optional: bool,
    /// What was seen; the reason of anything but a pass.
    pub detail: String,
    /// What supports it.
    pub evidence: Vec<String>,
    /// What to do.
    pub remedy: Option<String>,
}

impl Judged {
    /// As it should be.
    pub fn pass(detail: impl Into<String>) -> Self {
        Self::new(Health::Pass, detail, None)
    }

    /// It works, with a drawback or a risk.
    pub fn warn(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Health::Warn, detail, Some(remedy.into()))
    }

    /// It does not work.
    pub fn fail(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Health::Fail, detail, Some(remedy.into()))
    }

    /// It could not be found out, so there is no verdict on the whole.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::new(Health::Skip, reason, None)
    }

    /// What it is about is not there: that leaves no doubt about what is.
    pub fn not_here(reason: impl Into<String>) -> Self {
        Self {
            optional: true,
            ..Self::skip(reason)
        }
    }

    fn new(verdict: Health, detail: impl Into<String>, remedy: Option<String>) -> Self {
        Self {
            verdict,
            optional: false,
            detail: detail.into(),
            evidence: Vec::new(),
            remedy,
        }
    }

    /// The same with what supports it.
    #[must_use]
    pub fn with_evidence(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(lines);
        self
    }
}

impl From<Diagnosis> for Judged {
    fn from(diagnosis: Diagnosis) -> Self {
        Self {
            verdict: diagnosis.health,
            // What `doctor` cannot tell matters where it shows: in the checks that follow.
            optional: diagnosis.health == Health::Skip,
            detail: diagnosis.evidence,
            evidence: Vec::new(),
            remedy: diagnosis.remedy,
        }
    }
}

impl From<Finding> for Judged {
    fn from(finding: Finding) -> Self {
        let (verdict, remedy) = match finding.verdict {
            Verdict::Pass => (Health::Pass, None),
            Verdict::Skip => (Health::Skip, None),
            Verdict::Fail => (
                Health::Fail,
                Some(
                    "do not hand this device out before the cause is known: look at the host first (iommu-tool doctor), then repeat \
                     this check alone (iommu-tool test)"
                        .to_owned(),
                ),
            ),
        };
        let class = finding
            .blocking
            .map(|blocking| format!("{blocking}: "))
            .unwrap_or_default();
        Self {
            verdict,
            optional: finding.optional,
            detail: format!("{class}{}", finding.detail),
            evidence: finding.evidence,
            remedy,
        }
    }
}

/// A finished check, as it is reported.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    /// The check's stable name.
    pub id: &'static str,
    /// The device; `None` for what is about the host.
    pub device: Option<Bdf>,
    /// The kernel interface, where it went through one.
    pub backend: Option<Backend>,
    /// What it found.
    #[serde(flatten)]
    pub judged: Judged,
    /// What the kernel logged meanwhile, where it did not pass.
    pub kernel_log: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

/// What all checks together say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fitness {
    /// Every check passed.
    Fit,
    /// What could be checked passed, something that matters could not be.
    Incomplete,
    /// The user ended it before a check failed.
    Interrupted,
    /// A check failed.
    Unfit,
}

impl Fitness {
    /// What the checks say.
    #[must_use]
    pub fn of(checks: &[Checked], interrupted: bool) -> Self {
        let any = |verdict| {
            let is = |check: &Checked| check.judged.verdict == verdict && !check.judged.optional;
            checks.iter().any(is)
        };
        if any(Health::Fail) {
            Self::Unfit
        } else if interrupted {
            Self::Interrupted
        } else if any(Health::Skip) || checks.is_empty() {
            Self::Incomplete
        } else {
            Self::Fit
        }
    }

    /// The exit status that this leads to.
    #[must_use]
    pub fn class(self) -> ExitClass {
        match self {
            Self::Fit => ExitClass::Done,
            Self::Incomplete => ExitClass::NoVerdict,
            Self::Interrupted | Self::Unfit => ExitClass::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_decides() {
        let checked = |judged| Checked {
            id: "vfs.count",
            device: None,
            backend: None,
            judged,
            kernel_log: vec![],
            seconds: 0.0,
        };
        let (pass, warn) = (Judged::pass(""), Judged::warn("", ""));
        let (skip, fail) = (Judged::skip(""), Judged::fail("", ""));
        let absent = Judged::not_here("");
        for (judged, interrupted, expected) in [
            (vec![&pass, &warn, &absent], false, Fitness::Fit),
            (vec![&pass, &skip], false, Fitness::Incomplete),
            (vec![], false, Fitness::Incomplete),
            (vec![&pass, &skip], true, Fitness::Interrupted),
            (vec![&skip, &fail], true, Fitness::Unfit),
        ] {
            let checks: Vec<Checked> = judged.into_iter().cloned().map(checked).collect();
            assert_eq!(Fitness::of(&checks, interrupted), expected, "{checks:?}");
        }
    }
}
