//! Faults of Arm SMMUv3 (drivers/iommu/arm/arm-smmu-v3; Arm IHI 0070, section 7.3, Event records).
//!
//! ```text
//! arm-smmu-v3 9050000.smmuv3: event 0x10 received:
//! arm-smmu-v3 9050000.smmuv3: <tab>0x0000004000000010          (four words)
//! arm-smmu-v3 9050000.smmuv3: event: F_TRANSLATION client: 0000:00:08.0 sid: 0x40 ssid: 0x0 iova: 0x101000 ipa: 0x0
//! ```
//! The words hold all but the device's address. Newer kernels add the last line, which names the device.

use std::mem;

use super::{Access, Fault, IommuKind, LogEvent, Overflow, Reason, Requester, after, leading_hex};
use crate::host::KernelRecord;
use crate::types::Iova;

/// The words of an event record that Linux prints.
const WORDS: usize = 4;

/// Puts the records that tell of one event together. Several SMMUs log in turn; one event is told without a break.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    begun: Option<Begun>,
}

/// An event of which the first record was seen.
#[derive(Debug)]
struct Begun {
    unit: String,
    first: KernelRecord,
    words: Vec<u64>,
}

impl Assembler {
    /// What a record adds; a fault that is complete.
    pub(super) fn read(&mut self, record: &KernelRecord) -> Option<LogEvent> {
        let (unit, message) = record
            .message
            .strip_prefix("arm-smmu-v3 ")?
            .split_once(": ")?;
        if message.starts_with("EVTQ overflow") {
            return Some(LogEvent::Overflow(Overflow {
                time: record.time,
                iommu: IommuKind::SmmuV3,
                line: record.message.clone(),
            }));
        }
        if message.starts_with("event 0x") && message.ends_with("received:") {
            let before = self.finish();
            self.begun = Some(Begun {
                unit: unit.to_owned(),
                first: record.clone(),
                words: Vec::new(),
            });
            return before.map(LogEvent::Fault);
        }
        if let Some(named) = message.strip_prefix("event: ") {
            let fault = self.finish();
            return describe(fault, record, named).map(LogEvent::Fault);
        }
        let word = message.trim_start().strip_prefix("0x");
        if let (Some(begun), Some(word)) = (&mut self.begun, word.and_then(leading_hex)) {
            if begun.words.len() < WORDS {
                begun.words.push(word);
            }
        }
        None
    }

    /// The event that was begun, as far as it was told.
    pub(super) fn finish(&mut self) -> Option<Fault> {
        let begun = mem::take(&mut self.begun)?;
        let words: [u64; WORDS] = begun.words.try_into().ok()?;
        let mut fault = from_words(&begun.first, words);
        fault.unit = Some(begun.unit);
        Some(fault)
    }
}

/// An event record (section 7.3): its number in bits 7:0, SubstreamID in 31:12 if bit 11 is set, StreamID in 63:32;
/// in the second word bit 34 fetch, bit 35 read; the third word is the address.
fn from_words(record: &KernelRecord, words: [u64; WORDS]) -> Fault {
    let number = (words[0] & 0xff) as u32;
    let name = EVENTS
        .iter()
        .find(|(known, ..)| *known == number)
        .map_or("UNKNOWN", |(_, name, _)| name);
    let mut fault = Fault::new(record, IommuKind::SmmuV3, reason(name));
    fault.reason.code = Some(number);
    fault.requester = Some(Requester::Stream((words[0] >> 32) as u32));
    fault.pasid = (words[0] & (1 << 11) != 0).then_some((words[0] >> 12 & 0xf_ffff) as u32);
    if has_address(number) {
        fault.address = Some(Iova(words[2]));
        fault.access = Some(match words[1] {
            flags if flags & (1 << 34) != 0 => Access::Execute,
            flags if flags & (1 << 35) != 0 => Access::Read,
            _ => Access::Write,
        });
    }
    fault
}

/// `F_TRANSLATION client: 0000:00:08.0 sid: 0x40 ssid: 0x0 iova: 0x101000 ipa: 0x0`, with what the words told.
fn describe(fault: Option<Fault>, record: &KernelRecord, named: &str) -> Option<Fault> {
    let number = |name: &str| after(named, name).and_then(leading_hex);
    let mut fault = match fault {
        Some(fault) => fault,
        None => {
            let name = named.split(' ').next()?;
            let mut fault = Fault::new(record, IommuKind::SmmuV3, reason(name));
            fault.reason.code = EVENTS
                .iter()
                .find(|(_, known, _)| *known == name)
                .map(|(number, ..)| *number);
            let stream = u32::try_from(number(" sid: ")?).ok()?;
            fault.requester = Some(Requester::Stream(stream));
            fault.address = number(" iova: ").map(Iova);
            fault
        }
    };
    // The kernel has looked: a client that is no PCI device is none, whatever its number.
    fault.unit = None;
    fault.device = after(named, "client: ")
        .and_then(|client| client.split(' ').next())
        .and_then(|client| client.parse().ok());
    record.message.clone_into(&mut fault.line);
    Some(fault)
}

fn reason(name: &str) -> Reason {
    let words = EVENTS
        .iter()
        .find(|(_, known, _)| *known == name)
        .map_or(name.to_owned(), |(_, _, words)| format!("{name}: {words}"));
    Reason { code: None, words }
}

/// Translation, address size, access and permission faults carry the input address (sections 7.3.13 to 7.3.16).
fn has_address(number: u32) -> bool {
    (0x10..=0x13).contains(&number)
}

/// Numbers and names of the events (section 7.3), and what they mean.
const EVENTS: &[(u32, &str, &str)] = &[
    (0x02, "C_BAD_STREAMID", "the stream ID is out of range"),
    (
        0x03,
        "F_STE_FETCH",
        "the stream table entry cannot be fetched",
    ),
    (0x04, "C_BAD_STE", "the stream table entry is invalid"),
    (
        0x06,
        "F_STREAM_DISABLED",
        "the stream is turned off for such requests",
    ),
    (0x08, "C_BAD_SUBSTREAMID", "the substream ID is not valid"),
    (
        0x09,
        "F_CD_FETCH",
        "the context descriptor cannot be fetched",
    ),
    (0x0a, "C_BAD_CD", "the context descriptor is invalid"),
    (0x10, "F_TRANSLATION", "nothing is mapped there"),
    (
        0x11,
        "F_ADDR_SIZE",
        "an address of the page table is too large",
    ),
    (0x12, "F_ACCESS", "the access flag of the page is not set"),
    (0x13, "F_PERMISSION", "the page does not allow this access"),
    (
        0x25,
        "F_VMS_FETCH",
        "the virtual machine structure cannot be fetched",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    const WORD_LINES: [&str; 5] = [
        "arm-smmu-v3 9050000.smmuv3: event 0x10 received:",
        "arm-smmu-v3 9050000.smmuv3: \t0x0000004000000010",
        "arm-smmu-v3 9050000.smmuv3: \t0x0000020800000000",
        "arm-smmu-v3 9050000.smmuv3: \t0x0000000000101000",
        "arm-smmu-v3 9050000.smmuv3: \t0x0000000000000000",
    ];
    const NAMED: &str = "arm-smmu-v3 9050000.smmuv3: event: F_TRANSLATION client: 0000:00:08.0 sid: 0x40 ssid: 0x0 iova: 0x101000 ipa: 0x0";

    fn read(lines: &[&str]) -> Vec<Fault> {
        let mut assembler = Assembler::default();
        let mut faults = Vec::new();
        for line in lines {
            match assembler.read(&record(line)) {
                Some(LogEvent::Fault(fault)) => faults.push(fault),
                None => {}
                other => panic!("{other:?}"),
            }
        }
        faults.extend(assembler.finish());
        faults
    }

    #[test]
    fn the_four_words_tell_all_but_the_device() {
        let faults = read(&[WORD_LINES, WORD_LINES].concat());
        assert_eq!(faults.len(), 2);
        for fault in faults {
            assert_eq!(fault.requester, Some(Requester::Stream(0x40)));
            assert_eq!(fault.device, None);
            assert_eq!(fault.address, Some(Iova(0x10_1000)));
            assert_eq!(fault.access, Some(Access::Read));
            assert_eq!(fault.reason.code, Some(0x10));
            assert_eq!(fault.reason.words, "F_TRANSLATION: nothing is mapped there");
        }
    }

    #[test]
    fn the_newer_line_names_the_device_of_the_same_fault() {
        let mut lines = WORD_LINES.to_vec();
        lines.push(NAMED);
        lines.push("arm-smmu-v3 9050000.smmuv3: unpriv data read s1 \"Input address caused fault\" stag: 0x0");
        let faults = read(&lines);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].device, "00:08.0".parse().ok());
        assert_eq!(faults[0].access, Some(Access::Read));
    }

    #[test]
    fn what_is_cut_off_is_told_as_far_as_it_goes() {
        assert_eq!(read(&WORD_LINES[..4]), []);
        assert_eq!(read(&WORD_LINES[1..]), []);
        let faults = read(&[NAMED]);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].device, "00:08.0".parse().ok());
        assert_eq!(faults[0].address, Some(Iova(0x10_1000)));
        assert_eq!(faults[0].access, None);
    }
}
