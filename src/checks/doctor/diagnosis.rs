//! What a check of `doctor` found.

use serde::Serialize;
use std::fmt;

/// The result of a check in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Pass,
    /// It could not be found out, or it does not matter here.
    Skip,
    /// It works, with a drawback or a risk.
    Warn,
    /// It does not work.
    Fail,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "PASS",
            Self::Skip => "SKIP",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        })
    }
}

/// What a check found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The result.
    pub health: Health,
    /// What was seen; the reason of a skip.
    pub evidence: String,
    /// What to do, as a command or a setting.
    pub remedy: Option<String>,
}

impl Diagnosis {
    pub(super) fn pass(evidence: impl Into<String>) -> Self {
        Self::new(Health::Pass, evidence, None)
    }

    pub(super) fn skip(reason: impl Into<String>) -> Self {
        Self::new(Health::Skip, reason, None)
    }

    pub(super) fn warn(evidence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Health::Warn, evidence, Some(remedy.into()))
    }

    pub(super) fn fail(evidence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Health::Fail, evidence, Some(remedy.into()))
    }

    fn new(health: Health, evidence: impl Into<String>, remedy: Option<String>) -> Self {
        Self {
            health,
            evidence: evidence.into(),
            remedy,
        }
    }
}
