//! A device of a holder.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use vmm_sys_util::eventfd::EventFd;

use super::Failure;
use crate::device::{DeviceError, InterruptKind, VfioDevice};
use crate::iommu::AddressSpace;
use crate::types::{PciId, VfioNode};

/// A device that is attached to the holder's address space.
pub(super) struct HeldDevice {
    pub device: Arc<VfioDevice>,
    /// What it is.
    pub id: PciId,
    /// Held by whoever has it do DMA.
    pub turn: Arc<Mutex<()>>,
    /// Set when what is done with it is to end.
    pub stop: Arc<AtomicBool>,
    release_request: Option<EventFd>,
}

impl HeldDevice {
    pub(super) fn open(space: &Arc<dyn AddressSpace>, node: &VfioNode) -> Result<Self, Failure> {
        let device = VfioDevice::open(space, node)?;
        let id = identity(&device)?;
        // Not every VFIO driver can ask; the device is then lost without a word.
        let release_request = match device.enable_interrupts(InterruptKind::Request, 1) {
            Ok(mut events) => events.pop(),
            Err(error) => {
                log::info!("{error}");
                None
            }
        };
        Ok(Self {
            device: Arc::new(device),
            id,
            turn: Arc::default(),
            stop: Arc::default(),
            release_request,
        })
    }

    /// By which the kernel asks for the device back.
    pub(super) fn release_request(&self) -> Option<&EventFd> {
        self.release_request.as_ref()
    }
}

/// What the device is (PCI Local Bus 3.0, section 6.2.1).
fn identity(device: &VfioDevice) -> Result<PciId, DeviceError> {
    let mut header = [0; 12];
    device.read_config(0, &mut header)?;
    let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    Ok(PciId {
        vendor: word(0),
        device: word(2),
        // The byte below it is the revision.
        class: u32::from_le_bytes([header[9], header[10], header[11], 0]),
    })
}
