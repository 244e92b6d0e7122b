//! Whose the nodes of a device are.

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User};
use serde::{Deserialize, Serialize};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{BindingError, Step, StepError};
use crate::host::{Host, PciDevice};
use crate::types::{Bdf, GroupId, OwnerName};

/// How long a node in `/dev` may take to appear after its device is bound; udev needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// Where udev listens while it runs.
const UDEV: &str = "/run/udev/control";

const USER_MAY_USE: u32 = 0o600;
const GROUP_MAY_USE: u32 = 0o060;
const PERMISSIONS: u32 = 0o7777;

/// To whom nodes are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The group's number; without one, the group stays.
    pub gid: Option<u32>,
}

/// A node, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// The node.
    pub path: PathBuf,
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The permissions.
    pub mode: u32,
}

/// What a change does to the nodes of its device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum NodeChange {
    /// Nothing.
    #[default]
    None,
    /// They are given away; these were there before.
    Give(Owner, Vec<NodeState>),
    /// They are taken back, as far as they outlive the change, and become again what they were before.
    TakeBack(Owner, Vec<NodeState>),
}

impl NodeChange {
    pub(super) fn steps(&self, bdf: Bdf, group: Option<GroupId>) -> Vec<Step> {
        match self {
            Self::None => Vec::new(),
            Self::Give(to, _) => vec![Step::GiveNodes {
                bdf,
                group,
                to: *to,
            }],
            Self::TakeBack(_, before) => before.iter().cloned().map(Step::RestoreNode).collect(),
        }
    }

    pub(super) fn steps_back(&self, bdf: Bdf, group: Option<GroupId>) -> Vec<Step> {
        match self.clone() {
            Self::None => Vec::new(),
            Self::Give(to, before) => Self::TakeBack(to, before).steps(bdf, group),
            Self::TakeBack(from, before) => Self::Give(from, before).steps(bdf, group),
        }
    }
}

impl Owner {
    /// Looks a name up.
    ///
    /// # Errors
    /// There is no such user or group.
    pub fn find(name: &OwnerName) -> Result<Self, BindingError> {
        let unknown = |kind, name: &str| BindingError::NoSuchOwner {
            kind,
            name: name.to_owned(),
        };
        // A number needs no name: containers have users that the host does not know.
        let uid = match name.user.parse() {
            Ok(uid) => uid,
            Err(_) => match User::from_name(&name.user) {
                Ok(Some(user)) => user.uid.as_raw(),
                _ => return Err(unknown("user", &name.user)),
            },
        };
        let gid = match &name.group {
            None => None,
            Some(group) => Some(match group.parse() {
                Ok(gid) => gid,
                Err(_) => match Group::from_name(group) {
                    Ok(Some(group)) => group.gid.as_raw(),
                    _ => return Err(unknown("group", group)),
                },
            }),
        };
        Ok(Self { uid, gid })
    }

    /// What the mode becomes: the user may use the node, and the group if one was named. What others may do stays.
    fn mode(self, before: u32) -> u32 {
        let group = if self.gid.is_some() { GROUP_MAY_USE } else { 0 };
        before & PERMISSIONS | USER_MAY_USE | group
    }

    /// As chown(1) takes it.
    pub(super) fn chown_word(self) -> String {
        match self.gid {
            Some(gid) => format!("{}:{gid}", self.uid),
            None => self.uid.to_string(),
        }
    }

    /// As chmod(1) takes it.
    pub(super) fn chmod_word(self) -> &'static str {
        match self.gid {
            Some(_) => "ug+rw",
            None => "u+rw",
        }
    }
}

impl NodeState {
    fn of(host: &Host, path: &Path) -> Option<Self> {
        let metadata = host.path(path).metadata().ok()?;
        Some(Self {
            path: path.to_owned(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode() & PERMISSIONS,
        })
    }

    /// Makes the node what this says; one that is gone needs nothing.
    pub(super) fn restore(&self, host: &Host) -> Result<(), StepError> {
        if NodeState::of(host, &self.path).is_none() {
            return Ok(());
        }
        set(host, &self.path, self.uid, Some(self.gid), self.mode)
    }
}

/// The nodes of a device that are there, and whose.
pub(super) fn node_states(host: &Host, device: &PciDevice) -> Vec<NodeState> {
    let paths = host.vfio_nodes(device);
    paths
        .iter()
        .filter_map(|path| NodeState::of(host, path))
        .collect()
}

/// The device as it is once its nodes have appeared, and its group: virtio-iommu on Linux 6.12 makes the group when a driver
/// probes the device. The nodes that are there; none if none appeared.
pub(super) fn wait_for_nodes(
    host: &Host,
    bdf: Bdf,
) -> Result<(PciDevice, Vec<PathBuf>), BindingError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let device = host.device(bdf)?;
        let nodes = nodes(host, &device);
        if !nodes.is_empty() || Instant::now() > deadline {
            return Ok((device, nodes));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The nodes of the device that are there.
pub(super) fn nodes(host: &Host, device: &PciDevice) -> Vec<PathBuf> {
    let mut nodes = host.vfio_nodes(device);
    nodes.retain(|node| host.path(node).exists());
    nodes
}

/// Gives the nodes of a device away, once they are there and udev is done with them.
pub(super) fn give(host: &Host, bdf: Bdf, to: Owner) -> Result<(), StepError> {
    let no_nodes = || StepError::Nodes("no node for it appeared in /dev/vfio".to_owned());
    let (_, nodes) = wait_for_nodes(host, bdf).map_err(|_| no_nodes())?;
    if nodes.is_empty() {
        return Err(no_nodes());
    }
    settle_udev(host);
    for node in nodes {
        let before = NodeState::of(host, &node).ok_or(StepError::Refused(Errno::ENOENT))?;
        set(host, &node, to.uid, to.gid, to.mode(before.mode))?;
    }
    Ok(())
}

/// Waits until udev has applied its rules to what appeared, which would otherwise undo ours.
fn settle_udev(host: &Host) {
    if !host.path(UDEV).exists() {
        return;
    }
    let settled = Command::new("udevadm")
        .args(["settle", "--timeout=5"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    match settled {
        Ok(status) if status.success() => {}
        Ok(status) => {
            log::warn!("udevadm settle: {status}; a rule of udev may still change the owner")
        }
        Err(error) => log::warn!(
            "cannot run udevadm settle ({error}); a rule of udev may still change the owner"
        ),
    }
}

/// Sets owner, group and mode, and reads them back.
fn set(host: &Host, node: &Path, uid: u32, gid: Option<u32>, mode: u32) -> Result<(), StepError> {
    let refused =
        |error: io::Error| StepError::Refused(Errno::from_raw(error.raw_os_error().unwrap_or(0)));
    let path = host.path(node);
    chown(&path, Some(uid), gid).map_err(refused)?;
    fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(refused)?;
    let found = NodeState::of(host, node).ok_or(StepError::Refused(Errno::ENOENT))?;
    if (found.uid, found.mode) == (uid, mode) && gid.is_none_or(|gid| gid == found.gid) {
        return Ok(());
    }
    Err(StepError::Nodes(format!(
        "{} is of user {}, group {}, mode {:04o} afterwards: something else, perhaps udev, changes it too",
        node.display(),
        found.uid,
        found.gid,
        found.mode
    )))
}

/// The nodes that VFIO's users need besides their device's, and that this user may not open by their owner and mode.
#[must_use]
pub fn closed_to(host: &Host, owner: Owner) -> Vec<NodeState> {
    let closed = |node: &NodeState| {
        let groups = groups_of(owner);
        let bits = if owner.uid == 0 {
            GROUP_MAY_USE
        } else if owner.uid == node.uid {
            node.mode >> 3
        } else if groups.contains(&node.gid) {
            node.mode
        } else {
            node.mode << 3
        };
        bits & GROUP_MAY_USE != GROUP_MAY_USE
    };
    ["/dev/vfio/vfio", "/dev/iommu"]
        .iter()
        .filter_map(|path| NodeState::of(host, Path::new(path)))
        .filter(closed)
        .collect()
}

/// The groups that a user is in.
fn groups_of(owner: Owner) -> Vec<u32> {
    let mut groups = Vec::new();
    if let Ok(Some(user)) = User::from_uid(Uid::from_raw(owner.uid)) {
        groups.push(user.gid.as_raw());
        if let Ok(name) = std::ffi::CString::new(user.name) {
            let of_user = nix::unistd::getgrouplist(&name, user.gid).unwrap_or_default();
            groups.extend(of_user.into_iter().map(Gid::as_raw));
        }
    }
    groups
}
