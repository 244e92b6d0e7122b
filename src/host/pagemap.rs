//! Where in physical memory a page of a process lies (Documentation/admin-guide/mm/pagemap.rst).

use nix::errno::Errno;
use nix::unistd::{SysconfVar, sysconf};
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::root::errno;

/// Why a physical address could not be learned.
#[derive(Debug, thiserror::Error)]
pub enum PagemapError {
    /// The file cannot be read.
    #[error("cannot read /proc/{process}/pagemap: {errno}")]
    Read {
        /// The process: its ID, or `self`.
        process: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// The page is not in memory: never touched, or swapped out.
    #[error("the page at {0:#x} is not in memory")]
    NotPresent(u64),
    /// The kernel hides page frame numbers from this process.
    #[error(
        "the kernel does not tell physical addresses to this process: it needs CAP_SYS_ADMIN (run as root)"
    )]
    NotPermitted,
}

/// The page tables of a process, as the kernel tells of them.
#[derive(Debug)]
pub struct Pagemap {
    file: File,
    process: String,
    page_size: u64,
}

impl Pagemap {
    /// Of this process.
    ///
    /// # Errors
    /// There is no such file.
    pub fn of_self() -> Result<Self, PagemapError> {
        Self::open("self".to_owned())
    }

    /// Of the process with this ID.
    ///
    /// # Errors
    /// There is no such process, or this process may not look into it.
    pub fn of(process: u32) -> Result<Self, PagemapError> {
        Self::open(process.to_string())
    }

    fn open(process: String) -> Result<Self, PagemapError> {
        match File::open(format!("/proc/{process}/pagemap")) {
            Ok(file) => Ok(Self {
                file,
                process,
                page_size: page_size(),
            }),
            Err(error) => Err(PagemapError::Read {
                process,
                errno: errno(&error),
            }),
        }
    }

    /// The size of a page in bytes.
    #[must_use]
    pub fn page_size(&self) -> u64 {
        self.page_size
    }

    /// The physical address of a virtual address, true as long as the page stays where it is (pinned).
    ///
    /// # Errors
    /// The page is not in memory, or this process may not know.
    pub fn physical_address(&self, address: u64) -> Result<u64, PagemapError> {
        let mut entry = [0; 8];
        self.file
            .read_exact_at(&mut entry, address / self.page_size * 8)
            .map_err(|error| PagemapError::Read {
                process: self.process.clone(),
                errno: errno(&error),
            })?;
        let frame = frame(u64::from_ne_bytes(entry)).ok_or(PagemapError::NotPresent(address))?;
        if frame == 0 {
            return Err(PagemapError::NotPermitted);
        }
        Ok(frame * self.page_size + address % self.page_size)
    }
}

/// The physical address of a virtual address of this process; see [`Pagemap`].
///
/// # Errors
/// The page is not in memory, or the process may not know.
pub fn physical_address(address: usize) -> Result<u64, PagemapError> {
    Pagemap::of_self()?.physical_address(address as u64)
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
            Err(PagemapError::NotPresent(0) | PagemapError::Read { .. })
        ));
    }
}
