//! Kinds of pages that back memory, and where this host stands with each.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use super::IommuError;
use super::diagnosis::base_page;
use crate::types::Size;

const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage";
const HUGE: &str = "/sys/kernel/mm/hugepages";

/// The pages that back a [`super::DmaBuffer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum PageKind {
    /// The processor's base pages, 4 KiB on x86 (MADV_NOHUGEPAGE).
    Base,
    /// Transparent huge pages (MADV_HUGEPAGE).
    Transparent,
    /// Pages of this size from the kernel's reserve (hugetlb).
    Huge(Size),
}

impl fmt::Display for PageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => Size::new(base_page()).map_or(Ok(()), |size| size.fmt(f)),
            Self::Transparent => f.write_str("thp"),
            Self::Huge(size) => size.fmt(f),
        }
    }
}

impl PageKind {
    /// The size of such a page in bytes. Says what is missing where this host has none.
    pub(super) fn page(self, size: Size) -> Result<u64, IommuError> {
        let missing = |cause: String| IommuError::NoPages {
            pages: self,
            size,
            cause,
        };
        match self {
            Self::Base => Ok(base_page()),
            Self::Transparent => {
                let read = |name: &str| fs::read_to_string(format!("{TRANSPARENT}/{name}"));
                let enabled = read("enabled").map_err(|_| {
                    missing("this kernel is built without CONFIG_TRANSPARENT_HUGEPAGE".to_owned())
                })?;
                if enabled.contains("[never]") {
                    return Err(missing(format!(
                        "{TRANSPARENT}/enabled is 'never'; write 'madvise' into it"
                    )));
                }
                read("hpage_pmd_size")
                    .ok()
                    .and_then(|text| text.trim().parse().ok())
                    .ok_or_else(|| missing(format!("{TRANSPARENT}/hpage_pmd_size is unreadable")))
            }
            Self::Huge(page) => {
                let known = reserve(page).is_dir() && page.bytes().is_power_of_two();
                known.then_some(page.bytes()).ok_or_else(|| {
                    missing(format!(
                        "this kernel has no huge pages of {page}; {HUGE} lists the sizes it has"
                    ))
                })
            }
        }
    }

    /// Whether this many bytes of such pages are to be had now: reserved ones are free, transparent ones are on.
    pub(super) fn has(self, bytes: u64) -> bool {
        let Self::Huge(page) = self else {
            let any = Size::new(bytes);
            return any.is_some_and(|size| self.page(size).is_ok());
        };
        let free = fs::read_to_string(reserve(page).join("free_hugepages")).ok();
        let free: Option<u64> = free.and_then(|text| text.trim().parse().ok());
        free.is_some_and(|free| free >= bytes.div_ceil(page.bytes()))
    }

    /// The error where this host has such pages, but not enough.
    pub(super) fn exhausted(self, size: Size) -> IommuError {
        let cause = match self {
            Self::Huge(page) => {
                let count = |name: &str| {
                    let text = fs::read_to_string(reserve(page).join(name)).unwrap_or_default();
                    text.trim().to_owned()
                };
                format!(
                    "{} are needed, {} of {} are free; reserve more by writing their number to {}/nr_hugepages",
                    size.bytes().div_ceil(page.bytes()),
                    count("free_hugepages"),
                    count("nr_hugepages"),
                    reserve(page).display()
                )
            }
            _ => "the kernel could not give all of it in such pages, as free memory is scattered; \
                  free some, and gather it by writing 1 to /proc/sys/vm/compact_memory"
                .to_owned(),
        };
        IommuError::NoPages {
            pages: self,
            size,
            cause,
        }
    }
}

/// The bytes of a transparent mapping that are in huge pages, of this process' memory from `start` to `end`.
pub(super) fn transparent_bytes(start: usize, end: usize) -> u64 {
    let memory = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    transparent_bytes_in(&memory, start, end).unwrap_or(0)
}

/// The same, of a process' memory as `/proc/PID/smaps` lists it (proc(5)).
fn transparent_bytes_in(memory: &str, start: usize, end: usize) -> Option<u64> {
    let heading = format!("{start:x}-{end:x} ");
    memory
        .lines()
        .skip_while(|line| !line.starts_with(&heading))
        .find_map(|line| line.strip_prefix("AnonHugePages:"))
        .and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .map(|kibibytes| kibibytes << 10)
}

/// The kernel's reserve of huge pages of this size.
fn reserve(page: Size) -> PathBuf {
    PathBuf::from(format!("{HUGE}/hugepages-{}kB", page.bytes() >> 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_by_size_or_kind() {
        let two_megabytes = PageKind::Huge("2M".parse().unwrap());
        assert_eq!(two_megabytes.to_string(), "2M");
        assert_eq!(PageKind::Transparent.to_string(), "thp");
        let base = PageKind::Base.to_string().parse::<Size>().unwrap();
        assert_eq!(base.bytes(), base_page());
    }

    #[test]
    fn huge_pages_are_counted_in_the_right_mapping() {
        let memory = "7f0000000000-7f0000200000 rw-p 00000000 00:00 0 \nRss: 2048 kB\nAnonHugePages:         0 kB\n\
                      7f0000200000-7f0000600000 rw-p 00000000 00:00 0 \nRss: 4096 kB\nAnonHugePages:      2048 kB\n";
        let found = |start, end| transparent_bytes_in(memory, start, end);
        assert_eq!(found(0x7f00_0020_0000, 0x7f00_0060_0000), Some(2 << 20));
        assert_eq!(found(0x7f00_0000_0000, 0x7f00_0020_0000), Some(0));
        assert_eq!(found(0x7f00_0000_0000, 0x7f00_0060_0000), None);
    }
}
