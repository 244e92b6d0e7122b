//! How VFIO offers a device to user space.

use std::path::PathBuf;

use super::{Host, PciDevice};
use crate::types::VfioNode;

/// Whether a driver hands its devices to user space: vfio-pci, its variants for single vendors, or one for another bus.
///
/// All of them have "vfio" as a word of their name: `vfio-pci`, `mlx5_vfio_pci`, `nvgrace-gpu-vfio-pci`, `vfio-platform`.
#[must_use]
pub fn is_vfio_driver(driver: &str) -> bool {
    driver.split(['-', '_']).any(|word| word == "vfio")
}

impl Host {
    /// The nodes through which user space reaches the device, as they are now.
    #[must_use]
    pub fn vfio_node(&self, device: &PciDevice) -> VfioNode {
        let sysfs = device.sysfs();
        let folder = sysfs.join("vfio-dev");
        // The class device is always there; its `dev` file only on kernels that make the node (CONFIG_VFIO_DEVICE_CDEV).
        let cdev = self
            .names(&folder)
            .into_iter()
            .find(|name| self.exists(folder.join(name).join("dev")))
            .map(|name| PathBuf::from("/dev/vfio/devices").join(name));
        VfioNode {
            bdf: device.bdf,
            sysfs,
            group: device.group,
            cdev,
        }
    }

    /// The paths in `/dev` by which user space may have the device open: its group's and its own.
    #[must_use]
    pub fn vfio_nodes(&self, device: &PciDevice) -> Vec<PathBuf> {
        let node = self.vfio_node(device);
        let group = node
            .group
            .map(|group| PathBuf::from(format!("/dev/vfio/{group}")));
        group.into_iter().chain(node.cdev).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vfio_drivers_are_told_by_name() {
        for driver in ["vfio-pci", "mlx5_vfio_pci", "nvgrace-gpu-vfio-pci"] {
            assert!(is_vfio_driver(driver), "{driver}");
        }
        for driver in ["nvme", "vfiox", "pci-stub", ""] {
            assert!(!is_vfio_driver(driver), "{driver}");
        }
    }
}
