//! What a check found.

use serde::Serialize;
use std::error::Error;
use std::fmt;

use crate::engine::EngineError;
use crate::iommu::{IommuError, IovaError};

/// The result of a check in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// What the check is to prove was seen.
    Pass,
    /// The opposite was seen, or the check could not be carried through.
    Fail,
    /// The check could not be done here; nothing is known.
    Skip,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Skip => "SKIP",
        })
    }
}

/// What a check found: the verdict, why, and what supports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// What was seen; the reason of a failure or a skip.
    pub detail: String,
    /// What supports it: bytes, lines of the kernel log.
    pub evidence: Vec<String>,
}

impl Finding {
    pub(super) fn pass(detail: impl Into<String>) -> Self {
        Self::new(Verdict::Pass, detail)
    }

    pub(super) fn fail(reason: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, reason)
    }

    pub(super) fn skip(reason: impl Into<String>) -> Self {
        Self::new(Verdict::Skip, reason)
    }

    fn new(verdict: Verdict, detail: impl Into<String>) -> Self {
        Self {
            verdict,
            detail: detail.into(),
            evidence: Vec::new(),
        }
    }

    pub(super) fn with_evidence(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(lines);
        self
    }
}

/// A finished check, as it is reported.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The check's stable name.
    pub id: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// What was seen; the reason of a failure or a skip.
    pub detail: String,
    /// What supports it: bytes, lines of the kernel log.
    pub evidence: Vec<String>,
    /// How many times the device read or wrote memory for this check.
    pub transfers: u64,
    /// How many bytes that was.
    pub bytes: u64,
    /// How long the check took.
    pub seconds: f64,
}

/// Why a check could not be carried through.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The kernel refused something.
    #[error(transparent)]
    Iommu(#[from] IommuError),
    /// The device's engine does not work.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no room in the IOVA space.
    #[error(transparent)]
    Iova(#[from] IovaError),
    /// The user asked for the end.
    #[error("interrupted")]
    Interrupted,
}

impl Problem {
    /// The error and its causes in one line.
    pub(super) fn in_words(&self) -> String {
        let causes = std::iter::successors(self.source(), |cause| (*cause).source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}
