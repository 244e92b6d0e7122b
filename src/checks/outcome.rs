//! What a check found, and what all of them together say.

use serde::Serialize;
use std::error::Error;
use std::fmt;

use super::End;
use crate::device::DeviceError;
use crate::engine::EngineError;
use crate::iommu::{IommuError, IovaError};
use crate::types::{ExitClass, Iova};

/// The result of a check in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
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

/// What became of DMA that the IOMMU has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blocking {
    /// It was stopped, and the kernel's log names the device and the address.
    BlockedAndReported,
    /// It was stopped, and the kernel was told of faults, but its log does not name this device and address.
    BlockedAndCounted,
    /// It was stopped, and nobody was told of it.
    BlockedUnreported,
    /// It reached memory.
    NotBlocked,
    /// Addresses are not translated at all.
    NotTranslated,
}

impl fmt::Display for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BlockedAndReported => "blocked and reported",
            Self::BlockedAndCounted => "blocked and counted",
            Self::BlockedUnreported => "blocked, unreported",
            Self::NotBlocked => "NOT BLOCKED",
            Self::NotTranslated => "NOT TRANSLATED",
        })
    }
}

/// What a check found: the verdict, why, and what supports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// What became of DMA that had to be stopped; `None` where the check does none such.
    pub blocking: Option<Blocking>,
    /// What was seen; the reason of a failure or a skip.
    pub detail: String,
    /// What supports it: bytes, lines of the kernel log.
    pub evidence: Vec<String>,
    /// Whether the others are believed without it: what it is about is not there. For skips only.
    pub optional: bool,
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

    /// A skip of what is not there: it leaves no doubt about what is.
    pub(super) fn not_here(reason: impl Into<String>) -> Self {
        Self {
            optional: true,
            ..Self::skip(reason)
        }
    }

    fn new(verdict: Verdict, detail: impl Into<String>) -> Self {
        Self {
            verdict,
            blocking: None,
            detail: detail.into(),
            evidence: Vec::new(),
            optional: false,
        }
    }

    pub(super) fn classed(self, blocking: Blocking) -> Self {
        Self {
            blocking: Some(blocking),
            ..self
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
    /// What it found.
    #[serde(flatten)]
    pub finding: Finding,
    /// How many times the device read or wrote memory for this check.
    pub transfers: u64,
    /// How many bytes that was.
    pub bytes: u64,
    /// How long that took, from the commands until the device was done.
    pub dma_seconds: f64,
    /// How long the check took.
    pub seconds: f64,
}

/// What all checks of a device together say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// Every check passed.
    Passed,
    /// A check could not be done: no verdict.
    Incomplete,
    /// The user ended the run before a check failed.
    Interrupted,
    /// A check failed.
    Failed,
    /// The IOMMU does not translate what the device sends.
    NotTranslated,
}

impl Conclusion {
    /// What the checks say.
    #[must_use]
    pub fn of(outcomes: &[Outcome], end: End) -> Self {
        let any = |verdict| {
            outcomes
                .iter()
                .any(|outcome| outcome.finding.verdict == verdict && !outcome.finding.optional)
        };
        let is_untranslated =
            |outcome: &Outcome| outcome.finding.blocking == Some(Blocking::NotTranslated);
        if outcomes.iter().any(is_untranslated) {
            Self::NotTranslated
        } else if any(Verdict::Fail) {
            Self::Failed
        } else if end == End::Interrupted {
            Self::Interrupted
        } else if any(Verdict::Skip) {
            Self::Incomplete
        } else {
            Self::Passed
        }
    }

    /// The exit status that this leads to.
    #[must_use]
    pub fn class(self) -> ExitClass {
        match self {
            Self::Passed => ExitClass::Done,
            Self::Incomplete => ExitClass::NoVerdict,
            Self::Interrupted | Self::Failed | Self::NotTranslated => ExitClass::Failed,
        }
    }
}

/// Why a check could not be carried through.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The kernel refused something.
    #[error(transparent)]
    Iommu(#[from] IommuError),
    /// The device does not do what every PCI device does.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device's engine does not work.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no room in the IOVA space.
    #[error(transparent)]
    Iova(#[from] IovaError),
    /// There is no room where the user wants it.
    #[error("the test mappings do not fit at {lowest} or above")]
    NoRoom {
        /// The lowest IOVA that the user wants.
        lowest: Iova,
        /// What is in the way.
        source: IovaError,
    },
    /// The user asked for the end.
    #[error("interrupted")]
    Interrupted,
}

impl Problem {
    /// The exit status that this leads to where it comes before the first check.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::Iommu(error) => error.class(),
            Self::Device(error) => error.class(),
            Self::Engine(error) => error.class(),
            Self::NoRoom { .. } => ExitClass::Usage,
            Self::Iova(_) | Self::Interrupted => ExitClass::Failed,
        }
    }

    /// The error and its causes in one line.
    pub(super) fn in_words(&self) -> String {
        let causes = std::iter::successors(self.source(), |cause| (*cause).source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}
