//! The kernel's calls to map and unmap, and nothing around them: what a program without any library would do.
//!
//! It exists to be measured beside the library, so it shares no code with it: its structs are built once, and each call is one `ioctl`.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::{NonNull, from_mut};

use iommufd_bindings::{
    IOMMUFD_CMD_IOAS_MAP, IOMMUFD_CMD_IOAS_UNMAP, IOMMUFD_TYPE, iommu_ioas_map, iommu_ioas_unmap,
    iommufd_ioas_map_flags_IOMMU_IOAS_MAP_FIXED_IOVA as FIXED_IOVA,
    iommufd_ioas_map_flags_IOMMU_IOAS_MAP_READABLE as READABLE,
    iommufd_ioas_map_flags_IOMMU_IOAS_MAP_WRITEABLE as WRITEABLE,
};
use nix::errno::Errno;
use nix::libc::{self, Ioctl};
use nix::request_code_none;
use vfio_bindings::bindings::vfio::{
    VFIO_BASE, VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE, VFIO_TYPE,
    vfio_iommu_type1_dma_map, vfio_iommu_type1_dma_unmap,
};

const MAP_DMA: Ioctl = request_code_none!(VFIO_TYPE, VFIO_BASE + 13) as Ioctl;
const UNMAP_DMA: Ioctl = request_code_none!(VFIO_TYPE, VFIO_BASE + 14) as Ioctl;
const IOAS_MAP: Ioctl = request_code_none!(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_MAP) as Ioctl;
const IOAS_UNMAP: Ioctl = request_code_none!(IOMMUFD_TYPE, IOMMUFD_CMD_IOAS_UNMAP) as Ioctl;

/// The prebuilt calls for one piece of memory at one IOVA, which devices may read and write.
#[derive(Debug)]
pub struct Bare {
    fd: RawFd,
    calls: Calls,
}

#[derive(Debug)]
enum Calls {
    Type1 {
        map: vfio_iommu_type1_dma_map,
        unmap: vfio_iommu_type1_dma_unmap,
    },
    Iommufd {
        map: iommu_ioas_map,
        unmap: iommu_ioas_unmap,
    },
}

impl Bare {
    /// For a type1 container, or for an IOAS of this number in an iommufd. `size` is in bytes.
    ///
    /// # Safety
    /// For as long as this is used, the file stays open, the memory stays valid, and no plain Rust reference to it lives. What was mapped
    /// is unmapped before the memory goes.
    pub unsafe fn new(
        file: BorrowedFd<'_>,
        ioas: Option<u32>,
        memory: NonNull<u8>,
        size: u64,
        iova: u64,
    ) -> Self {
        let address = memory.as_ptr() as u64;
        let calls = match ioas {
            None => Calls::Type1 {
                map: vfio_iommu_type1_dma_map {
                    argsz: size_of::<vfio_iommu_type1_dma_map>() as u32,
                    flags: VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                    vaddr: address,
                    iova,
                    size,
                },
                unmap: vfio_iommu_type1_dma_unmap {
                    argsz: size_of::<vfio_iommu_type1_dma_unmap>() as u32,
                    iova,
                    size,
                    ..Default::default()
                },
            },
            Some(ioas_id) => Calls::Iommufd {
                map: iommu_ioas_map {
                    size: size_of::<iommu_ioas_map>() as u32,
                    flags: FIXED_IOVA | READABLE | WRITEABLE,
                    ioas_id,
                    user_va: address,
                    length: size,
                    iova,
                    ..Default::default()
                },
                unmap: iommu_ioas_unmap {
                    size: size_of::<iommu_ioas_unmap>() as u32,
                    ioas_id,
                    iova,
                    length: size,
                },
            },
        };
        let fd = file.as_raw_fd();
        Self { fd, calls }
    }

    /// Maps the memory.
    ///
    /// # Errors
    /// The kernel's error.
    #[inline]
    pub fn map(&mut self) -> Result<(), Errno> {
        // SAFETY: the struct is the ioctl's own; `new`'s caller answers for the file and the memory.
        let result = unsafe {
            match &mut self.calls {
                Calls::Type1 { map, .. } => libc::ioctl(self.fd, MAP_DMA, from_mut(map)),
                Calls::Iommufd { map, .. } => libc::ioctl(self.fd, IOAS_MAP, from_mut(map)),
            }
        };
        Errno::result(result).map(drop)
    }

    /// Unmaps the memory. The kernel writes the unmapped bytes over the size it was given, which is the same number unless nothing was mapped.
    ///
    /// # Errors
    /// The kernel's error.
    #[inline]
    pub fn unmap(&mut self) -> Result<(), Errno> {
        // SAFETY: the struct is the ioctl's own; `new`'s caller answers for the file.
        let result = unsafe {
            match &mut self.calls {
                Calls::Type1 { unmap, .. } => libc::ioctl(self.fd, UNMAP_DMA, from_mut(unmap)),
                Calls::Iommufd { unmap, .. } => libc::ioctl(self.fd, IOAS_UNMAP, from_mut(unmap)),
            }
        };
        Errno::result(result).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_codes_are_the_kernels() {
        // Values of linux/vfio.h and linux/iommufd.h, as a C compiler gives them.
        assert_eq!([MAP_DMA, UNMAP_DMA], [0x3b71, 0x3b72]);
        assert_eq!([IOAS_MAP, IOAS_UNMAP], [0x3b85, 0x3b86]);
    }
}
