//! What a capture holds.

use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

use super::{Report, Style};
use crate::host::CaptureSummary;

/// What `capture` wrote.
#[derive(Debug, Serialize)]
pub struct CaptureReport {
    folder: String,
    devices: usize,
    /// Devices whose capabilities this user may not see.
    devices_hidden: usize,
    files: usize,
    links: usize,
    bytes: u64,
    /// What was read and not written, as it may be private.
    left_out: Vec<String>,
}

impl CaptureReport {
    /// From what was written to `folder`.
    #[must_use]
    pub fn new(
        folder: &Path,
        devices: usize,
        devices_hidden: usize,
        summary: CaptureSummary,
    ) -> Self {
        let left_out = summary.left_out.iter();
        Self {
            folder: folder.display().to_string(),
            devices,
            devices_hidden,
            files: summary.files,
            links: summary.links,
            bytes: summary.bytes,
            left_out: left_out.map(|path| path.display().to_string()).collect(),
        }
    }
}

impl Report for CaptureReport {
    const KIND: &'static str = "capture";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        writeln!(
            out,
            "{}: {} devices in {} files, {} links, {} bytes",
            style.heading(&self.folder),
            self.devices,
            self.files,
            self.links,
            self.bytes
        )?;
        for path in &self.left_out {
            writeln!(out, "  left out: {path}")?;
        }
        if self.devices_hidden > 0 {
            let words = format!(
                "the capabilities of {} devices are missing: run capture as root",
                self.devices_hidden
            );
            writeln!(out, "  {}", style.caution(&words))?;
        }
        writeln!(
            out,
            "Look through it, then pack it: tar -C {0} -cJf capture.tar.xz .\nTo look at it: iommu-tool --sysroot {0} list",
            self.folder
        )
    }
}
