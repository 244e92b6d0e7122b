//! Where PCI devices are: below which bridges, in which groups.

use serde::Serialize;
use std::io::{self, Write};

use super::group::Device;
use super::{Report, Style};
use crate::host::{KernelNames, PciDevice, PciNames};
use crate::types::{Bdf, GroupId};

/// What `list --tree` found.
#[derive(Debug, Serialize)]
pub struct TreeReport {
    iommu: bool,
    buses: Vec<RootBus>,
}

/// A bus of the processor or chipset.
#[derive(Debug, Serialize)]
struct RootBus {
    bus: String,
    devices: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    #[serde(flatten)]
    device: Device,
    group: Option<GroupId>,
    /// What is below it, if it is a bridge.
    devices: Vec<Node>,
}

/// A device, and its place as `pci0000:00/0000:00:01.0/0000:01:00.0`.
pub type Placed<'d> = (&'d PciDevice, String);

impl TreeReport {
    /// From devices by address, each with its place. A device whose bridge is not among them stands where the bridge would.
    #[must_use]
    pub fn new(
        iommu: bool,
        placed: &[Placed<'_>],
        names: &PciNames,
        kernel_names: &KernelNames,
    ) -> Self {
        let mut buses: Vec<RootBus> = Vec::new();
        for (device, place) in placed {
            let mut parts = place.split('/');
            let bus = parts.next().unwrap_or_default();
            let node = Node {
                device: Device::new(device, names, kernel_names),
                group: device.group,
                devices: Vec::new(),
            };
            let above: Vec<Bdf> = parts.filter_map(|part| part.parse().ok()).collect();
            let at = match buses.iter().position(|known| known.bus == bus) {
                Some(at) => at,
                None => {
                    buses.push(RootBus {
                        bus: bus.to_owned(),
                        devices: Vec::new(),
                    });
                    buses.len() - 1
                }
            };
            insert(&mut buses[at].devices, &above, node);
        }
        Self { iommu, buses }
    }
}

/// Puts a node below the last of the bridges above it that is there already.
fn insert(nodes: &mut Vec<Node>, above: &[Bdf], node: Node) {
    let next = above.iter().enumerate().find_map(|(depth, bdf)| {
        let at = nodes.iter().position(|known| known.device.bdf == *bdf)?;
        Some((at, depth + 1))
    });
    match next {
        Some((at, depth)) => insert(&mut nodes[at].devices, &above[depth..], node),
        None => nodes.push(node),
    }
}

/// A line of the tree: what is before the address, and the node.
type Row<'n> = (String, &'n Node);

fn rows<'n>(nodes: &'n [Node], indent: &str, into: &mut Vec<Row<'n>>) {
    for (place, node) in nodes.iter().enumerate() {
        let is_last = place + 1 == nodes.len();
        let (branch, below) = if is_last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        into.push((format!("{indent}{branch}{}", node.device.bdf), node));
        rows(&node.devices, &format!("{indent}{below}"), into);
    }
}

impl Report for TreeReport {
    const KIND: &'static str = "tree";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let mut all = Vec::new();
        for bus in &self.buses {
            let mut lines = Vec::new();
            rows(&bus.devices, "", &mut lines);
            all.push((&bus.bus, lines));
        }
        let cells = |(tree, node): &Row<'_>| {
            let group = node
                .group
                .map_or_else(|| "-".to_owned(), |id| format!("group {id}"));
            let names = node.device.names();
            [tree.clone(), group, node.device.driver().to_owned(), names]
        };
        let mut widths = [0; 4];
        for row in all.iter().flat_map(|(_, lines)| lines) {
            for (width, cell) in widths.iter_mut().zip(cells(row)) {
                *width = cell.chars().count().max(*width);
            }
        }
        for (bus, lines) in &all {
            writeln!(out, "{}", style.heading(bus))?;
            for row in lines {
                for (cell, width) in cells(row)
                    .iter()
                    .zip(widths)
                    .filter(|(_, width)| *width > 0)
                {
                    write!(out, "{cell:<width$}  ")?;
                }
                writeln!(out, "{}", style.faint(&row.1.device.description()))?;
            }
        }
        Ok(())
    }
}
