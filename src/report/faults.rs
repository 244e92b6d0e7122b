//! Faults: what devices tried and an IOMMU blocked.

use serde::Serialize;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use super::{Report, Style};
use crate::host::{Fault, FaultInterrupts, IommuKind, Overflow, Suppressed};
use crate::types::{Bdf, IovaRange};

/// Faults that IOMMUs told of by interrupts, and the log does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unlogged {
    /// The kind of IOMMU.
    pub iommu: IommuKind,
    /// How often IOMMUs of this kind interrupted about faults, of any device.
    pub interrupts: u64,
    /// How many faults the log tells of for them, of any device.
    pub logged: u64,
    /// The least number of faults that are not in the log: one interrupt can tell of several.
    pub at_least: u64,
}

impl Unlogged {
    /// From what was counted; `None` if the log may tell of all faults.
    #[must_use]
    pub fn new(iommu: IommuKind, interrupts: u64, logged: u64) -> Option<Self> {
        let at_least = interrupts.checked_sub(logged).filter(|more| *more > 0)?;
        Some(Self {
            iommu,
            interrupts,
            logged,
            at_least,
        })
    }
}

/// A fault, and what is mapped next to its address now.
#[derive(Debug, Serialize)]
pub struct PlacedFault {
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
    /// What is mapped there, if it was asked for and the kernel shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearby: Option<Nearby>,
}

/// The mapping of a device that is nearest to an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Nearby {
    /// Nothing at all is mapped for the device.
    Nothing,
    /// This is.
    Mapped {
        /// The IOVAs: those of a mapping that a process of this program holds, else of a page table, without a gap.
        range: IovaRange,
        /// What the user calls the mapping.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Whether the device may read them.
        readable: bool,
        /// Whether the device may write them.
        writable: bool,
        /// Where the address is.
        place: Place,
    },
}

/// Where an address is, as seen from a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Place {
    /// In it.
    Inside,
    /// Past its end; the first address there is 0 bytes past it.
    Past {
        /// How far.
        bytes: u64,
    },
    /// Before its beginning.
    Before {
        /// How far.
        bytes: u64,
    },
}

/// The faults in the kernel's log.
#[derive(Debug, Serialize)]
pub struct FaultsReport {
    /// Faults of this device only.
    pub device: Option<Bdf>,
    /// The faults, oldest first.
    pub faults: Vec<PlacedFault>,
    /// What the kernel left out of the log.
    pub suppressed: Vec<Suppressed>,
    /// When IOMMUs lost faults.
    pub overflows: Vec<Overflow>,
    /// How many records of the log, about anything, were overwritten before they could be read.
    pub records_lost: u64,
    /// The interrupts of each IOMMU about faults, since the host started.
    pub interrupts: Vec<FaultInterrupts>,
    /// What the interrupts tell of, and the log does not.
    pub unlogged: Vec<Unlogged>,
    /// IOMMUs of which it is not known how the log words their faults: of these nothing is told here.
    pub unread: Vec<String>,
}

impl Report for FaultsReport {
    const KIND: &'static str = "faults";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let mut rows: Vec<(Duration, &dyn Row)> = Vec::new();
        rows.extend(
            self.faults
                .iter()
                .map(|row| (row.fault.time, row as &dyn Row)),
        );
        rows.extend(
            self.suppressed
                .iter()
                .map(|row| (row.time, row as &dyn Row)),
        );
        rows.extend(self.overflows.iter().map(|row| (row.time, row as &dyn Row)));
        rows.sort_by_key(|(time, _)| *time);
        if !rows.is_empty() {
            write_heading(out, style)?;
        }
        for (_, row) in rows {
            row.write(out, style)?;
        }
        let of = self
            .device
            .map_or(String::new(), |device| format!(" of {device}"));
        match self.faults.len() {
            0 if !self.unread.is_empty() => writeln!(out, "No fault{of} was found.")?,
            0 => writeln!(out, "The kernel's log tells of no fault{of}.")?,
            1 => writeln!(out, "1 fault{of}.")?,
            count => writeln!(out, "{count} faults{of}.")?,
        }
        if !self.unread.is_empty() {
            let text = format!(
                "How the kernel's log words faults of {} is not known here: there may be some (dmesg | grep -i iommu).",
                self.unread.join(", ")
            );
            writeln!(out, "{}", style.caution(&text))?;
        }
        if self.records_lost > 0 {
            let text = format!(
                "The oldest {} records of the log were overwritten: there may have been faults among them.",
                self.records_lost
            );
            writeln!(out, "{}", style.caution(&text))?;
        }
        self.unlogged
            .iter()
            .try_for_each(|unlogged| unlogged.write(out, style))
    }
}

/// A line that follows another, as something happens.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Followed {
    /// A fault.
    Fault(PlacedFault),
    /// Messages that the kernel left out.
    Suppressed(Suppressed),
    /// An IOMMU lost faults.
    Overflow(Overflow),
    /// Interrupts since the last look that the log does not explain.
    Unlogged(Unlogged),
    /// Records of the log that were overwritten before they could be read.
    Lost {
        /// How many since the last look.
        records_lost: u64,
    },
}

impl Followed {
    /// The `kind` field of its JSON form.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fault(_) => "fault",
            Self::Suppressed(_) => "suppressed",
            Self::Overflow(_) => "overflow",
            Self::Unlogged(_) => "unlogged",
            Self::Lost { .. } => "lost",
        }
    }

    /// Writes the form for people.
    ///
    /// # Errors
    /// What writing to `out` gave.
    pub fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        match self {
            Self::Fault(row) => row.write(out, style),
            Self::Suppressed(row) => row.write(out, style),
            Self::Overflow(row) => row.write(out, style),
            Self::Unlogged(row) => row.write(out, style),
            Self::Lost { records_lost } => note(
                out,
                style,
                "",
                &format!(
                    "{records_lost} records of the log were overwritten before they were read"
                ),
            ),
        }
    }
}

/// Writes the headings of the columns.
pub(super) fn write_heading(out: &mut dyn Write, style: Style) -> io::Result<()> {
    let heading = format!(
        "{:>13}  {:<12}  {:<9}  {:<18}  BLOCKED BECAUSE",
        "SECONDS", "DEVICE", "TRIED TO", "AT IOVA"
    );
    writeln!(out, "{}", style.heading(&heading))
}

/// Something with a place in the table.
trait Row {
    fn write(&self, out: &mut dyn Write, style: Style) -> io::Result<()>;
}

impl Row for Fault {
    fn write(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let device = match (self.device, self.requester) {
            (Some(device), _) => device.to_string(),
            (None, Some(requester)) => requester.to_string(),
            (None, None) => "?".to_owned(),
        };
        let access = self.access.map_or("?".to_owned(), |a| a.to_string());
        let address = self.address.map_or("-".to_owned(), |a| a.to_string());
        write!(
            out,
            "{}  {device:<12}  {}  {address:<18}  ",
            stamp(self.time),
            style.bad(&format!("{access:<9}")),
        )?;
        if let Some(code) = self.reason.code {
            write!(out, "{code:#04x} ")?;
        }
        write!(out, "{}", self.reason.words)?;
        if let Some(pasid) = self.pasid {
            write!(out, ", PASID {pasid:#x}")?;
        }
        match (self.device, self.requester) {
            (Some(_), Some(requester)) => writeln!(out, " ({requester})"),
            _ => writeln!(out),
        }
    }
}

impl Row for PlacedFault {
    fn write(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        self.fault.write(out, style)?;
        match &self.nearby {
            Some(nearby) => {
                let text = format!("{:>15}{nearby}", "");
                writeln!(out, "{}", style.faint(&text))
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Nearby {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Mapped {
            range,
            name,
            readable,
            writable,
            place,
        } = self
        else {
            return f.write_str("nothing is mapped for the device now");
        };
        match place {
            Place::Inside => f.write_str("inside")?,
            Place::Past { bytes: 0 } => f.write_str("just past the end of")?,
            Place::Past { bytes } => write!(f, "{bytes:#x} bytes past the end of")?,
            Place::Before { bytes } => write!(f, "{bytes:#x} bytes before")?,
        }
        let access = match (readable, writable) {
            (true, true) => "read and write",
            (true, false) => "read only",
            (false, true) => "write only",
            (false, false) => "no access",
        };
        match name {
            Some(name) => write!(f, " mapping '{name}' at {range} ({access})"),
            None => write!(f, " {range}, which is mapped now ({access})"),
        }
    }
}

impl Row for Suppressed {
    fn write(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let text = format!(
            "the kernel left out {} messages before this one (rate limit of {})",
            self.messages, self.function
        );
        note(out, style, &stamp(self.time), &text)
    }
}

impl Row for Overflow {
    fn write(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let text = format!(
            "the {} lost faults: they came faster than the kernel took them",
            self.iommu
        );
        note(out, style, &stamp(self.time), &text)
    }
}

impl Row for Unlogged {
    fn write(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let times = match self.interrupts {
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        let text = format!(
            "{} interrupted {times} about faults, and the log tells of {}: at least {} more happened.",
            self.iommu, self.logged, self.at_least
        );
        writeln!(out, "{}", style.caution(&text))
    }
}

fn note(out: &mut dyn Write, style: Style, stamp: &str, text: &str) -> io::Result<()> {
    writeln!(
        out,
        "{stamp:>13}  {}",
        style.caution(&format!("... {text}"))
    )
}

/// The time since the host started, as in the kernel's log.
fn stamp(time: Duration) -> String {
    format!("{:>6}.{:06}", time.as_secs(), time.subsec_micros())
}
