//! Faults of Arm SMMU versions 1 and 2 (drivers/iommu/arm/arm-smmu/arm-smmu.c; Arm IHI 0062, section 16.5).
//!
//! ```text
//! arm-smmu 5000000.iommu: Unhandled context fault: fsr=0x402, iova=0xff3cf000, fsynr=0x300003, cbfrsynra=0x409, cb=10
//! arm-smmu 5000000.iommu: Blocked unknown Stream ID 0x409; boot with "arm-smmu.disable_bypass=0" to allow, …
//! ```
//! Before Linux 5.1 there was no cbfrsynra, and so no stream ID. Newer kernels add lines that spell out fsr and fsynr.

use super::{Access, Fault, IommuKind, Reason, Requester, after, leading_hex};
use crate::host::KernelRecord;
use crate::types::Iova;

/// Bits of the fault status register SMMU_CBn_FSR, and what they mean.
const STATUS: &[(u32, &str)] = &[
    (1, "TF: nothing is mapped there"),
    (2, "AFF: the access flag of the page is not set"),
    (3, "PF: the page does not allow this access"),
    (4, "EF: memory answered with an error"),
    (5, "TLBMCF: several entries of the TLB match"),
    (6, "TLBLKF: the TLB is locked"),
    (7, "ASF: an address of the page table is too large"),
    (8, "UUT: the transaction is not supported"),
];

/// Write not read, and instruction not data, of the syndrome register SMMU_CBn_FSYNR0.
const WRITE: u64 = 1 << 4;
const INSTRUCTION: u64 = 1 << 6;

/// The fault that a record tells of.
pub(super) fn parse(record: &KernelRecord) -> Option<Fault> {
    let (unit, message) = record.message.strip_prefix("arm-smmu ")?.split_once(": ")?;
    let fault = |words: &str| {
        let reason = Reason {
            code: None,
            words: words.to_owned(),
        };
        let mut fault = Fault::new(record, IommuKind::Smmu, reason);
        fault.unit = Some(unit.to_owned());
        fault
    };
    // The upper half of the registers has no stream ID.
    let stream = |id: u64| Requester::Stream(u32::from(id as u16));
    if let Some(id) = message.strip_prefix("Blocked unknown Stream ID ") {
        let mut fault = fault("no address space is set up for this stream ID");
        fault.requester = leading_hex(id).map(stream);
        return Some(fault);
    }
    if message.starts_with("Unexpected global fault") {
        return Some(fault("a fault outside of all address spaces: see the log"));
    }
    let registers = message.strip_prefix("Unhandled context fault: ")?;
    let register = |name: &str| after(registers, name).and_then(leading_hex);
    let status = register("fsr=")?;
    let meaning = STATUS.iter().find(|(bit, _)| status >> bit & 1 != 0);
    let mut fault = fault(meaning.map_or("not said", |(_, words)| words));
    fault.reason.code = u32::try_from(status).ok();
    fault.requester = register("cbfrsynra=").map(stream);
    fault.address = register("iova=").map(Iova);
    fault.access = register("fsynr=").map(|syndrome| match syndrome {
        _ if syndrome & INSTRUCTION != 0 => Access::Execute,
        _ if syndrome & WRITE != 0 => Access::Write,
        _ => Access::Read,
    });
    Some(fault)
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    #[test]
    fn all_forms_of_a_context_fault_are_understood() {
        for (message, stream, address, access, code, words) in [
            (
                "arm-smmu 5000000.iommu: Unhandled context fault: fsr=0x402, iova=0xff3cf000, fsynr=0x300003, cbfrsynra=0x409, cb=10",
                Some(0x409),
                0xff3c_f000,
                Access::Read,
                0x402,
                "TF: nothing is mapped there",
            ),
            (
                "arm-smmu arm-smmu.0.auto: Unhandled context fault: fsr=0x80000408, iova=0xd65504710, fsynr=0x100011, cbfrsynra=0x100, cb=6",
                Some(0x100),
                0xd_6550_4710,
                Access::Write,
                0x8000_0408,
                "PF: the page does not allow this access",
            ),
            (
                "arm-smmu fd800000.smmu: Unhandled context fault: fsr=0x2, iova=0x00000000, fsynr=0x40, cb=0",
                None,
                0,
                Access::Execute,
                2,
                "TF: nothing is mapped there",
            ),
        ] {
            let fault = parse(&record(message)).unwrap();
            assert_eq!(fault.requester, stream.map(Requester::Stream), "{message}");
            assert_eq!(fault.address, Some(Iova(address)), "{message}");
            assert_eq!(fault.access, Some(access), "{message}");
            assert_eq!(fault.reason.code, Some(code), "{message}");
            assert_eq!(fault.reason.words, words, "{message}");
            assert!(message.contains(&fault.unit.unwrap()), "{message}");
        }
    }

    #[test]
    fn faults_outside_of_contexts_are_told_and_other_lines_are_left_alone() {
        let blocked = parse(&record(
            "arm-smmu 5000000.iommu: Blocked unknown Stream ID 0x409; boot with \"arm-smmu.disable_bypass=0\" to allow, but this may have security implications",
        ));
        assert_eq!(blocked.unwrap().requester, Some(Requester::Stream(0x409)));
        let global = "arm-smmu 5000000.iommu: Unexpected global fault, this could be serious";
        assert_eq!(parse(&record(global)).unwrap().requester, None);
        for message in [
            "arm-smmu 5000000.iommu: \tGFSR 0x80000002, GFSYNR0 0x00000000, GFSYNR1 0x00000409, GFSYNR2 0x00000000",
            "arm-smmu 5000000.iommu: FSR    = 00000402 [Format=2 TF], SID=0x409",
            "arm-smmu 5000000.iommu: FSYNR0 = 00300003 [S1CBNDX=48 PLVL=3]",
            "arm-smmu 5000000.iommu: probing hardware configuration...",
            "arm-smmu-v3 9050000.smmuv3: event 0x10 received:",
        ] {
            assert_eq!(parse(&record(message)), None, "{message}");
        }
    }
}
