//! How VFIO is set up: its node permissions, its denylist, and the mode without an IOMMU.

use super::{Diagnosis, Ground, HostCheck};
use crate::host::NodeAccess;

pub(super) const NO_IOMMU: HostCheck = HostCheck {
    id: "vfio.no-iommu",
    title: "VFIO insists on an IOMMU",
    run: no_iommu,
};

pub(super) const DENYLIST: HostCheck = HostCheck {
    id: "vfio.denylist",
    title: "vfio-pci takes every device of this host",
    run: denylist,
};

pub(super) const NODES: HostCheck = HostCheck {
    id: "vfio.nodes",
    title: "this user may open the nodes of VFIO",
    run: nodes,
};

fn no_iommu(ground: &Ground<'_>) -> Diagnosis {
    if ground
        .host
        .module_switch("vfio", "enable_unsafe_noiommu_mode")
    {
        Diagnosis::warn(
            "vfio.enable_unsafe_noiommu_mode is on: a device in no IOMMU group can be opened by root, and then reaches all memory",
            "echo N > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode, and take the option out of /etc/modprobe.d",
        )
    } else {
        Diagnosis::pass("vfio.enable_unsafe_noiommu_mode is off")
    }
}

fn denylist(ground: &Ground<'_>) -> Diagnosis {
    let denied: Vec<String> = ground
        .devices
        .iter()
        .filter(|device| device.is_on_vfio_denylist())
        .map(|device| device.bdf.to_string())
        .collect();
    let disabled = ground.host.module_switch("vfio_pci", "disable_denylist");
    match (denied.as_slice(), disabled) {
        ([], false) => Diagnosis::pass("none of its devices is on the denylist"),
        ([], true) => Diagnosis::warn(
            "vfio_pci.disable_denylist is set, and no device here needs it",
            "take disable_denylist out of /etc/modprobe.d",
        ),
        (denied, false) => Diagnosis::warn(
            format!(
                "on vfio-pci's denylist for known faults, so it will not take them: {}",
                denied.join(", ")
            ),
            "only if their user is trusted: echo 'options vfio-pci disable_denylist=1' > /etc/modprobe.d/vfio-denylist.conf, then reload vfio-pci",
        ),
        (denied, true) => Diagnosis::warn(
            format!(
                "vfio_pci.disable_denylist lets in devices with known faults that their user could exploit: {}",
                denied.join(", ")
            ),
            "give them to trusted users only, or take disable_denylist out of /etc/modprobe.d",
        ),
    }
}

fn nodes(ground: &Ground<'_>) -> Diagnosis {
    let mut seen = Vec::new();
    let mut closed = Vec::new();
    for node in ["/dev/vfio/vfio", "/dev/iommu"] {
        match ground.host.node_access(node) {
            NodeAccess::Open(owner) => seen.push(format!("{node} ({owner})")),
            NodeAccess::Closed(owner) => closed.push(format!("{node} ({owner})")),
            NodeAccess::Missing => {}
            NodeAccess::Unknown => {
                return Diagnosis::skip("a captured host does not keep owners and permissions");
            }
        }
    }
    match (seen.as_slice(), closed.as_slice()) {
        ([], []) => {
            Diagnosis::skip("no node is there yet: they appear with the first device that is bound")
        }
        (_, []) => Diagnosis::pass(seen.join(", ")),
        ([], closed) => Diagnosis::fail(
            format!("this user may not open {}", closed.join(", ")),
            "run as root, or give the user the nodes: a udev rule such as SUBSYSTEM==\"vfio\", GROUP=\"vfio\", MODE=\"0660\"",
        ),
        (seen, closed) => Diagnosis::warn(
            format!(
                "this user may open {}, and may not open {}",
                seen.join(", "),
                closed.join(", ")
            ),
            "if both backends are wanted: a udev rule such as KERNEL==\"iommu\", GROUP=\"vfio\", MODE=\"0660\"",
        ),
    }
}
