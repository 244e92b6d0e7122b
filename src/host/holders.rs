//! Which processes have a node or a socket open.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Host, PciDevice, is_vfio_driver};
use crate::types::Bdf;

/// A process that has a node or a socket open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process ID.
    pub pid: u32,
    /// What it is called.
    pub command: String,
    /// Whose it is, by name or number; `None` on a captured host, which does not keep that.
    pub user: Option<String>,
    /// The node, or a socket as `socket:[4711]`.
    pub node: PathBuf,
}

impl Holder {
    /// The process without what it has open, as `qemu (process 42, user libvirt-qemu)`.
    #[must_use]
    pub fn process(&self) -> String {
        let user = self.user.as_ref();
        let user = user.map_or_else(String::new, |user| format!(", user {user}"));
        format!("{} (process {}{user})", self.command, self.pid)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = self.process();
        let process = process.trim_end_matches(')');
        write!(f, "{process}, {})", self.node.display())
    }
}

impl Host {
    /// The processes that have one of these nodes open. Only those that this user may look into.
    #[must_use]
    pub fn holders(&self, nodes: &[PathBuf]) -> Vec<Holder> {
        let holder = |pid| {
            let open = self.open_files(pid);
            let node = open.into_iter().find(|file| nodes.contains(file))?;
            Some(self.holder(pid, node))
        };
        self.processes().into_iter().filter_map(holder).collect()
    }

    /// Everything in `/dev` that processes have open, and which processes. Only of those that this user may look into.
    pub(super) fn open_nodes(&self) -> HashMap<PathBuf, Vec<u32>> {
        let mut found: HashMap<PathBuf, Vec<u32>> = HashMap::new();
        for pid in self.processes() {
            for file in self.open_files(pid) {
                if file.starts_with("/dev") {
                    found.entry(file).or_default().push(pid);
                }
            }
        }
        found
    }

    /// The processes that have each of these devices open through VFIO, looked for all at once. Only those that this user may look into.
    #[must_use]
    pub fn vfio_holders<'d>(
        &self,
        devices: impl IntoIterator<Item = &'d PciDevice>,
    ) -> Vec<(Bdf, Holder)> {
        let nodes: Vec<(Bdf, Vec<PathBuf>)> = devices
            .into_iter()
            .filter(|device| device.driver.as_deref().is_some_and(is_vfio_driver))
            .map(|device| (device.bdf, self.vfio_nodes(device)))
            .collect();
        if nodes.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for pid in self.processes() {
            let open = self.open_files(pid);
            for (bdf, nodes) in &nodes {
                if let Some(node) = open.iter().find(|file| nodes.contains(file)) {
                    found.push((*bdf, self.holder(pid, node.clone())));
                }
            }
        }
        found
    }

    /// When a process started, in clock ticks since the boot (proc_pid_stat(5), field 22); `None` if there is none, or it has
    /// ended and nobody waited for it yet.
    #[must_use]
    pub fn process_start(&self, pid: u32) -> Option<u64> {
        let stat = self.attribute(format!("/proc/{pid}/stat"))?;
        // The second field, the command in parentheses, may have anything in it.
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split_whitespace();
        let is_over = matches!(fields.next()?, "Z" | "X");
        let started = fields.nth(18)?.parse().ok()?;
        (!is_over).then_some(started)
    }

    pub(super) fn processes(&self) -> Vec<u32> {
        let names = self.names("/proc");
        names.iter().filter_map(|name| name.parse().ok()).collect()
    }

    fn open_files(&self, pid: u32) -> Vec<PathBuf> {
        let open = PathBuf::from(format!("/proc/{pid}/fd"));
        let descriptors = self.names(&open);
        let files = descriptors.iter().filter_map(|fd| self.link(open.join(fd)));
        files.collect()
    }

    pub(super) fn holder(&self, pid: u32, node: PathBuf) -> Holder {
        let process = PathBuf::from(format!("/proc/{pid}"));
        Holder {
            pid,
            user: self.user_of(&process),
            command: self
                .attribute(process.join("comm"))
                .unwrap_or_else(|| "?".to_owned()),
            node,
        }
    }

    /// Whose a process is. Who has an account on a host is nobody's business but the host's: read past the recording of a capture.
    fn user_of(&self, process: &Path) -> Option<String> {
        if !self.is_live() {
            return None;
        }
        let number = self.path(process).metadata().ok()?.uid().to_string();
        let accounts = fs::read_to_string(self.path("/etc/passwd")).unwrap_or_default();
        let name = accounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.get(2) == Some(&number.as_str())).then(|| fields[0].to_owned())
        });
        Some(name.unwrap_or(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_process_with_an_open_node_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for (pid, target) in [(7, "/dev/null"), (42, "/dev/vfio/12"), (43, "/dev/vfio/1")] {
            let process = folder.path().join(format!("proc/{pid}"));
            fs::create_dir_all(process.join("fd")).unwrap();
            fs::write(process.join("comm"), "qemu\n").unwrap();
            symlink(target, process.join("fd/3")).unwrap();
        }
        let holders: Vec<String> = Host::at(folder.path())
            .holders(&["/dev/vfio/12".into()])
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(holders, ["qemu (process 42, /dev/vfio/12)"]);
    }
}
