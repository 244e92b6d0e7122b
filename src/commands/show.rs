//! `show DEVICE`: everything about one device.

use super::{Context, hand_over};
use crate::binding;
use crate::cli::ShowArgs;
use crate::device::{InterruptKind, VfioDevice};
use crate::host::{DeviceProfile, Host, KernelNames, is_vfio_driver};
use crate::iommu;
use crate::report::{OpenedDevice, OpenedInterrupts, OpenedRegion, ShowReport};
use crate::types::{BackendChoice, ExitClass};

/// Prints everything about the device.
///
/// # Errors
/// The name means no device, or several; or sysfs cannot be read.
pub fn run(args: &ShowArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let host = &context.host;
    let device = binding::resolve_one(host, &args.device)?;
    super::recover::warn_of_interrupted(context, Some(device.bdf));
    if let Some(to) = args.to {
        return hand_over::run(&device, to, context);
    }
    let kernel_names = host.kernel_names();
    let profile = host.profile(&device, &host.pci_devices()?, &host.usage(&kernel_names));
    let opened = if args.no_open {
        Err("not asked to (--no-open)".to_owned())
    } else {
        may_open(host, &profile).and_then(|()| open(&profile))
    };
    let report = report(host, &profile, &kernel_names, opened);
    context.output.emit(&report)?;
    Ok(ExitClass::Done)
}

/// The report on a device, with the names of all that it mentions.
fn report(
    host: &Host,
    profile: &DeviceProfile,
    kernel_names: &KernelNames,
    opened: Result<OpenedDevice, String>,
) -> ShowReport {
    let group = profile.group.iter().flat_map(|group| &group.devices);
    let ids = group.chain([&profile.device]).map(|device| device.id);
    ShowReport::new(profile, &host.pci_names(ids), kernel_names, opened)
}

/// Whether the device can be opened without taking it from anyone; if not, why.
fn may_open(host: &Host, profile: &DeviceProfile) -> Result<(), String> {
    if !host.is_live() {
        return Err("this is a captured host".to_owned());
    }
    if !profile.device.driver.as_deref().is_some_and(is_vfio_driver) {
        return Err("the device is not bound to a VFIO driver".to_owned());
    }
    match profile.holders.first() {
        Some(holder) => Err(format!("it is held by {holder}")),
        None => Ok(()),
    }
}

/// Opens the device, asks, and closes it again.
fn open(profile: &DeviceProfile) -> Result<OpenedDevice, String> {
    let choice = iommu::choose(BackendChoice::Auto, &profile.node).map_err(|e| e.to_string())?;
    let space = iommu::open(choice.backend).map_err(|e| e.to_string())?;
    let device = VfioDevice::open(&space, &profile.node).map_err(|e| e.to_string())?;
    let failed = |error: iommu::IommuError| error.to_string();
    let regions = device.regions().iter().map(|region| OpenedRegion {
        index: region.index,
        size: region.size,
        readable: region.readable,
        writable: region.writable,
        mappable: region.mappable.iter().map(|(_, size)| size).sum(),
    });
    let interrupts = InterruptKind::ALL
        .into_iter()
        .map(|kind| OpenedInterrupts {
            kind: kind.to_string(),
            count: device.interrupts(kind),
        })
        .filter(|interrupts| interrupts.count > 0);
    Ok(OpenedDevice {
        backend: choice.backend.to_string(),
        iova_ranges: space.iova_ranges().map_err(failed)?,
        page_sizes: space.page_sizes().map_err(failed)?.iter().collect(),
        entries_left: space.entries_left().map_err(failed)?,
        regions: regions.collect(),
        interrupts: interrupts.collect(),
        resettable: device.can_reset(),
    })
}
