//! Results turned into what a person or a script reads: text or one JSON document on standard output.

mod bench;
mod bench_csv;
mod bench_page;
mod binding;
mod capture;
mod checks;
mod compare;
mod date;
mod dma;
mod doctor;
mod duration;
mod error;
mod faults;
mod group;
mod hand_over;
mod hexdump;
mod html;
mod junit;
mod list;
mod mapping;
mod progress;
mod prometheus;
mod recover;
mod series;
mod show;
mod sparkline;
mod style;
mod tree;
mod validate;
mod vfs;
mod walk;

pub use bench::row_name;
pub use bench_csv::bench_csv;
pub use bench_page::bench_page;
pub use binding::{BindingReport, PlanReport};
pub use capture::CaptureReport;
pub use checks::{
    CheckList, DeviceReport, HeldTestReport, ListedEngine, Rate, Subject, TestReport, outcome_text,
};
pub use compare::CompareReport;
pub use dma::{DmaReport, DmaVerdict};
pub use doctor::DoctorReport;
pub use error::ErrorReport;
pub use faults::{FaultsReport, Followed, Nearby, Place, PlacedFault, Unlogged};
pub use hand_over::{HandOver, Handed};
pub use hexdump::HexDump;
pub use junit::test_junit;
pub use list::ListReport;
pub use mapping::{BytesReport, MapReport, MapsReport, UnmapReport};
pub use progress::Progress;
pub use recover::RecoverReport;
pub use show::{OpenedDevice, OpenedInterrupts, OpenedRegion, ShowReport};
pub use style::{Painted, Style};
pub use tree::{Placed, TreeReport};
pub use validate::{
    ValidateList, ValidateReport, Validated, ValidatedDevice, validate_junit, validate_metrics,
    validate_page,
};
pub use vfs::VfsReport;
pub use walk::{CpuPiece, CpuView, Missing, PhysicalAddress, Source, WalkReport};

use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// The version of the JSON documents. It grows when a field is removed or changes its meaning, not when one is added.
pub const SCHEMA_VERSION: u32 = 1;

/// A result that can be printed.
pub trait Report: Serialize {
    /// What kind of document it is, the `kind` field of the JSON form.
    const KIND: &'static str;

    /// Writes the form for people.
    ///
    /// # Errors
    /// What writing to `out` gave.
    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()>;
}

/// Where and how results are printed.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    style: Style,
    progress: bool,
}

#[derive(Serialize)]
struct Document<'r, R> {
    schema_version: u32,
    kind: &'static str,
    #[serde(flatten)]
    report: &'r R,
}

/// Prints on standard output. A reader that wants no more of it, as `head`, is no error: the result stands, and so does the exit status.
///
/// # Errors
/// What writing to standard output gave, but for a pipe that its reader closed.
pub fn print(text: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match text(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

impl Output {
    /// Output as the user asked for: `color` is `None` to decide by the terminal; `quiet` turns progress off.
    #[must_use]
    pub fn new(json: bool, color: Option<bool>, quiet: bool) -> Self {
        let by_terminal = || {
            io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        };
        Self {
            json,
            style: Style::new(!json && color.unwrap_or_else(by_terminal)),
            progress: !quiet && io::stderr().is_terminal(),
        }
    }

    /// Whether standard output gets one JSON document.
    #[must_use]
    pub fn json(self) -> bool {
        self.json
    }

    /// The colours of text on standard output.
    #[must_use]
    pub fn style(self) -> Style {
        self.style
    }

    /// Whether progress may be drawn on standard error.
    #[must_use]
    pub fn progress(self) -> bool {
        self.progress
    }

    /// Prints a result on standard output, in the form that was asked for.
    ///
    /// # Errors
    /// What [`print()`] gave.
    pub fn emit<R: Report>(self, report: &R) -> io::Result<()> {
        print(|out| {
            if self.json {
                let document = Document {
                    schema_version: SCHEMA_VERSION,
                    kind: R::KIND,
                    report,
                };
                serde_json::to_writer_pretty(&mut *out, &document)?;
                writeln!(out)
            } else {
                report.text(out, self.style)
            }
        })
    }

    /// Prints the headings above results that come one by one; JSON has none.
    ///
    /// # Errors
    /// What writing to standard output gave.
    pub fn emit_follow_heading(self) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        faults::write_heading(&mut io::stdout().lock(), self.style)
    }

    /// Prints one of many results that come as something happens: one line of text, or one JSON document on one line.
    ///
    /// # Errors
    /// What writing to standard output gave.
    pub fn emit_line(self, line: &Followed) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        if self.json {
            let document = Document {
                schema_version: SCHEMA_VERSION,
                kind: line.kind(),
                report: line,
            };
            serde_json::to_writer(&mut out, &document)?;
            writeln!(out)?;
        } else {
            line.text(&mut out, self.style)?;
        }
        out.flush()
    }
}
