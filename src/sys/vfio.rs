//! VFIO containers and devices (linux/vfio.h), where the vfio-ioctls crate does not reach.

use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc::c_int;
use vfio_bindings::bindings::vfio::{
    VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, VFIO_DEVICE_FEATURE_SET, VFIO_IOMMU_INFO_CAPS,
    VFIO_IOMMU_INFO_PGSIZES, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
    VFIO_REGION_INFO_CAP_SPARSE_MMAP, VFIO_REGION_INFO_FLAG_CAPS, vfio_device_detach_iommufd_pt,
    vfio_device_feature, vfio_device_info, vfio_iommu_type1_dma_map, vfio_iommu_type1_dma_unmap,
    vfio_iommu_type1_info, vfio_iommu_type1_info_cap_iova_range, vfio_iommu_type1_info_dma_avail,
    vfio_iova_range, vfio_region_info, vfio_region_info_cap_sparse_mmap,
    vfio_region_sparse_mmap_area,
};

use super::capability::{self, Capability, u32_at, u64_at};
use super::direct;

/// The private ioctls: their arguments are checked by the functions above them.
mod ioctl {
    use nix::{
        ioctl_none_bad, ioctl_readwrite_bad, ioctl_write_ptr_bad, request_code_none as request,
    };
    use rustix::ioctl::Opcode;
    use vfio_bindings::bindings::vfio::{
        VFIO_BASE as BASE, VFIO_TYPE as TYPE, vfio_device_detach_iommufd_pt, vfio_device_info,
    };

    ioctl_readwrite_bad!(device_get_info, request!(TYPE, BASE + 7), vfio_device_info);
    // These two answers grow by capabilities, so they are taken as bytes.
    ioctl_readwrite_bad!(device_get_region_info, request!(TYPE, BASE + 8), u8);
    ioctl_readwrite_bad!(iommu_get_info, request!(TYPE, BASE + 12), u8);
    ioctl_readwrite_bad!(device_feature, request!(TYPE, BASE + 17), u8);
    ioctl_none_bad!(device_reset, request!(TYPE, BASE + 11));
    pub const IOMMU_MAP_DMA: Opcode = request!(TYPE, BASE + 13) as Opcode;
    pub const IOMMU_UNMAP_DMA: Opcode = request!(TYPE, BASE + 14) as Opcode;
    ioctl_write_ptr_bad!(
        device_detach_iommufd_pt,
        request!(TYPE, BASE + 20),
        vfio_device_detach_iommufd_pt
    );
}

/// The most bytes that an answer with capabilities may take; the kernel's take a few hundred.
const LARGEST_ANSWER: usize = 1 << 20;

/// What a type1 container says of itself (VFIO_IOMMU_GET_INFO).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Type1Info {
    /// Bitmap of page sizes, 0 if not reported.
    pub page_sizes: u64,
    /// Usable IOVAs, first and last; `None` if the kernel sets no bounds.
    pub iova_ranges: Option<Vec<(u64, u64)>>,
    /// How many more mappings are let in; `None` if not reported.
    pub dma_avail: Option<u32>,
}

/// What a device says of one region (VFIO_DEVICE_GET_REGION_INFO).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RegionInfo {
    /// VFIO_REGION_INFO_FLAG_*.
    pub flags: u32,
    /// Bytes.
    pub size: u64,
    /// Where in the device file it begins.
    pub offset: u64,
    /// The parts that can be mapped, offset in the region and size; `None` if that is not limited.
    pub sparse: Option<Vec<(u64, u64)>>,
}

/// Maps memory into a type1 container.
///
/// # Safety
/// The memory stays valid, and no plain Rust reference to it lives, until it is unmapped.
pub unsafe fn map_dma(
    container: BorrowedFd<'_>,
    map: &mut vfio_iommu_type1_dma_map,
) -> nix::Result<()> {
    // SAFETY: the struct is the ioctl's own, and the caller answers for the memory it names.
    unsafe { direct::call::<{ ioctl::IOMMU_MAP_DMA }, _>(container, map) }
}

/// Unmaps from a type1 container. The kernel puts the number of unmapped bytes into `size`.
pub fn unmap_dma(
    container: BorrowedFd<'_>,
    unmap: &mut vfio_iommu_type1_dma_unmap,
) -> nix::Result<()> {
    // SAFETY: the struct is the ioctl's own; its flags name no bitmap to follow it, as that part has no length.
    unsafe { direct::call::<{ ioctl::IOMMU_UNMAP_DMA }, _>(container, unmap) }
}

/// Asks a type1 container for its limits.
pub fn type1_info(container: BorrowedFd<'_>) -> nix::Result<Type1Info> {
    let call = |answer: &mut [u8]| {
        // SAFETY: the kernel writes at most `argsz` bytes, which `growing_answer` sets to the length.
        unsafe { ioctl::iommu_get_info(container.as_raw_fd(), answer.as_mut_ptr()) }
    };
    let answer = growing_answer(vec![0; size_of::<vfio_iommu_type1_info>()], call)?;
    parse_type1_info(&answer)
}

/// Asks a device about the region of this index; EINVAL if it has none.
pub fn region_info(device: BorrowedFd<'_>, index: u32) -> nix::Result<RegionInfo> {
    let mut question = vec![0; size_of::<vfio_region_info>()];
    let place = offset_of!(vfio_region_info, index);
    question[place..place + size_of::<u32>()].copy_from_slice(&index.to_ne_bytes());
    let call = |answer: &mut [u8]| {
        // SAFETY: the kernel writes at most `argsz` bytes, which `growing_answer` sets to the length.
        unsafe { ioctl::device_get_region_info(device.as_raw_fd(), answer.as_mut_ptr()) }
    };
    parse_region_info(&growing_answer(question, call)?)
}

/// Asks a device for its flags and its numbers of regions and interrupt kinds.
pub fn device_info(device: BorrowedFd<'_>) -> nix::Result<vfio_device_info> {
    let mut info = vfio_device_info {
        argsz: size_of::<vfio_device_info>() as u32,
        ..Default::default()
    };
    // SAFETY: the struct is the ioctl's own, and `argsz` is its size.
    unsafe { ioctl::device_get_info(device.as_raw_fd(), &mut info) }?;
    Ok(info)
}

/// Sets the token that whoever opens a virtual function of this device must show, as the 16 bytes of a UUID in the order of its text
/// (VFIO_DEVICE_FEATURE, VFIO_DEVICE_FEATURE_PCI_VF_TOKEN).
pub fn set_vf_token(device: BorrowedFd<'_>, uuid: [u8; 16]) -> nix::Result<()> {
    let flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PCI_VF_TOKEN;
    let size = size_of::<vfio_device_feature>() + uuid.len();
    let mut request = Vec::with_capacity(size);
    request.extend((size as u32).to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend(uuid);
    // SAFETY: the bytes are a `vfio_device_feature` with `argsz` their length; the kernel reads no more.
    unsafe { ioctl::device_feature(device.as_raw_fd(), request.as_mut_ptr()) }.map(drop)
}

/// Resets a device.
pub fn reset(device: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: the ioctl takes no argument.
    unsafe { ioctl::device_reset(device.as_raw_fd()) }.map(drop)
}

/// Detaches a device from the iommufd address space it is attached to.
pub fn detach(device: BorrowedFd<'_>) -> nix::Result<()> {
    let detach = vfio_device_detach_iommufd_pt {
        argsz: size_of::<vfio_device_detach_iommufd_pt>() as u32,
        ..Default::default()
    };
    // SAFETY: the struct is the ioctl's own, and `argsz` is its size.
    unsafe { ioctl::device_detach_iommufd_pt(device.as_raw_fd(), &detach) }.map(drop)
}

/// Repeats a call with more room until all of its answer fits. Answers begin with their size, `argsz`.
fn growing_answer(
    question: Vec<u8>,
    call: impl Fn(&mut [u8]) -> nix::Result<c_int>,
) -> nix::Result<Vec<u8>> {
    let mut room = question.len();
    loop {
        let mut answer = question.clone();
        answer.resize(room, 0);
        answer[..size_of::<u32>()].copy_from_slice(&(room as u32).to_ne_bytes());
        call(&mut answer)?;
        let needed = u32_at(&answer, 0)? as usize;
        if needed <= room {
            return Ok(answer);
        }
        if needed > LARGEST_ANSWER {
            return Err(Errno::EPROTO);
        }
        room = needed;
    }
}

fn parse_type1_info(answer: &[u8]) -> nix::Result<Type1Info> {
    let flags = u32_at(answer, offset_of!(vfio_iommu_type1_info, flags))?;
    let mut info = Type1Info::default();
    if flags & VFIO_IOMMU_INFO_PGSIZES != 0 {
        info.page_sizes = u64_at(answer, offset_of!(vfio_iommu_type1_info, iova_pgsizes))?;
    }
    if flags & VFIO_IOMMU_INFO_CAPS == 0 {
        return Ok(info);
    }
    let first = u32_at(answer, offset_of!(vfio_iommu_type1_info, cap_offset))?;
    for capability in capability::chain(answer, first)? {
        match u32::from(capability.id) {
            VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE => {
                let pairs = pairs(
                    &capability,
                    offset_of!(vfio_iommu_type1_info_cap_iova_range, nr_iovas),
                    size_of::<vfio_iommu_type1_info_cap_iova_range>(),
                    [
                        offset_of!(vfio_iova_range, start),
                        offset_of!(vfio_iova_range, end),
                    ],
                )?;
                info.iova_ranges = Some(pairs);
            }
            VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL => {
                let place = offset_of!(vfio_iommu_type1_info_dma_avail, avail);
                info.dma_avail = Some(u32_at(capability.bytes, place)?);
            }
            _ => {}
        }
    }
    Ok(info)
}

fn parse_region_info(answer: &[u8]) -> nix::Result<RegionInfo> {
    let flags = u32_at(answer, offset_of!(vfio_region_info, flags))?;
    let mut info = RegionInfo {
        flags,
        size: u64_at(answer, offset_of!(vfio_region_info, size))?,
        offset: u64_at(answer, offset_of!(vfio_region_info, offset))?,
        sparse: None,
    };
    if flags & VFIO_REGION_INFO_FLAG_CAPS == 0 {
        return Ok(info);
    }
    let first = u32_at(answer, offset_of!(vfio_region_info, cap_offset))?;
    for capability in capability::chain(answer, first)? {
        if u32::from(capability.id) == VFIO_REGION_INFO_CAP_SPARSE_MMAP {
            let pairs = pairs(
                &capability,
                offset_of!(vfio_region_info_cap_sparse_mmap, nr_areas),
                size_of::<vfio_region_info_cap_sparse_mmap>(),
                [
                    offset_of!(vfio_region_sparse_mmap_area, offset),
                    offset_of!(vfio_region_sparse_mmap_area, size),
                ],
            )?;
            info.sparse = Some(pairs);
        }
    }
    Ok(info)
}

/// The list of pairs of 64-bit numbers that ends a capability: its length stands at `count`, its entries from `list` on.
fn pairs(
    capability: &Capability<'_>,
    count: usize,
    list: usize,
    members: [usize; 2],
) -> nix::Result<Vec<(u64, u64)>> {
    const PAIR: usize = 2 * size_of::<u64>();
    let count = u32_at(capability.bytes, count)? as usize;
    let entries = capability.bytes.get(list..).ok_or(Errno::EPROTO)?;
    if entries.len() / PAIR < count {
        return Err(Errno::EPROTO);
    }
    entries
        .chunks_exact(PAIR)
        .take(count)
        .map(|entry| Ok((u64_at(entry, members[0])?, u64_at(entry, members[1])?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::request_code_none;
    use vfio_bindings::bindings::vfio::{VFIO_BASE, VFIO_TYPE};

    #[test]
    fn request_codes_are_the_kernels() {
        // Values of linux/vfio.h, as a C compiler gives them.
        for (offset, code) in [
            (7, 0x3b6b),  // VFIO_DEVICE_GET_INFO
            (8, 0x3b6c),  // VFIO_DEVICE_GET_REGION_INFO
            (11, 0x3b6f), // VFIO_DEVICE_RESET
            (12, 0x3b70), // VFIO_IOMMU_GET_INFO
            (13, 0x3b71), // VFIO_IOMMU_MAP_DMA
            (14, 0x3b72), // VFIO_IOMMU_UNMAP_DMA
            (17, 0x3b75), // VFIO_DEVICE_FEATURE
            (20, 0x3b78), // VFIO_DEVICE_DETACH_IOMMUFD_PT
        ] {
            assert_eq!(request_code_none!(VFIO_TYPE, VFIO_BASE + offset), code);
        }
    }

    /// The kernel's answer for a container with two ranges and 65535 free entries.
    fn type1_answer() -> Vec<u8> {
        let mut answer = Vec::new();
        let mut put32 = |values: &[u32]| {
            for value in values {
                answer.extend(value.to_ne_bytes());
            }
        };
        put32(&[
            88,
            VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS,
            0x4020_1000,
            0,
            24,
            0,
        ]);
        put32(&[VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE | 1 << 16, 72, 2, 0]);
        put32(&[0, 0, 0xfedf_ffff, 0, 0xfef0_0000, 0, 0xffff_ffff, 0x7f]);
        put32(&[VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL | 1 << 16, 0, 65535, 0]);
        answer
    }

    #[test]
    fn a_containers_answer_is_understood() {
        let info = parse_type1_info(&type1_answer()).unwrap();
        assert_eq!(info.page_sizes, 0x4020_1000);
        assert_eq!(
            info.iova_ranges.as_deref(),
            Some(&[(0, 0xfedf_ffff), (0xfef0_0000, 0x7f_ffff_ffff)][..])
        );
        assert_eq!(info.dma_avail, Some(65535));
    }

    #[test]
    fn a_list_longer_than_its_answer_is_refused() {
        let mut answer = type1_answer();
        answer[32..36].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(parse_type1_info(&answer), Err(Errno::EPROTO));
        let mut truncated = type1_answer();
        truncated.truncate(60);
        assert_eq!(parse_type1_info(&truncated), Err(Errno::EPROTO));
    }

    #[test]
    fn an_answer_is_asked_again_with_the_room_it_needs() {
        let whole = type1_answer();
        let call = |answer: &mut [u8]| {
            let fits = answer.len() >= whole.len();
            let size = if fits { whole.len() } else { 24 };
            answer[..size].copy_from_slice(&whole[..size]);
            Ok(0)
        };
        let answer = growing_answer(vec![0; 24], call).unwrap();
        assert_eq!(answer, whole);
        let endless = |answer: &mut [u8]| {
            answer[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
            Ok(0)
        };
        assert_eq!(growing_answer(vec![0; 24], endless), Err(Errno::EPROTO));
    }

    #[test]
    fn sparse_areas_of_a_region_are_understood() {
        let mut answer = Vec::new();
        let flags = VFIO_REGION_INFO_FLAG_CAPS | 7;
        for value in [80, flags, 2, 32, 0x4000, 0, 0, 0x200] {
            answer.extend(u32::to_ne_bytes(value));
        }
        for value in [VFIO_REGION_INFO_CAP_SPARSE_MMAP | 1 << 16, 0, 2, 0] {
            answer.extend(u32::to_ne_bytes(value));
        }
        for value in [0_u64, 0x1000, 0x3000, 0x1000] {
            answer.extend(value.to_ne_bytes());
        }
        let info = parse_region_info(&answer).unwrap();
        assert_eq!((info.size, info.offset), (0x4000, 0x200_0000_0000));
        assert_eq!(
            info.sparse.as_deref(),
            Some(&[(0, 0x1000), (0x3000, 0x1000)][..])
        );
    }
}
