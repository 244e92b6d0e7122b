//! What is mapped next to the address of a fault.

use std::collections::BTreeMap;

use crate::host::{Attachment, Fault, Host, MappedRange, RangeCollector};
use crate::report::{Nearby, Place};
use crate::types::{Bdf, Iova};

/// The mappings of devices, as they are when they are first asked for.
pub struct Surroundings<'h> {
    host: &'h Host,
    ranges: BTreeMap<Bdf, Option<Vec<MappedRange>>>,
}

impl<'h> Surroundings<'h> {
    /// Nothing is looked at yet.
    pub fn new(host: &'h Host) -> Self {
        Self {
            host,
            ranges: BTreeMap::new(),
        }
    }

    /// What is nearest to the fault's address; `None` if the kernel does not show what is mapped.
    pub fn of(&mut self, fault: &Fault) -> Option<Nearby> {
        let (device, address) = (fault.device?, fault.address?);
        let host = self.host;
        let ranges = self
            .ranges
            .entry(device)
            .or_insert_with(|| mapped(host, device));
        Some(nearest(ranges.as_deref()?, address))
    }
}

/// All that is mapped for a device now.
fn mapped(host: &Host, device: Bdf) -> Option<Vec<MappedRange>> {
    let unit = host.iommu_unit(device)?;
    let lookup = host.lookup(device, &unit).ok()?;
    let Attachment::Table { stage, .. } = lookup.attachment else {
        return None;
    };
    let mut ranges = RangeCollector::new(stage);
    host.visit_page_table(device, &unit, &mut |path| ranges.visit(path))
        .ok()?;
    Some(ranges.finish())
}

/// The range that holds the address, or the nearer of the two beside it. The ranges are in order.
fn nearest(ranges: &[MappedRange], address: Iova) -> Nearby {
    let place = ranges.partition_point(|range| range.range.start() <= address);
    let before = place.checked_sub(1).map(|place| &ranges[place]);
    let after = ranges.get(place);
    let past = |range: &MappedRange| address.0.saturating_sub(range.range.last().0);
    let ahead = |range: &MappedRange| range.range.start().0 - address.0;
    let (range, place) = match (before, after) {
        (Some(range), _) if past(range) == 0 => (range, Place::Inside),
        (Some(range), after) if after.is_none_or(|after| past(range) <= ahead(after)) => {
            // The first address past the end is 0 bytes past it.
            let bytes = past(range) - 1;
            (range, Place::Past { bytes })
        }
        (_, Some(range)) => {
            let bytes = ahead(range);
            (range, Place::Before { bytes })
        }
        (_, None) => return Nearby::Nothing,
    };
    Nearby::Mapped {
        range: range.range,
        readable: range.readable,
        writable: range.writable,
        place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Leaf, Stage};

    #[test]
    fn the_nearest_mapping_is_named() {
        let mut ranges = RangeCollector::new(Stage::Second);
        for iova in [0x1000, 0x2000, 0x8000] {
            ranges.add(Leaf {
                iova: Iova(iova),
                size: 0x1000,
                physical: iova,
                readable: true,
                writable: false,
            });
        }
        let ranges = ranges.finish();
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
