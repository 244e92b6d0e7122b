//! What this process has of the host: open files and pinned memory (Documentation/filesystems/proc.rst).

use super::Host;
use super::group::GROUPS;

const STATUS_LIMIT: u64 = 64 << 10;

/// Memory of this process that cannot be swapped out, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnMemory {
    /// Locked, or accounted so: type1 counts what it maps here.
    pub locked: u64,
    /// Pinned: iommufd counts what it maps here.
    pub pinned: u64,
}

impl Host {
    /// How many files this process has open.
    #[must_use]
    pub fn own_files(&self) -> usize {
        self.names("/proc/self/fd").len()
    }

    /// What this process has locked and pinned; nothing if the host does not say.
    #[must_use]
    pub fn own_memory(&self) -> OwnMemory {
        let text = self.text("/proc/self/status", STATUS_LIMIT);
        let field = |name: &str| {
            text.lines()
                .find_map(|line| {
                    line.strip_prefix(name)?
                        .split_whitespace()
                        .next()?
                        .parse()
                        .ok()
                })
                .unwrap_or(0)
        };
        OwnMemory {
            locked: field("VmLck:"),
            pinned: field("VmPin:"),
        }
    }

    /// How many IOMMU groups have no device: their last one went away, and something keeps them.
    #[must_use]
    pub fn empty_groups(&self) -> usize {
        let groups = self.names(GROUPS).into_iter();
        groups
            .filter(|group| self.names(format!("{GROUPS}/{group}/devices")).is_empty())
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::root::host_of_files as host;

    #[test]
    fn locked_and_pinned_memory_are_told() {
        let text = "Name:\tiommu-tool\nVmLck:\t     128 kB\nVmPin:\t       4 kB\n";
        let (_folder, host) = host(&[("proc/self/status", text)]);
        let expected = OwnMemory {
            locked: 128,
            pinned: 4,
        };
        assert_eq!(host.own_memory(), expected);
    }

    #[test]
    fn groups_without_devices_are_counted() {
        let group =
            |number: u32, device: &str| format!("sys/kernel/iommu_groups/{number}/{device}");
        let (folder, host) = host(&[(&group(1, "devices/0000:01:00.0"), "")]);
        assert_eq!(host.empty_groups(), 0);
        std::fs::create_dir_all(folder.path().join(group(2, "devices"))).unwrap();
        assert_eq!(host.empty_groups(), 1);
    }
}
