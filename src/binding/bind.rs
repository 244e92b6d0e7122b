//! Devices to vfio-pci, or to another VFIO driver.

use nix::errno::Errno;
use std::fs::OpenOptions;
use std::path::Path;

use super::driver::driver_for;
use super::lock::Locks;
use super::nodes::{NodeChange, node_states, nodes, wait_for_nodes};
use super::recover::is_interrupted;
use super::signals::HeldSignals;
use super::sleep::explain_sleep;
use super::transaction::{Change, apply};
use super::{
    BindOptions, BindingError, DriverCore, DriverState, Entry, Goal, Identity, Journal, Kernel,
    Outcome, Phase, Step,
};
use crate::host::{Host, PciDevice, is_vfio_driver};
use crate::types::{Bdf, UseReason};

/// The driver that hands a PCI device to user space.
pub const VFIO_PCI: &str = "vfio-pci";

/// Binds the devices to vfio-pci, all or none, and remembers what they were bound to. One that is on a VFIO driver already
/// is left alone.
///
/// # Errors
/// No IOMMU, in use, refused by the kernel, interrupted; the devices are then as they were before, or the error says which is not.
pub fn bind(
    host: &Host,
    devices: &[PciDevice],
    options: &BindOptions,
) -> Result<Vec<Outcome>, BindingError> {
    let changed = change(host, devices, OnSignal::Undo, &|journal, devices| {
        changes_to_bind(host, journal, devices, options)
    })?;
    let outcome = |before: &PciDevice| {
        let (after, nodes) = wait_for_nodes(host, before.bdf)?;
        if nodes.is_empty() {
            warn_of_missing_nodes(&after);
        }
        Ok(outcome(host, before, &after, &changed))
    };
    devices.iter().map(outcome).collect()
}

/// The steps that [`bind`] would take.
///
/// # Errors
/// The same refusals as of [`bind`].
pub fn plan_bind(
    host: &Host,
    devices: &[PciDevice],
    options: &BindOptions,
) -> Result<Vec<Step>, BindingError> {
    let changes = changes_to_bind(host, &Journal::of(host), devices, options)?;
    let core = Kernel(host);
    Ok(changes
        .iter()
        .flat_map(|change| change.steps(&core))
        .collect())
}

/// What a signal that asks the program to end does to a change under way.
#[derive(Debug, Clone, Copy)]
pub(super) enum OnSignal {
    /// It undoes the change.
    Undo,
    /// Nothing.
    GoOn,
}

/// The steps that a [`bind`] and a [`super::restore`] after it would take.
///
/// # Errors
/// The same refusals as of [`bind`].
pub fn plan_run(
    host: &Host,
    devices: &[PciDevice],
    options: &BindOptions,
) -> Result<(Vec<Step>, Vec<Step>), BindingError> {
    let changes = changes_to_bind(host, &Journal::of(host), devices, options)?;
    let core = Kernel(host);
    let there = changes.iter().flat_map(|change| change.steps(&core));
    let back = changes.iter().flat_map(|change| {
        let reached = match &change.goal {
            Goal::State(state) => state.clone(),
            Goal::Natural => change.now.clone(),
        };
        change.steps_back(&core, &reached)
    });
    Ok((there.collect(), back.collect()))
}

/// Finds out what to change, or refuses; changes nothing.
type FindChanges<'f> = dyn Fn(&Journal, &[PciDevice]) -> Result<Vec<Change>, BindingError> + 'f;

/// Finds out what to change, and changes it under lock; signals wait meanwhile. Returns the devices that were changed.
pub(super) fn change(
    host: &Host,
    devices: &[PciDevice],
    on_signal: OnSignal,
    changes: &FindChanges<'_>,
) -> Result<Vec<Bdf>, BindingError> {
    let journal = Journal::of(host);
    // Refuse, or have nothing to do, before anything is written, be it a lock file. What looks unfinished may be a command at
    // work: the lock tells.
    match changes(&journal, devices) {
        Ok(changes) if changes.is_empty() => return Ok(Vec::new()),
        Ok(_) | Err(BindingError::Unfinished(_)) => {}
        Err(error) => return Err(error),
    }
    if !host.is_live() {
        return Err(BindingError::Captured);
    }
    devices
        .iter()
        .try_for_each(|device| may_write(&device.sysfs().join("driver_override")))?;
    let _locks = Locks::take(&journal, devices)?;
    let signals = HeldSignals::hold()?;
    // Another command may have changed things while this one waited for the lock.
    let devices: Result<Vec<_>, _> = devices
        .iter()
        .map(|device| host.device(device.bdf))
        .collect();
    let changes = changes(&journal, &devices?)?;
    let signal = || match on_signal {
        OnSignal::Undo => signals.arrived(),
        OnSignal::GoOn => None,
    };
    apply(&Kernel(host), &journal, &changes, &signal)
        .map_err(|error| explain_sleep(host, error))?;
    Ok(changes.iter().map(|change| change.bdf).collect())
}

/// Refuses a device on which a command was interrupted.
pub(super) fn refuse_interrupted(host: &Host, bdf: Bdf) -> Result<(), BindingError> {
    if is_interrupted(host, bdf) {
        return Err(BindingError::Unfinished(bdf));
    }
    Ok(())
}

/// Whether this user may write a file of the live host.
pub(super) fn may_write(path: &Path) -> Result<(), BindingError> {
    match OpenOptions::new().write(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(BindingError::MayNotWrite {
            path: path.to_owned(),
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        }),
    }
}

fn changes_to_bind(
    host: &Host,
    journal: &Journal,
    devices: &[PciDevice],
    options: &BindOptions,
) -> Result<Vec<Change>, BindingError> {
    host.require_iommu()?;
    let (mut changes, mut in_use) = (Vec::new(), Vec::new());
    for device in devices {
        let bdf = device.bdf;
        if device.is_bridge() {
            return Err(BindingError::Bridge(bdf));
        }
        let remembered = remembered(host, journal, device)?;
        refuse_interrupted(host, bdf)?;
        match change_to_bind(host, device, remembered, options) {
            Ok(change) => changes.extend(change),
            // All that is in use is named at once.
            Err(BindingError::InUse(devices)) => in_use.extend(devices),
            Err(error) => return Err(error),
        }
    }
    if in_use.is_empty() {
        Ok(changes)
    } else {
        Err(BindingError::InUse(in_use))
    }
}

/// What to change of one device; nothing if it is as asked.
fn change_to_bind(
    host: &Host,
    device: &PciDevice,
    remembered: Option<Entry>,
    options: &BindOptions,
) -> Result<Option<Change>, BindingError> {
    let bdf = device.bdf;
    let driver_before = device
        .driver
        .as_ref()
        .filter(|driver| is_vfio_driver(driver));
    let driver = driver_for(host, device, options.driver.as_ref())?;
    let given = remembered.as_ref().and_then(|entry| entry.given);
    // The nodes of another driver are other nodes.
    let owner = match driver {
        Some(_) => options.owner.or(given),
        None => options.owner.filter(|owner| given != Some(*owner)),
    };
    if driver.is_none() && owner.is_none() {
        return Ok(None);
    }
    if let (Some(driver), Some(_)) = (driver_before, options.run) {
        return Err(BindingError::BoundBefore {
            bdf,
            driver: driver.clone(),
        });
    }
    if driver.is_some() {
        refuse_if_used(host, device, &options.allow)?;
    }
    let now = Kernel(host).state(bdf)?;
    let goal = match &driver {
        Some(driver) => DriverState {
            driver: Some(driver.clone()),
            driver_override: Some(driver.clone()),
        },
        None => now.clone(),
    };
    let on_vfio = driver_before.is_some();
    let bound_to = goal.driver.as_deref().unwrap_or_default();
    let mut entry = match &remembered {
        // On another VFIO driver, or taken off by hand: what was remembered is still what it had before.
        Some(entry) if on_vfio || now.driver.is_none() => entry.binding_to(bound_to),
        _ => Entry::new(host, device, (!on_vfio).then(|| now.clone()), bound_to),
    };
    let there = node_states(host, device);
    if let Some(owner) = owner {
        entry = entry.giving_to(owner, there.clone());
    }
    entry.run = options.run.or(entry.run);
    Ok(Some(Change {
        bdf,
        group: device.group,
        now,
        goal: Goal::State(goal),
        nodes: owner.map_or(NodeChange::None, |owner| NodeChange::Give(owner, there)),
        entry_before: remembered,
        entry_after: Some(entry.in_phase(Phase::Bound)),
        entry_during: entry,
    }))
}

/// Refuses to take a device from the host, but for the reasons that are allowed, or from who has it open through another VFIO driver.
fn refuse_if_used(
    host: &Host,
    device: &PciDevice,
    allow: &[UseReason],
) -> Result<(), BindingError> {
    let bdf = device.bdf;
    let holders = match &device.driver {
        Some(driver) if is_vfio_driver(driver) => host.holders(&host.vfio_nodes(device)),
        _ => Vec::new(),
    };
    if !holders.is_empty() {
        return Err(BindingError::Held { bdf, holders });
    }
    let mut uses = host.uses(device);
    uses.retain(|one| !allow.contains(&one.reason));
    if !uses.is_empty() {
        return Err(BindingError::InUse(vec![(bdf, uses)]));
    }
    Ok(())
}

fn warn_of_missing_nodes(device: &PciDevice) {
    log::warn!(
        "{} is on {}, and no node for it appeared in /dev/vfio: {}",
        device.bdf,
        device.driver.as_deref().unwrap_or("no driver"),
        match device.group {
            Some(_) => "is /dev a devtmpfs, or is udev running?",
            None => "the kernel gave it no IOMMU group",
        }
    );
}

/// What the journal says of a device; nothing if it speaks of another one that was at the same address.
pub(super) fn remembered(
    host: &Host,
    journal: &Journal,
    device: &PciDevice,
) -> Result<Option<Entry>, BindingError> {
    let entry = journal.entry(device.bdf)?;
    let same = entry.filter(|entry| entry.identity.is_same(&Identity::of(host, device)));
    Ok(same)
}

pub(super) fn outcome(
    host: &Host,
    before: &PciDevice,
    after: &PciDevice,
    changed: &[Bdf],
) -> Outcome {
    Outcome {
        bdf: after.bdf,
        before: before.driver.clone(),
        after: after.driver.clone(),
        changed: changed.contains(&after.bdf),
        group: after.group,
        nodes: nodes(host, after),
        given: Journal::of(host)
            .entry(after.bdf)
            .ok()
            .flatten()
            .and_then(|entry| entry.given),
    }
}
