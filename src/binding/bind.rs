//! Devices to vfio-pci, or to another VFIO driver.

use nix::errno::Errno;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::driver::driver_for;
use super::lock::Locks;
use super::signals::HeldSignals;
use super::transaction::{Change, apply};
use super::{
    BindOptions, BindingError, DriverCore, DriverState, Entry, Goal, Identity, Journal, Kernel,
    Outcome, Phase, Step,
};
use crate::host::{Host, PciDevice, is_vfio_driver};
use crate::types::Bdf;

/// The driver that hands a PCI device to user space.
pub const VFIO_PCI: &str = "vfio-pci";

/// How long a node in `/dev` may take to appear after its device is bound; udev needs milliseconds.
const NODE_PATIENCE: Duration = Duration::from_secs(2);
const NODE_PAUSE: Duration = Duration::from_millis(10);

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
    let changed = change(host, devices, &|journal, devices| {
        changes_to_bind(host, journal, devices, options)
    })?;
    let outcome = |before: &PciDevice| {
        let after = wait_for_node(host, before)?;
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

/// Finds out what to change, or refuses; changes nothing.
type FindChanges<'f> = dyn Fn(&Journal, &[PciDevice]) -> Result<Vec<Change>, BindingError> + 'f;

/// Finds out what to change, and changes it under lock; signals wait meanwhile. Returns the devices that were changed.
pub(super) fn change(
    host: &Host,
    devices: &[PciDevice],
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
    let signals = HeldSignals::hold().map_err(|errno| BindingError::File {
        action: "hold back",
        path: PathBuf::from("signals"),
        errno,
    })?;
    // Another command may have changed things while this one waited for the lock.
    let devices: Result<Vec<_>, _> = devices
        .iter()
        .map(|device| host.device(device.bdf))
        .collect();
    let changes = changes(&journal, &devices?)?;
    apply(&Kernel(host), &journal, &changes, &|| signals.arrived())?;
    Ok(changes.iter().map(|change| change.bdf).collect())
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
    let mut changes = Vec::new();
    for device in devices {
        let bdf = device.bdf;
        if device.is_bridge() {
            return Err(BindingError::Bridge(bdf));
        }
        let remembered = remembered(host, journal, device)?;
        if remembered
            .as_ref()
            .is_some_and(|entry| entry.phase != Phase::Bound)
        {
            return Err(BindingError::Unfinished(bdf));
        }
        let Some(driver) = driver_for(host, device, options.driver.as_ref())? else {
            continue;
        };
        let was_on_vfio = device.driver.as_deref().is_some_and(is_vfio_driver);
        let holders = if was_on_vfio {
            host.holders(&host.vfio_nodes(device))
        } else {
            Vec::new()
        };
        if !holders.is_empty() {
            return Err(BindingError::Held { bdf, holders });
        }
        let mut uses = host.uses(device);
        uses.retain(|one| !options.allow.contains(&one.reason));
        if !uses.is_empty() {
            return Err(BindingError::InUse { bdf, uses });
        }
        let now = Kernel(host).state(bdf);
        let entry = match &remembered {
            // On another VFIO driver, or taken off by hand: what was remembered is still what it had before.
            Some(entry) if was_on_vfio || now.driver.is_none() => entry.binding_to(&driver),
            _ => Entry::new(host, device, (!was_on_vfio).then(|| now.clone()), &driver),
        };
        changes.push(Change {
            bdf,
            now,
            goal: Goal::State(DriverState {
                driver: Some(driver.clone()),
                driver_override: Some(driver),
            }),
            entry_before: remembered,
            entry_after: Some(entry.in_phase(Phase::Bound)),
            entry_during: entry,
        });
    }
    Ok(changes)
}

/// What the journal says of a device; nothing if it speaks of another one that was at the same address.
pub(super) fn remembered(
    host: &Host,
    journal: &Journal,
    device: &PciDevice,
) -> Result<Option<Entry>, BindingError> {
    let entry = journal.entry(device.bdf)?;
    let same = entry.filter(|entry| entry.identity == Identity::of(host, device));
    Ok(same)
}

/// The device as it is once its nodes have appeared, and its group: virtio-iommu on Linux 6.12 makes the group when a driver
/// probes the device.
fn wait_for_node(host: &Host, device: &PciDevice) -> Result<PciDevice, BindingError> {
    let deadline = Instant::now() + NODE_PATIENCE;
    loop {
        let device = host.device(device.bdf)?;
        if !nodes(host, &device).is_empty() {
            return Ok(device);
        }
        if Instant::now() > deadline {
            log::warn!(
                "{} is on {}, and no node for it appeared in /dev/vfio: {}",
                device.bdf,
                device.driver.as_deref().unwrap_or("no driver"),
                match device.group {
                    Some(_) => "is /dev a devtmpfs, or is udev running?",
                    None => "the kernel gave it no IOMMU group",
                }
            );
            return Ok(device);
        }
        std::thread::sleep(NODE_PAUSE);
    }
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
    }
}

/// The nodes of the device that are there.
fn nodes(host: &Host, device: &PciDevice) -> Vec<PathBuf> {
    let mut nodes = host.vfio_nodes(device);
    nodes.retain(|node| host.path(node).exists());
    nodes
}
