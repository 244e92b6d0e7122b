//! IOMMU groups and their devices.

use serde::Serialize;
use std::io::{self, Write};

use super::group::{Device, Group};
use super::{Report, Style};
use crate::host::{IommuGroup, KernelNames, PciDevice, PciNames, Usage};

/// What `list` found.
#[derive(Debug, Serialize)]
pub struct ListReport {
    iommu: bool,
    groups: Vec<Group>,
    devices_without_group: Vec<Device>,
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
        usage: &Usage<'_>,
    ) -> Self {
        let in_groups = groups.iter().flat_map(|group| &group.devices);
        let held = usage.held(in_groups.chain(without_group));
        let looked_at = |mut shown: Device, device: &PciDevice| {
            let mut uses = usage.at_a_glance(device);
            let holders = held.iter().filter(|(bdf, _)| *bdf == device.bdf);
            uses.extend(holders.map(|(_, holder)| holder.clone()));
            shown.in_use = Some(uses);
            shown
        };
        let with_uses = |group: &IommuGroup| {
            let mut shown = Group::new(group, names, kernel_names);
            let pairs = shown.devices.into_iter().zip(&group.devices);
            shown.devices = pairs
                .map(|(shown, device)| looked_at(shown, device))
                .collect();
            shown
        };
        Self {
            iommu,
            groups: groups.iter().map(with_uses).collect(),
            devices_without_group: without_group
                .iter()
                .map(|device| looked_at(Device::new(device, names, kernel_names), device))
                .collect(),
        }
    }
}

/// The widths that align the columns of all devices shown.
struct Columns([usize; 4]);

impl Columns {
    fn cells(device: &Device) -> [String; 4] {
        [
            device.bdf.to_string(),
            device.ids(),
            device.driver().to_owned(),
            device.names(),
        ]
    }

    fn fitting<'d>(devices: impl Iterator<Item = &'d Device>) -> Self {
        let mut widths = [0; 4];
        for device in devices {
            for (width, cell) in widths.iter_mut().zip(Self::cells(device)) {
                *width = cell.chars().count().max(*width);
            }
        }
        Self(widths)
    }

    fn write(&self, out: &mut dyn Write, style: Style, device: &Device) -> io::Result<()> {
        write!(out, " ")?;
        for (column, (cell, width)) in Self::cells(device).iter().zip(self.0).enumerate() {
            // The column of kernel names is left out where nothing has one.
            match (column, width) {
                (_, 0) => {}
                (2, _) if device.is_on_vfio() => write!(out, " {:<width$} ", style.good(cell))?,
                _ => write!(out, " {cell:<width$} ")?,
            }
        }
        writeln!(out, " {}", style.faint(&device.description()))?;
        for one in device.in_use.iter().flatten() {
            writeln!(out, "    in use: {} ({})", one.evidence, one.reason)?;
        }
        Ok(())
    }
}

fn write_state(group: &Group, out: &mut dyn Write, style: Style) -> io::Result<()> {
    let state = group.state();
    let (word, why) = state.split_at(state.find(':').unwrap_or(state.len()));
    match (group.viable, why) {
        (true, _) if group.is_only_bridges() => writeln!(out, "{}", style.faint(&state)),
        (true, _) => writeln!(out, "{}", style.good(&state)),
        (false, "") => writeln!(out, "{state}"),
        (false, why) => writeln!(out, "{}{why}", style.caution(word)),
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
            write_state(group, out, style)?;
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
