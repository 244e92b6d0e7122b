//! What can go wrong with address spaces, each with its cause in words.

use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::PageKind;
use crate::types::{Backend, Bdf, ExitClass, GroupId, InvalidRange, IovaRange, Size};

/// Why an address space could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IommuError {
    /// The device is in no IOMMU group.
    #[error(
        "{bdf} is in no IOMMU group: this host has no IOMMU, or it is off. Turn it on in the firmware (VT-d, AMD-Vi, SMMU), \
         and on Intel boot with intel_iommu=on"
    )]
    NoGroup {
        /// The device.
        bdf: Bdf,
    },

    /// The device has no node that iommufd could use.
    #[error(
        "{bdf} has no node under /dev/vfio/devices, which iommufd needs: it is not bound to a VFIO driver, \
         or this kernel is built without CONFIG_VFIO_DEVICE_CDEV"
    )]
    NoCdev {
        /// The device.
        bdf: Bdf,
    },

    /// No backend can be used for the device.
    #[error("no way to an IOMMU address space for {bdf}: {}", why_each(.reasons))]
    NoBackend {
        /// The device.
        bdf: Bdf,
        /// For each backend, why not.
        reasons: Vec<(Backend, IommuError)>,
    },

    /// A node could not be opened.
    #[error("cannot open {}: {errno}. {cause}", .node.display())]
    Open {
        /// The node.
        node: PathBuf,
        /// The kernel's error.
        errno: Errno,
        /// Why, and what to do.
        cause: String,
    },

    /// The IOVAs are no range.
    #[error(transparent)]
    Range(#[from] InvalidRange),

    /// The kernel has no type1 driver for the container.
    #[error(
        "/dev/vfio/vfio offers no type1 v2 IOMMU: the module vfio_iommu_type1 is not loaded (modprobe vfio_iommu_type1), or not in this kernel"
    )]
    NoType1,

    /// The kernel does not trust the interrupts of the device.
    #[error(
        "cannot attach {bdf} by {backend}: {errno}. This host has no interrupt remapping, so the device could forge interrupts, and the kernel refuses. \
         Turn interrupt remapping on in the firmware (x2APIC, VT-d); if you trust the device, allow it with the kernel parameter {}",
        allow_unsafe_interrupts(*.backend)
    )]
    NoInterruptRemapping {
        /// The device.
        bdf: Bdf,
        /// The backend that refused.
        backend: Backend,
        /// The kernel's error.
        errno: Errno,
    },

    /// Other devices of the group are with drivers of the host.
    #[error(
        "IOMMU group {group} is not viable: {}. All devices that share an IOMMU group must leave their host drivers together: \
         bind them to vfio-pci too, or unbind them",
        who_blocks(.blockers)
    )]
    NotViable {
        /// The group.
        group: GroupId,
        /// The devices that are with a driver of the host; empty if none is known.
        blockers: Vec<Blocker>,
    },

    /// The device or its group is in use.
    #[error("cannot attach {bdf}: {errno}. {} is in use: {}", .node.display(), who_holds(.holders))]
    Busy {
        /// The device.
        bdf: Bdf,
        /// The node that is in use.
        node: PathBuf,
        /// The kernel's error.
        errno: Errno,
        /// Who has it open, as far as this process can see.
        holders: Vec<Holder>,
    },

    /// The device could not be attached for another reason.
    #[error("cannot attach {bdf} by {backend}: {cause}")]
    Attach {
        /// The device.
        bdf: Bdf,
        /// The backend.
        backend: Backend,
        /// The kernel's error, where it was the kernel that refused.
        errno: Option<Errno>,
        /// Which step failed, how, and what to do.
        cause: String,
    },

    /// More memory would be locked than this process may.
    #[error(
        "cannot map {} at {}: {errno}. Mapping locks memory, and the limit (RLIMIT_MEMLOCK) is {limit} bytes, of which this process uses {locked}{}. \
         Raise it (ulimit -l, LimitMEMLOCK= of systemd), or run as root or with CAP_IPC_LOCK",
        bytes(*.range), .range.start(), counted_together(*.backend)
    )]
    MemoryLock {
        /// The IOVAs.
        range: IovaRange,
        /// The kernel's error.
        errno: Errno,
        /// The limit in bytes.
        limit: u64,
        /// The bytes this process has locked already.
        locked: u64,
        /// What was to map it.
        backend: Backend,
    },

    /// The container takes no more mappings.
    #[error(
        "cannot map {} at {}: {errno}. The container holds as many mappings as it may, 65535 unless vfio_iommu_type1.dma_entry_limit says otherwise. \
         Use fewer and larger mappings, raise that parameter, or use iommufd, which has no such limit",
        bytes(*.range), .range.start()
    )]
    EntryLimit {
        /// The IOVAs.
        range: IovaRange,
        /// The kernel's error.
        errno: Errno,
    },

    /// The device cannot reach these IOVAs.
    #[error(
        "cannot map {} at {}: {errno}. It is outside of what the IOMMU and the devices can use: {}",
        bytes(*.range), .range.start(), list(.usable)
    )]
    Outside {
        /// The IOVAs.
        range: IovaRange,
        /// The kernel's error.
        errno: Errno,
        /// What can be used.
        usable: Vec<IovaRange>,
    },

    /// The IOVA, the size or the memory's address is no multiple of the page size.
    #[error(
        "cannot map {} at {}: {errno}. The IOVA, the size and the memory's address must be multiples of the page size, {page} bytes",
        bytes(*.range), .range.start()
    )]
    Unaligned {
        /// The IOVAs.
        range: IovaRange,
        /// The kernel's error.
        errno: Errno,
        /// The page size in bytes.
        page: u64,
    },

    /// Something is mapped there already.
    #[error(
        "cannot map {} at {}: {errno}. Something is mapped there already; unmap it first, or choose another IOVA",
        bytes(*.range), .range.start()
    )]
    Overlap {
        /// The IOVAs.
        range: IovaRange,
        /// The kernel's error.
        errno: Errno,
    },

    /// The kernel refused to map for another reason.
    #[error("cannot map {} at {}: {errno}. {cause}", bytes(*.range), .range.start())]
    Map {
        /// The IOVAs.
        range: IovaRange,
        /// The kernel's error.
        errno: Errno,
        /// The likely cause.
        cause: &'static str,
    },

    /// No mapping lies in the range, or one only in part.
    #[error(
        "nothing to unmap in {range}: no mapping lies wholly in it. Give the IOVA and size that were mapped"
    )]
    NothingToUnmap {
        /// The IOVAs.
        range: IovaRange,
    },

    /// The range ends within a mapping.
    #[error(
        "cannot unmap {range}: {errno}. It ends within a mapping, or not at a page's end. Mappings are unmapped whole: give the IOVA and size that were mapped"
    )]
    Partial {
        /// The IOVAs.
        range: IovaRange,
        /// The kernel's error.
        errno: Errno,
    },

    /// The kernel refused to unmap.
    #[error("cannot unmap {range}: {errno}. {cause}")]
    Unmap {
        /// The IOVAs.
        range: IovaRange,
        /// The kernel's error.
        errno: Errno,
        /// The likely cause.
        cause: &'static str,
    },

    /// The kernel does not tell the limits of the address space.
    #[error("cannot read the limits of the {backend} address space: {errno}. {cause}")]
    Query {
        /// The backend.
        backend: Backend,
        /// The kernel's error.
        errno: Errno,
        /// The likely cause.
        cause: &'static str,
    },

    /// This host has no pages of that kind to give.
    #[error("no {pages} pages for {size} of memory: {cause}")]
    NoPages {
        /// The kind of pages.
        pages: PageKind,
        /// How much memory was asked for.
        size: Size,
        /// What is missing, and what to do.
        cause: String,
    },

    /// A file could not be mapped into this process.
    #[error("cannot map {size} of the file at {offset:#x} into this process: {errno}")]
    MapFile {
        /// How much of it.
        size: Size,
        /// Where in it.
        offset: u64,
        /// The kernel's error.
        errno: Errno,
    },

    /// Memory could not be allocated.
    #[error("cannot allocate {size} of memory: {errno}. {cause}")]
    Memory {
        /// How much.
        size: Size,
        /// The kernel's error.
        errno: Errno,
        /// The likely cause.
        cause: &'static str,
    },
}

/// A device that keeps its group from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Its name in sysfs; its address, if it is a PCI device.
    pub device: String,
    /// The driver it is with.
    pub driver: String,
}

/// A process that has a node open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process ID.
    pub pid: u32,
    /// Whose it is, by number.
    pub user: u32,
    /// Its name (`/proc/PID/comm`).
    pub name: String,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is with the driver {}", self.device, self.driver)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "process {} ({}, user {})",
            self.pid, self.name, self.user
        )
    }
}

impl IommuError {
    /// The kernel's error, where it was the kernel that refused.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { errno, .. }
            | Self::NoInterruptRemapping { errno, .. }
            | Self::Busy { errno, .. }
            | Self::MemoryLock { errno, .. }
            | Self::EntryLimit { errno, .. }
            | Self::Outside { errno, .. }
            | Self::Unaligned { errno, .. }
            | Self::Overlap { errno, .. }
            | Self::Map { errno, .. }
            | Self::Partial { errno, .. }
            | Self::Unmap { errno, .. }
            | Self::Query { errno, .. }
            | Self::MapFile { errno, .. }
            | Self::Memory { errno, .. } => Some(*errno),
            Self::Attach { errno, .. } => *errno,
            Self::NoGroup { .. }
            | Self::NoCdev { .. }
            | Self::NoBackend { .. }
            | Self::NoType1
            | Self::Range(_)
            | Self::NotViable { .. }
            | Self::NothingToUnmap { .. }
            | Self::NoPages { .. } => None,
        }
    }

    /// What the exit status says of it.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::NotViable { .. } | Self::Busy { .. } => ExitClass::Refused,
            Self::NoGroup { .. }
            | Self::NoCdev { .. }
            | Self::NoType1
            | Self::NoInterruptRemapping { .. }
            | Self::NoPages { .. } => ExitClass::NoVerdict,
            // A node that may not be opened can be had by other means, so the host has a way.
            Self::NoBackend { reasons, .. } => reasons
                .iter()
                .map(|(_, reason)| reason.class())
                .min()
                .unwrap_or(ExitClass::NoVerdict),
            Self::Open { errno, .. } if *errno == Errno::ENOENT => ExitClass::NoVerdict,
            Self::Range(_)
            | Self::Outside { .. }
            | Self::Unaligned { .. }
            | Self::Overlap { .. }
            | Self::Partial { .. }
            | Self::NothingToUnmap { .. } => ExitClass::Usage,
            _ => ExitClass::Failed,
        }
    }
}

/// What else counts against the limit on locked memory: iommufd charges the user (drivers/iommu/iommufd/pages.c, `iopt_alloc_pages`).
fn counted_together(backend: Backend) -> &'static str {
    match backend {
        Backend::Type1 => "",
        Backend::Iommufd => "; through iommufd all processes of a user count together",
    }
}

fn bytes(range: IovaRange) -> String {
    u64::try_from(range.size())
        .ok()
        .and_then(Size::new)
        .map_or_else(|| "2^64".to_owned(), |size| size.to_string())
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    let texts: Vec<_> = items.iter().map(T::to_string).collect();
    texts.join(", ")
}

fn why_each(reasons: &[(Backend, IommuError)]) -> String {
    let texts: Vec<_> = reasons
        .iter()
        .map(|(backend, reason)| format!("{backend}: {reason}"))
        .collect();
    texts.join("; ")
}

fn who_blocks(blockers: &[Blocker]) -> String {
    if blockers.is_empty() {
        "another device of it is with a driver of the host, or in use by another process".to_owned()
    } else {
        list(blockers)
    }
}

fn who_holds(holders: &[Holder]) -> String {
    if holders.is_empty() {
        "who has it open cannot be seen from here, root may ask `fuser`".to_owned()
    } else {
        format!("{} has it open", list(holders))
    }
}

fn allow_unsafe_interrupts(backend: Backend) -> &'static str {
    match backend {
        Backend::Type1 => "vfio_iommu_type1.allow_unsafe_interrupts=1",
        Backend::Iommufd => "iommufd.allow_unsafe_interrupts=1",
    }
}
