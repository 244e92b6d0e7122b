//! Devices back to the drivers they had.

use super::bind::{OnSignal, change, outcome, refuse_interrupted, remembered};
use super::nodes::NodeChange;
use super::transaction::Change;
use super::{
    BindingError, DriverCore, DriverState, Entry, Goal, Journal, Kernel, Outcome, Phase, Process,
    Step,
};
use crate::host::{Host, PciDevice, is_vfio_driver};

/// Gives the devices back to the drivers they had before they were bound, all or none, and finishes what was interrupted.
/// Where nothing is remembered, the kernel chooses the driver. One that is on no VFIO driver is left alone.
///
/// # Errors
/// Held by someone, refused by the kernel, interrupted; the devices are then as they were before, or the error says which is not.
pub fn unbind(host: &Host, devices: &[PciDevice]) -> Result<Vec<Outcome>, BindingError> {
    give_back(host, devices, OnSignal::Undo)
}

/// As [`unbind`], and no signal stops it.
///
/// # Errors
/// As of [`unbind`].
pub fn restore(host: &Host, devices: &[PciDevice]) -> Result<Vec<Outcome>, BindingError> {
    give_back(host, devices, OnSignal::GoOn)
}

fn give_back(
    host: &Host,
    devices: &[PciDevice],
    on_signal: OnSignal,
) -> Result<Vec<Outcome>, BindingError> {
    let changed = change(host, devices, on_signal, &|journal, devices| {
        changes_to_unbind(host, journal, devices)
    })?;
    devices
        .iter()
        .map(|before| Ok(outcome(host, before, &host.device(before.bdf)?, &changed)))
        .collect()
}

/// The steps that [`unbind`] would take.
///
/// # Errors
/// The same refusals as of [`unbind`].
pub fn plan_unbind(host: &Host, devices: &[PciDevice]) -> Result<Vec<Step>, BindingError> {
    let changes = changes_to_unbind(host, &Journal::of(host), devices)?;
    let core = Kernel(host);
    Ok(changes
        .iter()
        .flat_map(|change| change.steps(&core))
        .collect())
}

fn changes_to_unbind(
    host: &Host,
    journal: &Journal,
    devices: &[PciDevice],
) -> Result<Vec<Change>, BindingError> {
    let mut changes = Vec::new();
    for device in devices {
        let bdf = device.bdf;
        let remembered = remembered(host, journal, device)?;
        let run = remembered.as_ref().and_then(|entry| entry.run);
        if let Some(run) = run.filter(|run| run.is_alive(host) && *run != Process::own(host)) {
            return Err(BindingError::Running { bdf, pid: run.pid });
        }
        let on_vfio = device.driver.as_deref().is_some_and(is_vfio_driver);
        if remembered.is_none() && !on_vfio {
            continue;
        }
        refuse_interrupted(host, bdf)?;
        changes.push(change_back(host, device, remembered)?);
    }
    Ok(changes)
}

/// The change of a device back to what is remembered of it, unless someone has it open.
pub(super) fn change_back(
    host: &Host,
    device: &PciDevice,
    remembered: Option<Entry>,
) -> Result<Change, BindingError> {
    let bdf = device.bdf;
    // First who holds it: while an unbind waits for them, so would the question for its driver_override. The device's own node
    // is gone from sysfs then, so it was noted.
    let mut nodes = host.vfio_nodes(device);
    nodes.extend(remembered.iter().flat_map(|entry| entry.nodes.clone()));
    let holders = host.holders(&nodes);
    if !holders.is_empty() {
        return Err(BindingError::Held { bdf, holders });
    }
    if still_waits(host, device) {
        return Err(BindingError::Waiting { bdf, holders });
    }
    let now = Kernel(host).state(bdf)?;
    let entry = remembered.clone().unwrap_or_else(|| {
        let driver = device.driver.as_deref().unwrap_or_default();
        Entry::new(host, device, None, driver)
    });
    Ok(Change {
        bdf,
        group: device.group,
        goal: goal(&now, remembered.as_ref()),
        nodes: match &entry.given {
            Some(owner) => NodeChange::TakeBack(*owner, entry.nodes_before.clone()),
            None => NodeChange::None,
        },
        entry_during: entry.unbinding(nodes),
        now,
        entry_before: remembered,
        entry_after: None,
    })
}

/// Whether a VFIO driver still waits for whoever has the device open: the driver is gone from sysfs before it waits, its group when the wait
/// is over (`__device_release_driver` of drivers/base/dd.c, `vfio_unregister_group_dev` of drivers/vfio/vfio_main.c).
fn still_waits(host: &Host, device: &PciDevice) -> bool {
    let Some(group) = device.group.and_then(|id| host.group(id).ok()) else {
        return false;
    };
    let mut drivers = group.devices.iter().flat_map(|device| &device.driver);
    device.driver.is_none()
        && !drivers.any(|driver| is_vfio_driver(driver))
        && host.path(format!("/sys/class/vfio/{}", group.id)).exists()
}

fn goal(now: &DriverState, remembered: Option<&Entry>) -> Goal {
    let Some((entry, before)) = remembered.and_then(|entry| Some((entry, entry.before.as_ref()?)))
    else {
        return Goal::Natural;
    };
    // Somebody moved it to another driver by hand since: that is left, only the override goes.
    let moved = entry.phase == Phase::Bound
        && now
            .driver
            .as_deref()
            .is_some_and(|driver| !is_vfio_driver(driver));
    Goal::State(DriverState {
        driver: if moved {
            now.driver.clone()
        } else {
            before.driver.clone()
        },
        driver_override: before.driver_override.clone(),
    })
}
