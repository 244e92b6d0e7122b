//! Why the kernel makes no virtual functions: the errno alone does not tell.

use nix::errno::Errno;

use crate::host::{Host, PciDevice, PortType, is_vfio_driver};

const FIRMWARE: &str = "turn on SR-IOV and 'Above 4G decoding' in the firmware's set-up; if that does not do, boot with pci=realloc";

/// The likely cause here, and what to do (`sriov_numvfs_store` of drivers/pci/pci-sysfs.c, `sriov_enable` of drivers/pci/iov.c).
pub(super) fn likely_cause(host: &Host, pf: &PciDevice, errno: Errno) -> String {
    let driver = pf.driver.as_deref();
    let lacks_space = host.sriov(pf.bdf).is_some_and(|sriov| sriov.lacks_space());
    match errno {
        Errno::ENOENT if driver.is_some_and(is_vfio_driver) => {
            "vfio-pci makes virtual functions only while its parameter enable_sriov is on".to_owned()
        }
        Errno::ENOENT => format!(
            "its driver {} makes no virtual functions: look for another driver, or a setting of this one",
            driver.unwrap_or("(none)")
        ),
        Errno::ENOMEM if lacks_space => format!(
            "the firmware and the kernel found no address space for their regions: {FIRMWARE}"
        ),
        Errno::ENOMEM if !forwards_alternative_ids(host, pf) => format!(
            "the port above it does not forward alternative routing IDs (ARI), so they need more bus numbers than the firmware left: \
             take a slot whose port has ARI, or {FIRMWARE}, or boot with pci=assign-busses"
        ),
        Errno::ENOMEM => format!(
            "there are not enough bus numbers or not enough memory for so many: take fewer, or {FIRMWARE}"
        ),
        Errno::EBUSY => "somebody else makes or removes virtual functions at the same time, or the device has some that this host did not make: \
                         look again with 'iommu-tool vfs'"
            .to_owned(),
        Errno::EIO => "the device's SR-IOV capability makes no sense, or the device does not answer: a reset of the host may help".to_owned(),
        Errno::EINVAL | Errno::EOPNOTSUPP => format!(
            "{} refuses this number: the device's firmware may allow fewer, or have SR-IOV turned off",
            driver.unwrap_or("the driver")
        ),
        _ => format!("{} refused it: dmesg may say more", driver.unwrap_or("the driver")),
    }
}

/// Whether the port above passes requests on to functions past the seventh of device 0 (PCI Express Base 6.0, section 6.13). It needs no such
/// thing for functions inside the processor.
fn forwards_alternative_ids(host: &Host, pf: &PciDevice) -> bool {
    let Some(port) = host.bridges_above(pf.bdf).first().copied() else {
        return true;
    };
    let express = host.config_space(port).express();
    express.is_none_or(|express| {
        let leads_down = matches!(express.port, PortType::RootPort | PortType::DownstreamPort);
        !leads_down || express.forwards_ari
    })
}
