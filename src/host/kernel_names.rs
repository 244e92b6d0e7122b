//! The names that the kernel gives to what a PCI device provides: network interfaces, NVMe controllers, disks.

use std::path::Path;

use super::Host;
use crate::types::Bdf;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameKind {
    /// A network interface.
    Network,
    /// An NVMe controller.
    Nvme,
    /// A whole disk, an NVMe namespace among them; no partition.
    Disk,
}

/// A name, and a PCI device behind it. A disk that several controllers lead to is there once for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelName {
    /// The device.
    pub bdf: Bdf,
    /// What the name stands for.
    pub kind: NameKind,
    /// The name, as `eth0`, `nvme0`, `nvme0n1`, `sda`.
    pub name: String,
}

/// All such names of a host.
#[derive(Debug, Clone, Default)]
pub struct KernelNames(Vec<KernelName>);

impl KernelNames {
    /// The names of one device, network interfaces first.
    pub fn of(&self, bdf: Bdf) -> impl Iterator<Item = &KernelName> {
        let start = self.0.partition_point(|name| name.bdf < bdf);
        self.0[start..]
            .iter()
            .take_while(move |name| name.bdf == bdf)
    }

    /// The devices behind a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Vec<Bdf> {
        self.0
            .iter()
            .filter(|known| known.name == name)
            .map(|known| known.bdf)
            .collect()
    }
}

impl Host {
    /// The names of everything that PCI devices provide now.
    ///
    /// Told by the links in `/sys/class` alone: their targets name every device on the way (`…/0000:01:00.0/virtio2/net/eth0`).
    #[must_use]
    pub fn kernel_names(&self) -> KernelNames {
        let mut names = Vec::new();
        for (class, kind) in [
            ("net", NameKind::Network),
            ("nvme", NameKind::Nvme),
            ("block", NameKind::Disk),
        ] {
            let folder = Path::new("/sys/class").join(class);
            for name in self.names(&folder) {
                for bdf in self.providers(&folder.join(&name), kind) {
                    names.push(KernelName {
                        bdf,
                        kind,
                        name: name.clone(),
                    });
                }
            }
        }
        names.sort_unstable();
        KernelNames(names)
    }

    /// Whether there is a network interface, NVMe controller or block device of this name, with a PCI device behind it or not.
    pub(super) fn has_kernel_name(&self, name: &str) -> bool {
        ["net", "nvme", "block"]
            .iter()
            .any(|class| self.exists(Path::new("/sys/class").join(class).join(name)))
    }

    fn providers(&self, link: &Path, kind: NameKind) -> Vec<Bdf> {
        let Some(target) = self.link(link) else {
            return Vec::new();
        };
        let Some(parent) = target.parent().and_then(Path::file_name) else {
            return Vec::new();
        };
        let parent = parent.to_string_lossy();
        if kind == NameKind::Disk && self.exists(Path::new("/sys/class/block").join(&*parent)) {
            return Vec::new(); // a partition
        }
        if let Some(bdf) = last_bdf(&target) {
            return vec![bdf];
        }
        // With native multipath a namespace belongs to the NVMe subsystem, which links to each of its controllers.
        if parent.starts_with("nvme-subsys") {
            let subsystem = Path::new("/sys/devices/virtual/nvme-subsystem").join(&*parent);
            return self
                .names(&subsystem)
                .iter()
                .filter_map(|entry| self.link(subsystem.join(entry)))
                .filter_map(|target| last_bdf(&target))
                .collect();
        }
        Vec::new()
    }
}

/// The PCI device nearest to the end of a path.
pub(super) fn last_bdf(path: &Path) -> Option<Bdf> {
    path.iter()
        .rev()
        .find_map(|part| part.to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn host(links: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        for (link, target) in links {
            let link = folder.path().join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(target, link).unwrap();
        }
        let host = Host::at(folder.path());
        (folder, host)
    }

    #[test]
    fn names_lead_to_the_nearest_device() {
        let (_folder, host) = host(&[
            (
                "sys/class/net/eth0",
                "../../devices/pci0000:00/0000:00:03.0/virtio2/net/eth0",
            ),
            ("sys/class/net/lo", "../../devices/virtual/net/lo"),
            (
                "sys/class/nvme/nvme0",
                "../../devices/pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0",
            ),
            (
                "sys/class/block/nvme0n1",
                "../../devices/pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0/nvme0n1",
            ),
            (
                "sys/class/block/nvme0n1p1",
                "../../devices/pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0/nvme0n1/nvme0n1p1",
            ),
            ("sys/class/block/loop0", "../../devices/virtual/block/loop0"),
        ]);
        let names = host.kernel_names();
        let bdf = "03:00.0".parse().unwrap();
        let of: Vec<&str> = names.of(bdf).map(|known| known.name.as_str()).collect();
        assert_eq!(of, ["nvme0", "nvme0n1"]);
        assert_eq!(names.find("eth0"), ["00:03.0".parse().unwrap()]);
        assert_eq!(names.find("lo"), []);
        assert_eq!(names.find("nvme0n1p1"), []);
        assert!(host.has_kernel_name("lo"));
    }

    #[test]
    fn a_namespace_with_several_paths_leads_to_each_controller() {
        let (_folder, host) = host(&[
            (
                "sys/class/block/nvme0n1",
                "../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1",
            ),
            (
                "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0",
                "../../../pci0000:00/0000:01:00.0/nvme/nvme0",
            ),
            (
                "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme1",
                "../../../pci0000:00/0000:02:00.0/nvme/nvme1",
            ),
        ]);
        let found: Vec<String> = host
            .kernel_names()
            .find("nvme0n1")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["0000:01:00.0", "0000:02:00.0"]);
    }
}
