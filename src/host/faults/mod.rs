//! Faults: DMA and interrupt requests that an IOMMU blocked, as the kernel's log tells of them.
//!
//! Each driver words them in its own way, and differently over the years; here they become one kind of record.

mod amd;
mod interrupts;
mod smmu;
mod trace;
mod virtio;
mod vtd;

pub use interrupts::FaultInterrupts;
pub use trace::FaultTrace;

use serde::Serialize;
use std::fmt;
use std::time::Duration;

use super::{Host, IommuKind, KernelRecord};
use crate::types::{Bdf, Iova};

/// What the device tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// To read memory.
    Read,
    /// To write memory.
    Write,
    /// To fetch instructions.
    Execute,
    /// To send an interrupt.
    Interrupt,
}

/// The number by which an IOMMU knows a device, where the log gives this in place of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "id")]
pub enum Requester {
    /// Endpoint ID of virtio-iommu (Virtio 1.2, section 5.13).
    Endpoint(u32),
    /// Stream ID of an SMMU (Arm IHI 0070, section 3.2).
    Stream(u32),
}

/// Why a request was blocked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The number that the IOMMU gave: VT-d's fault reason, the flags of AMD-Vi's event, SMMUv3's event number.
    pub code: Option<u32>,
    /// What it means.
    pub words: String,
}

/// Who told of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultSource {
    /// The kernel's log.
    KernelLog,
    /// A trace event.
    TraceEvents,
}

/// A request that an IOMMU blocked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Who told of it.
    pub source: FaultSource,
    /// When it was logged, since the host started.
    #[serde(serialize_with = "seconds", rename = "seconds_since_start")]
    pub time: Duration,
    /// The kind of IOMMU.
    pub iommu: IommuKind,
    /// The device that sent the request, if the log names it.
    pub device: Option<Bdf>,
    /// The device's number, if the log gives that only.
    pub requester: Option<Requester>,
    /// What the device tried, if the log says so.
    pub access: Option<Access>,
    /// Where; some IOMMUs report the page only. For an interrupt there is none.
    pub address: Option<Iova>,
    /// The process address space ID that the request carried.
    pub pasid: Option<u32>,
    /// Why it was blocked.
    pub reason: Reason,
    /// The number of the log's record; 0 for a trace event.
    pub sequence: u64,
    /// The line of the log or of the trace.
    pub line: String,
}

/// What a record of the kernel's log says about faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// A fault.
    Fault(Fault),
    /// Messages that the kernel left out, because there were too many.
    Suppressed(Suppressed),
    /// The IOMMU itself lost faults, because they came faster than the driver took them.
    Overflow(Overflow),
    /// VT-d's interrupt told of something that is no fault: an error of its queues (VT-d 11.4.7.1, Fault Status Register).
    OtherStatus,
}

/// Messages that the kernel left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suppressed {
    /// When it was said, since the host started.
    #[serde(serialize_with = "seconds", rename = "seconds_since_start")]
    pub time: Duration,
    /// The kernel's function that would have logged.
    pub function: String,
    /// How many messages; one fault can be several.
    pub messages: u64,
}

/// Faults that an IOMMU lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overflow {
    /// When it was said, since the host started.
    #[serde(serialize_with = "seconds", rename = "seconds_since_start")]
    pub time: Duration,
    /// The kind of IOMMU.
    pub iommu: IommuKind,
    /// The line of the log.
    pub line: String,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // The log counts microseconds, so that this prints no more digits.
    serializer.serialize_f64(time.as_micros() as f64 / 1e6)
}

/// Reads faults out of the records of the kernel's log, which come in order.
#[derive(Debug, Default)]
pub struct FaultReader {
    smmu: smmu::Assembler,
}

impl FaultReader {
    /// What a record says; a fault may be told by several records, and comes with the last that is needed.
    pub fn read(&mut self, record: &KernelRecord) -> Option<LogEvent> {
        vtd::parse(record)
            .or_else(|| amd::parse(record))
            .or_else(|| virtio::parse(record).map(LogEvent::Fault))
            .or_else(|| self.smmu.read(record))
            .or_else(|| suppressed(record).map(LogEvent::Suppressed))
    }

    /// The fault that waits for more records, when no more come.
    pub fn finish(&mut self) -> Option<LogEvent> {
        self.smmu.finish().map(LogEvent::Fault)
    }
}

/// The functions of the kernel that log faults, by the beginning of their names.
const LOGGING_FUNCTIONS: &[&str] = &[
    "dmar_fault",
    "amd_iommu_",
    "iommu_print_event",
    "arm_smmu_",
    "viommu_",
];

/// `dmar_fault: 35 callbacks suppressed` (lib/ratelimit.c).
fn suppressed(record: &KernelRecord) -> Option<Suppressed> {
    let (function, rest) = record.message.split_once(": ")?;
    let messages = rest.strip_suffix(" callbacks suppressed")?.parse().ok()?;
    LOGGING_FUNCTIONS
        .iter()
        .any(|known| function.starts_with(known))
        .then(|| Suppressed {
            time: record.time,
            function: function.to_owned(),
            messages,
        })
}

impl Fault {
    /// A fault of this record, of which nothing more is known yet.
    fn new(record: &KernelRecord, iommu: IommuKind, reason: Reason) -> Self {
        Self {
            source: FaultSource::KernelLog,
            time: record.time,
            iommu,
            device: None,
            requester: None,
            access: None,
            address: None,
            pasid: None,
            reason,
            sequence: record.sequence,
            line: record.message.clone(),
        }
    }

    /// Fills in the device that a number stands for, if the host has it.
    ///
    /// Numbers are the PCI requester ID (bus, device, function), with the domain above it, unless the firmware maps them in
    /// another way (the VIOT and IORT tables); a number that leads to no device of this host is left as it is.
    pub fn locate(&mut self, host: &Host) {
        let Some(Requester::Endpoint(id) | Requester::Stream(id)) = self.requester else {
            return;
        };
        if self.device.is_none() {
            self.device = by_requester_id(id).filter(|bdf| host.device(*bdf).is_ok());
        }
    }

    /// Whether another observer may have told of the same request.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        let of = |fault: &Self| (fault.device, fault.access, fault.address);
        of(self) == of(other)
    }
}

/// The address behind a PCI requester ID: bus in bits 15:8, device in 7:3, function in 2:0.
fn by_requester_id(id: u32) -> Option<Bdf> {
    let [.., bus, devfn] = id.to_be_bytes();
    Bdf::new(id >> 16, bus, devfn >> 3, devfn & 7)
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
            Self::Interrupt => "interrupt",
        })
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(id) => write!(f, "endpoint {id}"),
            Self::Stream(id) => write!(f, "stream {id:#x}"),
        }
    }
}

/// The value of hexadecimal digits, with or without `0x`, at the beginning of a text.
fn leading_hex(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let end = digits
        .find(|c: char| !c.is_ascii_hexdigit())
        .unwrap_or(digits.len());
    u64::from_str_radix(&digits[..end], 16).ok()
}

/// What follows `name` in a text, as `0x5000` for `address=` in `domain=0x0001 address=0x5000`.
fn after<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.find(name).map(|at| &text[at + name.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with this message, as the tests of each format need it.
    pub(super) fn record(message: &str) -> KernelRecord {
        KernelRecord {
            sequence: 7,
            level: 3,
            time: Duration::from_millis(1500),
            message: message.to_owned(),
            device: None,
        }
    }

    #[test]
    fn messages_left_out_are_noticed_if_they_were_about_faults() {
        let mut reader = FaultReader::default();
        for (message, count) in [
            ("dmar_fault: 35 callbacks suppressed", Some(35)),
            (
                "amd_iommu_report_page_fault: 230 callbacks suppressed",
                Some(230),
            ),
            ("viommu_fault_handler: 22 callbacks suppressed", Some(22)),
            ("arm_smmu_evtq_thread: 1 callbacks suppressed", Some(1)),
            ("net_ratelimit: 12 callbacks suppressed", None),
            ("dmar_fault: many callbacks suppressed", None),
            ("dmar_fault", None),
        ] {
            let found = match reader.read(&record(message)) {
                Some(LogEvent::Suppressed(suppressed)) => Some(suppressed.messages),
                None => None,
                other => panic!("{message}: {other:?}"),
            };
            assert_eq!(found, count, "{message}");
        }
    }

    #[test]
    fn requester_ids_are_addresses() {
        assert_eq!(by_requester_id(24), "00:03.0".parse().ok());
        assert_eq!(by_requester_id(0x1_02ff), "0001:02:1f.7".parse().ok());
    }

    #[test]
    fn damaged_lines_break_nothing() {
        let whole = [
            "DMAR: [DMA Write PASID 0x1] Request device [0000:00:03.0] fault addr 0x5000 [fault reason 0x05] words",
            "DMAR: [INTR-REMAP] Request device [00:1f.7] fault index 2c [fault reason 38] words",
            "DMAR: DRHD: handling fault status reg 3",
            "nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d address=0x5000 flags=0x0020]",
            "AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:01:00.0 domain=0x000d address=0x5000 flags=0x0020]",
            "virtio_iommu virtio0: page fault from EP 24 at 0x5000000 [RW]",
            "arm-smmu-v3 9050000.smmuv3: event 0x10 received:",
            "arm-smmu-v3 9050000.smmuv3: \t0x0000004000000010",
            "arm-smmu-v3 9050000.smmuv3: event: F_TRANSLATION client: 0000:00:08.0 sid: 0x40 ssid: 0x0 iova: 0x101000 ipa: 0x0",
            "dmar_fault: 35 callbacks suppressed",
        ];
        let mut reader = FaultReader::default();
        for message in whole {
            for end in 0..message.len() {
                reader.read(&record(&message[..end]));
                reader.read(&record(&message[end..]));
                let mut odd = message.to_owned();
                odd.insert_str(end, "\u{fffd}99999999999999999999");
                reader.read(&record(&odd));
            }
        }
        reader.finish();
    }
}
