//! Causes: what a kernel error means here, found by looking at the host after the failure.

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

use super::error::{Blocker, Holder};
use super::{AddressSpace, IommuError};
use crate::types::{GroupId, IovaRange, VfioNode};

/// The bit of CAP_IPC_LOCK (linux/capability.h), which lifts RLIMIT_MEMLOCK.
const CAP_IPC_LOCK: u32 = 14;

/// The node of a group.
pub fn group_node(group: GroupId) -> PathBuf {
    PathBuf::from(format!("/dev/vfio/{group}"))
}

/// Why a node could not be opened. `missing` says what it means that it does not exist.
pub fn open_failed(node: &Path, errno: Errno, missing: &str) -> IommuError {
    let cause = match errno {
        Errno::EACCES | Errno::EPERM => {
            "This user may not open it: run as root, or give the user read and write access to it (chown, or a udev rule)".to_owned()
        }
        Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => missing.to_owned(),
        Errno::EMFILE | Errno::ENFILE => "Too many open files: raise the limit (ulimit -n)".to_owned(),
        _ => "The kernel log (dmesg) may say more".to_owned(),
    };
    IommuError::Open {
        node: node.to_owned(),
        errno,
        cause,
    }
}

/// The error for a device whose node someone has open.
pub fn busy(node: &VfioNode, at: PathBuf, errno: Errno) -> IommuError {
    IommuError::Busy {
        bdf: node.bdf,
        node: at,
        errno,
        holders: holders(node),
    }
}

/// The error for a group of which a part is with the host.
pub fn not_viable(node: &VfioNode, group: GroupId) -> IommuError {
    IommuError::NotViable {
        group,
        blockers: blockers(node),
    }
}

/// The devices of the node's group whose drivers do DMA for the host.
pub fn blockers(node: &VfioNode) -> Vec<Blocker> {
    let Ok(devices) = fs::read_dir(node.sysfs.join("iommu_group/devices")) else {
        return Vec::new();
    };
    let mut found: Vec<_> = devices
        .flatten()
        .filter_map(|device| {
            let link = fs::read_link(device.path().join("driver")).ok()?;
            let driver = link.file_name()?.to_str()?.to_owned();
            // Drivers with `driver_managed_dma` (linux/device/driver.h) leave DMA to VFIO or do none.
            let harmless = driver.contains("vfio") || driver == "pci-stub" || driver == "pcieport";
            (!harmless).then(|| Blocker {
                device: device.file_name().to_string_lossy().into_owned(),
                driver,
            })
        })
        .collect();
    found.sort_by(|a, b| a.device.cmp(&b.device));
    found
}

/// The processes that have the device's own node or its group's open. Without root, only the user's own are seen.
pub fn holders(node: &VfioNode) -> Vec<Holder> {
    let nodes: Vec<PathBuf> = node
        .group
        .map(group_node)
        .into_iter()
        .chain(node.cdev.clone())
        .collect();
    let holds = |process: &Path| {
        fs::read_dir(process.join("fd")).is_ok_and(|files| {
            files
                .flatten()
                .filter_map(|file| fs::read_link(file.path()).ok())
                .any(|target| nodes.contains(&target))
        })
    };
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found: Vec<_> = processes
        .flatten()
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(process.path().join("comm")).ok()?;
            holds(&process.path()).then(|| Holder {
                pid,
                name: name.trim().to_owned(),
            })
        })
        .collect();
    found.sort_by_key(|holder| holder.pid);
    found
}

/// Why the kernel refused to map `range` to the memory at `address`.
pub fn map_failed(
    space: &dyn AddressSpace,
    range: IovaRange,
    address: usize,
    errno: Errno,
) -> IommuError {
    match errno {
        Errno::EEXIST | Errno::EADDRINUSE => IommuError::Overlap { range, errno },
        Errno::ENOSPC => IommuError::EntryLimit { range, errno },
        Errno::ENOMEM => match locked_memory() {
            Some((limit, locked)) => IommuError::MemoryLock {
                range,
                errno,
                limit,
                locked,
            },
            None => IommuError::Map {
                range,
                errno,
                cause: "The kernel has no memory left for it",
            },
        },
        Errno::EFAULT => IommuError::Map {
            range,
            errno,
            cause: "The memory is not there in this process, or it is read-only",
        },
        Errno::EINVAL | Errno::EOVERFLOW | Errno::ERANGE => refused(space, range, address, errno),
        _ => IommuError::Map {
            range,
            errno,
            cause: "The kernel log (dmesg) may say more",
        },
    }
}

/// Why the kernel found the arguments of a map invalid.
fn refused(space: &dyn AddressSpace, range: IovaRange, address: usize, errno: Errno) -> IommuError {
    let Ok(usable) = space.iova_ranges() else {
        return IommuError::Map {
            range,
            errno,
            cause: "No device is attached to this address space yet",
        };
    };
    if !usable.iter().any(|whole| whole.contains(range)) {
        return IommuError::Outside {
            range,
            errno,
            usable,
        };
    }
    let smallest = space.page_sizes().ok().and_then(|sizes| sizes.smallest());
    let page = smallest.unwrap_or(1).max(base_page());
    let aligned = range.start().is_aligned(page)
        && range.size() % u128::from(page) == 0
        && address as u64 % page == 0;
    if aligned {
        IommuError::Map {
            range,
            errno,
            cause: "The kernel finds the arguments invalid and does not say which",
        }
    } else {
        IommuError::Unaligned { range, errno, page }
    }
}

/// The processor's base page size in bytes.
pub fn base_page() -> u64 {
    sysconf(SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(4096)
}

/// RLIMIT_MEMLOCK and what of it is used, in bytes; `None` where it does not bind this process.
fn locked_memory() -> Option<(u64, u64)> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if limit == RLIM_INFINITY || may_lock(&status) {
        return None;
    }
    Some((limit, locked(&status)))
}

/// Whether the capabilities in `/proc/PID/status` lift the limit.
fn may_lock(status: &str) -> bool {
    status_line(status, "CapEff:")
        .and_then(|set| u64::from_str_radix(set, 16).ok())
        .is_some_and(|set| set & (1 << CAP_IPC_LOCK) != 0)
}

/// The locked bytes in `/proc/PID/status`: type1 counts as VmLck, iommufd as VmPin.
fn locked(status: &str) -> u64 {
    ["VmLck:", "VmPin:"]
        .into_iter()
        .filter_map(|name| status_line(status, name))
        .filter_map(|value| value.strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map(|kibibytes| kibibytes << 10)
        .sum()
}

fn status_line<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}
