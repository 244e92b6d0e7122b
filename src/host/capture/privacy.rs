//! What of a host is private, and what stands in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::host::{ConfigSpace, Seen};

/// Files outside of sysfs whose content says nothing about people, keys or the network. Others are left out.
const HARMLESS: [&str; 18] = [
    "/proc/cmdline",
    "/proc/cpuinfo",
    "/proc/interrupts",
    "/proc/meminfo",
    "/proc/net/if_inet6",
    "/proc/net/ipv6_route",
    "/proc/net/packet",
    "/proc/net/route",
    "/proc/self/cgroup",
    "/proc/self/limits",
    "/proc/self/mountinfo",
    "/proc/self/status",
    "/proc/swaps",
    "/proc/sys/kernel/osrelease",
    "/proc/zoneinfo",
    "/etc/os-release",
    "/usr/lib/os-release",
    "/sys",
];

/// Folders outside of sysfs of which the same is true.
const HARMLESS_FOLDERS: [&str; 4] = ["/lib/modules", "/boot", "/usr/lib/kernel", NVIDIA];

/// Here but for identities, see [`minors`].
const NVIDIA: &str = "/proc/driver/nvidia/gpus";

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

/// Nodes of devices, by how they begin: who has them open is shown. So it is of the character devices whose names were read.
const DEVICE_NODES: [&str; 6] = [
    "/dev/vfio/",
    "/dev/nvidia",
    "/dev/nvme",
    "/dev/ng",
    "/dev/sd",
    "/dev/vd",
];

/// The prefixes of network interfaces that are named by their MAC address (systemd.net-naming-scheme(7)).
const NAMED_BY_ADDRESS: [&str; 3] = ["enx", "wlx", "wwx"];

/// A network for documentation, 192.0.2.0 (RFC 5737), as /proc/net/route writes it.
const SOME_NETWORK: &str = "000200C0";
/// An address of it, 192.0.2.1.
const SOME_ROUTER: &str = "010200C0";
/// A link-local address, fe80::1.
const SOME_ROUTER_V6: &str = "fe800000000000000000000000000001";
/// An address for documentation, 2001:db8::1 (RFC 3849), as /proc/net/if_inet6 writes it.
const SOME_ADDRESS: &str = "20010db8000000000000000000000001";

/// What stands for names that tell a MAC address, and which processes may be shown.
pub(super) struct Privacy {
    renamed: BTreeMap<String, String>,
    /// The nodes of PCI devices' character devices.
    nodes: BTreeSet<PathBuf>,
    /// Those that hold a device.
    holders: BTreeSet<u32>,
}

impl Privacy {
    /// Looks for names that need another one, and for who holds devices, in all that was read.
    pub(super) fn new(all: &BTreeMap<PathBuf, Seen>) -> Self {
        let mut renamed = BTreeMap::new();
        for path in all.keys() {
            for name in path.iter().filter_map(|part| part.to_str()) {
                if let Some(prefix) = prefix_before_address(name) {
                    let number = renamed.len() + 1;
                    renamed
                        .entry(name.to_owned())
                        .or_insert_with(|| format!("{prefix}{number:012x}"));
                }
            }
        }
        let mut privacy = Self {
            renamed,
            nodes: all.iter().flat_map(nodes_named).collect(),
            holders: BTreeSet::new(),
        };
        let holds = |(path, seen): (&PathBuf, &Seen)| match seen {
            Seen::Link(target) if privacy.is_device_node(target) => process_of(path),
            _ => None,
        };
        privacy.holders = all.iter().filter_map(holds).collect();
        privacy
    }

    /// Whether what was seen may be written at all.
    pub(super) fn may_show(&self, path: &Path, seen: &Seen) -> bool {
        let process = process_of(path);
        match seen {
            // Of processes only those that hold a device: their link to its node, and what they are called.
            Seen::Link(target) if process.is_some() => self.is_device_node(target),
            Seen::File(_) if process.is_some() => {
                path.ends_with("comm") && process.is_some_and(|pid| self.holders.contains(&pid))
            }
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
            Some("/proc/net/ipv6_route") => default_routes_v6(&text()).into_bytes(),
            Some("/proc/self/mountinfo") => mounts(&text()).into_bytes(),
            _ if path.starts_with(NVIDIA) => minors(&text()).into_bytes(),
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

    fn is_device_node(&self, target: &Path) -> bool {
        let text = target.to_string_lossy();
        self.nodes.contains(target) || DEVICE_NODES.iter().any(|start| text.starts_with(start))
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

/// Interfaces, and whether a route is the default one or leads by a router; no addresses. The columns are those of the kernel.
fn routes(text: &str) -> String {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (interface, destination, gateway) = (words.first()?, *words.get(1)?, words.get(2)?);
        let (destination, mask) = match destination {
            "Destination" => return Some(format!("{}\n", words.join("\t"))),
            "00000000" => ("00000000", "00000000"),
            _ => (SOME_NETWORK, "00FFFFFF"),
        };
        let gateway = match *gateway {
            "00000000" => "00000000",
            _ => SOME_ROUTER,
        };
        let flags = words.get(3).unwrap_or(&"0001");
        Some(format!(
            "{interface}\t{destination}\t{gateway}\t{flags}\t0\t0\t0\t{mask}\t0\t0\t0\n"
        ))
    };
    text.lines().filter_map(line).collect()
}

/// The default routes, without the router's address.
fn default_routes_v6(text: &str) -> String {
    let line = |line: &str| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let is_default = words.get(1) == Some(&"00");
        *words.get_mut(4)? = SOME_ROUTER_V6;
        is_default.then(|| words.join(" ") + "\n")
    };
    text.lines().filter_map(line).collect()
}

/// What is mounted, and the first folder on the way to where: that may tell the name of a person or of a customer.
fn mounts(text: &str) -> String {
    let line = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let number = before.split(' ').nth(2)?;
        let mut parts = before.split(' ').nth(4)?.split('/').skip(1);
        let first = parts.next().unwrap_or_default();
        let rest = if parts.next().is_some() { "/..." } else { "" };
        let mut source = after.split(' ');
        let (kind, source) = (source.next()?, source.next()?);
        Some(format!(
            "0 0 {number} / /{first}{rest} rw - {kind} {source} rw\n"
        ))
    };
    text.lines().filter_map(line).collect()
}

/// The numbers of NVIDIA's nodes, without the UUIDs of the devices.
fn minors(text: &str) -> String {
    let lines = text.lines().filter(|line| line.starts_with("Device Minor"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The nodes that were read of a character device.
fn nodes_named((path, seen): (&PathBuf, &Seen)) -> Vec<PathBuf> {
    match seen {
        Seen::Lines(lines) if path.starts_with("/sys/dev/char") => lines
            .iter()
            .filter_map(|line| Some(Path::new("/dev").join(line.strip_prefix("DEVNAME=")?)))
            .collect(),
        _ => Vec::new(),
    }
}

/// The process that a path in /proc is about.
pub(super) fn process_of(path: &Path) -> Option<u32> {
    let rest = path.strip_prefix("/proc").ok()?;
    rest.iter().next()?.to_str()?.parse().ok()
}

/// Interfaces and the scope of their addresses, not the addresses themselves.
fn addresses(text: &str) -> String {
    let line = |line: &str| {
        let (_, rest) = line.split_once(' ')?;
        Some(format!("{SOME_ADDRESS} {rest}\n"))
    };
    text.lines().filter_map(line).collect()
}
