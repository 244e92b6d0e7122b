//! The nodes in `/dev` by which processes reach what a device's own driver offers, and who has them open.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Usage, Use};
use crate::host::{Holder, Host, NameKind, PciDevice, last_bdf};
use crate::types::{Bdf, UseReason};

/// A link for each character device, by its number (Documentation/ABI/stable/sysfs-dev).
const CHARACTER_DEVICES: &str = "/sys/dev/char";

/// The folder between a PCI device and its node of VFIO (`vfio_init` of drivers/vfio/vfio_main.c).
const VFIO_CLASS: &str = "vfio-dev";

/// What NVIDIA's driver says of each device: its nodes are not in sysfs.
const NVIDIA_DEVICES: &str = "/proc/driver/nvidia/gpus";
const NVIDIA_LIMIT: u64 = 64 << 10;

const UEVENT_LIMIT: u64 = 4096;

/// Programs that listen to each keyboard for its power button, and let go of one that goes away.
const BUTTON_LISTENERS: [&str; 2] = ["systemd-logind", "acpid"];

/// The character devices that belong to PCI devices.
#[derive(Debug)]
pub(super) struct CharacterDevices(Vec<(Bdf, PathBuf)>);

impl CharacterDevices {
    /// Each belongs to the PCI device nearest to it: that of a virtual function or behind a bridge to no other.
    pub(super) fn read(host: &Host) -> Self {
        let folder = Path::new(CHARACTER_DEVICES);
        let owned = |number: String| {
            let link = folder.join(number);
            let target = host.link(&link)?;
            let is_vfio = target.iter().any(|part| part == VFIO_CLASS);
            Some((last_bdf(&target).filter(|_| !is_vfio)?, link))
        };
        Self(host.names(folder).into_iter().filter_map(owned).collect())
    }
}

impl Usage<'_> {
    /// The nodes of a device, but for that of VFIO, in the order in which they are to be named.
    fn nodes(&self, device: &PciDevice) -> Vec<PathBuf> {
        let mut nodes = Vec::new();
        for name in self.names.of(device.bdf) {
            if name.kind == NameKind::Disk {
                nodes.extend(self.disk_nodes(&name.name));
            }
        }
        let devices = self
            .character_devices
            .get_or_init(|| CharacterDevices::read(self.host));
        let own = devices.0.iter().filter(|(bdf, _)| *bdf == device.bdf);
        nodes.extend(own.filter_map(|(_, link)| self.host.node_name(link)));
        nodes.extend(self.host.nvidia_node(device.bdf));
        nodes
    }

    /// The processes that have a node of a device open.
    pub(super) fn opened(&self, device: &PciDevice) -> Vec<Use> {
        let nodes = self.nodes(device);
        if nodes.is_empty() {
            return Vec::new();
        }
        let open = self.open_nodes.get_or_init(|| self.host.open_nodes());
        let mut found: Vec<(u32, PathBuf)> = Vec::new();
        for node in nodes {
            let pids = open.get(&node).into_iter().flatten();
            found.extend(pids.map(|pid| (*pid, node.clone())));
        }
        found.sort_by_key(|(pid, _)| *pid);
        let mut holders: Vec<Holder> = found
            .into_iter()
            .map(|(pid, node)| self.host.holder(pid, node))
            .filter(|holder| !lets_go(holder))
            .collect();
        holders.dedup_by_key(|holder| holder.pid);
        holders
            .into_iter()
            .map(|holder| {
                Use::new(
                    UseReason::Open,
                    format!("{} has {} open", holder.process(), holder.node.display()),
                    format!("end process {}", holder.pid),
                )
            })
            .collect()
    }
}

/// Whether who has a node open lets go of it by itself: udev looks at each new device for a moment, as this program does.
fn lets_go(holder: &Holder) -> bool {
    let command = holder.command.as_str();
    let listens = holder.node.starts_with("/dev/input") && BUTTON_LISTENERS.contains(&command);
    command.contains("udev") || command == "iommu-tool" || listens
}

/// What processes have open in `/dev`, and which processes.
pub(super) type OpenNodes = HashMap<PathBuf, Vec<u32>>;

impl Host {
    /// The node of a character device, as the kernel tells udev.
    fn node_name(&self, link: &Path) -> Option<PathBuf> {
        let name = |line: &str| Some(line.strip_prefix("DEVNAME=")?.to_owned());
        let names = self.pick_lines(link.join("uevent"), UEVENT_LIMIT, name);
        Some(Path::new("/dev").join(names.ok()?.first()?))
    }

    /// The node of a device of NVIDIA's driver, with which CUDA and nvidia-persistenced hold the device.
    fn nvidia_node(&self, bdf: Bdf) -> Option<PathBuf> {
        let file = Path::new(NVIDIA_DEVICES)
            .join(bdf.to_string())
            .join("information");
        let minor = |line: &str| line.strip_prefix("Device Minor:")?.trim().parse().ok();
        let minors: Vec<u32> = self.pick_lines(file, NVIDIA_LIMIT, minor).ok()?;
        Some(PathBuf::from(format!("/dev/nvidia{}", minors.first()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{GPU, found, said};

    /// What is said where process 42 has a node open of a character device with this number, place below 01:00.0 and name.
    fn node(command: &str, number: &str, place: &str, name: &str) -> Vec<String> {
        let real = format!("devices/pci0000:00/0000:00:01.0/0000:01:00.0/{place}");
        let uevent = format!("sys/{real}/uevent");
        let numbers = format!("MAJOR=1\nMINOR=2\nDEVNAME={name}\n");
        let comm = format!("{command}\n");
        let (number, target) = (format!("sys/dev/char/{number}"), format!("../../{real}"));
        let open = format!("/dev/{name}");
        let files = [GPU, (&*uevent, &*numbers), ("proc/42/comm", &*comm)];
        let links = [
            (&*number, &*target),
            ("proc/42/fd/0", "/dev/null"),
            ("proc/42/fd/9", &open),
            ("proc/42/fd/10", &open),
        ];
        said(&found(&files, &links))
    }

    #[test]
    fn processes_that_have_a_node_open_are_named() {
        for (command, number, place, name) in [
            ("Xorg", "226:0", "drm/card0", "dri/card0"),
            (
                "ib_write_bw",
                "231:192",
                "infiniband_verbs/uverbs0",
                "infiniband/uverbs0",
            ),
            ("dpdk-testpmd", "240:0", "uio/uio0", "uio0"),
            (
                "smartd",
                "21:0",
                "ata1/host0/target0:0:0/0:0:0:0/scsi_generic/sg0",
                "sg0",
            ),
            (
                "wireplumber",
                "116:2",
                "sound/card0/controlC0",
                "snd/controlC0",
            ),
            ("ptp4l", "247:0", "ptp/ptp0", "ptp0"),
            (
                "qemu",
                "13:64",
                "usb1/1-1/1-1:1.0/0003:046D:C31C.0001/input/input5/event0",
                "input/event0",
            ),
        ] {
            assert_eq!(
                node(command, number, place, name),
                [format!("open: {command} (process 42) has /dev/{name} open")]
            );
        }
    }

    #[test]
    fn programs_that_let_go_of_a_node_by_themselves_do_not_count() {
        let keyboard = |command| {
            node(
                command,
                "13:64",
                "usb1/1-1/1-1:1.0/input/input5/event0",
                "input/event0",
            )
        };
        assert_eq!(keyboard("systemd-logind"), [""; 0]);
        let card = |command| node(command, "226:0", "drm/card0", "dri/card0");
        assert_eq!(card("(udev-worker)"), [""; 0]);
        assert_eq!(card("systemd-logind").len(), 1);
    }

    #[test]
    fn nodes_of_other_devices_and_of_vfio_do_not_count() {
        let behind = "0000:02:00.0/infiniband_verbs/uverbs0";
        assert_eq!(
            node("perftest", "231:192", behind, "infiniband/uverbs0"),
            [""; 0]
        );
        assert_eq!(
            node("qemu", "511:0", "vfio-dev/vfio0", "vfio/devices/vfio0"),
            [""; 0]
        );
    }

    #[test]
    fn the_node_of_an_nvidia_device_is_known_by_its_minor_number() {
        let information = "Model: \t\t NVIDIA L40S\nGPU UUID: \t GPU-0\nBus Location: \t 0000:01:00.0\nDevice Minor: \t 3\n";
        let open = |node| {
            let files = [
                GPU,
                (
                    "proc/driver/nvidia/gpus/0000:01:00.0/information",
                    information,
                ),
                ("proc/42/comm", "nvidia-persiste\n"),
            ];
            said(&found(&files, &[("proc/42/fd/9", node)]))
        };
        assert_eq!(
            open("/dev/nvidia3"),
            ["open: nvidia-persiste (process 42) has /dev/nvidia3 open"]
        );
        assert_eq!(open("/dev/nvidia0"), [""; 0]);
    }
}
