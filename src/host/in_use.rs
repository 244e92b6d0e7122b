//! Whether the host itself still uses what a device provides.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::path::Path;

use super::{Host, KernelName, NameKind, PciDevice};

const IFF_UP: u32 = 1;
const ROUTES_LIMIT: u64 = 8 << 20;

impl Host {
    /// Why taking the device away would break something now: a disk that is mounted or otherwise claimed, a network
    /// interface that is up with an address or a route, or is part of another one. Empty if nothing was found.
    #[must_use]
    pub fn uses(&self, device: &PciDevice) -> Vec<String> {
        self.kernel_names()
            .of(device.bdf)
            .filter_map(|name| self.name_use(name))
            .collect()
    }

    fn name_use(&self, name: &KernelName) -> Option<String> {
        match name.kind {
            NameKind::Network => self.interface_use(&name.name),
            NameKind::Disk => self.disk_use(&name.name),
            NameKind::Nvme => None,
        }
    }

    fn interface_use(&self, name: &str) -> Option<String> {
        let folder = Path::new("/sys/class/net").join(name);
        let upper = self
            .names(&folder)
            .into_iter()
            .find_map(|entry| Some(entry.strip_prefix("upper_")?.to_owned()));
        if let Some(upper) = upper {
            return Some(format!(
                "{name} is part of the network interface {upper} ('ip link set {name} nomaster' takes it out)"
            ));
        }
        let is_up = self
            .hex_attribute(folder.join("flags"))
            .is_some_and(|flags| flags & IFF_UP != 0);
        // /proc/net/route starts each line with the interface, if_inet6 ends it so. An address always has a route to its subnet;
        // link-local IPv6 addresses (scope 20) come by themselves and count for nothing.
        let routes = self
            .read("/proc/net/route", ROUTES_LIMIT)
            .unwrap_or_default();
        let addresses = self
            .read("/proc/net/if_inet6", ROUTES_LIMIT)
            .unwrap_or_default();
        let routed = String::from_utf8_lossy(&routes)
            .lines()
            .any(|line| line.split_whitespace().next() == Some(name));
        let addressed = String::from_utf8_lossy(&addresses).lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.get(5) == Some(&name) && fields.get(3) != Some(&"20")
        });
        (is_up && (routed || addressed))
            .then(|| format!(
                "the network interface {name} is up and has an address or a route ('ip link set {name} down' ends that)"
            ))
    }

    /// The kernel lets nobody claim a disk or partition that a mount, swap, md or dm has claimed (`bd_prepare_to_claim` of block/bdev.c).
    fn disk_use(&self, name: &str) -> Option<String> {
        let parts = self
            .names(Path::new("/sys/class/block").join(name))
            .into_iter()
            .filter(|entry| entry.starts_with(name));
        let is_claimed = |name: &String| {
            let node = self.path(Path::new("/dev").join(name));
            let flags = OFlag::O_RDONLY | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            matches!(open(&node, flags, Mode::empty()), Err(Errno::EBUSY))
        };
        std::iter::once(name.to_owned())
            .chain(parts)
            .find(is_claimed)
            .map(|claimed| {
                format!(
                    "the disk {claimed} is mounted, swap, or part of a RAID or device mapper ('lsblk /dev/{name}' shows which)"
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use crate::host::root::host_of_files as host;

    type Files = &'static [(&'static str, &'static str)];

    const UP: (&str, &str) = ("sys/class/net/eth0/flags", "0x1003\n");

    #[test]
    fn an_interface_that_carries_traffic_is_in_use() {
        let cases: [(Files, Option<&str>); 7] = [
            (&[UP], None),
            (
                &[
                    UP,
                    ("proc/net/route", "Iface\tDestination\neth0\t0002000A\n"),
                ],
                Some("route"),
            ),
            (
                &[
                    UP,
                    ("proc/net/route", "Iface\tDestination\neth01\t0002000A\n"),
                ],
                None,
            ),
            (&[("proc/net/route", "eth0\t0002000A\n")], None),
            (
                &[
                    UP,
                    (
                        "proc/net/if_inet6",
                        "fe800000000000005054 02 40 20 80     eth0\n",
                    ),
                ],
                None,
            ),
            (
                &[
                    UP,
                    (
                        "proc/net/if_inet6",
                        "20010db8000000005054 02 40 00 80     eth0\n",
                    ),
                ],
                Some("address"),
            ),
            (&[("sys/class/net/eth0/upper_bond0/x", "")], Some("bond0")),
        ];
        for (files, expected) in cases {
            let (_folder, host) = host(files);
            let found = host.interface_use("eth0");
            match expected {
                Some(word) => assert!(
                    found.as_ref().unwrap().contains(word),
                    "{files:?}: {found:?}"
                ),
                None => assert_eq!(found, None, "{files:?}"),
            }
        }
    }
}
