//! Devices to vfio-pci.

use nix::errno::Errno;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::lock::Locks;
use super::signals::HeldSignals;
use super::transaction::{Change, apply};
use super::{
    BindingError, DriverCore, DriverState, Entry, Goal, Identity, Journal, Kernel, Outcome, Phase,
    Step,
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
pub fn bind(host: &Host, devices: &[PciDevice]) -> Result<Vec<Outcome>, BindingError> {
    let changed = change(host, devices, changes_to_bind)?;
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
pub fn plan_bind(host: &Host, devices: &[PciDevice]) -> Result<Vec<Step>, BindingError> {
    let changes = changes_to_bind(host, &Journal::of(host), devices)?;
    let core = Kernel(host);
    Ok(changes
        .iter()
        .flat_map(|change| change.steps(&core))
        .collect())
}

/// Finds out what to change, or refuses; changes nothing.
type FindChanges = fn(&Host, &Journal, &[PciDevice]) -> Result<Vec<Change>, BindingError>;

/// Finds out what to change, and changes it under lock; signals wait meanwhile. Returns the devices that were changed.
pub(super) fn change(
    host: &Host,
    devices: &[PciDevice],
    changes: FindChanges,
) -> Result<Vec<Bdf>, BindingError> {
    let journal = Journal::of(host);
    // Refuse, or have nothing to do, before anything is written, be it a lock file. What looks unfinished may be a command at
    // work: the lock tells.
    match changes(host, &journal, devices) {
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
    let changes = changes(host, &journal, &devices?)?;
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
        if device.driver.as_deref().is_some_and(is_vfio_driver) {
            continue;
        }
        let uses = host.uses(device);
        if !uses.is_empty() {
            return Err(BindingError::InUse { bdf, uses });
        }
        let now = Kernel(host).state(bdf);
        // Taken off vfio-pci by hand: what was remembered is still what it had before.
        let before = match &remembered {
            Some(entry) if now.driver.is_none() => entry.before.clone(),
            _ => Some(now.clone()),
        };
        let entry = Entry::new(host, device, before, VFIO_PCI);
        changes.push(Change {
            bdf,
            now,
            goal: Goal::State(DriverState {
                driver: Some(VFIO_PCI.to_owned()),
                driver_override: Some(VFIO_PCI.to_owned()),
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
