//! Huge pages: what is in reserve, and when the kernel uses transparent ones.

use super::Host;

/// A reserve of huge pages of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HugePages {
    /// Bytes a page.
    pub size: u64,
    /// Pages in the reserve.
    pub total: u64,
    /// Pages that nothing uses yet.
    pub free: u64,
}

/// When the kernel uses transparent huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransparentHugePages {
    /// For all memory.
    Always,
    /// For memory that asks for it.
    OnRequest,
    /// Not at all.
    Never,
}

impl Host {
    /// The reserves of huge pages, smallest pages first.
    #[must_use]
    pub fn huge_pages(&self) -> Vec<HugePages> {
        let folder = "/sys/kernel/mm/hugepages";
        let mut found: Vec<HugePages> = self
            .names(folder)
            .iter()
            .filter_map(|name| {
                let kibibytes: u64 = name
                    .strip_prefix("hugepages-")?
                    .strip_suffix("kB")?
                    .parse()
                    .ok()?;
                Some(HugePages {
                    size: kibibytes.checked_mul(1024)?,
                    total: self.parsed(format!("{folder}/{name}/nr_hugepages"))?,
                    free: self.parsed(format!("{folder}/{name}/free_hugepages"))?,
                })
            })
            .collect();
        found.sort_by_key(|pages| pages.size);
        found
    }

    /// When transparent huge pages are used; `None` if the kernel has none.
    #[must_use]
    pub fn transparent_huge_pages(&self) -> Option<TransparentHugePages> {
        let text = self.attribute("/sys/kernel/mm/transparent_hugepage/enabled")?;
        if text.contains("[always]") {
            Some(TransparentHugePages::Always)
        } else if text.contains("[madvise]") {
            Some(TransparentHugePages::OnRequest)
        } else {
            Some(TransparentHugePages::Never)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn reserves_are_read_by_size() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        assert_eq!(host.huge_pages(), []);
        assert_eq!(host.transparent_huge_pages(), None);
        for (path, text) in [
            (
                "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
                "4\n",
            ),
            (
                "sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages",
                "1\n",
            ),
            (
                "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
                "512\n",
            ),
            (
                "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
                "512\n",
            ),
            (
                "sys/kernel/mm/hugepages/hugepages-xkB/free_hugepages",
                "512\n",
            ),
            (
                "sys/kernel/mm/transparent_hugepage/enabled",
                "always [madvise] never\n",
            ),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let pages: Vec<_> = host
            .huge_pages()
            .iter()
            .map(|pages| (pages.size, pages.total, pages.free))
            .collect();
        assert_eq!(pages, [(2 << 20, 512, 512), (1 << 30, 4, 1)]);
        assert_eq!(
            host.transparent_huge_pages(),
            Some(TransparentHugePages::OnRequest)
        );
    }
}
