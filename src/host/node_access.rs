//! The nodes in `/dev` through which VFIO and iommufd are reached, and whether this user may open them.

use nix::unistd::{AccessFlags, eaccess};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Host;

/// Whether this user may open a node for reading and writing. The text says who may: `user 0, group 0, mode 0600`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeAccess {
    /// Yes.
    Open(String),
    /// No.
    Closed(String),
    /// There is no such node.
    Missing,
    /// This is a captured host, which does not keep permissions.
    Unknown,
}

impl Host {
    /// Whether this user may open a node.
    #[must_use]
    pub fn node_access(&self, node: impl AsRef<Path>) -> NodeAccess {
        let node = node.as_ref();
        if !self.exists(node) {
            return NodeAccess::Missing;
        }
        if !self.is_live() {
            return NodeAccess::Unknown;
        }
        let Ok(metadata) = self.path(node).metadata() else {
            return NodeAccess::Missing;
        };
        let owner = format!(
            "user {}, group {}, mode {:04o}",
            metadata.uid(),
            metadata.gid(),
            metadata.mode() & 0o7777
        );
        match eaccess(&self.path(node), AccessFlags::R_OK | AccessFlags::W_OK) {
            Ok(()) => NodeAccess::Open(owner),
            Err(_) => NodeAccess::Closed(owner),
        }
    }

    /// Whether iommufd's node is there.
    #[must_use]
    pub fn has_iommufd_node(&self) -> bool {
        self.exists("/dev/iommu")
    }

    /// Whether the kernel makes a node for each VFIO device: then its class device has a `dev` entry. `None` while no device is
    /// bound to VFIO.
    #[must_use]
    pub fn has_device_nodes(&self) -> Option<bool> {
        let class = Path::new("/sys/class/vfio-dev");
        let device = self.names(class).into_iter().next()?;
        Some(self.exists(class.join(device).join("dev")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn nodes_show_by_their_dev_entry() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        let device = folder.path().join("sys/class/vfio-dev/vfio0");
        assert_eq!(host.has_device_nodes(), None);
        fs::create_dir_all(&device).unwrap();
        assert_eq!(host.has_device_nodes(), Some(false));
        fs::write(device.join("dev"), "511:0\n").unwrap();
        assert_eq!(host.has_device_nodes(), Some(true));

        assert_eq!(host.node_access("/dev/iommu"), NodeAccess::Missing);
        fs::create_dir(folder.path().join("dev")).unwrap();
        fs::write(folder.path().join("dev/iommu"), "").unwrap();
        assert!(host.has_iommufd_node());
        assert_eq!(host.node_access("/dev/iommu"), NodeAccess::Unknown);
        assert!(matches!(
            Host::live().node_access("/dev/null"),
            NodeAccess::Open(_)
        ));
    }
}
