//! An address space of software, with a gate that holds maps up.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Condvar, Mutex};

use nix::errno::Errno;

use crate::iommu::{AddressSpace, DeviceFd, IommuError};
use crate::types::{Backend, Iova, IovaRange, PageSizes, Protection, VfioNode};

/// Where nothing can be mapped, and nothing unmapped.
pub(super) const STUBBORN: Iova = Iova(0xbad_0000);

/// Where a map meets a mistake in the program.
pub(super) const BROKEN: Iova = Iova(0xb0b_0000);

/// Maps at this IOVA or above wait until the gate is open.
pub(super) const SLOW: Iova = Iova(1 << 40);

#[derive(Default)]
pub(super) struct FakeSpace {
    live: Mutex<BTreeMap<Iova, IovaRange>>,
    /// How many maps wait, and whether the gate is open.
    gate: Mutex<(usize, bool)>,
    moved: Condvar,
}

impl FakeSpace {
    /// What is mapped now.
    pub(super) fn live(&self) -> Vec<IovaRange> {
        self.live.lock().unwrap().values().copied().collect()
    }

    /// Waits until a map waits at the gate.
    pub(super) fn wait_for_slow_map(&self) {
        let gate = self.gate.lock().unwrap();
        drop(self.moved.wait_while(gate, |(waiting, _)| *waiting == 0));
    }

    pub(super) fn open_gate(&self) {
        self.gate.lock().unwrap().1 = true;
        self.moved.notify_all();
    }
}

impl AddressSpace for FakeSpace {
    fn backend(&self) -> Backend {
        Backend::Type1
    }

    fn attach(&self, _node: &VfioNode) -> Result<DeviceFd, IommuError> {
        unreachable!("these tests attach nothing")
    }

    #[allow(unsafe_code)] // The trait's; this one touches no memory.
    unsafe fn map(
        &self,
        range: IovaRange,
        _memory: NonNull<u8>,
        _protection: Protection,
    ) -> Result<(), IommuError> {
        assert_ne!(range.start(), BROKEN, "as a test wants it");
        if range.start() >= SLOW {
            let mut gate = self.gate.lock().unwrap();
            gate.0 += 1;
            self.moved.notify_all();
            drop(self.moved.wait_while(gate, |(_, open)| !*open));
        }
        let before = self.live.lock().unwrap().insert(range.start(), range);
        assert_eq!(before, None, "the holder lets no two mappings overlap");
        Ok(())
    }

    fn unmap(&self, range: IovaRange) -> Result<u64, IommuError> {
        let mut live = self.live.lock().unwrap();
        let inside: Vec<Iova> = live
            .range(range.start()..=range.last())
            .map(|(start, _)| *start)
            .collect();
        if inside.contains(&STUBBORN) {
            return Err(IommuError::Unmap {
                range,
                errno: Errno::EBUSY,
                cause: "it does not want to",
            });
        }
        if inside.is_empty() {
            return Err(IommuError::NothingToUnmap { range });
        }
        for start in inside {
            live.remove(&start);
        }
        Ok(u64::try_from(range.size()).unwrap())
    }

    fn unmap_all(&self) -> Result<u64, IommuError> {
        self.live.lock().unwrap().clear();
        Ok(0)
    }

    fn iova_ranges(&self) -> Result<Vec<IovaRange>, IommuError> {
        Ok(vec![
            IovaRange::from_ends(Iova(0), Iova((1 << 48) - 1)).unwrap(),
        ])
    }

    fn page_sizes(&self) -> Result<PageSizes, IommuError> {
        Ok(PageSizes(4096))
    }

    fn entries_left(&self) -> Result<Option<u32>, IommuError> {
        Ok(None)
    }
}
