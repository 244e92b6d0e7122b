//! What of a host is private, and what stands in its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::host::{ConfigSpace, Seen};

/// Files outside of sysfs whose content says nothing about people, keys or the network. Others are left out.
const HARMLESS: [&str; 14] = [
    "/proc/cmdline",
    "/proc/cpuinfo",
    "/proc/interrupts",
    "/proc/meminfo",
    "/proc/net/if_inet6",
    "/proc/net/route",
    "/proc/self/cgroup",
    "/proc/self/limits",
    "/proc/self/status",
    "/proc/sys/kernel/osrelease",
    "/proc/zoneinfo",
    "/etc/os-release",
    "/usr/lib/os-release",
    "/sys",
];

/// Folders outside of sysfs of which the same is true.
const HARMLESS_FOLDERS: [&str; 3] = ["/lib/modules", "/boot", "/usr/lib/kernel"];

/// Words in the names of sysfs files that hold serial numbers, MAC addresses and other identities.
const IDENTITIES: [&str; 7] = ["serial", "address", "uuid", "wwid", "nguid", "eui", "vpd"];

/// Kernel parameters that are kept, by how they begin: they concern IOMMUs, PCI, VFIO, huge pages, or lockdown.
const PARAMETERS: [&str; 18] = [
    "amd_iommu",
    "arm-smmu",
    "default_hugepagesz=",
    "hugepages",
    "intel_iommu",
    "intremap",
    "iommu",
    "isolcpus=",
    "kvm",
    "lockdown=",
    "mem=",
    "nointremap",
    "pci=",
    "pcie_",
    "transparent_hugepage",
    "vfio",
    "virtio_iommu",
    "module_blacklist=",
];

/// The prefixes of network interfaces that are named by their MAC address (systemd.net-naming-scheme(7)).
const NAMED_BY_ADDRESS: [&str; 3] = ["enx", "wlx", "wwx"];

/// A network for documentation, 192.0.2.0 (RFC 5737), as /proc/net/route writes it.
const SOME_NETWORK: &str = "000200C0";
/// An address for documentation, 2001:db8::1 (RFC 3849), as /proc/net/if_inet6 writes it.
const SOME_ADDRESS: &str = "20010db8000000000000000000000001";

/// What stands for names that tell a MAC address.
pub(super) struct Privacy {
    renamed: BTreeMap<String, String>,
}

impl Privacy {
    /// Looks for names that need another one in all paths that were read.
    pub(super) fn new<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> Self {
        let mut renamed = BTreeMap::new();
        for path in paths {
            for name in path.iter().filter_map(|part| part.to_str()) {
                if let Some(prefix) = prefix_before_address(name) {
                    let number = renamed.len() + 1;
                    renamed
                        .entry(name.to_owned())
                        .or_insert_with(|| format!("{prefix}{number:012x}"));
                }
            }
        }
        Self { renamed }
    }

    /// Whether what was seen may be written at all.
    pub(super) fn may_show(&self, path: &Path, seen: &Seen) -> bool {
        let process = path
            .strip_prefix("/proc")
            .ok()
            .and_then(|rest| rest.iter().next()?.to_str()?.parse::<u32>().ok());
        match seen {
            // Of processes only those that hold a device: their link to its node, and what they are called.
            Seen::Link(target) if process.is_some() => target.starts_with("/dev/vfio"),
            Seen::File(_) if process.is_some() => path.ends_with("comm"),
            Seen::Folder(_) => process.is_none() && path != Path::new("/proc"),
            Seen::Link(_) | Seen::Present => true,
            Seen::File(_) | Seen::Lines(_) if path.starts_with("/sys") => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                !IDENTITIES.iter().any(|word| name.contains(word))
            }
            Seen::File(_) | Seen::Lines(_) => {
                HARMLESS.iter().any(|known| path == Path::new(known))
                    || HARMLESS_FOLDERS
                        .iter()
                        .any(|folder| path.starts_with(folder))
            }
        }
    }

    /// The content of a file without what is private.
    pub(super) fn content(&self, path: &Path, content: &[u8]) -> Vec<u8> {
        let text = || self.rename(&String::from_utf8_lossy(content));
        match path.to_str() {
            Some("/proc/cmdline") => parameters(&text()).into_bytes(),
            Some("/proc/net/route") => routes(&text()).into_bytes(),
            Some("/proc/net/if_inet6") => addresses(&text()).into_bytes(),
            _ if path.starts_with("/sys/bus/pci") && path.ends_with("config") => {
                let mut bytes = content.to_vec();
                if let Some(serial) = ConfigSpace::new(content.to_vec()).serial_number() {
                    bytes[serial].fill(0);
                }
                bytes
            }
            _ if self.renamed.is_empty() || std::str::from_utf8(content).is_err() => {
                content.to_vec()
            }
            _ => text().into_bytes(),
        }
    }

    pub(super) fn rename(&self, text: &str) -> String {
        self.renamed
            .iter()
            .fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
    }

    pub(super) fn rename_path(&self, path: &Path) -> PathBuf {
        match path.to_str() {
            Some(text) if !self.renamed.is_empty() => self.rename(text).into(),
            _ => path.to_owned(),
        }
    }
}

/// Whether a name in a folder matters although nothing more was read of it: of the many files of a network interface or a disk only
/// those that tell what is above it, and its partitions.
pub(super) fn matters(folder: &Path, name: &str) -> bool {
    match folder.parent().and_then(Path::to_str) {
        Some("/sys/class/net") => name.starts_with("upper_") || name.starts_with("lower_"),
        Some("/sys/class/block") => folder
            .file_name()
            .is_some_and(|disk| name.starts_with(&*disk.to_string_lossy())),
        _ => true,
    }
}

fn prefix_before_address(name: &str) -> Option<&'static str> {
    NAMED_BY_ADDRESS.into_iter().find(|prefix| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            rest.len() == 12 && rest.bytes().all(|digit| digit.is_ascii_hexdigit())
        })
    })
}

fn parameters(text: &str) -> String {
    let kept: Vec<&str> = text
        .split_whitespace()
        .filter(|word| PARAMETERS.iter().any(|start| word.starts_with(start)))
        .collect();
    kept.join(" ") + "\n"
}

/// Interfaces, and whether a route is the default one; no addresses.
fn routes(text: &str) -> String {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (interface, destination) = (words.next()?, words.next()?);
        let destination = match destination {
            "Destination" | "00000000" => destination,
            _ => SOME_NETWORK,
        };
        let gateway = if destination == "Destination" {
            "Gateway"
        } else {
            "00000000"
        };
        Some(format!("{interface}\t{destination}\t{gateway}\n"))
    };
    text.lines().filter_map(line).collect()
}

/// Interfaces and the scope of their addresses, not the addresses themselves.
fn addresses(text: &str) -> String {
    let line = |line: &str| {
        let (_, rest) = line.split_once(' ')?;
        Some(format!("{SOME_ADDRESS} {rest}\n"))
    };
    text.lines().filter_map(line).collect()
}
