//! The limits that this process runs under: locked memory and control groups.

use std::path::{Path, PathBuf};

use super::Host;

const LIMIT: u64 = 64 << 10;
/// The bit of CAP_IPC_LOCK (linux/capability.h), which lifts RLIMIT_MEMLOCK.
const CAP_IPC_LOCK: u32 = 14;

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
    pub file: String,
    /// The limit in bytes.
    pub bytes: u64,
    /// What is used of it, in bytes.
    pub used: Option<u64>,
}

impl Host {
    /// How much memory this process may lock; `None` if /proc does not say.
    #[must_use]
    pub fn locked_memory(&self) -> Option<LockedMemory> {
        let limits = self.text("/proc/self/limits", LIMIT);
        let mut values = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max locked memory"))?
            .split_whitespace()
            .map(|word| match word {
                "unlimited" => Some(None),
                number => number.parse().ok().map(Some),
            });
        let exempt = self
            .text("/proc/self/status", LIMIT)
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
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
            for file in self.names(&folder) {
                let is_limit = file == "memory.max"
                    || file.starts_with("hugetlb.")
                        && file.ends_with("B.max")
                        && !file.contains("rsvd");
                // `max` means that there is no limit.
                let Some(bytes) = is_limit.then(|| self.parsed(folder.join(&file))).flatten()
                else {
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
    use std::fs;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let host = Host::at(folder.path());
        (folder, host)
    }

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
                    "hugetlb.2MB.max".to_owned(),
                    2 << 20,
                    None
                ),
                (
                    "/user.slice".to_owned(),
                    "memory.max".to_owned(),
                    1 << 20,
                    Some(4096)
                ),
            ]
        );
    }
}
