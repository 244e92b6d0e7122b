//! The iommufd backend: an IOAS and device nodes (linux/iommufd.h, drivers/iommu/iommufd, drivers/vfio/device_cdev.c).

use std::fs::OpenOptions;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use iommufd_bindings::{
    iommu_ioas_map, iommu_ioas_map_file, iommu_ioas_unmap,
    iommufd_ioas_map_flags_IOMMU_IOAS_MAP_FIXED_IOVA as FIXED_IOVA,
    iommufd_ioas_map_flags_IOMMU_IOAS_MAP_READABLE as READABLE,
    iommufd_ioas_map_flags_IOMMU_IOAS_MAP_WRITEABLE as WRITEABLE,
};
use iommufd_ioctls::{IommuFd, IommufdError};
use nix::errno::Errno;
use vfio_ioctls::{VfioError, VfioIommufd};

use super::address_space::{everything, length};
use super::{AddressSpace, DeviceFd, IommuError, diagnosis};
use crate::sys::{AttachError, Owner, iommufd};
use crate::types::{Backend, Iova, IovaRange, PageSizes, Protection, VfioNode};

const NODE: &str = "/dev/iommu";
const NO_IOMMUFD: &str = "This kernel is built without iommufd (CONFIG_IOMMUFD), or its module is not loaded: run `modprobe iommufd`";

/// An IOAS of its own iommufd.
pub struct Ioas {
    iommufd: Arc<IommuFd>,
    id: u32,
    /// The same, as vfio-ioctls knows it.
    owner: Arc<VfioIommufd>,
}

impl Ioas {
    /// An empty IOAS.
    pub fn open() -> Result<Self, IommuError> {
        let iommufd = IommuFd::new().map_err(|error| match error {
            IommufdError::OpenIommufd(error) => open_failed(Path::new(NODE), &error, NO_IOMMUFD),
            _ => unavailable(Errno::last()),
        })?;
        let iommufd = Arc::new(iommufd);
        let id = iommufd::alloc_ioas(borrowed(&iommufd)).map_err(unavailable)?;
        let owner = VfioIommufd::new(iommufd.clone(), Some(id), None)
            .map_err(|_| unavailable(Errno::last()))?;
        Ok(Self {
            iommufd,
            id,
            owner: Arc::new(owner),
        })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        borrowed(&self.iommufd)
    }

    /// Takes what it needs from the call, so that one that works keeps nothing for it.
    #[cold]
    fn map_failed(&self, map: &iommu_ioas_map, errno: Errno) -> IommuError {
        match IovaRange::new(Iova(map.iova), map.length) {
            Ok(range) => diagnosis::map_failed(self, range, map.user_va as usize, errno),
            Err(invalid) => invalid.into(),
        }
    }

    fn info(&self) -> Result<iommufd::IoasInfo, IommuError> {
        iommufd::ioas_info(self.fd(), self.id).map_err(|errno| IommuError::Query {
            backend: Backend::Iommufd,
            errno,
            cause: "The kernel log (dmesg) may say more",
        })
    }
}

fn borrowed(iommufd: &IommuFd) -> BorrowedFd<'_> {
    // SAFETY: the file is open for as long as its owner lives, which outlives the borrow.
    unsafe { BorrowedFd::borrow_raw(iommufd.as_raw_fd()) }
}

/// Whether a device can be used through iommufd. Opening its node claims nothing, so it disturbs no one.
pub fn usable(node: &VfioNode) -> Result<(), IommuError> {
    let open = |path: &Path, missing| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map(drop)
            .map_err(|error| open_failed(path, &error, missing))
    };
    open(Path::new(NODE), NO_IOMMUFD)?;
    let cdev = node.cdev.as_ref();
    let cdev = cdev.ok_or(IommuError::NoCdev { bdf: node.bdf })?;
    open(
        cdev,
        "The device is gone, or no longer bound to a VFIO driver",
    )
}

fn open_failed(path: &Path, error: &io::Error, missing: &str) -> IommuError {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    diagnosis::open_failed(path, errno, missing)
}

fn unavailable(errno: Errno) -> IommuError {
    IommuError::Query {
        backend: Backend::Iommufd,
        errno,
        cause: "The kernel gives out no IOAS",
    }
}

impl AddressSpace for Ioas {
    fn backend(&self) -> Backend {
        Backend::Iommufd
    }

    fn attach(&self, node: &VfioNode) -> Result<DeviceFd, IommuError> {
        DeviceFd::attach(&node.sysfs, Owner::Iommufd(self.owner.clone()))
            .map_err(|error| attach_failed(node, &error))
    }

    unsafe fn map(
        &self,
        range: IovaRange,
        memory: NonNull<u8>,
        protection: Protection,
    ) -> Result<(), IommuError> {
        let mut map = iommu_ioas_map {
            size: size_of::<iommu_ioas_map>() as u32,
            flags: FIXED_IOVA | access(protection),
            ioas_id: self.id,
            user_va: memory.as_ptr() as u64,
            length: length(range),
            iova: range.start().0,
            ..Default::default()
        };
        // SAFETY: the caller answers for the memory.
        unsafe { iommufd::map(self.fd(), &mut map) }.map_err(|errno| self.map_failed(&map, errno))
    }

    fn map_file(
        &self,
        range: IovaRange,
        file: BorrowedFd<'_>,
        offset: u64,
        protection: Protection,
    ) -> Result<bool, IommuError> {
        let mut map = iommu_ioas_map_file {
            size: size_of::<iommu_ioas_map_file>() as u32,
            flags: FIXED_IOVA | access(protection),
            ioas_id: self.id,
            fd: file.as_raw_fd(),
            start: offset,
            length: length(range),
            iova: range.start().0,
        };
        match iommufd::map_file(self.fd(), &mut map) {
            Ok(()) => Ok(true),
            // Kernels before 6.13 do not know the request.
            Err(Errno::ENOTTY) => Ok(false),
            // The offset stands for the address: it is a multiple of the page size as well.
            Err(errno) => Err(diagnosis::map_failed(self, range, offset as usize, errno)),
        }
    }

    fn unmap(&self, range: IovaRange) -> Result<u64, IommuError> {
        self.take_out(range, length(range))
            .map_err(|errno| match errno {
                Errno::ENOENT => IommuError::NothingToUnmap { range },
                errno => unmap_failed(range, errno),
            })
    }

    fn unmap_all(&self) -> Result<u64, IommuError> {
        // The kernel takes this length as "everything" (linux/iommufd.h, struct iommu_ioas_unmap).
        match self.take_out(everything(), u64::MAX) {
            Err(Errno::ENOENT) => Ok(0),
            other => other.map_err(|errno| unmap_failed(everything(), errno)),
        }
    }

    fn iova_ranges(&self) -> Result<Vec<IovaRange>, IommuError> {
        Ok(self
            .info()?
            .iova_ranges
            .into_iter()
            .filter_map(|(start, last)| IovaRange::from_ends(Iova(start), Iova(last)))
            .collect())
    }

    fn page_sizes(&self) -> Result<PageSizes, IommuError> {
        // The alignment is a power of two, so it is its own bitmap.
        self.info().map(|info| PageSizes(info.alignment))
    }

    fn entries_left(&self) -> Result<Option<u32>, IommuError> {
        Ok(None)
    }

    fn file(&self) -> Option<(BorrowedFd<'_>, Option<u32>)> {
        Some((self.fd(), Some(self.id)))
    }
}

impl Ioas {
    fn take_out(&self, range: IovaRange, length: u64) -> nix::Result<u64> {
        let mut unmap = iommu_ioas_unmap {
            size: size_of::<iommu_ioas_unmap>() as u32,
            ioas_id: self.id,
            iova: range.start().0,
            length,
        };
        iommufd::unmap(self.fd(), &mut unmap)?;
        Ok(unmap.length)
    }
}

/// The flags for what devices may do.
fn access(protection: Protection) -> u32 {
    match protection {
        Protection::Read => READABLE,
        Protection::Write => WRITEABLE,
        Protection::ReadWrite => READABLE | WRITEABLE,
    }
}

fn unmap_failed(range: IovaRange, errno: Errno) -> IommuError {
    let cause = match errno {
        Errno::EBUSY => "The mapping is in use by another part of the kernel",
        _ => "The kernel log (dmesg) may say more",
    };
    IommuError::Unmap {
        range,
        errno,
        cause,
    }
}

/// Why a device could not be bound to the iommufd. The kernel has few errors for many causes, so the host's state decides.
fn bind_failed(node: &VfioNode, errno: Errno) -> IommuError {
    let backend = Backend::Iommufd;
    let bdf = node.bdf;
    match (errno, node.group) {
        // EPERM too: the kernel looks at the interrupts of all devices of the group first.
        (Errno::EBUSY | Errno::EPERM, Some(group)) if !diagnosis::blockers(node).is_empty() => {
            diagnosis::not_viable(node, group)
        }
        (Errno::EPERM, _) => IommuError::NoInterruptRemapping {
            bdf,
            backend,
            errno,
        },
        // EBUSY if the group is in use, EINVAL if the device's own node is.
        (Errno::EBUSY, _) => diagnosis::busy(node, cdev(node), errno),
        (Errno::EINVAL, _) if !diagnosis::holders(node).is_empty() => {
            diagnosis::busy(node, cdev(node), errno)
        }
        _ => IommuError::Attach {
            bdf,
            backend,
            errno: Some(errno),
            cause: format!(
                "VFIO_DEVICE_BIND_IOMMUFD: {errno}. The device is in use, or its IOMMU cannot keep DMA coherent with the processor's caches"
            ),
        },
    }
}

fn cdev(node: &VfioNode) -> PathBuf {
    let unknown = || PathBuf::from("/dev/vfio/devices");
    node.cdev.clone().unwrap_or_else(unknown)
}

fn attach_failed(node: &VfioNode, error: &AttachError) -> IommuError {
    let errno = error.errno;
    let attach = |cause: String| IommuError::Attach {
        bdf: node.bdf,
        backend: Backend::Iommufd,
        errno: Some(errno),
        cause,
    };
    match &error.step {
        VfioError::InvalidVfioDev => IommuError::NoCdev { bdf: node.bdf },
        VfioError::OpenDeviceCdev(_) => diagnosis::open_failed(
            &cdev(node),
            errno,
            "The device is gone, or no longer bound to a VFIO driver",
        ),
        VfioError::VfioDeviceBindIommufd(_) => bind_failed(node, errno),
        VfioError::VfioDeviceAttachIommufdPt(_) => attach(format!(
            "VFIO_DEVICE_ATTACH_IOMMUFD_PT: {errno}. {}",
            match errno {
                Errno::EADDRINUSE =>
                    "Something is mapped where this device cannot reach: attach devices before mapping",
                Errno::ENOMEM =>
                    "Attaching locks all memory that is mapped already: the limit (RLIMIT_MEMLOCK) or the memory is exhausted",
                _ =>
                    "The IOMMU driver refused to attach the device; the kernel log (dmesg) may say more",
            }
        )),
        step => attach(format!("{step}: {errno}")),
    }
}
