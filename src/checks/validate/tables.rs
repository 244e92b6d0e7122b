//! Whose page table the IOMMU walks for each function.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Judged, counted};
use crate::device::VfioDevice;
use crate::host::{Attachment, Host, NotShown};
use crate::iommu::{self, AddressSpace};
use crate::types::{Backend, Bdf, VfioNode};

/// Opens all functions, each in an address space of its own, and looks which page table the IOMMU walks for each, and for their physical
/// functions: no two may have the same one.
#[must_use]
pub fn tables_apart(host: &Host, nodes: &[&VfioNode], backend: Backend) -> Judged {
    let opened: Result<Vec<_>, String> = nodes.iter().map(|node| open(node, backend)).collect();
    let opened = match opened {
        Ok(opened) => opened,
        Err(why) => {
            return Judged::fail(why, "end what holds it, or look at what the message names");
        }
    };
    let mut devices: Vec<Bdf> = opened.iter().map(|(device, _)| device.bdf()).collect();
    let physical = devices
        .iter()
        .filter_map(|bdf| host.physical_function(*bdf));
    let physical: Vec<Bdf> = physical.collect();
    devices.extend(physical);
    devices.sort_unstable();
    devices.dedup();
    let mut roots = Vec::new();
    for bdf in devices {
        match root(host, bdf) {
            Ok(root) => roots.extend(root.map(|root| (bdf, root))),
            Err(why) => return Judged::not_here(why.to_string()),
        }
    }
    judged(&roots)
}

fn open(node: &VfioNode, backend: Backend) -> Result<(VfioDevice, Arc<dyn AddressSpace>), String> {
    let space = iommu::open(backend).map_err(|error| error.to_string())?;
    let device = VfioDevice::open(&space, node).map_err(|error| error.to_string())?;
    Ok((device, space))
}

/// Where the device's page table is; `None` if it has none.
fn root(host: &Host, bdf: Bdf) -> Result<Option<u64>, NotShown> {
    let unit = host
        .iommu_unit(bdf)
        .ok_or(NotShown::NoEntry("it is behind no IOMMU"))?;
    Ok(match host.lookup(bdf, &unit)?.attachment {
        Attachment::Table { root, .. } => Some(root),
        Attachment::PassThrough | Attachment::Blocked | Attachment::Other { .. } => None,
    })
}

fn judged(roots: &[(Bdf, u64)]) -> Judged {
    let mut owners: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for (bdf, root) in roots {
        owners.entry(*root).or_default().push(bdf.to_string());
    }
    let shared: Vec<String> = owners
        .iter()
        .filter(|(_, owners)| owners.len() > 1)
        .map(|(root, owners)| format!("{} share the page table at {root:#x}", owners.join(", ")))
        .collect();
    if shared.is_empty() {
        return Judged::pass(format!(
            "{}, each with a page table of its own",
            counted(roots.len(), "device")
        ));
    }
    Judged::fail(
        "devices that should be apart share a page table: each reaches the memory of the other",
        "do not hand them out to different guests; report it with this output, and the version of the kernel",
    )
    .with_evidence(shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::doctor::Health;

    #[test]
    fn who_shares_a_page_table_is_named() {
        let bdf = |text: &str| text.parse::<Bdf>().unwrap();
        let mut roots = vec![(bdf("02:00.0"), 0x1000), (bdf("02:10.0"), 0x2000)];
        assert_eq!(judged(&roots).verdict, Health::Pass);
        roots.push((bdf("02:10.2"), 0x1000));
        let found = judged(&roots);
        assert_eq!(found.verdict, Health::Fail);
        assert_eq!(
            found.evidence,
            ["0000:02:00.0, 0000:02:10.2 share the page table at 0x1000"]
        );
    }
}
