//! An address space of software.

use nix::errno::Errno;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{Fault, PAGE};
use crate::iommu::{AddressSpace, DeviceFd, IommuError};
use crate::types::{Backend, Iova, IovaRange, PageSizes, Protection, VfioNode};

/// An address space of software: a table from IOVA to memory.
pub(in crate::checks) struct FakeSpace {
    pub(super) fault: Fault,
    pub(super) live: Mutex<BTreeMap<u64, Mapped>>,
    stale: Mutex<BTreeMap<u64, Mapped>>,
    pub(super) may_start: AtomicBool,
    pub(super) was_reset: AtomicBool,
    /// The address space of another device.
    pub(super) other: Option<Arc<FakeSpace>>,
    /// The addresses of accesses that were blocked.
    pub(super) blocked: Mutex<Vec<u64>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Mapped {
    pub(super) size: u64,
    pub(super) memory: u64,
    pub(super) protection: Protection,
}

impl FakeSpace {
    pub(super) fn new(fault: Fault, other: Option<Arc<FakeSpace>>) -> Self {
        Self {
            fault,
            live: Mutex::default(),
            stale: Mutex::default(),
            may_start: AtomicBool::new(true),
            was_reset: AtomicBool::default(),
            other,
            blocked: Mutex::default(),
        }
    }

    /// The address in this process behind an IOVA; `None` if the access is blocked.
    pub(super) fn translate(&self, iova: u64, writing: bool) -> Option<u64> {
        let iova = match self.fault {
            Fault::IgnoresAddressBit => iova & !(1 << 29),
            Fault::IgnoresTopBit => iova & !(1 << 51),
            Fault::FirstPageIsDead if iova < PAGE => return None,
            Fault::ReservesOnePageTooMany if iova / PAGE == 0xf_edff => return None,
            _ => iova,
        };
        let live = self.find(&self.live, iova, writing);
        let stale = || self.find(&self.stale, iova, writing);
        let found = match self.fault {
            Fault::NotTranslated | Fault::NotTranslatedAndDropsUpperBits => Some(iova),
            Fault::StaleReads if !writing => live.or_else(stale),
            Fault::StaleWrites if writing => live.or_else(stale),
            Fault::ServesOldPage if live.is_some() => stale().or(live),
            Fault::ResetRestoresMappings if self.was_reset.load(Ordering::Relaxed) => {
                live.or_else(stale)
            }
            Fault::SharesSpaces => live.or_else(|| self.other.as_ref()?.translate(iova, writing)),
            _ => live,
        };
        if found.is_none() {
            self.blocked.lock().unwrap().push(iova);
        }
        found
    }

    fn find(&self, table: &Mutex<BTreeMap<u64, Mapped>>, iova: u64, writing: bool) -> Option<u64> {
        let table = table.lock().unwrap();
        let (start, mapped) = table.range(..=iova).next_back()?;
        let allowed = match (self.fault, writing) {
            (Fault::IgnoresProtection, true) => true,
            (Fault::ReadOnlyIsUnreadable, false) => mapped.protection.writable(),
            (_, true) => mapped.protection.writable(),
            (_, false) => mapped.protection.readable(),
        };
        let size = match self.fault {
            Fault::MapsOnePageTooMany => mapped.size + PAGE,
            _ => mapped.size,
        };
        let off = match self.fault {
            Fault::HugePagesAreOff if mapped.size >= 1 << 21 && iova - start >= mapped.size / 2 => {
                PAGE
            }
            _ => 0,
        };
        (iova - start < size && allowed).then(|| mapped.memory + (iova - start) - off)
    }

    /// The number of mappings.
    pub(in crate::checks) fn live_mappings(&self) -> usize {
        self.live.lock().unwrap().len()
    }
}

impl AddressSpace for FakeSpace {
    fn backend(&self) -> Backend {
        Backend::Type1
    }

    fn attach(&self, _node: &VfioNode) -> Result<DeviceFd, IommuError> {
        unreachable!("the checks attach nothing")
    }

    #[allow(unsafe_code)] // The trait's; this one touches no memory.
    unsafe fn map(
        &self,
        range: IovaRange,
        memory: NonNull<u8>,
        protection: Protection,
    ) -> Result<(), IommuError> {
        let mut live = self.live.lock().unwrap();
        let overlaps = live.iter().any(|(start, mapped)| {
            *start <= range.last().0 && range.start().0 < start + mapped.size
        });
        if overlaps && self.fault != Fault::AcceptsOverlap {
            return Err(IommuError::Overlap {
                range,
                errno: Errno::EEXIST,
            });
        }
        let mapped = Mapped {
            size: u64::try_from(range.size()).unwrap(),
            memory: memory.as_ptr() as u64,
            protection,
        };
        let is_known = live.values().any(|other| other.memory == mapped.memory);
        let is_lost = match self.fault {
            Fault::OneIovaForEachPage => is_known,
            Fault::TableIsSmall => live.len() >= 1000,
            _ => false,
        };
        if !is_lost {
            live.insert(range.start().0, mapped);
        }
        Ok(())
    }

    fn unmap(&self, range: IovaRange) -> Result<u64, IommuError> {
        let mut live = self.live.lock().unwrap();
        if self.fault == Fault::IgnoresUnmap {
            return Ok(u64::try_from(range.size()).unwrap());
        }
        let inside: Vec<u64> = live
            .range(range.start().0..=range.last().0)
            .map(|(start, _)| *start)
            .collect();
        let mut size = 0;
        for start in inside {
            let mapped = live.remove(&start).unwrap();
            if self.fault == Fault::UnmapTakesAllIovas {
                live.retain(|_, other| other.memory != mapped.memory);
            }
            size += mapped.size;
            self.stale.lock().unwrap().insert(start, mapped);
        }
        Ok(size)
    }

    fn unmap_all(&self) -> Result<u64, IommuError> {
        self.unmap(IovaRange::from_ends(Iova(0), Iova(u64::MAX)).unwrap())
    }

    fn iova_ranges(&self) -> Result<Vec<IovaRange>, IommuError> {
        let range = |start, last| IovaRange::from_ends(Iova(start), Iova(last)).unwrap();
        Ok(vec![
            range(0, 0xfedf_ffff),
            range(0xfef0_0000, (1 << 52) - 1),
        ])
    }

    fn page_sizes(&self) -> Result<PageSizes, IommuError> {
        Ok(PageSizes(PAGE))
    }

    fn entries_left(&self) -> Result<Option<u32>, IommuError> {
        Ok(None)
    }
}
