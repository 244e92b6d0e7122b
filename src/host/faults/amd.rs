//! Faults of AMD-Vi (drivers/iommu/amd/iommu.c; AMD IOMMU specification 48882, section 2.5, Event Logging).
//!
//! ```text
//! nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d address=0xfee0 flags=0x0020]
//! AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:01:00.0 domain=0x000d address=0xfee0 flags=0x0020]
//! ```
//! The second form is for devices that the kernel does not know; older kernels leave out the PCI domain.

use super::{Access, Fault, IommuKind, LogEvent, Overflow, Reason, after, leading_hex};
use crate::host::KernelRecord;
use crate::types::{Bdf, Iova};

/// Flags of IO_PAGE_FAULT (section 2.5.3): the request is an interrupt, the page is there, it was a write, permission was
/// missing, reserved bits were set, it asked for a translation (ATS).
const INTERRUPT: u32 = 1 << 3;
const PRESENT: u32 = 1 << 4;
const WRITE: u32 = 1 << 5;
const PERMISSION: u32 = 1 << 6;
const RESERVED: u32 = 1 << 7;
const TRANSLATION: u32 = 1 << 8;

/// What a record says about faults of AMD-Vi.
pub(super) fn parse(record: &KernelRecord) -> Option<LogEvent> {
    let (before, message) = record.message.split_once("AMD-Vi: ")?;
    let Some(event) = after(message, "Event logged [") else {
        return is_overflow(message).then(|| {
            LogEvent::Overflow(Overflow {
                time: record.time,
                iommu: IommuKind::AmdVi,
                line: record.message.clone(),
            })
        });
    };
    let event = event.split(']').next()?;
    let name = event.split(' ').next()?;
    // The others tell of the driver's own commands, not of a device's request.
    let is_request = ["FAULT", "REQUEST", "TABLE_ENTRY", "HARDWARE_ERROR"]
        .iter()
        .any(|end| name.ends_with(end));
    if !is_request {
        return None;
    }
    let flags = after(event, " flags=")
        .and_then(leading_hex)
        .and_then(|flags| u32::try_from(flags).ok());
    let address = ["address=", "gpa=", "spa="]
        .iter()
        .find_map(|name| after(event, name))
        .and_then(leading_hex)
        .map(Iova);
    let reason = Reason {
        code: flags,
        words: match flags {
            Some(flags) if name == "IO_PAGE_FAULT" => format!("{name}: {}", words(flags, address)),
            _ => name.to_owned(),
        },
    };
    let mut fault = Fault::new(record, IommuKind::AmdVi, reason);
    match after(event, "device=") {
        Some(device) => {
            fault.name_device(device.split([' ', ',']).next()?);
        }
        None => fault.device = device_before(before),
    }
    fault.address = address;
    // IO_PAGE_FAULT prints 0 where there was no PASID, in the field that other events call so.
    fault.pasid = after(event, "pasid=")
        .and_then(leading_hex)
        .and_then(|pasid| u32::try_from(pasid).ok().filter(|pasid| *pasid != 0));
    fault.access = flags.and_then(|flags| access(flags, fault.address));
    Some(LogEvent::Fault(fault))
}

/// The device that the message begins with: `nvme 0000:01:00.0: `.
fn device_before(text: &str) -> Option<Bdf> {
    let address = text.trim_end().strip_suffix(':')?;
    address.rsplit(' ').next()?.parse().ok()
}

/// Whether the address is one that interrupts are sent to: the window of x86 (VT-d 3.14; APIC), or AMD's own, of which
/// the log shows all 64 bits.
fn is_for_interrupts(address: Option<Iova>) -> bool {
    address.is_some_and(|Iova(address)| {
        address >> 20 == 0xfee || address & 0xff_ffff_ffff >= 0xfd_f800_0000
    })
}

/// What was tried. Some emulated IOMMUs set the flag of interrupts for all requests: that says nothing.
fn access(flags: u32, address: Option<Iova>) -> Option<Access> {
    match flags {
        _ if flags & INTERRUPT != 0 => is_for_interrupts(address).then_some(Access::Interrupt),
        _ if flags & WRITE != 0 => Some(Access::Write),
        _ => Some(Access::Read),
    }
}

fn words(flags: u32, address: Option<Iova>) -> &'static str {
    match flags {
        _ if flags & INTERRUPT != 0 && is_for_interrupts(address) => {
            "the interrupt is not remapped"
        }
        _ if flags & INTERRUPT != 0 => "the flags say interrupt, and the address does not",
        _ if flags & RESERVED != 0 => "a reserved bit is set in a table entry",
        _ if flags & TRANSLATION != 0 => "a translation request was refused",
        _ if flags & PRESENT == 0 => "nothing is mapped there",
        _ if flags & PERMISSION != 0 => "the page does not allow this access",
        _ => "the page is there",
    }
}

/// The driver found the event log full, and starts it again: older and newer kernels' words for it.
fn is_overflow(message: &str) -> bool {
    message.starts_with("IOMMU event log overflow") || message == "IOMMU Event log restarting"
}

#[cfg(test)]
mod tests {
    use super::super::Requester;
    use super::super::tests::record;
    use super::*;

    fn fault(message: &str) -> Fault {
        match parse(&record(message)) {
            Some(LogEvent::Fault(fault)) => fault,
            other => panic!("{message}: {other:?}"),
        }
    }

    #[test]
    fn all_forms_of_a_page_fault_say_the_same() {
        for message in [
            "nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d address=0xfdf80000 flags=0x0020]",
            "AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:01:00.0 domain=0x000d address=0xfdf80000 flags=0x0020]",
            "AMD-Vi: Event logged [IO_PAGE_FAULT device=01:00.0 domain=0x000d address=0x00000000fdf80000 flags=0x0020]",
        ] {
            let fault = fault(message);
            match fault.requester {
                None => assert_eq!(fault.device, "0000:01:00.0".parse().ok()),
                requester => assert_eq!(requester, Some(Requester::RoutingId(0x100))),
            }
            assert_eq!(fault.address, Some(Iova(0xfdf8_0000)), "{message}");
            assert_eq!(fault.access, Some(Access::Write), "{message}");
            assert_eq!(fault.reason.code, Some(0x20), "{message}");
            assert_eq!(fault.reason.words, "IO_PAGE_FAULT: nothing is mapped there");
        }
    }

    #[test]
    fn flags_are_told_in_words() {
        let unmapped = "nothing is mapped there";
        let forbidden = "the page does not allow this access";
        let odd = "the flags say interrupt, and the address does not";
        for (address, flags, access, words) in [
            ("0x1000", "0x0000", Some(Access::Read), unmapped),
            ("0x1000", "0x0050", Some(Access::Read), forbidden),
            ("0x1000", "0x0070", Some(Access::Write), forbidden),
            (
                "0xfffffffdf8140200",
                "0x0008",
                Some(Access::Interrupt),
                "the interrupt is not remapped",
            ),
            ("0x0", "0x000a", None, odd),
        ] {
            let fault = fault(&format!(
                "pci 0000:00:03.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0001 address={address} flags={flags}]"
            ));
            assert_eq!(fault.access, access, "{flags}");
            assert!(fault.reason.words.ends_with(words), "{flags}: {fault:?}");
        }
    }

    #[test]
    fn other_events_of_devices_are_faults_too() {
        let request = fault(
            "ivhd0: AMD-Vi: Event logged [INVALID_DEVICE_REQUEST device=0000:00:00.2 pasid=0x00003 address=0xfffffffdf8000000 flags=0x0a00]",
        );
        assert_eq!(request.device.unwrap().to_string(), "0000:00:00.2");
        assert_eq!(request.pasid, Some(3));
        assert_eq!(request.reason.words, "INVALID_DEVICE_REQUEST");
        let rmp = fault(
            "AMD-Vi: Event logged [RMP_PAGE_FAULT device=0000:01:00.0, vmg_tag=0x0000, gpa=0x5000, flags_rmp=0x0001, flags=0x0030]",
        );
        assert_eq!(rmp.device.unwrap().to_string(), "0000:01:00.0");
        assert_eq!(rmp.address, Some(Iova(0x5000)));
        assert_eq!(rmp.reason.code, Some(0x30));
    }

    #[test]
    fn what_is_no_fault_is_left_alone() {
        for message in [
            "AMD-Vi: Interrupt remapping enabled",
            "AMD-Vi: Event logged [ILLEGAL_COMMAND_ERROR address=0x1000]",
            "AMD-Vi: Event logged [IOTLB_INV_TIMEOUT device=0000:01:00.0 address=0x1000]",
        ] {
            assert_eq!(parse(&record(message)), None, "{message}");
        }
        for message in [
            "AMD-Vi: IOMMU event log overflow",
            "AMD-Vi: IOMMU Event log restarting",
        ] {
            let event = parse(&record(message));
            assert!(matches!(event, Some(LogEvent::Overflow(_))), "{message}");
        }
    }
}
