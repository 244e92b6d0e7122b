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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

    /// The error for a reserve of huge pages that is too small.
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
            _ => "the kernel has no memory left for it".to_owned(),
        };
        IommuError::NoPages {
            pages: self,
            size,
            cause,
        }
    }
}

/// The kernel's reserve of huge pages of this size.
fn reserve(page: Size) -> PathBuf {
    PathBuf::from(format!("{HUGE}/hugepages-{}kB", page.bytes() >> 10))
}
