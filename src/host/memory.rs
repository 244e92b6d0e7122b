//! The host's memory: what is available, and in which huge pages.

use super::Host;

const MEMINFO_LIMIT: u64 = 64 << 10;
const CPUINFO_LIMIT: u64 = 64 << 10;

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

    /// The bytes that programs could still get without swapping.
    #[must_use]
    pub fn available_memory(&self) -> Option<u64> {
        self.text("/proc/meminfo", MEMINFO_LIMIT)
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))
            .and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .and_then(|kibibytes| kibibytes.checked_mul(1024))
    }

    /// The bits of a physical address of the processor; only x86 says.
    #[must_use]
    pub fn physical_address_bits(&self) -> Option<u8> {
        self.text("/proc/cpuinfo", CPUINFO_LIMIT)
            .lines()
            .find_map(|line| line.strip_prefix("address sizes"))
            .and_then(|rest| {
                rest.trim_start_matches([' ', '\t', ':'])
                    .split(' ')
                    .next()?
                    .parse()
                    .ok()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn memory_is_counted_in_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        assert_eq!((host.huge_pages(), host.available_memory()), (vec![], None));
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
            (
                "proc/meminfo",
                "MemTotal:  16 kB\nMemAvailable:    8000 kB\n",
            ),
            (
                "proc/cpuinfo",
                "flags\t: fpu\naddress sizes\t: 46 bits physical, 48 bits virtual\n",
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
        assert_eq!(host.available_memory(), Some(8_192_000));
        assert_eq!(host.physical_address_bits(), Some(46));
        assert_eq!(
            host.transparent_huge_pages(),
            Some(TransparentHugePages::OnRequest)
        );
    }
}
