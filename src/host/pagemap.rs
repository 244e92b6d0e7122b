//! Where in physical memory a page of this process lies (Documentation/admin-guide/mm/pagemap.rst).

use nix::errno::Errno;
use nix::unistd::{SysconfVar, sysconf};
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::root::errno;

/// Why a physical address could not be learned.
#[derive(Debug, thiserror::Error)]
pub enum PagemapError {
    /// The file cannot be read.
    #[error("cannot read /proc/self/pagemap: {0}")]
    Read(Errno),
    /// The page is not in memory: never touched, or swapped out.
    #[error("the page at {0:#x} is not in memory")]
    NotPresent(usize),
    /// The kernel hides page frame numbers from this process.
    #[error(
        "the kernel does not tell physical addresses to this process: it needs CAP_SYS_ADMIN (run as root)"
    )]
    NotPermitted,
}

/// The physical address of a virtual address of this process, true as long as the page stays where it is (pinned).
///
/// # Errors
/// The page is not in memory, or the process may not know.
pub fn physical_address(address: usize) -> Result<u64, PagemapError> {
    let pagemap = File::open("/proc/self/pagemap").map_err(|e| PagemapError::Read(errno(&e)))?;
    let page_size = page_size();
    let mut entry = [0; 8];
    pagemap
        .read_exact_at(&mut entry, address as u64 / page_size * 8)
        .map_err(|e| PagemapError::Read(errno(&e)))?;
    let frame = frame(u64::from_ne_bytes(entry)).ok_or(PagemapError::NotPresent(address))?;
    if frame == 0 {
        return Err(PagemapError::NotPermitted);
    }
    Ok(frame * page_size + address as u64 % page_size)
}

/// The page frame number of an entry: bits 0-54, valid if bit 63 (present) is set. 0 without CAP_SYS_ADMIN.
fn frame(entry: u64) -> Option<u64> {
    (entry >> 63 == 1).then_some(entry & ((1 << 55) - 1))
}

/// The size of a page of this process in bytes.
pub(super) fn page_size() -> u64 {
    // sysconf cannot fail for the page size; 4096 is the smallest on every Linux.
    sysconf(SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_only_if_the_page_is_present() {
        assert_eq!(frame(1 << 63 | 1 << 61 | 0x1234), Some(0x1234));
        assert_eq!(frame(0x1234), None);
    }

    #[test]
    fn a_page_of_our_own_has_an_address_or_a_reason() {
        let memory = vec![1_u8; 100_000];
        match physical_address(memory.as_ptr() as usize + 50_000) {
            Ok(physical) => assert_eq!(physical % 4096, (memory.as_ptr() as u64 + 50_000) % 4096),
            Err(error) => assert!(matches!(error, PagemapError::NotPermitted), "{error}"),
        }
        assert!(matches!(
            physical_address(0),
            Err(PagemapError::NotPresent(0) | PagemapError::Read(_))
        ));
    }
}
