//! iommufd address spaces (linux/iommufd.h), where the vfio-ioctls crate does not reach.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use iommufd_bindings::{
    iommu_ioas_alloc, iommu_ioas_iova_ranges, iommu_ioas_map, iommu_ioas_map_file,
    iommu_ioas_unmap, iommu_iova_range,
};
use nix::errno::Errno;

use super::direct;

/// The private ioctls: their arguments are checked by the functions above them.
mod ioctl {
    use iommufd_bindings::{
        IOMMUFD_CMD_IOAS_ALLOC, IOMMUFD_CMD_IOAS_IOVA_RANGES, IOMMUFD_CMD_IOAS_MAP,
        IOMMUFD_CMD_IOAS_MAP_FILE, IOMMUFD_CMD_IOAS_UNMAP, IOMMUFD_TYPE as TYPE, iommu_ioas_alloc,
        iommu_ioas_iova_ranges,
    };
    use nix::{ioctl_readwrite_bad, request_code_none as request};
    use rustix::ioctl::Opcode;

    ioctl_readwrite_bad!(
        ioas_alloc,
        request!(TYPE, IOMMUFD_CMD_IOAS_ALLOC),
        iommu_ioas_alloc
    );
    ioctl_readwrite_bad!(
        ioas_iova_ranges,
        request!(TYPE, IOMMUFD_CMD_IOAS_IOVA_RANGES),
        iommu_ioas_iova_ranges
    );
    pub const IOAS_MAP: Opcode = request!(TYPE, IOMMUFD_CMD_IOAS_MAP) as Opcode;
    pub const IOAS_MAP_FILE: Opcode = request!(TYPE, IOMMUFD_CMD_IOAS_MAP_FILE) as Opcode;
    pub const IOAS_UNMAP: Opcode = request!(TYPE, IOMMUFD_CMD_IOAS_UNMAP) as Opcode;
}

/// What an IOAS says of itself (IOMMU_IOAS_IOVA_RANGES).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoasInfo {
    /// Usable IOVAs, first and last.
    pub iova_ranges: Vec<(u64, u64)>,
    /// IOVAs and sizes must be multiples of this.
    pub alignment: u64,
}

/// Makes an empty IOAS and returns its number. It goes with its iommufd.
pub fn alloc_ioas(iommufd: BorrowedFd<'_>) -> nix::Result<u32> {
    let mut answer = iommu_ioas_alloc {
        size: size_of::<iommu_ioas_alloc>() as u32,
        ..Default::default()
    };
    // SAFETY: the struct is the ioctl's own and names no memory.
    unsafe { ioctl::ioas_alloc(iommufd.as_raw_fd(), &mut answer) }.map(|_| answer.out_ioas_id)
}

/// Maps memory into an IOAS.
///
/// # Safety
/// The memory stays valid, and no plain Rust reference to it lives, until it is unmapped.
pub unsafe fn map(iommufd: BorrowedFd<'_>, map: &mut iommu_ioas_map) -> nix::Result<()> {
    // SAFETY: the struct is the ioctl's own, and the caller answers for the memory it names.
    unsafe { direct::call::<{ ioctl::IOAS_MAP }, _>(iommufd, map) }
}

/// Maps a file in memory into an IOAS: memfd, tmpfs or hugetlbfs. The kernel holds its pages by itself.
pub fn map_file(iommufd: BorrowedFd<'_>, map: &mut iommu_ioas_map_file) -> nix::Result<()> {
    // SAFETY: the struct is the ioctl's own and names no memory of this process.
    unsafe { direct::call::<{ ioctl::IOAS_MAP_FILE }, _>(iommufd, map) }
}

/// Unmaps from an IOAS. The kernel puts the number of unmapped bytes into `length`.
pub fn unmap(iommufd: BorrowedFd<'_>, unmap: &mut iommu_ioas_unmap) -> nix::Result<()> {
    // SAFETY: the struct is the ioctl's own and names no memory.
    unsafe { direct::call::<{ ioctl::IOAS_UNMAP }, _>(iommufd, unmap) }
}

/// Asks an IOAS for its limits.
pub fn ioas_info(iommufd: BorrowedFd<'_>, ioas_id: u32) -> nix::Result<IoasInfo> {
    let mut room = Vec::new();
    loop {
        let mut question = iommu_ioas_iova_ranges {
            size: size_of::<iommu_ioas_iova_ranges>() as u32,
            ioas_id,
            num_iovas: room.len() as u32,
            allowed_iovas: room.as_mut_ptr() as u64,
            ..Default::default()
        };
        // SAFETY: the kernel writes at most `num_iovas` ranges to `allowed_iovas`, and `room` has as many.
        let result = unsafe { ioctl::ioas_iova_ranges(iommufd.as_raw_fd(), &mut question) };
        let found = question.num_iovas as usize;
        match result {
            // The ranges can change between two calls, so ask until they fit.
            Err(Errno::EMSGSIZE) if found > room.len() => {
                room.resize(found, iommu_iova_range::default());
            }
            Err(errno) => return Err(errno),
            Ok(_) => {
                let ranges = room.iter().take(found);
                return Ok(IoasInfo {
                    iova_ranges: ranges.map(|range| (range.start, range.last)).collect(),
                    alignment: question.out_iova_alignment,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use iommufd_bindings::{
        IOMMUFD_CMD_IOAS_ALLOC, IOMMUFD_CMD_IOAS_IOVA_RANGES, IOMMUFD_CMD_IOAS_MAP,
        IOMMUFD_CMD_IOAS_MAP_FILE, IOMMUFD_CMD_IOAS_UNMAP, IOMMUFD_TYPE,
    };
    use nix::request_code_none;

    #[test]
    fn request_codes_are_the_kernels() {
        // Values of linux/iommufd.h, as a C compiler gives them.
        for (command, code) in [
            (IOMMUFD_CMD_IOAS_ALLOC, 0x3b81),
            (IOMMUFD_CMD_IOAS_IOVA_RANGES, 0x3b84),
            (IOMMUFD_CMD_IOAS_MAP, 0x3b85),
            (IOMMUFD_CMD_IOAS_UNMAP, 0x3b86),
            (IOMMUFD_CMD_IOAS_MAP_FILE, 0x3b8f),
        ] {
            assert_eq!(request_code_none!(IOMMUFD_TYPE, command), code);
        }
    }
}
