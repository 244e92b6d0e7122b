//! Causes: what a kernel error means here, found by looking at the host after the failure.

use std::fs;
use std::os::unix::fs::MetadataExt;
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

/// Whether a node is of one device or group, not of VFIO or iommufd itself.
fn is_of_device(node: &Path) -> bool {
    node.starts_with("/dev/vfio") && node != Path::new("/dev/vfio/vfio")
}

/// Why a node could not be opened. `missing` says what it means that it does not exist.
pub fn open_failed(node: &Path, errno: Errno, missing: &str) -> IommuError {
    let cause = match errno {
        Errno::EACCES | Errno::EPERM => {
            let give = if is_of_device(node) {
                "have root give it to this user ('iommu-tool bind --owner USER DEVICE')"
            } else {
                "give all users of VFIO access to it (a rule of udev)"
            };
            format!("This user may not open it: run as root, or {give}")
        }
        Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => missing.to_owned(),
        Errno::EMFILE | Errno::ENFILE => {
            "Too many open files: raise the limit (ulimit -n)".to_owned()
        }
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
            let user = process.path().metadata().ok()?.uid();
            holds(&process.path()).then(|| Holder {
                pid,
                user,
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
                backend: space.backend(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iommu::dma::mapping::tests::FakeSpace;
    use crate::types::{Backend, ExitClass, Iova};
    use std::os::unix::fs::symlink;

    /// A sysfs folder of a device whose group has these devices, each with its driver.
    fn node(root: &Path, devices: &[(&str, &str)]) -> VfioNode {
        let sysfs = root.join("device");
        for (device, driver) in devices {
            let folder = sysfs.join("iommu_group/devices").join(device);
            fs::create_dir_all(&folder).unwrap();
            if !driver.is_empty() {
                symlink(root.join("drivers").join(driver), folder.join("driver")).unwrap();
            }
        }
        VfioNode {
            bdf: "01:00.0".parse().unwrap(),
            sysfs,
            group: Some(GroupId(7)),
            cdev: None,
        }
    }

    #[test]
    fn who_blocks_a_group_is_named() {
        let root = tempfile::tempdir().unwrap();
        let node = node(
            root.path(),
            &[
                ("0000:01:00.0", "vfio-pci"),
                ("0000:01:00.1", "snd_hda_intel"),
                ("0000:01:00.2", ""),
                ("0000:00:01.0", "pcieport"),
                ("0000:01:00.3", "mlx5_vfio_pci"),
            ],
        );
        let error = not_viable(&node, GroupId(7));
        assert_eq!(
            error.to_string(),
            "IOMMU group 7 is not viable: 0000:01:00.1 is with the driver snd_hda_intel. All devices that share an IOMMU group \
             must leave their host drivers together: bind them to vfio-pci too, or unbind them"
        );
        assert_eq!(error.class(), ExitClass::Refused);
    }

    #[test]
    fn a_process_that_has_the_node_open_is_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let root = tempfile::tempdir().unwrap();
        let mut node = node(root.path(), &[]);
        assert_eq!(holders(&node), []);
        node.cdev = Some(file.path().canonicalize().unwrap());
        let found = holders(&node);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].pid, std::process::id());
        let error = busy(&node, file.path().to_owned(), Errno::EBUSY).to_string();
        assert!(
            error.contains("EBUSY") && error.contains(&format!("process {}", found[0].pid)),
            "{error}"
        );
    }

    #[test]
    fn what_to_do_depends_on_why_a_node_cannot_be_opened() {
        let node = Path::new("/dev/iommu");
        let closed = open_failed(node, Errno::EACCES, "load it");
        assert!(closed.to_string().starts_with("cannot open /dev/iommu: EACCES: Permission denied. This user may not open it: run as root"));
        assert_eq!(closed.class(), ExitClass::Failed);
        for (node, word) in [
            ("/dev/iommu", "udev"),
            ("/dev/vfio/vfio", "udev"),
            ("/dev/vfio/7", "--owner"),
            ("/dev/vfio/devices/vfio0", "--owner"),
        ] {
            let closed = open_failed(Path::new(node), Errno::EACCES, "").to_string();
            assert!(closed.contains(word), "{closed}");
        }
        let missing = open_failed(node, Errno::ENOENT, "load it");
        assert!(
            missing
                .to_string()
                .ends_with("ENOENT: No such file or directory. load it")
        );
        assert_eq!(missing.class(), ExitClass::NoVerdict);
    }

    #[test]
    fn locked_memory_is_read_from_the_process_status() {
        let status =
            "Name:\tx\nVmLck:\t      16 kB\nVmPin:\t    2048 kB\nCapEff:\t0000000000004000\n";
        assert_eq!(locked(status), (16 + 2048) << 10);
        assert!(may_lock(status));
        assert!(!may_lock("CapEff:\t000001ffffffbfff\n"));
        assert!(!may_lock(""));
    }

    #[test]
    fn what_a_refused_map_means_is_found_by_looking_at_the_space() {
        let cause = |start, size, address, errno| {
            let range = IovaRange::new(Iova(start), size).unwrap();
            map_failed(&FakeSpace::default(), range, address, errno)
        };
        let outside = cause(0xfedf_f000, 0x2000, 0x1000, Errno::EINVAL);
        assert_eq!(
            outside.to_string(),
            "cannot map 8K at 0xfedff000: EINVAL: Invalid argument. It is outside of what the IOMMU and the devices can use: \
             0x0-0xfedfffff, 0xfef00000-0xffffffff"
        );
        assert_eq!(outside.class(), ExitClass::Usage);
        for (start, size, address) in [
            (0x1001, 0x1000, 0x1000),
            (0x1000, 0x1001, 0x1000),
            (0x1000, 0x1000, 0x1001),
        ] {
            let error = cause(start, size, address, Errno::EINVAL);
            assert!(
                matches!(error, IommuError::Unaligned { page: 4096, .. }),
                "{error}"
            );
        }
        let overlap = cause(0x1000, 0x1000, 0x1000, Errno::EEXIST);
        assert!(matches!(overlap, IommuError::Overlap { .. }));
        let full = cause(0x1000, 0x1000, 0x1000, Errno::ENOSPC).to_string();
        assert!(
            full.contains("ENOSPC") && full.contains("vfio_iommu_type1.dma_entry_limit"),
            "{full}"
        );
        assert_eq!(
            cause(0x1000, 0x1000, 0x1000, Errno::EFAULT).errno(),
            Some(Errno::EFAULT)
        );
    }

    #[test]
    fn the_limit_on_locked_memory_says_how_to_raise_it() {
        let range = IovaRange::new(Iova(0x10_0000), 2 << 20).unwrap();
        let (errno, limit, locked) = (Errno::ENOMEM, 65536, 4096);
        for (backend, also) in [
            (Backend::Type1, ""),
            (
                Backend::Iommufd,
                "; through iommufd all processes of a user count together",
            ),
        ] {
            let error = IommuError::MemoryLock {
                range,
                errno,
                limit,
                locked,
                backend,
            };
            let expected = format!(
                "cannot map 2M at 0x100000: ENOMEM: Out of memory. Mapping locks memory, and the limit (RLIMIT_MEMLOCK) is 65536 bytes, \
                 of which this process uses 4096{also}. Raise it (ulimit -l, LimitMEMLOCK= of systemd), or run as root or with CAP_IPC_LOCK"
            );
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn missing_interrupt_remapping_names_the_parameter_of_the_backend() {
        for (backend, parameter) in [
            (Backend::Type1, "vfio_iommu_type1.allow_unsafe_interrupts=1"),
            (Backend::Iommufd, "iommufd.allow_unsafe_interrupts=1"),
        ] {
            let bdf = "01:00.0".parse().unwrap();
            let errno = Errno::EPERM;
            let error = IommuError::NoInterruptRemapping {
                bdf,
                backend,
                errno,
            }
            .to_string();
            assert!(error.ends_with(parameter), "{error}");
            assert!(
                error.contains("EPERM") && error.contains("interrupt remapping"),
                "{error}"
            );
        }
    }
}
