//! Names of devices, also those that went away with the driver.

use std::collections::BTreeSet;

use super::{Entry, Journal};
use crate::host::{Host, HostError, PciDevice};
use crate::types::{Bdf, DeviceName};

/// The devices that a name means: now, or as the journal remembers it (`nvme0` after `bind nvme0`).
///
/// # Errors
/// No device has the name, now or in the journal; or several have.
pub fn resolve(host: &Host, name: &DeviceName) -> Result<Vec<PciDevice>, HostError> {
    let found = host.resolve(name);
    let DeviceName::Kernel(kernel_name) = name else {
        return found;
    };
    let mut candidates: Vec<Bdf> = Journal::of(host)
        .entries()
        .iter()
        .filter(|entry| entry.kernel_names.contains(kernel_name))
        .filter_map(Entry::bdf)
        .collect();
    if candidates.is_empty() {
        return found;
    }
    candidates.extend(found.into_iter().flatten().map(|device| device.bdf));
    candidates.sort_unstable();
    candidates.dedup();
    match candidates.as_slice() {
        [bdf] => Ok(vec![host.device(*bdf)?]),
        _ => Err(HostError::Ambiguous {
            name: name.clone(),
            candidates,
        }),
    }
}

/// The devices that several names mean, in their order, each once.
///
/// # Errors
/// As for [`resolve`].
pub fn resolve_all(host: &Host, names: &[DeviceName]) -> Result<Vec<PciDevice>, HostError> {
    let mut devices: Vec<PciDevice> = Vec::new();
    for name in names {
        for device in resolve(host, name)? {
            if devices.iter().all(|known| known.bdf != device.bdf) {
                devices.push(device);
            }
        }
    }
    Ok(devices)
}

/// The devices, and with them what else of their groups is on a driver that keeps user space out: all of it has to move before one of them
/// can be opened. Bridges, and what has no driver, may stay.
///
/// # Errors
/// A group cannot be read.
pub fn with_groups(host: &Host, devices: Vec<PciDevice>) -> Result<Vec<PciDevice>, HostError> {
    let groups: BTreeSet<_> = devices.iter().filter_map(|device| device.group).collect();
    let mut all = devices;
    for group in groups {
        let blockers = host.group(group)?.blockers();
        for bdf in blockers.iter().filter_map(|it| it.device.parse().ok()) {
            if all.iter().all(|known| known.bdf != bdf) {
                all.push(host.device(bdf)?);
            }
        }
    }
    Ok(all)
}

/// The one device that a name means.
///
/// # Errors
/// As for [`resolve`]; a group of several devices is ambiguous.
pub fn resolve_one(host: &Host, name: &DeviceName) -> Result<PciDevice, HostError> {
    let mut devices = resolve(host, name)?;
    match (devices.pop(), devices.is_empty()) {
        (Some(device), true) => Ok(device),
        (None, _) => Err(HostError::NoSuchDevice(name.clone())),
        (Some(last), false) => Err(HostError::Ambiguous {
            name: name.clone(),
            candidates: devices
                .iter()
                .chain([&last])
                .map(|device| device.bdf)
                .collect(),
        }),
    }
}
