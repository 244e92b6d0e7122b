//! Faults: DMA and interrupt requests that an IOMMU blocked, as the kernel's log tells of them.
//!
//! Each driver words them in its own way, and differently over the years; here they become one kind of record.

mod amd;
mod interrupts;
mod smmu;
mod smmu_v2;
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
    /// Bus, device and function, from kernels that leave out the segment (VT-d until Linux 6.12, AMD-Vi until 5.19).
    RoutingId(u16),
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
    /// The IOMMU among whose devices the one of this number is, by its name in the log; `None` if the log does not say, or if the kernel
    /// looked for the device itself.
    #[serde(skip)]
    pub unit: Option<String>,
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

impl LogEvent {
    /// The same with the device that a fault's number stands for, if the host has one and only one that it can be.
    #[must_use]
    pub fn located(mut self, host: &Host) -> Self {
        if let Self::Fault(fault) = &mut self {
            fault.locate(host);
        }
        self
    }
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
            .or_else(|| smmu_v2::parse(record).map(LogEvent::Fault))
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
    "nvidia_smmu_",
    "qcom_smmu_",
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
            unit: None,
            access: None,
            address: None,
            pasid: None,
            reason,
            sequence: record.sequence,
            line: record.message.clone(),
        }
    }

    /// Takes over how the log names a device: `0000:01:00.0`, or without the segment `01:00.0`. `None` if it is no address.
    fn name_device(&mut self, text: &str) -> Option<()> {
        let bdf: Bdf = text.parse().ok()?;
        if text.matches(':').count() == 2 {
            self.device = Some(bdf);
        } else {
            self.requester = Some(Requester::RoutingId(bdf.routing_id()));
        }
        Some(())
    }

    /// Fills in the device that a number stands for, if the host has one and only one that it can be.
    ///
    /// The lower half of a number is the PCI routing ID (bus, device, function), unless the firmware maps it in another way (the VIOT and IORT
    /// tables). Which segment is meant is told by the IOMMU that logged it: the device must be one of those that it translates for.
    fn locate(&mut self, host: &Host) {
        let Some(requester) = self.requester.filter(|_| self.device.is_none()) else {
            return;
        };
        let is_known = self.unit.is_some() || matches!(requester, Requester::RoutingId(_));
        if !is_known {
            return;
        }
        let fits = |bdf: &Bdf| {
            // Domains of more than 16 bits are no segments: Intel VMD sends its devices' requests by its own ID.
            let is_numbered = bdf.routing_id() == requester.routing_id() && bdf.domain() <= 0xffff;
            let is_behind = |unit: &String| host.is_translated_by(*bdf, unit);
            is_numbered && self.unit.as_ref().is_none_or(is_behind)
        };
        let addresses = host.addresses().unwrap_or_default();
        let found: Vec<Bdf> = addresses.into_iter().filter(fits).collect();
        self.device = match (found.as_slice(), requester) {
            ([one], _) => Some(*one),
            // Of a virtio-iommu, the upper half is the segment (`viot_pci_dev_iommu_init` of drivers/acpi/viot.c).
            (several, Requester::Endpoint(id)) => {
                several.iter().copied().find(|bdf| bdf.domain() == id >> 16)
            }
            _ => None,
        };
        // That number was the address already.
        if matches!(requester, Requester::RoutingId(_)) && self.device.is_some() {
            self.requester = None;
        }
    }

    /// Whether another observer may have told of the same request.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        let of = |fault: &Self| (fault.device, fault.access, fault.address);
        of(self) == of(other)
    }
}

impl Requester {
    /// The bus, device and function that it stands for, if the firmware does not map it in another way.
    fn routing_id(self) -> u16 {
        match self {
            // The lower half.
            Self::Endpoint(id) | Self::Stream(id) => id as u16,
            Self::RoutingId(id) => id,
        }
    }
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
            Self::RoutingId(id) => {
                let [bus, rest] = id.to_be_bytes();
                write!(f, "{bus:02x}:{:02x}.{:x}", rest >> 3, rest & 7)
            }
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
    use std::fs;
    use std::os::unix::fs::symlink;

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
            ("arm_smmu_context_fault: 83 callbacks suppressed", Some(83)),
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

    /// A host with these devices, each behind an IOMMU.
    fn host(devices: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        for (bdf, unit) in devices {
            let folder = root.path().join("sys/bus/pci/devices").join(bdf);
            fs::create_dir_all(&folder).unwrap();
            let link = format!("../../../devices/platform/{unit}/iommu/x");
            symlink(link, folder.join("iommu")).unwrap();
        }
        let host = Host::at(root.path());
        (root, host)
    }

    fn located(message: &str, host: &Host) -> (Option<String>, Option<Requester>) {
        let mut reader = FaultReader::default();
        let read = reader.read(&record(message)).or_else(|| reader.finish());
        let Some(LogEvent::Fault(mut fault)) = read else {
            panic!("{message}: {read:?}");
        };
        fault.locate(host);
        (fault.device.map(|bdf| bdf.to_string()), fault.requester)
    }

    #[test]
    fn a_number_is_looked_for_among_the_devices_of_the_iommu_that_logged_it() {
        let (_root, host) = host(&[
            ("0000:01:00.0", "arm-smmu.0.auto"),
            ("0001:01:00.0", "arm-smmu.1.auto"),
            ("0002:01:00.0", "arm-smmu.2.auto"),
            ("0003:01:00.0", "arm-smmu.2.auto"),
            ("0003:02:00.0", "virtio1"),
            ("0004:02:00.0", "virtio1"),
        ]);
        let stream = |unit: &str, id: u32| {
            let message = format!(
                "arm-smmu {unit}: Unhandled context fault: fsr=0x402, iova=0xff3cf000, fsynr=0x300003, cbfrsynra={id:#x}, cb=10"
            );
            located(&message, &host)
        };
        for (unit, device) in [
            ("arm-smmu.0.auto", Some("0000:01:00.0")),
            ("arm-smmu.1.auto", Some("0001:01:00.0")),
            // It may be either of two; it translates for none of that number.
            ("arm-smmu.2.auto", None),
            ("arm-smmu.3.auto", None),
        ] {
            let expected = (device.map(str::to_owned), Some(Requester::Stream(0x100)));
            assert_eq!(stream(unit, 0x100), expected, "{unit}");
        }
        assert_eq!(stream("arm-smmu.1.auto", 0x108).0, None);
        let message = format!(
            "virtio_iommu virtio1: page fault from EP {} at 0x1000 [R]",
            0x4_0200
        );
        let (device, _) = located(&message, &host);
        assert_eq!(device.as_deref(), Some("0004:02:00.0"));
    }

    #[test]
    fn a_client_that_the_kernel_names_is_not_taken_for_another_device() {
        let (_root, host) = host(&[("0000:00:08.0", "9050000.smmuv3")]);
        let message = "arm-smmu-v3 9050000.smmuv3: event: F_TRANSLATION client: 1c00000.dma sid: 0x40 ssid: 0x0 iova: 0x1000 ipa: 0x0";
        let expected = (None, Some(Requester::Stream(0x40)));
        assert_eq!(located(message, &host), expected);
    }

    #[test]
    fn an_address_without_its_segment_is_completed_if_only_one_device_has_it() {
        let (_root, host) = host(&[
            ("0000:01:00.0", "dmar0"),
            ("0001:01:00.0", "dmar1"),
            ("0001:02:00.0", "dmar1"),
            ("10000:02:00.0", "dmar0"),
        ]);
        for (address, device, requester) in [
            ("02:00.0", Some("0001:02:00.0"), None),
            ("01:00.0", None, Some(Requester::RoutingId(0x100))),
            ("03:00.0", None, Some(Requester::RoutingId(0x300))),
            ("0002:01:00.0", Some("0002:01:00.0"), None),
        ] {
            for message in [
                format!(
                    "DMAR: [DMA Read] Request device [{address}] fault addr bdf00000 [fault reason 06] PTE Read access is not set"
                ),
                format!(
                    "AMD-Vi: Event logged [IO_PAGE_FAULT device={address} domain=0x000d address=0x1000 flags=0x0020]"
                ),
            ] {
                let expected = (device.map(str::to_owned), requester);
                assert_eq!(located(&message, &host), expected, "{message}");
            }
        }
        assert_eq!(Requester::RoutingId(0x1ff).to_string(), "01:1f.7");
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
            "arm-smmu 5000000.iommu: Unhandled context fault: fsr=0x402, iova=0xff3cf000, fsynr=0x300003, cbfrsynra=0x409, cb=10",
            "arm-smmu 5000000.iommu: Blocked unknown Stream ID 0x409; boot with",
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
