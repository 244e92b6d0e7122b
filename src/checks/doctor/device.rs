//! Whether a device can be handed to user space, and stays apart from others.

use super::{DeviceCheck, Diagnosis, Ground, HostCheck, count, is_on_vfio, size};
use crate::host::{DeviceProfile, Use};
use crate::types::Bdf;

pub(super) const VF_SPACE: HostCheck = HostCheck {
    id: "pci.vf-space",
    title: "virtual functions have address space",
    run: vf_space,
};

pub(super) const GROUP: DeviceCheck = DeviceCheck {
    id: "device.group",
    title: "its IOMMU group can be opened",
    run: group,
};

pub(super) const IN_USE: DeviceCheck = DeviceCheck {
    id: "device.in-use",
    title: "the host does not use it",
    run: in_use,
};

pub(super) const ISOLATION: DeviceCheck = DeviceCheck {
    id: "device.isolation",
    title: "it is kept apart from other devices",
    run: isolation,
};

pub(super) const RESERVED: DeviceCheck = DeviceCheck {
    id: "device.reserved",
    title: "the firmware claims no memory for it",
    run: reserved,
};

pub(super) const RESET: DeviceCheck = DeviceCheck {
    id: "device.reset",
    title: "it can be reset by itself",
    run: reset,
};

pub(super) const LINK: DeviceCheck = DeviceCheck {
    id: "device.link",
    title: "its link runs at full speed",
    run: link,
};

pub(super) const DENYLISTED: DeviceCheck = DeviceCheck {
    id: "device.denylist",
    title: "vfio-pci takes it",
    run: denylisted,
};

fn vf_space(ground: &Ground<'_>) -> Diagnosis {
    let mut capable = 0;
    let mut lacking: Vec<String> = Vec::new();
    for device in &ground.devices {
        if let Some(sriov) = ground.host.sriov(device.bdf) {
            capable += 1;
            if sriov.lacks_space() && sriov.functions.is_empty() {
                lacking.push(device.bdf.to_string());
            }
        }
    }
    if capable == 0 {
        return Diagnosis::skip("no device here has virtual functions");
    }
    if lacking.is_empty() {
        return Diagnosis::pass(format!("{} with SR-IOV", count(capable, "device")));
    }
    Diagnosis::fail(
        format!(
            "the firmware and the kernel found no address space for the virtual functions of {}: making them fails with ENOMEM",
            lacking.join(", ")
        ),
        format!(
            "turn on 'Above 4G decoding' and SR-IOV in the firmware's set-up; if that does not do: {}",
            ground.add_parameter("pci=realloc")
        ),
    )
}

fn group(ground: &Ground<'_>, profile: &DeviceProfile) -> Diagnosis {
    let Some(group) = &profile.group else {
        return if ground.host.has_iommu() {
            Diagnosis::warn(
                "it is in no IOMMU group; some kernels make one when it is bound",
                format!("iommu-tool bind {}, then look again", profile.device.bdf),
            )
        } else {
            Diagnosis::fail(
                "it is in no IOMMU group, as there is no IOMMU",
                "see iommu.on",
            )
        };
    };
    let blockers = group.blockers();
    if blockers.is_empty() {
        return if is_on_vfio(profile) {
            Diagnosis::pass(format!("group {} is viable", group.id))
        } else {
            Diagnosis::pass(format!(
                "group {} is viable once the device is bound to VFIO",
                group.id
            ))
        };
    }
    let own = profile.device.bdf.to_string();
    let others: Vec<String> = blockers
        .iter()
        .filter(|blocker| blocker.device != own)
        .map(|blocker| format!("{} on {}", blocker.device, blocker.driver))
        .collect();
    if others.is_empty() {
        let driver = profile.device.driver.as_deref().unwrap_or("none");
        return Diagnosis::pass(format!(
            "alone with the host's driver {driver} in group {}: bind takes it",
            group.id
        ));
    }
    Diagnosis::fail(
        format!(
            "group {} is shared with {}: all must leave the host together",
            group.id,
            others.join(", ")
        ),
        format!(
            "bind those too, or move the device to a slot whose port isolates (iommu-tool show {own})"
        ),
    )
}

fn in_use(_ground: &Ground<'_>, profile: &DeviceProfile) -> Diagnosis {
    let mut found: Vec<String> = Vec::new();
    let mut remedies: Vec<String> = Vec::new();
    for one in &profile.uses {
        found.push(format!("{} ({})", one.evidence, one.reason));
    }
    if !profile.uses.is_empty() {
        remedies.push(Use::advice(&profile.uses));
    }
    for holder in &profile.holders {
        found.push(format!("held by {holder}"));
        remedies.push(format!("end process {}", holder.pid));
    }
    remedies.dedup();
    if found.is_empty() {
        Diagnosis::pass("nothing was found that uses it")
    } else {
        Diagnosis::warn(
            found.join("; "),
            format!("before it is bound: {}", remedies.join("; ")),
        )
    }
}

fn isolation(ground: &Ground<'_>, profile: &DeviceProfile) -> Diagnosis {
    let Some(group) = &profile.group else {
        return Diagnosis::skip("it is in no IOMMU group");
    };
    let others = group
        .devices
        .iter()
        .filter(|device| device.bdf != profile.device.bdf && !device.is_bridge())
        .count()
        + group.others.len();
    let open = profile
        .isolation
        .iter()
        .find(|step| step.effect.is_open() == Some(true));
    let is_overridden = ground.parameter("pcie_acs_override").is_some();
    match (others, open) {
        (0, Some(step)) if is_overridden => Diagnosis::warn(
            format!(
                "alone in group {}, but only because of pcie_acs_override: {} does not isolate",
                group.id, step.bdf
            ),
            "count it together with the other devices below that bridge",
        ),
        (0, _) => Diagnosis::pass(format!("alone in group {}", group.id)),
        (others, open) => {
            let reason = open.map_or_else(String::new, |step| {
                format!(", as {} may pass requests between them", step.bdf)
            });
            Diagnosis::warn(
                format!(
                    "shares group {} with {}{reason}",
                    group.id,
                    count(others, "other device")
                ),
                "assign the whole group to one user, or move the device to a slot whose port has ACS",
            )
        }
    }
}

fn reserved(_ground: &Ground<'_>, profile: &DeviceProfile) -> Diagnosis {
    let Some(group) = &profile.group else {
        return Diagnosis::skip("it is in no IOMMU group");
    };
    let direct = group.reserved.iter().find(|region| region.kind == "direct");
    match direct {
        Some(region) => Diagnosis::fail(
            format!(
                "the firmware demands that it reaches {}-{} untranslated (RMRR), so VFIO may not have it",
                region.range.start(),
                region.range.last()
            ),
            "turn off what claims it in the firmware's set-up (remote management, shared memory of the RAID or network card), or ask the vendor for a firmware without",
        ),
        None => Diagnosis::pass(format!(
            "{} in its group, none that the firmware claims for it",
            count(group.reserved.len(), "reserved range")
        )),
    }
}

fn reset(_ground: &Ground<'_>, profile: &DeviceProfile) -> Diagnosis {
    let names = |bdfs: &[Bdf]| {
        let names: Vec<String> = bdfs.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    match (&profile.reset_methods, &profile.bus_companions) {
        (Some(methods), _) if methods.iter().any(|method| !method.is_shared()) => {
            let names: Vec<&str> = methods.iter().map(|method| method.name()).collect();
            Diagnosis::pass(names.join(", "))
        }
        (None, _) if profile.function_level_reset => {
            Diagnosis::pass("it has a function-level reset")
        }
        (Some(_), Some(companions)) if companions.is_empty() => {
            Diagnosis::pass("by its bus, on which it is alone")
        }
        (Some(_), Some(companions)) => Diagnosis::warn(
            format!(
                "only together with {}: the kernel resets them if all are with the same user",
                names(companions)
            ),
            "assign them together",
        ),
        _ => Diagnosis::warn(
            "the kernel knows no way to reset it: what one user leaves in it the next one finds",
            "give it to one user only, or restart the host in between",
        ),
    }
}

fn link(_ground: &Ground<'_>, profile: &DeviceProfile) -> Diagnosis {
    let Some(link) = &profile.link else {
        return Diagnosis::skip("it has no PCI Express link of its own");
    };
    match link.now {
        None => Diagnosis::warn(
            "its link is down",
            "look whether it has power (show DEVICE)",
        ),
        Some(now) if link.is_degraded() => Diagnosis::warn(
            format!("{now}, where both ends can do {}", link.best()),
            "look again under load, as many devices slow their link down when idle; else reseat the card, or look for a slot setting in the firmware",
        ),
        Some(now) if link.is_limited_by_port() => Diagnosis::pass(format!(
            "{now}, all that its slot can do; the device could do {}",
            link.device
        )),
        Some(now) => Diagnosis::pass(now.to_string()),
    }
}

fn denylisted(ground: &Ground<'_>, profile: &DeviceProfile) -> Diagnosis {
    if !profile.device.is_on_vfio_denylist() {
        return Diagnosis::pass("not on its denylist");
    }
    if ground.host.module_switch("vfio_pci", "disable_denylist") {
        return Diagnosis::warn(
            "on its denylist for known faults, which is turned off",
            "give it to a trusted user only",
        );
    }
    Diagnosis::fail(
        "on its denylist for known faults",
        "only if its user is trusted: echo 'options vfio-pci disable_denylist=1' > /etc/modprobe.d/vfio-denylist.conf, then reload vfio-pci",
    )
}

/// What is asked for, against the largest range that can be mapped.
pub(super) fn fits(largest: u128, wanted: Option<crate::types::Size>) -> Result<(), String> {
    match wanted {
        Some(wanted) if largest < u128::from(wanted.bytes()) => Err(format!(
            "{wanted} are asked for, and the largest free range of IOVAs holds {}",
            size(u64::try_from(largest).unwrap_or(u64::MAX))
        )),
        _ => Ok(()),
    }
}
