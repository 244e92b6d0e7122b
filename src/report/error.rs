//! An error with its causes.

use serde::Serialize;
use std::fmt;
use std::io::{self, Write};

use super::{Report, Style};
use crate::binding::Refusal;
use crate::types::ExitStatus;

/// An error that ended a command: for people on standard error, for scripts with `--json` on standard output.
#[derive(Debug, Serialize)]
pub struct ErrorReport {
    error: String,
    causes: Vec<String>,
    exit_status: u8,
    /// Why it was refused; missing if it was not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<Refusal>,
}

impl ErrorReport {
    /// From an error and its causes, outermost first.
    pub fn new<'e>(
        mut chain: impl Iterator<Item = &'e (dyn std::error::Error + 'static)>,
        status: ExitStatus,
    ) -> Self {
        Self {
            error: chain.next().map(ToString::to_string).unwrap_or_default(),
            causes: chain.map(ToString::to_string).collect(),
            exit_status: status.0,
            reasons: Vec::new(),
        }
    }

    /// With the reasons of a refusal.
    #[must_use]
    pub fn with_reasons(self, reasons: Vec<Refusal>) -> Self {
        Self { reasons, ..self }
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "iommu-tool: {}", self.error)?;
        self.causes
            .iter()
            .try_for_each(|cause| writeln!(f, "  because: {cause}"))
    }
}

impl Report for ErrorReport {
    const KIND: &'static str = "error";

    fn text(&self, out: &mut dyn Write, _style: Style) -> io::Result<()> {
        write!(out, "{self}")
    }
}
