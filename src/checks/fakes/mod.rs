//! Software stand-ins for the address space, the device and the host, each able to be wrong in one chosen way:
//! a check is only believed after it was seen to fail.

mod engine;
mod fault;
mod host;
mod space;

use nix::errno::Errno;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(super) use engine::FakeEngine;
pub(super) use fault::Fault;
use host::FakeHost;
pub(super) use space::FakeSpace;

use super::{Controls, Equipment, Other, Rig};
use crate::device::DeviceError;
use crate::engine::{DmaEngine, EngineError, Reading};
use crate::host::IommuKind;
use crate::iommu::AddressSpace;
use crate::types::{Bdf, IovaRange};

const PAGE: u64 = 4096;

/// The address bits of x86-64 user space: this process has no memory above.
const PHYSICAL_TOP: u64 = 1 << 47;

/// The address of the device.
fn bdf() -> Bdf {
    "0000:00:03.0".parse().unwrap()
}

/// A complete set of stand-ins.
pub(super) struct Fakes {
    pub(super) space: Arc<FakeSpace>,
    pub(super) host: FakeHost,
    pub(super) physical_top: Option<u64>,
    pub(super) iommu: Option<IommuKind>,
    pub(super) has_engine: bool,
    pub(super) has_other: bool,
    pub(super) can_reset: bool,
    /// What the device does with what it reads.
    pub(super) reading: Reading,
    pub(super) stop_after: u64,
    polls: std::cell::Cell<u64>,
    /// What the device wrote, as [`FakeEngine::written`].
    pub(super) written: Arc<Mutex<Vec<(u64, usize)>>>,
}

impl Fakes {
    pub(super) fn with(fault: Fault) -> Self {
        let other = Arc::new(FakeSpace::new(Fault::None, None));
        let space = Arc::new(FakeSpace::new(fault, Some(other)));
        Self {
            host: FakeHost::new(&space),
            space,
            physical_top: Some(PHYSICAL_TOP),
            iommu: None,
            has_engine: true,
            has_other: true,
            can_reset: true,
            reading: Reading::Kept,
            stop_after: u64::MAX,
            polls: std::cell::Cell::default(),
            written: Arc::default(),
        }
    }

    /// Runs `use_it` on a rig of these stand-ins.
    pub(super) fn rig<T>(&self, use_it: impl FnOnce(&mut Rig<'_>) -> T) -> T {
        let stop = || {
            self.polls.set(self.polls.get() + 1);
            self.polls.get() > self.stop_after
        };
        let other = self.space.other.clone().filter(|_| self.has_other);
        let mut rig = Rig::new(Equipment {
            space: Arc::clone(&self.space) as Arc<dyn AddressSpace>,
            controls: self,
            other: other.map(|space| Other {
                bdf: "0000:00:04.0".parse().unwrap(),
                space,
            }),
            observer: &self.host,
            stop: &stop,
            progress: &|_| (),
            iommu: self.iommu,
            soak: Duration::ZERO,
            physical_top: self.physical_top,
            lowest_iova: None,
            seed: 42,
        })
        .unwrap();
        use_it(&mut rig)
    }
}

impl<'a> Controls<'a> for Fakes {
    fn bdf(&self) -> Bdf {
        bdf()
    }

    fn set_bus_master(&self, on: bool) -> Result<(), DeviceError> {
        self.space.may_start.store(on, Ordering::Relaxed);
        Ok(())
    }

    fn can_reset(&self) -> bool {
        self.can_reset
    }

    fn reset(&self) -> Result<(), DeviceError> {
        if self.space.fault == Fault::ResetFails {
            let (bdf, errno) = (bdf(), Errno::ENOTTY);
            return Err(DeviceError::Reset { bdf, errno });
        }
        self.space.was_reset.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn open_engine(&self) -> Result<Option<Box<dyn DmaEngine + 'a>>, EngineError> {
        let engine = || {
            let mut engine = FakeEngine::new(&self.space, self.reading);
            engine.written = Arc::clone(&self.written);
            Box::new(engine) as Box<dyn DmaEngine>
        };
        Ok(self.has_engine.then(engine))
    }

    fn engine_memory(&self) -> Vec<IovaRange> {
        Vec::new()
    }
}
