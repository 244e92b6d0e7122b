//! A host of software.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use super::{FakeSpace, Fault, PAGE, bdf};
use crate::checks::{Observer, Signs, Translations};
use crate::host::{self, IommuKind, Leaf, Reason};
use crate::types::{Iova, IovaRange};

/// A host of software: a virtual address is its own physical address.
pub(in crate::checks) struct FakeHost {
    space: Arc<FakeSpace>,
    /// Why physical addresses are not told, if they are not.
    pub(in crate::checks) hides_physical: Option<&'static str>,
    /// Why the IOMMU's tables are not shown, if they are not.
    pub(in crate::checks) hides_tables: Option<&'static str>,
    /// Whether the log tells of accesses that were blocked.
    pub(in crate::checks) logs_faults: bool,
    /// Whether they are counted.
    pub(in crate::checks) counts_faults: bool,
}

impl FakeHost {
    pub(super) fn new(space: &Arc<FakeSpace>) -> Self {
        Self {
            space: Arc::clone(space),
            hides_physical: None,
            hides_tables: None,
            logs_faults: false,
            counts_faults: false,
        }
    }
}

impl Observer for FakeHost {
    fn physical_address(&self, address: NonNull<u8>) -> Result<u64, String> {
        match self.hides_physical {
            None => Ok(address.as_ptr() as u64),
            Some(why) => Err(why.to_owned()),
        }
    }

    fn mark_faults(&self) {
        self.space.blocked.lock().unwrap().clear();
    }

    fn signs_since_mark(&self) -> Signs {
        let blocked = self.space.blocked.lock().unwrap();
        let mut pages: Vec<u64> = blocked.iter().map(|iova| iova & !(PAGE - 1)).collect();
        pages.dedup();
        let faults = pages
            .iter()
            .filter(|_| self.logs_faults)
            .map(|page| host::Fault {
                source: host::FaultSource::KernelLog,
                time: Duration::ZERO,
                iommu: IommuKind::Vtd,
                device: Some(bdf()),
                requester: None,
                unit: None,
                access: None,
                address: Some(Iova(*page)),
                pasid: None,
                reason: Reason {
                    code: None,
                    words: "blocked".into(),
                },
                sequence: 0,
                line: format!("fault at {page:#x}"),
            });
        Signs {
            faults: Ok(faults.collect()),
            interrupts: if self.counts_faults {
                pages.len() as u64
            } else {
                0
            },
            suppressed: 0,
        }
    }

    fn watch_mappings(&self) -> Result<(), String> {
        self.hides_tables.map_or(Ok(()), |why| Err(why.to_owned()))
    }

    fn translations(&self, range: IovaRange) -> Result<Translations, String> {
        let fault = self.space.fault;
        let live = self.space.live.lock().unwrap();
        let pages = live.iter().map(|(start, mapped)| Leaf {
            iova: Iova(*start),
            size: mapped.size,
            physical: match fault {
                Fault::TranslatesToOtherPages => mapped.memory + PAGE,
                _ => mapped.memory,
            },
            readable: mapped.protection.readable(),
            writable: mapped.protection.writable() || fault == Fault::TablePermitsAll,
        });
        Ok(Translations {
            pages: pages
                .filter(|page| page.range().is_some_and(|own| own.overlaps(range)))
                .collect(),
            source: "the table",
            with_permissions: true,
        })
    }
}
