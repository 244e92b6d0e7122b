//! What is mapped next to the address of a fault.

use std::collections::BTreeMap;

use crate::host::{Attachment, Fault, Host, MappedRange, RangeCollector};
use crate::report::{Nearby, Place};
use crate::session::Client;
use crate::session::protocol::MappingInfo;
use crate::types::{Bdf, Iova, IovaRange};

/// The mappings of devices, as they are when they are first asked for.
pub struct Surroundings<'h> {
    host: &'h Host,
    with_tables: bool,
    mappings: BTreeMap<Bdf, Option<Vec<Mapping>>>,
}

/// What is mapped at some IOVAs.
struct Mapping {
    range: IovaRange,
    name: Option<String>,
    readable: bool,
    writable: bool,
}

impl<'h> Surroundings<'h> {
    /// Nothing is looked at yet. Processes of this program that hold mappings are asked; page tables, which are locked while they are
    /// read, are looked at only `with_tables`.
    pub fn new(host: &'h Host, with_tables: bool) -> Self {
        Self {
            host,
            with_tables,
            mappings: BTreeMap::new(),
        }
    }

    /// What is nearest to the fault's address; `None` if it is not known what is mapped.
    pub fn of(&mut self, fault: &Fault) -> Option<Nearby> {
        let (device, address) = (fault.device?, fault.address?);
        let (host, with_tables) = (self.host, self.with_tables);
        let mappings = self.mappings.entry(device).or_insert_with(|| {
            let by_table = || with_tables.then(|| by_table(host, device)).flatten();
            held(host, device).or_else(by_table)
        });
        Some(nearest(mappings.as_deref()?, address))
    }
}

/// All that a process of this program holds for a device.
fn held(host: &Host, device: Bdf) -> Option<Vec<Mapping>> {
    // What was captured says nothing of processes.
    let group = host.is_live().then(|| host.device(device).ok()?.group)??;
    // Another user's, and one that does not answer, tell nothing.
    let mut client = Client::find(group).ok()??;
    let mappings = client.mappings(Iova(0), |_| true).ok()?;
    let mapping = |info: MappingInfo| Mapping {
        range: info.range(),
        readable: info.protection.readable(),
        writable: info.protection.writable(),
        name: info.name,
    };
    Some(mappings.into_iter().map(mapping).collect())
}

/// All that is mapped for a device now, by its page table.
fn by_table(host: &Host, device: Bdf) -> Option<Vec<Mapping>> {
    let unit = host.iommu_unit(device)?;
    let lookup = host.lookup(device, &unit).ok()?;
    let Attachment::Table { stage, .. } = lookup.attachment else {
        return None;
    };
    let mut ranges = RangeCollector::new(stage);
    host.visit_page_table(device, &unit, &mut |path| ranges.visit(path))
        .ok()?;
    let mapping = |mapped: MappedRange| Mapping {
        range: mapped.range,
        name: None,
        readable: mapped.readable,
        writable: mapped.writable,
    };
    Some(ranges.finish().into_iter().map(mapping).collect())
}

/// The mapping that holds the address, or the nearer of the two beside it. They are in order.
fn nearest(mappings: &[Mapping], address: Iova) -> Nearby {
    let place = mappings.partition_point(|mapping| mapping.range.start() <= address);
    let before = place.checked_sub(1).map(|place| &mappings[place]);
    let after = mappings.get(place);
    let past = |mapping: &Mapping| address.0.saturating_sub(mapping.range.last().0);
    let ahead = |mapping: &Mapping| mapping.range.start().0 - address.0;
    let (mapping, place) = match (before, after) {
        (Some(mapping), _) if past(mapping) == 0 => (mapping, Place::Inside),
        (Some(mapping), after) if after.is_none_or(|after| past(mapping) <= ahead(after)) => {
            // The first address past the end is 0 bytes past it.
            let bytes = past(mapping) - 1;
            (mapping, Place::Past { bytes })
        }
        (_, Some(mapping)) => {
            let bytes = ahead(mapping);
            (mapping, Place::Before { bytes })
        }
        (_, None) => return Nearby::Nothing,
    };
    Nearby::Mapped {
        range: mapping.range,
        name: mapping.name.clone(),
        readable: mapping.readable,
        writable: mapping.writable,
        place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mapping_is_named() {
        let ranges = [(0x1000, 0x2fff), (0x8000, 0x8fff)].map(|(start, last)| Mapping {
            range: IovaRange::from_ends(Iova(start), Iova(last)).unwrap(),
            name: Some(format!("at {start:#x}")),
            readable: true,
            writable: false,
        });
        for (address, start, place) in [
            (0x0fff, 0x1000, Place::Before { bytes: 1 }),
            (0x1000, 0x1000, Place::Inside),
            (0x2fff, 0x1000, Place::Inside),
            (0x3000, 0x1000, Place::Past { bytes: 0 }),
            (0x5000, 0x1000, Place::Past { bytes: 0x2000 }),
            (0x6000, 0x8000, Place::Before { bytes: 0x2000 }),
            (
                u64::MAX,
                0x8000,
                Place::Past {
                    bytes: u64::MAX - 0x9000,
                },
            ),
        ] {
            let Nearby::Mapped {
                range,
                place: found,
                ..
            } = nearest(&ranges, Iova(address))
            else {
                panic!("{address:#x}: nothing")
            };
            assert_eq!((range.start().0, found), (start, place), "{address:#x}");
        }
        assert_eq!(nearest(&[], Iova(0)), Nearby::Nothing);
    }
}
