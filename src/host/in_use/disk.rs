//! What uses a disk: mounts, swap, RAID, device mapper, and whoever else has claimed it.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{Look, Usage, Use, some};
use crate::host::Host;
use crate::types::UseReason;

const BLOCK: &str = "/sys/class/block";

/// A host with thousands of containers has mounts of some megabytes.
const MOUNTS_LIMIT: u64 = 16 << 20;
const SWAPS_LIMIT: u64 = 64 << 10;

/// How often, and how far apart, a disk must be found claimed.
const LOOKS: u32 = 3;
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// What is mounted and what is swap space, as this process sees it.
#[derive(Debug)]
pub(super) struct Volumes {
    mounts: Vec<Mount>,
    /// Nodes, as `/dev/sda3`.
    swaps: Vec<String>,
}

#[derive(Debug)]
struct Mount {
    /// Major and minor number of the block device; of no block device for btrfs and others that span several.
    number: String,
    /// What was mounted, as `/dev/mapper/root`.
    source: String,
    point: String,
}

/// A block device that lies on the disk.
struct Layer {
    name: String,
    /// `md0 on nvme0n1`.
    words: String,
}

impl Volumes {
    fn read(host: &Host) -> Self {
        let mounts = host.pick_lines("/proc/self/mountinfo", MOUNTS_LIMIT, Mount::parse);
        let swaps = host.pick_lines("/proc/swaps", SWAPS_LIMIT, |line| {
            let node = line.split_whitespace().next()?;
            node.starts_with("/dev/").then(|| unescape(node))
        });
        Self {
            mounts: mounts.unwrap_or_default(),
            swaps: swaps.unwrap_or_default(),
        }
    }
}

impl Mount {
    /// A line of mountinfo, if the mount may concern a block device (Documentation/filesystems/proc.rst, section 3.5).
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let source = unescape(after.split(' ').nth(1)?);
        let fields: Vec<&str> = before.split(' ').collect();
        let (number, point) = (*fields.get(2)?, *fields.get(4)?);
        let concerns = !number.starts_with("0:") || source.starts_with("/dev/");
        concerns.then(|| Self {
            number: number.to_owned(),
            source,
            point: unescape(point),
        })
    }
}

/// Blanks, tabs, newlines and backslashes are octal in these files (`mangle_path` of fs/seq_file.c).
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    })
}

impl Usage<'_> {
    pub(super) fn disk(&self, disk: &str, look: Look) -> Vec<Use> {
        let partitions = self.partitions(disk);
        let mut found = Vec::new();
        let mut unexplained = Vec::new();
        for name in partitions.iter().map(String::as_str).chain([disk]) {
            let before = found.len();
            let layer = Layer {
                name: name.to_owned(),
                words: name.to_owned(),
            };
            self.layer(&layer, &mut Vec::new(), &mut found);
            if found.len() == before {
                unexplained.push(name);
            }
        }
        if look == Look::Close && self.host.is_live() {
            // A claim of a partition also keeps the whole disk from being claimed, so the disk, the last, is tried only if all
            // partitions are free (`bd_may_claim` of block/bdev.c).
            for name in unexplained {
                if (name != disk || found.is_empty()) && is_claimed(name) {
                    found.push(Use::new(
                        UseReason::Claimed,
                        format!(
                            "{name} cannot be opened with O_EXCL: ZFS, btrfs, DRBD, a program or another mount namespace has it"
                        ),
                        format!("'lsblk /dev/{name}' and 'fuser -v /dev/{name}' may say more"),
                    ));
                }
            }
        }
        found
    }

    fn partitions(&self, disk: &str) -> Vec<String> {
        let folder = Path::new(BLOCK).join(disk);
        let mut names = self.host.names(&folder);
        names.retain(|name| {
            name.starts_with(disk) && self.host.exists(folder.join(name).join("partition"))
        });
        names
    }

    /// What uses a block device, and what is on it. Each block device is looked at once.
    fn layer(&self, layer: &Layer, seen: &mut Vec<String>, found: &mut Vec<Use>) {
        if seen.contains(&layer.name) {
            return;
        }
        seen.push(layer.name.clone());
        found.extend(self.mounted(layer));
        found.extend(self.swap(layer));
        let folder = Path::new(BLOCK).join(&layer.name);
        for above in self.host.names(folder.join("holders")) {
            found.push(self.stacked_on(layer, &above));
            let layer = Layer {
                words: format!("{above} on {}", layer.words),
                name: above,
            };
            self.layer(&layer, seen, found);
        }
    }

    fn stacked_on(&self, layer: &Layer, above: &str) -> Use {
        let folder = Path::new(BLOCK).join(above);
        if self.host.exists(folder.join("md")) {
            let level = self.host.attribute(folder.join("md/level"));
            let level = level.map_or_else(String::new, |level| format!(" ({level})"));
            return Use::new(
                UseReason::Md,
                format!("{} is part of the array {above}{level}", layer.words),
                format!("mdadm --stop /dev/{above}"),
            );
        }
        if let Some(name) = self.mapping(above) {
            return Use::new(
                UseReason::Dm,
                format!(
                    "{} is under the device-mapper device {name} ({above})",
                    layer.words
                ),
                format!("dmsetup remove {name}"),
            );
        }
        Use::new(
            UseReason::Claimed,
            format!("{} is under the block device {above}", layer.words),
            format!("stop {above}"),
        )
    }

    /// What device mapper calls a block device.
    fn mapping(&self, name: &str) -> Option<String> {
        let folder = Path::new(BLOCK).join(name).join("dm");
        if !self.host.exists(&folder) {
            return None;
        }
        let said = self.host.attribute(folder.join("name"));
        Some(said.unwrap_or_else(|| name.to_owned()))
    }

    fn volumes(&self) -> &Volumes {
        self.volumes.get_or_init(|| Volumes::read(self.host))
    }

    /// The names in `/dev` of a block device.
    fn paths(&self, name: &str) -> Vec<String> {
        let mapping = self.mapping(name);
        let mapping = mapping.map(|mapping| format!("/dev/mapper/{mapping}"));
        mapping
            .into_iter()
            .chain([format!("/dev/{name}")])
            .collect()
    }

    fn mounted(&self, layer: &Layer) -> Option<Use> {
        let number = self
            .host
            .attribute(Path::new(BLOCK).join(&layer.name).join("dev"));
        let paths = self.paths(&layer.name);
        let mut points: Vec<String> = self
            .volumes()
            .mounts
            .iter()
            .filter(|mount| number.as_ref() == Some(&mount.number) || paths.contains(&mount.source))
            .map(|mount| mount.point.clone())
            .collect();
        points.sort_unstable();
        points.dedup();
        let first = points.first()?;
        Some(Use::new(
            UseReason::Mounted,
            format!("{} is mounted at {}", layer.words, some(&points)),
            match first.as_str() {
                "/" => "start the host from another disk".to_owned(),
                _ => format!("umount {}", points.join(" ")),
            },
        ))
    }

    fn swap(&self, layer: &Layer) -> Option<Use> {
        let paths = self.paths(&layer.name);
        let node = self
            .volumes()
            .swaps
            .iter()
            .find(|node| paths.contains(node))?;
        Some(Use::new(
            UseReason::Swap,
            format!("{} is swap space", layer.words),
            format!("swapoff {node}"),
        ))
    }

    /// The nodes of a disk and its partitions; NVMe namespaces have a second one (`ng0n1`).
    pub(super) fn disk_nodes(&self, disk: &str) -> Vec<PathBuf> {
        let generic = disk.strip_prefix("nvme").map(|rest| format!("ng{rest}"));
        self.partitions(disk)
            .into_iter()
            .chain(generic)
            .chain([disk.to_owned()])
            .map(|name| Path::new("/dev").join(name))
            .collect()
    }
}

/// Whether somebody has claimed a block device of this host for himself. Another command that only looks has it for a moment, as
/// this one does: that does not count.
fn is_claimed(name: &str) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_EXCL | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let node = Path::new("/dev").join(name);
    (0..LOOKS).all(|look| {
        if look > 0 {
            thread::sleep(LOOK_PAUSE);
        }
        matches!(open(&node, flags, Mode::empty()), Err(Errno::EBUSY))
    })
}
