//! `test` inside a holder: the checks need the device, and the holder has it.
//!
//! The checks themselves are above this layer, so that who starts a holder gives it the function that runs them. They work in a
//! part of the address space that is set aside for them, so that they reach nothing that is mapped for users.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;

use super::Failure;
use super::holding::{Holding, Settle, Step};
use super::protocol::{Answer, TestRequest, Tested};
use crate::device::VfioDevice;
use crate::iommu::{AddressSpace, Part};
use crate::types::{ExitClass, Iova};

/// What the checks and the engine need for their mappings: 16 MiB each would do.
const ROOM: u64 = 64 << 20;

/// What is tested, and how.
pub struct TestSite {
    /// A part of the holder's address space.
    pub space: Arc<dyn AddressSpace>,
    /// The device.
    pub device: Arc<VfioDevice>,
    /// Set when the test is to end.
    pub stop: Arc<AtomicBool>,
    /// What the client asks for.
    pub request: TestRequest,
}

/// Runs the checks.
pub type RunChecks = fn(TestSite) -> Result<Tested, Failure>;

impl Holding {
    /// Runs the checks on a device.
    pub(super) fn test(&mut self, request: TestRequest) -> Result<Step, Failure> {
        let run = self.run_checks.ok_or_else(|| {
            Failure::new(ExitClass::NoVerdict, "this process cannot run the checks")
        })?;
        let held = self.device(request.device)?;
        let (device, turn, stop) = (held.device.clone(), held.turn.clone(), held.stop.clone());
        let page = self.page();
        // Above all memory DMA that is not translated does no harm. Below, the checks look for pages whose IOVA can be their physical
        // address: until the test is over, others get what lies above.
        let top = request.physical_top.map_or(Iova(0), Iova);
        let room = self.places.take_above(top, ROOM, page);
        let mut ranges = self.places.take_all_below(top);
        match room {
            Ok(room) => ranges.push(room),
            Err(error) if ranges.is_empty() => return Err(error.into()),
            Err(error) => log::info!("{error}"),
        }
        let space = Arc::new(Part::new(self.space.clone(), ranges.clone()));
        Ok(Step::Long(Box::new(move || -> Settle {
            // Nothing is left in disorder by a test that panicked.
            let result = {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                run(TestSite {
                    space,
                    device,
                    stop,
                    request,
                })
            };
            Box::new(move |holding| {
                for range in ranges {
                    holding.places.give_back(range);
                }
                result.map(Answer::Tested)
            })
        })))
    }
}
