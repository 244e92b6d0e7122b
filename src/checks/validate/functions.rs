//! What sysfs says of virtual functions, and of their place among other devices.

use super::{Judged, counted};
use crate::host::{Bar, Effect, Host, IsolationStep, PciDevice, Sriov};
use crate::types::Bdf;

/// Each function lies where offset and stride put it.
#[must_use]
pub fn stride(physical: Bdf, sriov: &Sriov) -> Judged {
    let places = sriov.places(physical);
    let (Some(offset), Some(stride)) = (sriov.offset, sriov.stride) else {
        return Judged::skip("sysfs says neither offset nor stride");
    };
    let wrong: Vec<String> = sriov
        .functions
        .iter()
        .zip(&places)
        .filter(|(found, expected)| found != expected)
        .map(|(found, expected)| format!("{found} should be {expected}"))
        .collect();
    if wrong.is_empty() && places.len() >= sriov.functions.len() {
        return Judged::pass(format!(
            "{} from offset {offset} on, {stride} apart",
            counted(sriov.functions.len(), "function")
        ));
    }
    Judged::fail(
        "functions are not where the SR-IOV capability puts them",
        "update the device's firmware",
    )
    .with_evidence(wrong)
}

/// Each function has the regions that the physical one promises, and no two overlap.
#[must_use]
pub fn space(host: &Host, sriov: &Sriov) -> Judged {
    let Some(promised) = &sriov.bars else {
        return Judged::skip("sysfs does not say which regions virtual functions have");
    };
    let regions: Vec<(Bdf, Vec<Bar>)> = sriov
        .functions
        .iter()
        .map(|bdf| (*bdf, host.bars(*bdf)))
        .collect();
    let mut wrong = Vec::new();
    for (bdf, bars) in &regions {
        for promise in promised {
            match bars.iter().find(|bar| bar.index == promise.index) {
                None => wrong.push(format!("{bdf} has no BAR {}", promise.index)),
                Some(bar) if bar.start.is_none() => {
                    wrong.push(format!("BAR {} of {bdf} has no address", bar.index));
                }
                Some(bar) if bar.size != promise.size => wrong.push(format!(
                    "BAR {} of {bdf} has {:#x} bytes, not {:#x}",
                    bar.index, bar.size, promise.size
                )),
                Some(_) => {}
            }
        }
    }
    wrong.extend(overlaps(&regions));
    if wrong.is_empty() {
        let size: u64 = promised.iter().map(|bar| bar.size).sum();
        return Judged::pass(format!(
            "{size:#x} bytes in {} for each, none shared",
            counted(promised.len(), "region")
        ));
    }
    Judged::fail(
        "the regions of virtual functions are not what they should be",
        "turn on 'Above 4G decoding' and SR-IOV in the firmware's set-up; if that does not do, boot with pci=realloc",
    )
    .with_evidence(wrong)
}

/// Regions of different functions that share addresses.
fn overlaps(regions: &[(Bdf, Vec<Bar>)]) -> Vec<String> {
    let mut placed: Vec<(u64, u64, Bdf, u8)> = regions
        .iter()
        .flat_map(|(bdf, bars)| bars.iter().map(|bar| (*bdf, bar)))
        .filter_map(|(bdf, bar)| {
            let start = bar.start?;
            let last = start.checked_add(bar.size.checked_sub(1)?)?;
            Some((start, last, bdf, bar.index))
        })
        .collect();
    placed.sort_unstable();
    placed
        .windows(2)
        .filter(|pair| pair[1].0 <= pair[0].1)
        .map(|pair| {
            format!(
                "BAR {} of {} and BAR {} of {} share {:#x}",
                pair[0].3, pair[0].2, pair[1].3, pair[1].2, pair[1].0
            )
        })
        .collect()
}

/// Each function has interrupts of its own.
#[must_use]
pub fn interrupts_offered(host: &Host, functions: &[Bdf]) -> Judged {
    let vectors = |bdf: &Bdf| {
        let space = host.config_space(*bdf);
        let msi_x = space.msi_x().map(|msi_x| msi_x.vectors);
        msi_x.or(space.msi().map(|msi| msi.vectors)).unwrap_or(0)
    };
    let counts: Vec<u16> = functions.iter().map(vectors).collect();
    let without: Vec<String> = functions
        .iter()
        .zip(&counts)
        .filter(|(_, count)| **count == 0)
        .map(|(bdf, _)| bdf.to_string())
        .collect();
    if !without.is_empty() {
        return Judged::fail(
            format!(
                "{} offer neither MSI-X nor MSI, and virtual functions have no other interrupts",
                without.join(", ")
            ),
            "give interrupts to them (the card's driver or firmware shares them out), or take fewer virtual functions",
        );
    }
    let (least, most) = (counts.iter().min(), counts.iter().max());
    match (least, most) {
        (Some(least), Some(most)) if least == most => {
            Judged::pass(format!("up to {most} for each function"))
        }
        (Some(least), Some(most)) => {
            Judged::pass(format!("up to {least} to {most} for each function"))
        }
        _ => Judged::skip("there are no functions"),
    }
}

/// The device shares its IOMMU group with no one.
#[must_use]
pub fn apart(host: &Host, device: &PciDevice) -> Judged {
    let Some(group) = device.group.and_then(|id| host.group(id).ok()) else {
        return Judged::skip("it is in no IOMMU group yet");
    };
    let others = group.neighbours_of(device.bdf);
    if others.is_empty() {
        return Judged::pass(format!("alone in group {}", group.id));
    }
    let cause = open_step(host, device).map_or_else(String::new, |bdf| {
        format!(", as {bdf} may pass requests between them")
    });
    Judged::fail(
        format!(
            "it shares group {} with {}{cause}: none of them can be handed out without the others",
            group.id,
            others.join(", ")
        ),
        "put the card into a slot whose port has access control services (iommu-tool show lists the ports), or update the firmware",
    )
}

/// The first function on the way up that lets requests past the IOMMU.
fn open_step(host: &Host, device: &PciDevice) -> Option<Bdf> {
    let steps = host.isolation(device);
    let step = steps
        .iter()
        .find(|step| step.effect.is_open() == Some(true))?;
    Some(step.bdf)
}

/// Every function on the way up sends requests to the IOMMU.
#[must_use]
pub fn acs(host: &Host, device: &PciDevice) -> Judged {
    let steps = host.isolation(device);
    let open = |step: &&IsolationStep| step.effect.is_open() == Some(true);
    if let Some(step) = steps.iter().find(open) {
        if !is_joined(host, device, step) {
            return Judged::warn(
                format!(
                    "{}, but the kernel takes it to keep them apart",
                    lack(device, step)
                ),
                "nothing, if the kernel knows this chip to do so; something, if it was only told so (pcie_acs_override)",
            );
        }
        let remedy = match step.effect {
            Effect::Open(_) => {
                "find out what turned them off (pci= on the kernel command line, the firmware's set-up), or use another slot"
            }
            _ => {
                "put the card into a slot whose port has them; do not override this (pcie_acs_override) for guests that do not trust each other"
            }
        };
        let says = format!(
            "{}: what is there may reach each other past the IOMMU",
            lack(device, step)
        );
        return Judged::fail(says, remedy);
    }
    if steps.iter().any(|step| step.effect.is_open().is_none()) {
        return Judged::skip(
            "this user may not see the capabilities of the ports: run this as root",
        );
    }
    let isolating: Vec<String> = steps
        .iter()
        .filter(|step| step.effect == Effect::Isolates)
        .map(|step| step.bdf.to_string())
        .collect();
    Judged::pass(if isolating.is_empty() {
        "nothing on its way up can pass requests to other devices".to_owned()
    } else {
        format!("{} send every request up", isolating.join(", "))
    })
}

/// What a function on the way does not do.
fn lack(device: &PciDevice, step: &IsolationStep) -> String {
    let subject = match step.port {
        _ if step.bdf == device.bdf => {
            format!("the device of {}, which has several functions,", step.bdf)
        }
        Some(port) => format!("the {} {}", port.in_words(), step.bdf),
        None => format!("the bridge {}", step.bdf),
    };
    match step.effect {
        Effect::Open(missing) => {
            format!("{subject} has access control services, but {missing} are off")
        }
        Effect::SharedBus => format!("{subject} leads to a bus that all its devices share"),
        _ => format!("{subject} has no access control services"),
    }
}

/// Whether the kernel put the device together with what lies beyond this function, as it does where it does not isolate
/// (`pci_device_group` of drivers/iommu/iommu.c).
fn is_joined(host: &Host, device: &PciDevice, step: &IsolationStep) -> bool {
    let Some(group) = device.group.and_then(|id| host.group(id).ok()) else {
        return true;
    };
    let mut members = group.devices.iter().map(|member| member.bdf);
    if step.bdf == device.bdf {
        let slot = |bdf: Bdf| (bdf.domain(), bdf.bus(), bdf.device());
        members.any(|bdf| bdf != device.bdf && slot(bdf) == slot(device.bdf))
    } else {
        members.any(|bdf| bdf == step.bdf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::doctor::Health;
    use crate::host::BarKind;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn sriov(functions: &[&str]) -> Sriov {
        Sriov {
            total: 7,
            functions: functions.iter().map(|f| f.parse().unwrap()).collect(),
            offset: Some(128),
            stride: Some(2),
            device_id: Some(0x10ca),
            autoprobe: Some(true),
            bars: None,
        }
    }

    #[test]
    fn a_function_in_the_wrong_place_is_named() {
        let physical = "02:00.0".parse().unwrap();
        let right = stride(physical, &sriov(&["02:10.0", "02:10.2"]));
        assert_eq!(right.verdict, Health::Pass);
        let wrong = stride(physical, &sriov(&["02:10.0", "02:10.3"]));
        assert_eq!(wrong.verdict, Health::Fail);
        assert_eq!(wrong.evidence, ["0000:02:10.3 should be 0000:02:10.2"]);
    }

    #[test]
    fn regions_that_share_addresses_are_named() {
        let bar = |start| Bar {
            index: 0,
            start: Some(start),
            size: 0x4000,
            kind: BarKind::Memory64,
            prefetchable: true,
        };
        let (a, b): (Bdf, Bdf) = ("02:10.0".parse().unwrap(), "02:10.2".parse().unwrap());
        let apart = [(a, vec![bar(0x1_0000)]), (b, vec![bar(0x1_4000)])];
        assert_eq!(overlaps(&apart), [""; 0]);
        let shared = [(a, vec![bar(0x1_0000)]), (b, vec![bar(0x1_2000)])];
        assert_eq!(
            overlaps(&shared),
            ["BAR 0 of 0000:02:10.0 and BAR 0 of 0000:02:10.2 share 0x12000"]
        );
    }

    /// A card below a root port without access control services, both in these groups.
    fn below_an_open_port(port: u32, card: u32) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        let sys = root.path().join("sys");
        let devices = sys.join("bus/pci/devices");
        std::fs::create_dir_all(&devices).unwrap();
        for (place, class, header, kind, group) in [
            ("0000:00:01.0", "bc06sc04", 1, 0x42, port),
            ("0000:00:01.0/0000:01:00.0", "bc02sc00", 0, 0x02, card),
        ] {
            let folder = sys.join("devices/pci0000:00").join(place);
            std::fs::create_dir_all(&folder).unwrap();
            // A PCI Express Capability (PCI Express 4.0, section 7.5.3) that says what the function is, and no extended ones.
            let mut config = vec![0; 4096];
            (config[0x06], config[0x0e], config[0x34]) = (0x10, header, 0x40);
            (config[0x40], config[0x42]) = (0x10, kind);
            std::fs::write(folder.join("config"), config).unwrap();
            let alias = format!("pci:v00008086d000010C9sv00000000sd00000000{class}i00");
            std::fs::write(folder.join("modalias"), alias).unwrap();
            let members = sys.join(format!("kernel/iommu_groups/{group}/devices"));
            std::fs::create_dir_all(&members).unwrap();
            let group = format!("../kernel/iommu_groups/{group}");
            symlink(group, folder.join("iommu_group")).unwrap();
            let (name, up) = (folder.file_name().unwrap(), Path::new("../../.."));
            let folder = up.join("devices/pci0000:00").join(place);
            symlink(&folder, devices.join(name)).unwrap();
            symlink(up.join(folder), members.join(name)).unwrap();
        }
        let host = Host::at(root.path());
        (root, host)
    }

    #[test]
    fn a_port_that_does_not_isolate_is_named_unless_the_kernel_knows_better() {
        let judged = |port, card| {
            let (_root, host) = below_an_open_port(port, card);
            acs(&host, &host.device("01:00.0".parse().unwrap()).unwrap())
        };
        let together = judged(1, 1);
        assert_eq!(together.verdict, Health::Fail, "{together:?}");
        let words = "the root port 0000:00:01.0 has no access control services";
        assert!(together.detail.starts_with(words), "{together:?}");
        assert_eq!(judged(1, 2).verdict, Health::Warn);
    }
}
