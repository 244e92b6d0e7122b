//! The type1 backend: VFIO containers and groups (linux/vfio.h, drivers/vfio/vfio_iommu_type1.c).

use std::fs::OpenOptions;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use vfio_bindings::bindings::vfio::{
    VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE, VFIO_DMA_UNMAP_FLAG_ALL,
    vfio_iommu_type1_dma_map, vfio_iommu_type1_dma_unmap,
};
use vfio_ioctls::{VfioContainer, VfioError};

use super::address_space::{everything, length};
use super::diagnosis::{self, group_node};
use super::{AddressSpace, DeviceFd, IommuError};
use crate::sys::{AttachError, Owner, vfio};
use crate::types::{Backend, GroupId, Iova, IovaRange, PageSizes, Protection, VfioNode};

const CONTAINER_NODE: &str = "/dev/vfio/vfio";
const NO_VFIO: &str =
    "This kernel has no VFIO, or its modules are not loaded: run `modprobe vfio-pci`";

/// A VFIO container with the type1 v2 IOMMU driver.
pub struct Container {
    container: Arc<VfioContainer>,
}

impl Container {
    /// An empty container.
    pub fn open() -> Result<Self, IommuError> {
        match VfioContainer::new(None) {
            Ok(container) => Ok(Self {
                container: Arc::new(container),
            }),
            Err(VfioError::OpenContainer(error)) => Err(open_failed(&error)),
            Err(_) => Err(IommuError::NoType1),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the container keeps its file open for as long as it lives, and it outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.container.as_raw_fd()) }
    }

    /// Takes what it needs from the call, so that one that works keeps nothing for it.
    #[cold]
    fn map_failed(&self, map: &vfio_iommu_type1_dma_map, errno: Errno) -> IommuError {
        match IovaRange::new(Iova(map.iova), map.size) {
            Ok(range) => diagnosis::map_failed(self, range, map.vaddr as usize, errno),
            Err(invalid) => invalid.into(),
        }
    }

    fn info(&self) -> Result<vfio::Type1Info, IommuError> {
        vfio::type1_info(self.fd()).map_err(|errno| IommuError::Query {
            backend: Backend::Type1,
            errno,
            cause: "A container has limits only once a device is attached",
        })
    }
}

/// Whether a device can be used through a container. The group is not opened: that would disturb who has it.
pub fn usable(node: &VfioNode) -> Result<(), IommuError> {
    let group = node.group.ok_or(IommuError::NoGroup { bdf: node.bdf })?;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .open(CONTAINER_NODE);
    opened.map_err(|error| open_failed(&error))?;
    let group_node = group_node(group);
    access(&group_node, AccessFlags::R_OK | AccessFlags::W_OK)
        .map_err(|errno| group_open_failed(&group_node, errno))
}

fn open_failed(error: &io::Error) -> IommuError {
    diagnosis::open_failed(Path::new(CONTAINER_NODE), errno(error), NO_VFIO)
}

fn group_open_failed(node: &Path, errno: Errno) -> IommuError {
    diagnosis::open_failed(
        node,
        errno,
        "No device of this IOMMU group is bound to a VFIO driver: bind it first (iommu-tool bind)",
    )
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

impl AddressSpace for Container {
    fn backend(&self) -> Backend {
        Backend::Type1
    }

    fn attach(&self, node: &VfioNode) -> Result<DeviceFd, IommuError> {
        let group = node.group.ok_or(IommuError::NoGroup { bdf: node.bdf })?;
        DeviceFd::attach(&node.sysfs, Owner::Container(self.container.clone()))
            .map_err(|error| attach_failed(node, group, &error))
    }

    unsafe fn map(
        &self,
        range: IovaRange,
        memory: NonNull<u8>,
        protection: Protection,
    ) -> Result<(), IommuError> {
        let flags = match protection {
            Protection::Read => VFIO_DMA_MAP_FLAG_READ,
            Protection::Write => VFIO_DMA_MAP_FLAG_WRITE,
            Protection::ReadWrite => VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
        };
        let mut map = vfio_iommu_type1_dma_map {
            argsz: size_of::<vfio_iommu_type1_dma_map>() as u32,
            flags,
            vaddr: memory.as_ptr() as u64,
            iova: range.start().0,
            size: length(range),
        };
        // SAFETY: the caller answers for the memory.
        unsafe { vfio::map_dma(self.fd(), &mut map) }.map_err(|errno| self.map_failed(&map, errno))
    }

    fn unmap(&self, range: IovaRange) -> Result<u64, IommuError> {
        let mut unmap = vfio_iommu_type1_dma_unmap {
            argsz: size_of::<vfio_iommu_type1_dma_unmap>() as u32,
            iova: range.start().0,
            size: length(range),
            ..Default::default()
        };
        match vfio::unmap_dma(self.fd(), &mut unmap) {
            Ok(()) if unmap.size > 0 => Ok(unmap.size),
            Ok(()) => Err(IommuError::NothingToUnmap { range }),
            Err(errno) => Err(unmap_failed(range, errno)),
        }
    }

    fn unmap_all(&self) -> Result<u64, IommuError> {
        let mut unmap = vfio_iommu_type1_dma_unmap {
            argsz: size_of::<vfio_iommu_type1_dma_unmap>() as u32,
            flags: VFIO_DMA_UNMAP_FLAG_ALL,
            ..Default::default()
        };
        match vfio::unmap_dma(self.fd(), &mut unmap) {
            Ok(()) => Ok(unmap.size),
            Err(errno) => Err(unmap_failed(everything(), errno)),
        }
    }

    fn iova_ranges(&self) -> Result<Vec<IovaRange>, IommuError> {
        // A container whose devices all do without an IOMMU domain reports no ranges: everything goes.
        let ranges = self.info()?.iova_ranges.unwrap_or(vec![(0, u64::MAX)]);
        Ok(ranges
            .into_iter()
            .filter_map(|(start, last)| IovaRange::from_ends(Iova(start), Iova(last)))
            .collect())
    }

    fn page_sizes(&self) -> Result<PageSizes, IommuError> {
        self.info().map(|info| PageSizes(info.page_sizes))
    }

    fn entries_left(&self) -> Result<Option<u32>, IommuError> {
        self.info().map(|info| info.dma_avail)
    }

    fn file(&self) -> Option<(BorrowedFd<'_>, Option<u32>)> {
        Some((self.fd(), None))
    }
}

fn unmap_failed(range: IovaRange, errno: Errno) -> IommuError {
    match errno {
        Errno::EINVAL => IommuError::Partial { range, errno },
        _ => IommuError::Unmap {
            range,
            errno,
            cause: "The kernel log (dmesg) may say more",
        },
    }
}

fn attach_failed(node: &VfioNode, group: GroupId, error: &AttachError) -> IommuError {
    let errno = error.errno;
    let attach = |cause: String| IommuError::Attach {
        bdf: node.bdf,
        backend: Backend::Type1,
        errno: Some(errno),
        cause,
    };
    match &error.step {
        VfioError::OpenGroup(..) if errno == Errno::EBUSY => {
            diagnosis::busy(node, group_node(group), errno)
        }
        VfioError::OpenGroup(..) => group_open_failed(&group_node(group), errno),
        VfioError::GroupViable => diagnosis::not_viable(node, group),
        // A container's first group is set up by SET_IOMMU, each further one when it is added.
        VfioError::ContainerSetIOMMU(_) | VfioError::GroupSetContainer if errno == Errno::EPERM => {
            IommuError::NoInterruptRemapping {
                bdf: node.bdf,
                backend: Backend::Type1,
                errno,
            }
        }
        VfioError::ContainerSetIOMMU(_) => attach(format!(
            "VFIO_SET_IOMMU: {errno}. The IOMMU driver refused the group's first domain"
        )),
        VfioError::GroupSetContainer => attach(format!(
            "VFIO_GROUP_SET_CONTAINER: {errno}. The group does not go with the devices that are attached already"
        )),
        VfioError::GroupGetDeviceFD(_) => attach(format!(
            "VFIO_GROUP_GET_DEVICE_FD: {errno}. {}",
            match errno {
                Errno::ENODEV =>
                    "The device itself is not bound to a VFIO driver: bind it first (iommu-tool bind)",
                Errno::EACCES =>
                    "The device is a virtual function, or has some, and its user must give the token of the physical function",
                Errno::EBUSY => "The device is in use",
                _ => "The device did not start; the kernel log (dmesg) may say more",
            }
        )),
        VfioError::InvalidPath => attach(format!(
            "{} names no IOMMU group any more: the device was unplugged or moved",
            node.sysfs.display()
        )),
        step => attach(format!("{step}: {errno}")),
    }
}
