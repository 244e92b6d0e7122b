//! What a device says of itself through its own driver: model and firmware version.

use super::Host;
use super::pci::sysfs;
use crate::types::Bdf;

/// What a device says of itself. Only its own driver asks it, so nothing is known of a device on vfio-pci.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nameplate {
    /// The model, as its maker calls it.
    pub model: Option<String>,
    /// The version of its firmware.
    pub firmware: Option<String>,
}

impl Host {
    /// What sysfs passes on of a device: NVMe controllers tell both (`nvme_dev_attrs` of drivers/nvme/host/sysfs.c), network cards with
    /// RDMA the firmware (`fw_ver` of Documentation/ABI/stable/sysfs-class-infiniband). Others tell only through ioctls of their own.
    #[must_use]
    pub fn nameplate(&self, bdf: Bdf) -> Nameplate {
        let first = |class: &str, attribute: &str| {
            let folder = sysfs(bdf).join(class);
            let name = self.names(&folder).into_iter().next()?;
            self.attribute(folder.join(name).join(attribute))
        };
        Nameplate {
            model: first("nvme", "model"),
            firmware: first("nvme", "firmware_rev").or_else(|| first("infiniband", "fw_ver")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::root::host_of_files;

    #[test]
    fn drives_and_cards_with_rdma_tell_and_others_do_not() {
        let (_folder, host) = host_of_files(&[
            (
                "sys/bus/pci/devices/0000:01:00.0/nvme/nvme0/model",
                "QEMU NVMe Ctrl                          \n",
            ),
            (
                "sys/bus/pci/devices/0000:01:00.0/nvme/nvme0/firmware_rev",
                "8.2.2   \n",
            ),
            (
                "sys/bus/pci/devices/0000:02:00.0/infiniband/mlx5_0/fw_ver",
                "16.35.2000\n",
            ),
            (
                "sys/bus/pci/devices/0000:03:00.0/net/eth0/flags",
                "0x1003\n",
            ),
        ]);
        let plate = |bdf: &str| host.nameplate(bdf.parse().unwrap());
        assert_eq!(plate("01:00.0").model.as_deref(), Some("QEMU NVMe Ctrl"));
        assert_eq!(plate("01:00.0").firmware.as_deref(), Some("8.2.2"));
        assert_eq!(plate("02:00.0").firmware.as_deref(), Some("16.35.2000"));
        assert_eq!(plate("03:00.0"), Nameplate::default());
    }
}
