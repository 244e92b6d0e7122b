//! A transfer by the device itself.

use serde::Serialize;
use std::io::{self, Write};

use super::{Report, Style};
use crate::session::Bytes;
use crate::session::protocol::{Extent, Transferred};
use crate::types::{Bdf, Iova};

/// What became of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DmaVerdict {
    /// The bytes are equal on both sides.
    Arrived,
    /// They are not, and the kernel logged a fault.
    Blocked,
    /// They are not, or cannot be compared, and the kernel logged nothing.
    NotArrived,
}

/// What `dma` did.
#[derive(Debug, Serialize)]
pub struct DmaReport {
    device: Bdf,
    direction: &'static str,
    iova: Iova,
    size: u64,
    engine: Option<String>,
    verdict: DmaVerdict,
    mapped: Extent,
    /// What the kernel logged about faults meanwhile.
    faults: Vec<String>,
    /// Why the kernel's log is not known.
    no_log: Option<String>,
    /// What the device read, if it arrived.
    data: Option<Bytes>,
}

impl DmaReport {
    /// A transfer of which nothing is done yet.
    #[must_use]
    pub fn new(device: Bdf, is_write: bool, iova: Iova, size: u64) -> Self {
        Self {
            device,
            direction: if is_write { "write" } else { "read" },
            iova,
            size,
            engine: None,
            verdict: DmaVerdict::Arrived,
            mapped: Extent::Whole,
            faults: Vec::new(),
            no_log: None,
            data: None,
        }
    }

    /// Takes in the next part of the transfer.
    pub fn add(&mut self, part: Transferred) {
        self.engine = Some(part.engine);
        self.mapped = part.mapped;
        if part.arrived != Some(true) {
            self.verdict = DmaVerdict::NotArrived;
            // What the device delivers without having read it may be anything.
            self.data = None;
        } else if let Some(data) = part.data {
            self.data.get_or_insert_default().0.extend(data.0);
        }
    }

    /// Whether there is reason to transfer more.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.verdict == DmaVerdict::Arrived
    }

    /// What became of it.
    #[must_use]
    pub fn verdict(&self) -> DmaVerdict {
        self.verdict
    }

    /// What the device read.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        self.data.as_ref().map(|data| data.0.as_slice())
    }

    /// Takes in what the kernel logged about faults, or why that is not known.
    pub fn note_faults(&mut self, lines: Result<Vec<String>, String>) {
        match lines {
            Ok(lines) => self.faults = lines,
            Err(why) => self.no_log = Some(why),
        }
        if !self.faults.is_empty() {
            self.verdict = DmaVerdict::Blocked;
        }
    }
}

impl Report for DmaReport {
    const KIND: &'static str = "dma";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let (size, iova) = (self.size, self.iova);
        let unit = if size == 1 { "byte" } else { "bytes" };
        let place = match self.mapped {
            Extent::Whole => "where memory is mapped for it",
            Extent::Forbidden => "where memory is mapped for it with other access",
            Extent::Part => "where memory is mapped for a part of it only",
            Extent::Nothing => "where nothing is mapped",
        };
        let result = match self.verdict {
            DmaVerdict::Arrived => style.good("ARRIVED"),
            DmaVerdict::Blocked => style.bad("BLOCKED"),
            DmaVerdict::NotArrived => style.bad("NOT ARRIVED"),
        };
        writeln!(
            out,
            "{result}: {} was told to {} {size} {unit} at {iova}, {place}",
            self.device, self.direction
        )?;
        for line in &self.faults {
            writeln!(out, "  {}", style.faint(line))?;
        }
        match (self.verdict, &self.no_log) {
            (DmaVerdict::NotArrived, Some(why)) => {
                writeln!(out, "  the kernel's log cannot be read: {why}")
            }
            (DmaVerdict::NotArrived, None) => writeln!(out, "  the kernel logged no fault"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transferred(mapped: Extent, arrived: Option<bool>, data: &[u8]) -> Transferred {
        Transferred {
            engine: "edu".to_owned(),
            mapped,
            arrived,
            data: Some(Bytes(data.to_vec())),
        }
    }

    fn read(parts: &[Transferred]) -> DmaReport {
        let bdf = "0000:00:03.0".parse().unwrap();
        let mut report = DmaReport::new(bdf, false, Iova(0x40000), 4);
        parts.iter().for_each(|part| report.add(part.clone()));
        report
    }

    fn text(report: &DmaReport) -> String {
        let mut out = Vec::new();
        report.text(&mut out, Style::new(false)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_arrived_is_put_together() {
        let part = |data| transferred(Extent::Whole, Some(true), data);
        let report = read(&[part(b"ab"), part(b"cd")]);
        assert_eq!(report.verdict(), DmaVerdict::Arrived);
        assert_eq!(report.data(), Some(&b"abcd"[..]));
    }

    #[test]
    fn nothing_is_shown_of_what_did_not_arrive() {
        let mut report = read(&[
            transferred(Extent::Whole, Some(true), b"ab"),
            transferred(Extent::Nothing, None, b"\0\0"),
        ]);
        assert!(!report.goes_on());
        assert_eq!(report.data(), None);
        report.note_faults(Ok(Vec::new()));
        assert_eq!(
            text(&report),
            "NOT ARRIVED: 0000:00:03.0 was told to read 4 bytes at 0x40000, where nothing is mapped\n  the kernel logged no fault\n"
        );
        report.note_faults(Ok(vec!["DMAR: fault".to_owned()]));
        assert_eq!(report.verdict(), DmaVerdict::Blocked);
        assert!(text(&report).ends_with("nothing is mapped\n  DMAR: fault\n"));
    }

    #[test]
    fn other_bytes_than_memory_holds_did_not_arrive() {
        let report = read(&[transferred(Extent::Whole, Some(false), b"ab")]);
        assert_eq!(report.verdict(), DmaVerdict::NotArrived);
    }
}
