//! Whether a process holds an IOMMU group, as the kernel sees it.
//!
//! Anyone can listen at a socket with the right name and say what a holder says. Root's commands believe another user's process only if
//! that user was given the group, and the process has it open.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::libc::dev_t;
use nix::sys::socket::UnixCredentials;
use nix::sys::stat::makedev;

use crate::types::GroupId;

/// The permissions of a link in `/proc/PID/fd` whose file is open for reading and writing (`tid_fd_update_inode` of fs/proc/fd.c). Nodes of
/// VFIO are of no use otherwise. Without any (O_PATH) everyone can have them open.
const READ_AND_WRITE: u32 = 0o600;

/// Whether the process has the group's node open, or the node of one of its devices.
pub(super) fn holds(process: &UnixCredentials, group: GroupId) -> bool {
    let folder = PathBuf::from(format!("/proc/{}", process.pid()));
    // Another process may have its number by now.
    user_of(&folder) == Some(process.uid()) && has_open(&folder, &nodes(group))
}

/// The user whose rights a process has (the second number of `Uid:`, proc_pid_status(5)).
fn user_of(process: &Path) -> Option<u32> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_whitespace().nth(1)?.parse().ok()
}

/// The nodes of a group and of its devices, by number.
fn nodes(group: GroupId) -> Vec<dev_t> {
    let devices = children(Path::new(&format!(
        "/sys/kernel/iommu_groups/{group}/devices"
    )));
    let cdevs = devices
        .iter()
        .flat_map(|device| children(&device.join("vfio-dev")));
    let of_group = PathBuf::from(format!("/sys/class/vfio/{group}"));
    cdevs
        .chain([of_group])
        .filter_map(|node| number(&node))
        .collect()
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The number of a character device from its folder in sysfs, where it is `241:3`.
fn number(device: &Path) -> Option<dev_t> {
    let text = fs::read_to_string(device.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// Whether a process has one of these devices open. Names of files tell nothing: in a mount namespace of their own, users give any.
fn has_open(process: &Path, nodes: &[dev_t]) -> bool {
    children(&process.join("fd")).iter().any(|link| {
        let (Ok(open), Ok(file)) = (link.symlink_metadata(), link.metadata()) else {
            return false;
        };
        let is_node = file.file_type().is_char_device() && nodes.contains(&file.rdev());
        is_node && open.mode() & READ_AND_WRITE == READ_AND_WRITE
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc::O_PATH;
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;

    #[test]
    fn a_process_has_the_rights_of_its_user() {
        let own = nix::unistd::geteuid().as_raw();
        assert_eq!(user_of(Path::new("/proc/self")), Some(own));
        assert_eq!(user_of(Path::new("/proc/0")), None);
    }

    #[test]
    fn only_a_node_that_is_open_to_be_used_counts() {
        let this = Path::new("/proc/self");
        // /dev/full, which nothing else here has open (Documentation/admin-guide/devices.txt).
        let full = [makedev(1, 7)];
        assert!(!has_open(this, &full));
        let mut options = OpenOptions::new();
        let to_read = options.read(true).open("/dev/full").unwrap();
        assert!(!has_open(this, &full));
        let mut as_path = OpenOptions::new();
        as_path.read(true).custom_flags(O_PATH);
        let by_path = as_path.open("/dev/full").unwrap();
        assert!(!has_open(this, &full));
        let to_use = options.write(true).open("/dev/full").unwrap();
        assert!(has_open(this, &full));
        assert!(!has_open(this, &[]));
        drop((to_read, by_path, to_use));
    }
}
