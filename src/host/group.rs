//! IOMMU groups: the smallest sets of devices that the IOMMU can keep apart (Documentation/ABI/testing/sysfs-kernel-iommu_groups).

use std::path::PathBuf;

use super::{Host, HostError, PciDevice, is_vfio_driver};
use crate::types::{Bdf, GroupId, Iova, IovaRange};

/// Where sysfs lists the groups.
pub(super) const GROUPS: &str = "/sys/kernel/iommu_groups";

/// An IOMMU group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IommuGroup {
    /// Its number; it may be another one after the next boot.
    pub id: GroupId,
    /// How the kernel's own drivers in it are translated: `identity`, `DMA`, `DMA-FQ`, `blocked`. VFIO replaces this by its own.
    pub domain: Option<String>,
    /// Its PCI devices, by address.
    pub devices: Vec<PciDevice>,
    /// Devices of other buses in it (platform devices).
    pub others: Vec<OtherDevice>,
    /// IOVAs that the host keeps for itself in this group.
    pub reserved: Vec<ReservedRegion>,
}

/// A device of a group that is not on the PCI bus.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OtherDevice {
    /// Its name in sysfs.
    pub name: String,
    /// The driver that it is bound to.
    pub driver: Option<String>,
}

/// IOVAs that the host keeps for itself, as for the message-signalled interrupts of x86.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservedRegion {
    /// Which IOVAs.
    pub range: IovaRange,
    /// What for: `msi`, `direct`, `direct-relaxable`, `reserved` (drivers/iommu/iommu.c, `iommu_group_resv_type_string`).
    pub kind: String,
}

/// A device whose driver keeps its whole group from user space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Blocker {
    /// Its address, or its name if it is not on the PCI bus.
    pub device: String,
    /// The driver that it is bound to.
    pub driver: String,
}

impl IommuGroup {
    /// The devices that keep the group from being opened by user space.
    ///
    /// That is each device on a driver which uses the kernel's DMA interface: not the VFIO drivers, not pci-stub, and not pcieport,
    /// which manages bridges and does no DMA of its own (`driver_managed_dma` in drivers/pci and drivers/vfio).
    #[must_use]
    pub fn blockers(&self) -> Vec<Blocker> {
        let pci = self
            .devices
            .iter()
            .map(|device| (device.bdf.to_string(), &device.driver));
        let others = self
            .others
            .iter()
            .map(|device| (device.name.clone(), &device.driver));
        pci.chain(others)
            .filter_map(|(device, driver)| Some((device, driver.clone()?)))
            .filter(|(_, driver)| !leaves_dma_alone(driver))
            .map(|(device, driver)| Blocker { device, driver })
            .collect()
    }

    /// What is in the group beside a device, bridges aside: they do no DMA of their own.
    #[must_use]
    pub fn neighbours_of(&self, bdf: Bdf) -> Vec<String> {
        let devices = self.devices.iter();
        devices
            .filter(|other| other.bdf != bdf && !other.is_bridge())
            .map(|other| other.bdf.to_string())
            .chain(self.others.iter().map(|other| other.name.clone()))
            .collect()
    }

    /// Whether user space could open the group now.
    #[must_use]
    pub fn is_viable(&self) -> bool {
        self.blockers().is_empty()
    }
}

fn leaves_dma_alone(driver: &str) -> bool {
    is_vfio_driver(driver) || driver == "pci-stub" || driver == "pcieport"
}

impl Host {
    /// All IOMMU groups, by number. Groups made up by VFIO's no-IOMMU mode are left out: nothing isolates them.
    #[must_use]
    pub fn groups(&self) -> Vec<IommuGroup> {
        let mut ids: Vec<GroupId> = self
            .names(GROUPS)
            .into_iter()
            .filter_map(|name| name.parse().ok().map(GroupId))
            .collect();
        ids.sort_unstable();
        ids.into_iter()
            .map(|id| self.read_group(id))
            // Without an IOMMU there is no domain to say the type of (drivers/iommu/iommu.c, `iommu_group_show_type`).
            .filter(|group| match group.domain.as_deref() {
                None | Some("unknown") => !self.is_noiommu(group.id),
                Some(_) => true,
            })
            .collect()
    }

    /// One IOMMU group.
    ///
    /// # Errors
    /// There is none of this number.
    pub fn group(&self, id: GroupId) -> Result<IommuGroup, HostError> {
        if self.exists(folder(id)) {
            Ok(self.read_group(id))
        } else {
            Err(HostError::NoSuchGroup(id))
        }
    }

    fn read_group(&self, id: GroupId) -> IommuGroup {
        let folder = folder(id);
        let mut devices = Vec::new();
        let mut others = Vec::new();
        for name in self.names(folder.join("devices")) {
            match name.parse() {
                Ok(bdf) => devices.extend(self.device_in(bdf, Some(id)).ok()),
                Err(_) => others.push(OtherDevice {
                    driver: self.link_name(folder.join("devices").join(&name).join("driver")),
                    name,
                }),
            }
        }
        IommuGroup {
            id,
            domain: self.attribute(folder.join("type")),
            devices,
            others,
            reserved: self
                .attribute(folder.join("reserved_regions"))
                .unwrap_or_default()
                .lines()
                .filter_map(parse_reserved)
                .collect(),
        }
    }

    /// Whether the group stands for no isolation at all: drivers/vfio/group.c names such a group `vfio-noiommu`.
    pub(super) fn is_noiommu(&self, id: GroupId) -> bool {
        self.attribute(folder(id).join("name"))
            .is_some_and(|name| name == "vfio-noiommu")
    }
}

fn folder(id: GroupId) -> PathBuf {
    PathBuf::from(format!("{GROUPS}/{id}"))
}

/// A line of `reserved_regions`: `0x00000000fee00000 0x00000000feefffff msi`.
fn parse_reserved(line: &str) -> Option<ReservedRegion> {
    let mut words = line.split_whitespace();
    let start: Iova = words.next()?.parse().ok()?;
    let last: Iova = words.next()?.parse().ok()?;
    Some(ReservedRegion {
        range: IovaRange::from_ends(start, last)?,
        kind: words.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(bdf: &str, class: u32, driver: Option<&str>) -> PciDevice {
        PciDevice {
            bdf: bdf.parse().unwrap(),
            id: crate::types::PciId {
                vendor: 0x8086,
                device: 0x1234,
                class,
            },
            subsystem: None,
            revision: 0,
            driver: driver.map(str::to_owned),
            group: Some(GroupId(1)),
            numa_node: None,
        }
    }

    #[test]
    fn only_drivers_that_use_dma_block_a_group() {
        let mut group = IommuGroup {
            id: GroupId(1),
            domain: None,
            devices: vec![
                device("00:1c.0", 0x06_0400, Some("pcieport")),
                device("02:00.0", 0x02_0000, Some("vfio-pci")),
                device("02:00.1", 0x02_0000, Some("mlx5_vfio_pci")),
                device("02:00.2", 0x02_0000, Some("pci-stub")),
                device("02:00.3", 0x02_0000, None),
            ],
            others: vec![],
            reserved: vec![],
        };
        assert!(group.is_viable());

        group.devices[4].driver = Some("ixgbe".into());
        group.others.push(OtherDevice {
            name: "arm-gpu".into(),
            driver: Some("panfrost".into()),
        });
        let blockers: Vec<String> = group
            .blockers()
            .into_iter()
            .map(|blocker| format!("{} {}", blocker.device, blocker.driver))
            .collect();
        assert_eq!(blockers, ["0000:02:00.3 ixgbe", "arm-gpu panfrost"]);
    }

    #[test]
    fn reserved_regions_are_read_line_by_line() {
        let region = parse_reserved("0x00000000fee00000 0x00000000feefffff msi").unwrap();
        assert_eq!(region.range.size(), 0x10_0000);
        assert_eq!(region.kind, "msi");
        for line in ["", "0x1000", "0x2000 0x1000 msi", "x y msi", "0x0 0x1"] {
            assert_eq!(parse_reserved(line), None, "{line}");
        }
    }
}
