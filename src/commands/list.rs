//! `list [DEVICE...]`: IOMMU groups, their devices and drivers, and why a group cannot be assigned.

use std::collections::BTreeSet;
use std::iter;

use super::Context;
use crate::binding;
use crate::cli::ListArgs;
use crate::host::{Host, HostError, IommuGroup, PciDevice};
use crate::report::{ListReport, TreeReport};
use crate::types::{Bdf, DeviceName, ExitClass, GroupId};

/// Prints the groups of the devices that were named, or all.
///
/// # Errors
/// A name means no device, or sysfs cannot be read.
pub fn run(args: &ListArgs, context: &Context) -> anyhow::Result<ExitClass> {
    super::recover::warn_of_interrupted(context, None);
    let host = &context.host;
    if args.tree {
        context.output.emit(&tree(host, &args.devices)?)?;
    } else {
        context.output.emit(&report(host, &args.devices)?)?;
    }
    if !host.has_iommu() {
        log::warn!("{}", host.missing_iommu());
    }
    Ok(ExitClass::Done)
}

/// The groups of the devices that were named, or all.
///
/// # Errors
/// A name means no device, or sysfs cannot be read.
pub(super) fn report(host: &Host, devices: &[DeviceName]) -> anyhow::Result<ListReport> {
    let (groups, without_group) = if devices.is_empty() {
        let groups = host.groups();
        let without_group = host.devices_outside(&groups)?;
        (groups, without_group)
    } else {
        named(host, devices)?
    };
    let iommu = host.has_iommu();
    let ids = groups
        .iter()
        .flat_map(|group| &group.devices)
        .chain(&without_group)
        .map(|device| device.id);
    let names = host.pci_names(ids);
    let kernel_names = host.kernel_names();
    Ok(ListReport::new(
        iommu,
        &groups,
        &without_group,
        &names,
        &kernel_names,
        &host.usage(&kernel_names),
    ))
}

/// Where the devices that were named are, with the rest of their groups and all bridges above; or where all devices are.
fn tree(host: &Host, devices: &[DeviceName]) -> anyhow::Result<TreeReport> {
    let mut all = host.pci_devices()?;
    if !devices.is_empty() {
        let (groups, without_group) = named(host, devices)?;
        let wanted: BTreeSet<Bdf> = groups
            .iter()
            .flat_map(|group| &group.devices)
            .chain(&without_group)
            .flat_map(|device| iter::once(device.bdf).chain(host.bridges_above(device.bdf)))
            .collect();
        all.retain(|device| wanted.contains(&device.bdf));
    }
    let placed: Vec<_> = all
        .iter()
        .map(|device| (device, host.place(device.bdf).unwrap_or_default()))
        .collect();
    let names = host.pci_names(all.iter().map(|device| device.id));
    Ok(TreeReport::new(
        host.has_iommu(),
        &placed,
        &names,
        &host.kernel_names(),
    ))
}

/// The whole groups of the devices, because a group is what can be assigned; and those devices that have none.
fn named(
    host: &Host,
    names: &[DeviceName],
) -> Result<(Vec<IommuGroup>, Vec<PciDevice>), HostError> {
    let (in_groups, without_group): (Vec<_>, Vec<_>) = binding::resolve_all(host, names)?
        .into_iter()
        .partition(|device| device.group.is_some());
    let ids: BTreeSet<GroupId> = in_groups.iter().filter_map(|device| device.group).collect();
    let groups: Result<_, _> = ids.into_iter().map(|id| host.group(id)).collect();
    Ok((groups?, without_group))
}
