//! What is seen of a device that a manifest may say something of.

use super::Mode;
use crate::host::{Host, IommuKind, Link, PciDevice, SubsystemId};
use crate::types::{Bdf, GroupId, PciId};

/// Base class and subclass of NVMe controllers (PCI Code and ID Assignment, section 1.2).
const NVME: u32 = 0x0108;

/// What is seen of a device that was named.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Its address.
    pub bdf: Bdf,
    /// Vendor and device ID.
    pub id: PciId,
    /// The card that it is on.
    pub subsystem: Option<SubsystemId>,
    /// Its name in the list of PCI IDs; `None` for an NVMe drive.
    pub listed_name: Option<String>,
    /// What it calls itself.
    pub model: Option<String>,
    /// The version of its firmware.
    pub firmware: Option<String>,
    /// Its link.
    pub link: Option<Link>,
    /// The NUMA node it is nearest to.
    pub numa_node: Option<u32>,
    /// The most virtual functions it can have.
    pub total_functions: u16,
    /// How many it had while it was checked; `None` before [`Self::see`].
    pub functions: Option<u16>,
    /// Where requests of what was checked go, its virtual functions or itself; empty before [`Self::see`].
    pub places: Vec<Place>,
}

/// Where requests of a device or function go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whose.
    pub bdf: Bdf,
    /// Its IOMMU group.
    pub group: Option<GroupId>,
    /// Who else is in that group, bridges aside.
    pub neighbours: Vec<String>,
    /// What kind of IOMMU translates.
    pub unit: Option<IommuKind>,
    /// How it does for the host's own drivers.
    pub mode: Option<Mode>,
}

impl Observed {
    /// Looks at a device while its own driver has it: what it says of itself is known by that one only.
    #[must_use]
    pub fn of(host: &Host, device: &PciDevice) -> Self {
        let nameplate = host.nameplate(device.bdf);
        let names = host.pci_names([device.id]);
        // Of a drive the list names the controller only, which is in many models.
        let is_drive = device.id.class >> 8 == NVME;
        Self {
            bdf: device.bdf,
            id: device.id,
            subsystem: device.subsystem,
            listed_name: names
                .device(&device.id)
                .filter(|_| !is_drive)
                .map(str::to_owned),
            model: nameplate.model,
            firmware: nameplate.firmware,
            link: host.link_of(device.bdf),
            numa_node: device.numa_node,
            total_functions: host.sriov(device.bdf).map_or(0, |sriov| sriov.total),
            functions: None,
            places: Vec::new(),
        }
    }

    /// Looks where requests go once all is set up: those of its virtual functions if it has any, or else its own.
    pub fn see(&mut self, host: &Host) {
        let there = host
            .sriov(self.bdf)
            .map_or_else(Vec::new, |sriov| sriov.functions);
        // No more than `total_functions`, which is a u16.
        self.functions = Some(there.len() as u16);
        let checked = if there.is_empty() {
            vec![self.bdf]
        } else {
            there
        };
        self.places = checked
            .into_iter()
            .map(|bdf| Place::of(host, bdf))
            .collect();
    }
}

impl Place {
    fn of(host: &Host, bdf: Bdf) -> Self {
        let id = host.device(bdf).ok().and_then(|device| device.group);
        let group = id.and_then(|id| host.group(id).ok());
        Self {
            bdf,
            group: id,
            neighbours: group
                .as_ref()
                .map_or_else(Vec::new, |group| group.neighbours_of(bdf)),
            unit: host.iommu_unit(bdf).map(|unit| unit.kind),
            mode: group.and_then(|group| Mode::of_domain(&group.domain?)),
        }
    }
}
