//! The limits that this process runs under: locked memory and control groups.

use std::path::{Path, PathBuf};

use super::Host;

const LIMIT: u64 = 64 << 10;
/// The bit of CAP_IPC_LOCK (linux/capability.h), which lifts RLIMIT_MEMLOCK.
const CAP_IPC_LOCK: u32 = 14;

/// The limits of a control group that bear on mapping (Documentation/admin-guide/cgroup-v2.rst).
const LIMIT_FILES: [&str; 3] = ["memory.max", "hugetlb.2MB.max", "hugetlb.1GB.max"];

/// How much memory this process may lock, which is what mapping for a device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockedMemory {
    /// RLIMIT_MEMLOCK in bytes; `None` is unlimited.
    pub soft: Option<u64>,
    /// What the process may raise it to by itself.
    pub hard: Option<u64>,
    /// Whether the process has CAP_IPC_LOCK, so that the limit does not bind it.
    pub exempt: bool,
}

/// A limit of a control group of this process or of one above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLimit {
    /// The control group, as `/user.slice`.
    pub group: String,
    /// The file that sets the limit, as `memory.max`.
    pub file: &'static str,
    /// The limit in bytes.
    pub bytes: u64,
    /// What is used of it, in bytes.
    pub used: Option<u64>,
}

impl Host {
    /// How much memory this process may lock; `None` if /proc does not say.
    #[must_use]
    pub fn locked_memory(&self) -> Option<LockedMemory> {
        let line = |file: &str, start: &str| {
            let lines = self.pick_lines(format!("/proc/self/{file}"), LIMIT, |line| {
                line.starts_with(start).then(|| line.to_owned())
            });
            lines.ok()?.into_iter().next()
        };
        let limits = line("limits", "Max locked memory")?;
        let mut values = limits
            .strip_prefix("Max locked memory")?
            .split_whitespace()
            .map(|word| match word {
                "unlimited" => Some(None),
                number => number.parse().ok().map(Some),
            });
        let exempt = line("status", "CapEff:")
            .and_then(|text| u64::from_str_radix(text.strip_prefix("CapEff:")?.trim(), 16).ok())
            .is_some_and(|set| set & 1 << CAP_IPC_LOCK != 0);
        Some(LockedMemory {
            soft: values.next()??,
            hard: values.next()??,
            exempt,
        })
    }

    /// What the control groups (version 2) of this process limit: all memory, and huge pages of each size.
    #[must_use]
    pub fn group_limits(&self) -> Vec<GroupLimit> {
        let text = self.text("/proc/self/cgroup", LIMIT);
        let Some(own) = text.lines().find_map(|line| line.strip_prefix("0::/")) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for group in Path::new(own).ancestors() {
            if group.iter().any(|part| part == "..") {
                continue; // outside of this process's cgroup namespace
            }
            let folder = PathBuf::from("/sys/fs/cgroup").join(group);
            for file in LIMIT_FILES {
                // `max` means that there is no limit.
                let Some(bytes) = self.parsed(folder.join(file)) else {
                    continue;
                };
                let used = file.replace(".max", ".current");
                found.push(GroupLimit {
                    group: format!("/{}", group.display()),
                    bytes,
                    used: self.parsed(folder.join(used)),
                    file,
                });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::root::host_of_files as host;

    #[test]
    fn locked_memory_has_a_limit_or_not() {
        let (_folder, host) = host(&[
            (
                "proc/self/limits",
                "Limit  Soft  Hard  Units\nMax locked memory  8388608  unlimited  bytes\n",
            ),
            ("proc/self/status", "CapEff:\t0000000000004000\n"),
        ]);
        assert_eq!(
            host.locked_memory(),
            Some(LockedMemory {
                soft: Some(8 << 20),
                hard: None,
                exempt: true
            })
        );
        let (_folder, odd) = self::host(&[("proc/self/limits", "Max locked memory  x\n")]);
        assert_eq!(odd.locked_memory(), None);
    }

    #[test]
    fn control_groups_limit_from_the_innermost_out() {
        let (_folder, host) = host(&[
            ("proc/self/cgroup", "1:cpu:/x\n0::/user.slice/a.scope\n"),
            ("sys/fs/cgroup/user.slice/a.scope/memory.max", "max\n"),
            (
                "sys/fs/cgroup/user.slice/a.scope/hugetlb.2MB.max",
                "2097152\n",
            ),
            (
                "sys/fs/cgroup/user.slice/a.scope/hugetlb.2MB.rsvd.max",
                "0\n",
            ),
            ("sys/fs/cgroup/user.slice/memory.max", "1048576\n"),
            ("sys/fs/cgroup/user.slice/memory.current", "4096\n"),
        ]);
        let limits: Vec<_> = host
            .group_limits()
            .into_iter()
            .map(|limit| (limit.group, limit.file, limit.bytes, limit.used))
            .collect();
        assert_eq!(
            limits,
            [
                (
                    "/user.slice/a.scope".to_owned(),
                    "hugetlb.2MB.max",
                    2 << 20,
                    None
                ),
                ("/user.slice".to_owned(), "memory.max", 1 << 20, Some(4096)),
            ]
        );
    }
}
