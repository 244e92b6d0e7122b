//! Faults of Intel VT-d (drivers/iommu/intel/dmar.c; VT-d 7.1, Fault Conditions).
//!
//! ```text
//! DMAR: [DMA Write NO_PASID] Request device [0000:00:01.0] fault addr 0x500000 [fault reason 0x05] PTE Write access is not set
//! ```
//! Linux 6.1 to 6.12 leaves out the domain; 5.13 brought NO_PASID and the `0x`; before, it was
//! `[DMA Write] Request device [00:01.0] PASID ffffffff fault addr 500000 [fault reason 05] …`, with or without PASID, the reason in decimal.

use super::{Access, Fault, IommuKind, LogEvent, Overflow, Reason, after, leading_hex};
use crate::host::KernelRecord;
use crate::types::Iova;

/// Primary Pending Fault and Primary Fault Overflow (VT-d 11.4.7.1, Fault Status Register, bits 1 and 0).
const PENDING: u64 = 1 << 1;
const OVERFLOW: u64 = 1 << 0;

/// What a record says about faults of VT-d.
pub(super) fn parse(record: &KernelRecord) -> Option<LogEvent> {
    let message = record.message.strip_prefix("DMAR:")?.trim_start();
    if let Some(status) = message.strip_prefix("DRHD: handling fault status reg ") {
        return parse_status(record, leading_hex(status)?);
    }
    let (access, rest) = message.strip_prefix('[')?.split_once(']')?;
    let device = after(rest, "Request device [")?.split(']').next()?;
    let mut fault = Fault::new(record, IommuKind::Vtd, reason(rest));
    fault.name_device(device)?;
    if access == "INTR-REMAP" {
        fault.access = Some(Access::Interrupt);
        return Some(LogEvent::Fault(fault));
    }
    fault.access = match access.strip_prefix("DMA ")?.split(' ').next()? {
        "Read" => Some(Access::Read),
        "Write" => Some(Access::Write),
        _ => None,
    };
    fault.pasid = after(access, "PASID ")
        .or_else(|| after(rest, "PASID "))
        .and_then(leading_hex)
        // All ones: there was none.
        .and_then(|pasid| u32::try_from(pasid).ok().filter(|pasid| *pasid != u32::MAX));
    fault.address = after(rest, "fault addr ").and_then(leading_hex).map(Iova);
    Some(LogEvent::Fault(fault))
}

/// The line that comes before the faults of an interrupt.
fn parse_status(record: &KernelRecord, status: u64) -> Option<LogEvent> {
    if status & OVERFLOW != 0 {
        return Some(LogEvent::Overflow(Overflow {
            time: record.time,
            iommu: IommuKind::Vtd,
            line: record.message.clone(),
        }));
    }
    (status & PENDING == 0).then_some(LogEvent::OtherStatus)
}

/// `[fault reason 0x05] PTE Write access is not set`; without `0x` the number is decimal.
fn reason(text: &str) -> Reason {
    let Some((code, words)) = after(text, "[fault reason ").and_then(|rest| rest.split_once(']'))
    else {
        return Reason {
            code: None,
            words: "not said".into(),
        };
    };
    Reason {
        code: match code.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => code.parse().ok(),
        },
        words: words.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    type Expected<'e> = (&'e str, Access, Option<u64>, Option<u32>, u32);

    #[test]
    fn all_formats_are_understood() {
        let cases: &[(&str, Expected)] = &[
            (
                "DMAR: [DMA Write NO_PASID] Request device [0000:00:03.0] fault addr 0x6000000 [fault reason 0x05] PTE Write access is not set",
                ("0000:00:03.0", Access::Write, Some(0x600_0000), None, 5),
            ),
            (
                "DMAR: [DMA Read PASID 0x0] Request device [0001:00:03.0] fault addr 0xfedcba9876543000 [fault reason 0x71] SM: Present bit in first-level paging entry is clear",
                (
                    "0001:00:03.0",
                    Access::Read,
                    Some(0xfedc_ba98_7654_3000),
                    Some(0),
                    0x71,
                ),
            ),
            (
                "DMAR: [DMA Write NO_PASID] Request device [00:01.0] fault addr 0x500000 [fault reason 0x05] PTE Write access is not set",
                ("00:01.0", Access::Write, Some(0x50_0000), None, 5),
            ),
            (
                "DMAR: [DMA Read] Request device [03:00.1] PASID ffffffff fault addr bdf00000 [fault reason 12] non-zero reserved fields in PTE",
                ("03:00.1", Access::Read, Some(0xbdf0_0000), None, 12),
            ),
            (
                "DMAR:[DMA Read] Request device [02:00.0] fault addr ffff7000 [fault reason 06] PTE Read access is not set",
                ("02:00.0", Access::Read, Some(0xffff_7000), None, 6),
            ),
            (
                "DMAR: [INTR-REMAP] Request device [0000:f0:1f.7] fault index 0x0 [fault reason 0x25] Blocked a compatibility format interrupt request",
                ("0000:f0:1f.7", Access::Interrupt, None, None, 0x25),
            ),
            (
                "DMAR: [INTR-REMAP] Request device [f0:1f.7] fault index 2c [fault reason 38] Blocked an interrupt request due to source-id verification failure",
                ("f0:1f.7", Access::Interrupt, None, None, 38),
            ),
        ];
        for (message, (device, access, address, pasid, code)) in cases {
            let Some(LogEvent::Fault(fault)) = parse(&record(message)) else {
                panic!("not understood: {message}")
            };
            let requester = fault.requester.map(|requester| requester.to_string());
            let named = fault.device.map(|device| device.to_string());
            assert_eq!(named.or(requester).as_deref(), Some(*device), "{message}");
            assert_eq!(fault.access, Some(*access), "{message}");
            assert_eq!(fault.address, address.map(Iova), "{message}");
            assert_eq!(fault.pasid, *pasid, "{message}");
            assert_eq!(fault.reason.code, Some(*code), "{message}");
            assert!(message.ends_with(&fault.reason.words), "{message}");
        }
    }

    #[test]
    fn the_status_tells_of_lost_faults_and_of_other_errors() {
        let status = |digits: &str| {
            parse(&record(&format!(
                "DMAR: DRHD: handling fault status reg {digits}"
            )))
        };
        assert_eq!(status("2"), None);
        assert_eq!(status("702"), None);
        assert!(matches!(status("3"), Some(LogEvent::Overflow(_))));
        assert_eq!(status("40"), Some(LogEvent::OtherStatus));
    }

    #[test]
    fn other_lines_are_left_alone() {
        for message in [
            "DMAR: Dump dmar0 table entries for IOVA 0x5000000",
            "DMAR: IOMMU enabled",
            "DMAR: [Firmware Bug]: No firmware reserved region can cover this RMRR",
            "DMAR: [DMA Write] Request device [no address] fault addr 0 [fault reason 05] x",
        ] {
            assert_eq!(parse(&record(message)), None, "{message}");
        }
    }
}
