//! IOMMU groups and their devices.

use serde::Serialize;
use std::io::{self, Write};

use super::{Report, Style};
use crate::host::{
    Blocker, IommuGroup, KernelNames, OtherDevice, PciDevice, PciNames, ReservedRegion,
    is_vfio_driver,
};
use crate::types::{Bdf, GroupId, Iova};

/// What `list` found.
#[derive(Debug, Serialize)]
pub struct ListReport {
    iommu: bool,
    groups: Vec<Group>,
    devices_without_group: Vec<Device>,
}

#[derive(Debug, Serialize)]
struct Group {
    group: GroupId,
    /// How the host's own drivers are translated.
    domain_type: Option<String>,
    /// Whether user space could open the group now.
    viable: bool,
    blockers: Vec<Holdup>,
    reserved_regions: Vec<Reserved>,
    devices: Vec<Device>,
    other_devices: Vec<Other>,
}

#[derive(Debug, Serialize)]
struct Holdup {
    device: String,
    driver: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Reserved {
    start: Iova,
    last: Iova,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Serialize)]
struct Other {
    name: String,
    driver: Option<String>,
}

#[derive(Debug, Serialize)]
struct Device {
    bdf: Bdf,
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
    bridge: bool,
    driver: Option<String>,
    numa_node: Option<u32>,
    kernel_names: Vec<String>,
}

impl ListReport {
    /// From what the host says: `iommu` is whether one is on.
    #[must_use]
    pub fn new(
        iommu: bool,
        groups: &[IommuGroup],
        without_group: &[PciDevice],
        names: &PciNames,
        kernel_names: &KernelNames,
    ) -> Self {
        let device = |device: &PciDevice| Device::new(device, names, kernel_names);
        Self {
            iommu,
            groups: groups
                .iter()
                .map(|group| Group {
                    group: group.id,
                    domain_type: group.domain.clone(),
                    viable: group.is_viable(),
                    blockers: group.blockers().into_iter().map(Holdup::from).collect(),
                    reserved_regions: group.reserved.iter().map(Reserved::from).collect(),
                    devices: group.devices.iter().map(device).collect(),
                    other_devices: group.others.iter().map(Other::from).collect(),
                })
                .collect(),
            devices_without_group: without_group.iter().map(device).collect(),
        }
    }
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
    fn new(device: &PciDevice, names: &PciNames, kernel_names: &KernelNames) -> Self {
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
        }
    }

    /// What it is, for people: `Ethernet controller: Intel Corporation 82576 Gigabit Network Connection`.
    fn description(&self) -> String {
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

    fn cells(&self) -> [String; 4] {
        [
            self.bdf.to_string(),
            format!("{}:{}", self.vendor_id, self.device_id),
            self.driver.clone().unwrap_or_else(|| "-".to_owned()),
            self.kernel_names.join(","),
        ]
    }
}

/// The widths that align the columns of all devices shown.
struct Columns([usize; 4]);

impl Columns {
    fn fitting<'d>(devices: impl Iterator<Item = &'d Device>) -> Self {
        let mut widths = [0; 4];
        for device in devices {
            for (width, cell) in widths.iter_mut().zip(device.cells()) {
                *width = cell.chars().count().max(*width);
            }
        }
        Self(widths)
    }

    fn write(&self, out: &mut dyn Write, style: Style, device: &Device) -> io::Result<()> {
        write!(out, " ")?;
        let is_vfio = device.driver.as_deref().is_some_and(is_vfio_driver);
        for (column, (cell, width)) in device.cells().iter().zip(self.0).enumerate() {
            // The column of kernel names is left out where nothing has one.
            match (column, width) {
                (_, 0) => {}
                (2, _) if is_vfio => write!(out, " {:<width$} ", style.good(cell))?,
                _ => write!(out, " {cell:<width$} ")?,
            }
        }
        writeln!(out, " {}", style.faint(&device.description()))
    }
}

impl Group {
    /// Whether user space can have the group, in words; with one device on a driver of the host there is nothing to explain.
    fn write_state(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let on_vfio = |device: &Device| device.driver.as_deref().is_some_and(is_vfio_driver);
        let endpoints = self.devices.iter().filter(|device| !device.bridge).count();
        match self.blockers.as_slice() {
            [] if self.devices.iter().any(on_vfio) => {
                writeln!(out, "{}", style.good("viable, on VFIO"))
            }
            [] => writeln!(out, "{}", style.good("viable")),
            [_] if endpoints + self.other_devices.len() == 1 => {
                writeln!(out, "used by the host")
            }
            blockers => {
                let kept: Vec<String> = blockers
                    .iter()
                    .map(|blocker| format!("{} is on {}", blocker.device, blocker.driver))
                    .collect();
                writeln!(out, "{}: {}", style.caution("not viable"), kept.join(", "))
            }
        }
    }
}

impl Report for ListReport {
    const KIND: &'static str = "list";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let in_groups = self.groups.iter().flat_map(|group| &group.devices);
        let columns = Columns::fitting(in_groups.chain(&self.devices_without_group));

        // What every group reserves is said once, below.
        let mut everywhere = self
            .groups
            .first()
            .map(|group| group.reserved_regions.clone())
            .unwrap_or_default();
        everywhere.retain(|region| {
            self.groups
                .iter()
                .all(|group| group.reserved_regions.contains(region))
        });

        for group in &self.groups {
            let domain = group.domain_type.as_deref().unwrap_or("-");
            let heading = format!("Group {}", group.group);
            write!(out, "{:<10} {domain:<9} ", style.heading(&heading))?;
            group.write_state(out, style)?;
            for device in &group.devices {
                columns.write(out, style, device)?;
            }
            for other in &group.other_devices {
                let driver = other.driver.as_deref().unwrap_or("-");
                writeln!(out, "  {}  {driver}  not a PCI device", other.name)?;
            }
            for region in &group.reserved_regions {
                if !everywhere.contains(region) {
                    writeln!(out, "  reserved IOVAs {region}")?;
                }
            }
        }
        if !self.devices_without_group.is_empty() {
            writeln!(out, "{}", style.heading("Without an IOMMU group"))?;
        }
        for device in &self.devices_without_group {
            columns.write(out, style, device)?;
        }
        for region in &everywhere {
            writeln!(out, "Every group: reserved IOVAs {region}")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Reserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{} ({})", self.start, self.last, self.kind)
    }
}
