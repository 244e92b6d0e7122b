//! IOMMU groups and devices, as several reports show them.

use serde::Serialize;

use crate::host::{
    Blocker, IommuGroup, KernelNames, OtherDevice, PciDevice, PciNames, ReservedRegion, Use,
    is_vfio_driver,
};
use crate::types::{Bdf, GroupId, Iova};

/// An IOMMU group.
#[derive(Debug, Serialize)]
pub struct Group {
    pub(super) group: GroupId,
    /// How the host's own drivers are translated.
    pub(super) domain_type: Option<String>,
    /// Whether user space could open the group now.
    pub(super) viable: bool,
    blockers: Vec<Holdup>,
    pub(super) reserved_regions: Vec<Reserved>,
    pub(super) devices: Vec<Device>,
    pub(super) other_devices: Vec<Other>,
}

/// A device that keeps its group from user space.
#[derive(Debug, Serialize)]
struct Holdup {
    device: String,
    driver: String,
}

/// IOVAs that cannot be mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reserved {
    start: Iova,
    last: Iova,
    #[serde(rename = "type")]
    kind: String,
}

/// A device of a group that is not on the PCI bus.
#[derive(Debug, Serialize)]
pub struct Other {
    pub(super) name: String,
    pub(super) driver: Option<String>,
}

/// A PCI device.
#[derive(Debug, Serialize)]
pub struct Device {
    pub(super) bdf: Bdf,
    /// IDs and class code in hexadecimal digits, as `8086`, `10c9`, `020000`.
    vendor_id: String,
    device_id: String,
    class_code: String,
    revision: String,
    subsystem_vendor_id: Option<String>,
    subsystem_id: Option<String>,
    vendor: Option<String>,
    device: Option<String>,
    class: Option<String>,
    pub(super) bridge: bool,
    pub(super) driver: Option<String>,
    numa_node: Option<u32>,
    kernel_names: Vec<String>,
    /// What the host uses it for, as far as a glance shows; missing where nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) in_use: Option<Vec<Use>>,
}

impl From<Blocker> for Holdup {
    fn from(blocker: Blocker) -> Self {
        Self {
            device: blocker.device,
            driver: blocker.driver,
        }
    }
}

impl From<&ReservedRegion> for Reserved {
    fn from(region: &ReservedRegion) -> Self {
        Self {
            start: region.range.start(),
            last: region.range.last(),
            kind: region.kind.clone(),
        }
    }
}

impl From<&OtherDevice> for Other {
    fn from(device: &OtherDevice) -> Self {
        Self {
            name: device.name.clone(),
            driver: device.driver.clone(),
        }
    }
}

impl Device {
    pub(super) fn new(device: &PciDevice, names: &PciNames, kernel_names: &KernelNames) -> Self {
        let id = &device.id;
        let owned = |name: Option<&str>| name.map(str::to_owned);
        Self {
            bdf: device.bdf,
            vendor_id: format!("{:04x}", id.vendor),
            device_id: format!("{:04x}", id.device),
            class_code: format!("{:06x}", id.class),
            revision: format!("{:02x}", device.revision),
            subsystem_vendor_id: device.subsystem.map(|id| format!("{:04x}", id.vendor)),
            subsystem_id: device.subsystem.map(|id| format!("{:04x}", id.device)),
            vendor: owned(names.vendor(id)),
            device: owned(names.device(id)),
            class: owned(names.class(id)),
            bridge: device.is_bridge(),
            driver: device.driver.clone(),
            numa_node: device.numa_node,
            kernel_names: kernel_names
                .of(device.bdf)
                .map(|name| name.name.clone())
                .collect(),
            in_use: None,
        }
    }

    /// What it is, for people: `Ethernet controller: Intel Corporation 82576 Gigabit Network Connection`.
    pub(super) fn description(&self) -> String {
        let class = match &self.class {
            Some(class) => class.clone(),
            None => format!("Class {}", self.class_code),
        };
        match (&self.vendor, &self.device) {
            (Some(vendor), Some(device)) => format!("{class}: {vendor} {device}"),
            (Some(vendor), None) => format!("{class}: {vendor}"),
            (None, _) => class,
        }
    }

    /// Vendor and device ID, as `8086:10c9`.
    pub(super) fn ids(&self) -> String {
        format!("{}:{}", self.vendor_id, self.device_id)
    }

    /// All that identifies its kind, in words.
    pub(super) fn identity(&self) -> String {
        let subsystem = match (&self.subsystem_vendor_id, &self.subsystem_id) {
            (Some(vendor), Some(device)) => format!(", subsystem {vendor}:{device}"),
            _ => String::new(),
        };
        format!(
            "{}, class {}, revision {}{subsystem}",
            self.ids(),
            self.class_code,
            self.revision
        )
    }

    /// The names of what it provides, as `nvme0,nvme0n1`.
    pub(super) fn names(&self) -> String {
        self.kernel_names.join(",")
    }

    pub(super) fn is_on_vfio(&self) -> bool {
        self.driver.as_deref().is_some_and(is_vfio_driver)
    }

    /// The driver, for people.
    pub(super) fn driver(&self) -> &str {
        self.driver.as_deref().unwrap_or("-")
    }
}

impl Group {
    pub(super) fn new(group: &IommuGroup, names: &PciNames, kernel_names: &KernelNames) -> Self {
        Self {
            group: group.id,
            domain_type: group.domain.clone(),
            viable: group.is_viable(),
            blockers: group.blockers().into_iter().map(Holdup::from).collect(),
            reserved_regions: group.reserved.iter().map(Reserved::from).collect(),
            devices: group
                .devices
                .iter()
                .map(|device| Device::new(device, names, kernel_names))
                .collect(),
            other_devices: group.others.iter().map(Other::from).collect(),
        }
    }

    /// How many devices there are that someone could want.
    fn endpoints(&self) -> usize {
        let endpoints = self.devices.iter().filter(|device| !device.bridge).count();
        endpoints + self.other_devices.len()
    }

    pub(super) fn is_only_bridges(&self) -> bool {
        self.endpoints() == 0
    }

    /// Whether user space can have the group, in words; with one device on a driver of the host there is nothing to explain.
    pub(super) fn state(&self) -> String {
        match self.blockers.as_slice() {
            [] if self.devices.iter().any(Device::is_on_vfio) => "viable, on VFIO".to_owned(),
            [] if self.is_only_bridges() => "only bridges".to_owned(),
            [] => "viable".to_owned(),
            [_] if self.endpoints() == 1 => "used by the host".to_owned(),
            blockers => {
                let kept: Vec<String> = blockers
                    .iter()
                    .map(|blocker| format!("{} is on {}", blocker.device, blocker.driver))
                    .collect();
                format!("not viable: {}", kept.join(", "))
            }
        }
    }
}

impl std::fmt::Display for Reserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{} ({})", self.start, self.last, self.kind)
    }
}
