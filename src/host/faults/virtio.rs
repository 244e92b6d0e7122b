//! Faults of virtio-iommu (drivers/iommu/virtio-iommu.c; Virtio 1.2, section 5.13.6.8).
//!
//! ```text
//! virtio_iommu virtio0: page fault from EP 16 at 0x101000 [RW]
//! ```
//! Some hypervisors do not say what was tried: `[]`.

use super::{Access, Fault, IommuKind, Reason, Requester, leading_hex};
use crate::host::KernelRecord;
use crate::types::Iova;

/// The fault that a record tells of.
pub(super) fn parse(record: &KernelRecord) -> Option<Fault> {
    let (unit, message) = record
        .message
        .strip_prefix("virtio_iommu ")?
        .split_once(": ")?;
    let (kind, rest) = message.split_once(" fault from EP ")?;
    let words = match kind {
        "page" => "nothing is mapped there, or not for this access",
        "domain" => "the device is attached to no domain",
        _ => "not said",
    };
    let reason = Reason {
        code: None,
        words: words.into(),
    };
    let endpoint = rest.split(' ').next()?.parse().ok()?;
    let mut fault = Fault::new(record, IommuKind::Virtio, reason);
    fault.requester = Some(Requester::Endpoint(endpoint));
    fault.unit = Some(unit.to_owned());
    if let Some((_, place)) = rest.split_once(" at ") {
        fault.address = leading_hex(place).map(Iova);
        let flags = place.split_once('[').map_or("", |(_, flags)| flags);
        // An access that reads and writes counts as a write.
        fault.access = [
            ('W', Access::Write),
            ('R', Access::Read),
            ('X', Access::Execute),
        ]
        .into_iter()
        .find_map(|(flag, access)| flags.contains(flag).then_some(access));
    }
    Some(fault)
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    #[test]
    fn all_formats_are_understood() {
        for (message, endpoint, address, access) in [
            (
                "virtio_iommu virtio0: page fault from EP 16 at 0x101000 []",
                16,
                Some(0x10_1000),
                None,
            ),
            (
                "virtio_iommu virtio12: page fault from EP 256 at 0x101000 [RW]",
                256,
                Some(0x10_1000),
                Some(Access::Write),
            ),
            (
                "virtio_iommu virtio0: domain fault from EP 8 at 0x0 [R]",
                8,
                Some(0),
                Some(Access::Read),
            ),
            (
                "virtio_iommu virtio0: unknown fault from EP 8",
                8,
                None,
                None,
            ),
        ] {
            let fault = parse(&record(message)).unwrap();
            assert_eq!(fault.requester, Some(Requester::Endpoint(endpoint)));
            assert_eq!(fault.address, address.map(Iova), "{message}");
            assert_eq!(fault.access, access, "{message}");
        }
        let other = record("virtio_iommu virtio0: page mask: 0xfffffffffffff000");
        assert_eq!(parse(&other), None);
    }
}
