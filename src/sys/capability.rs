//! Capability chains, which VFIO appends to its answers (linux/vfio.h, "struct vfio_info_cap_header").

use std::mem::{offset_of, size_of};

use nix::errno::Errno;
use vfio_bindings::bindings::vfio::vfio_info_cap_header;

/// One capability of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability<'a> {
    /// What it is; the numbers are those of the answer's kind.
    pub id: u16,
    /// From its header to the end of the answer, as headers carry no length.
    pub bytes: &'a [u8],
}

/// The capabilities of `answer`, the first of them at the offset `first`, 0 for none.
///
/// EPROTO if an offset points outside the answer, or the chain comes back to itself.
pub fn chain(answer: &[u8], first: u32) -> nix::Result<Vec<Capability<'_>>> {
    let mut found = Vec::new();
    let mut next = first;
    while next != 0 {
        let bytes = usize::try_from(next)
            .ok()
            .and_then(|offset| answer.get(offset..))
            .filter(|bytes| bytes.len() >= size_of::<vfio_info_cap_header>())
            .ok_or(Errno::EPROTO)?;
        if found.len() >= answer.len() / size_of::<vfio_info_cap_header>() {
            return Err(Errno::EPROTO); // More capabilities than there is room for: a cycle.
        }
        let id = u16_at(bytes, offset_of!(vfio_info_cap_header, id))?;
        found.push(Capability { id, bytes });
        next = u32_at(bytes, offset_of!(vfio_info_cap_header, next))?;
    }
    Ok(found)
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> nix::Result<[u8; N]> {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(Errno::EPROTO)
}

fn u16_at(bytes: &[u8], offset: usize) -> nix::Result<u16> {
    array_at(bytes, offset).map(u16::from_ne_bytes)
}

/// The number at `offset`; EPROTO if `bytes` ends before.
pub fn u32_at(bytes: &[u8], offset: usize) -> nix::Result<u32> {
    array_at(bytes, offset).map(u32::from_ne_bytes)
}

/// The number at `offset`; EPROTO if `bytes` ends before.
pub fn u64_at(bytes: &[u8], offset: usize) -> nix::Result<u64> {
    array_at(bytes, offset).map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of `size` bytes with headers (offset, id, next).
    fn answer(size: usize, headers: &[(usize, u16, u32)]) -> Vec<u8> {
        let mut bytes = vec![0; size];
        for (offset, id, next) in headers {
            bytes[*offset..offset + 2].copy_from_slice(&id.to_ne_bytes());
            bytes[offset + 4..offset + 8].copy_from_slice(&next.to_ne_bytes());
        }
        bytes
    }

    fn ids(answer: &[u8], first: u32) -> nix::Result<Vec<u16>> {
        chain(answer, first).map(|found| found.iter().map(|capability| capability.id).collect())
    }

    #[test]
    fn a_chain_is_followed_in_any_order() {
        let bytes = answer(64, &[(24, 1, 48), (48, 2, 32), (32, 3, 0)]);
        assert_eq!(ids(&bytes, 24), Ok(vec![1, 2, 3]));
        assert_eq!(ids(&bytes, 0), Ok(vec![]));
        assert_eq!(chain(&bytes, 48).unwrap()[0].bytes.len(), 16);
    }

    #[test]
    fn a_header_must_lie_within_the_answer() {
        assert_eq!(ids(&answer(32, &[]), 32), Err(Errno::EPROTO));
        assert_eq!(ids(&answer(32, &[]), 25), Err(Errno::EPROTO));
        assert_eq!(
            ids(&answer(32, &[(24, 1, u32::MAX)]), 24),
            Err(Errno::EPROTO)
        );
    }

    #[test]
    fn a_chain_that_runs_in_a_circle_ends() {
        assert_eq!(ids(&answer(32, &[(24, 1, 24)]), 24), Err(Errno::EPROTO));
        let two = answer(64, &[(24, 1, 40), (40, 2, 24)]);
        assert_eq!(ids(&two, 24), Err(Errno::EPROTO));
    }

    #[test]
    fn numbers_end_with_the_bytes() {
        assert_eq!(u32_at(&[1; 7], 4), Err(Errno::EPROTO));
        assert_eq!(u64_at(&[1; 8], usize::MAX), Err(Errno::EPROTO));
        assert_eq!(u64_at(&7_u64.to_ne_bytes(), 0), Ok(7));
    }
}
