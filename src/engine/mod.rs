//! DMA engines: what makes a device read or write memory at an IOVA of our choice.
//!
//! [`ENGINES`] lists the drivers; each knows one kind of device.

mod arena;
mod edu;
mod error;
mod igb;
mod nvme;

pub use arena::{Arena, DmaPage, Pages, PhysicalAddress};
pub use error::EngineError;

use crate::device::VfioDevice;
pub use crate::types::{EngineLimits, Reading};
use crate::types::{Iova, IovaRange, PciId};

impl EngineLimits {
    /// Refuses a transfer that is outside these limits.
    fn check(self, engine: &'static str, iova: Iova, size: usize) -> Result<(), EngineError> {
        let Self {
            max_size: max,
            size_unit: unit,
            alignment,
            ..
        } = self;
        if size == 0 || size > max || size % unit != 0 {
            return Err(EngineError::Size {
                engine,
                size,
                unit,
                max,
            });
        }
        if iova.0 % alignment as u64 != 0 {
            return Err(EngineError::Alignment {
                engine,
                iova,
                alignment,
            });
        }
        match IovaRange::new(iova, size as u64) {
            Ok(_) => Ok(()),
            Err(_) => Err(EngineError::Range { iova, size }),
        }
    }
}

/// What a device did with bytes that it read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// It kept them: the next store writes them.
    Kept,
    /// It found that they are the bytes of its own that a store of this size writes.
    Equal,
    /// It found that they are others than its own.
    Different,
}

/// A device that moves bytes by DMA on demand.
///
/// A loop is the same for every engine: put [`payload`](Self::payload) at a source, [`load`](Self::load) it (which
/// must not say [`Loaded::Different`]), [`store`](Self::store) at a destination, and look there for the payload. Exactly
/// the bytes from the address on to the size are read or written, and no others; memory of the engine's own aside.
///
/// A transfer that returns `Ok` was finished by the device; whether the bytes arrived is known from memory alone,
/// as devices report success for DMA that the IOMMU blocked. After an error the device may still hold what it held before; the
/// next transfer sets the device up again if it must.
/// Dropping an engine leaves the device idle, with bus mastering off.
pub trait DmaEngine {
    /// What it can transfer.
    fn limits(&self) -> EngineLimits;

    /// The bytes to send through the device: those wanted, or as many of the device's own where it cannot keep others.
    fn payload(&mut self, wanted: &[u8]) -> Vec<u8> {
        wanted.to_vec()
    }

    /// The device reads `size` bytes at `source`.
    fn load(&mut self, source: Iova, size: usize) -> Result<Loaded, EngineError>;

    /// The device writes the first `size` bytes that it holds to `destination`.
    fn store(&mut self, destination: Iova, size: usize) -> Result<(), EngineError>;

    /// The device reads each of these numbers, no two alike, in one place of the engine's own memory and writes it to
    /// another; returns what arrived, in the order in which it did. Engines that do not work by commands with numbers return none.
    fn echo(&mut self, _numbers: &[u16]) -> Result<Vec<u16>, EngineError> {
        Ok(Vec::new())
    }

    /// Puts back what transfers changed in the device. Dropping the engine does so too, but cannot say that it failed.
    fn finish(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// The device reads 8 bytes at `source` and sets its clock by them: milliseconds in the lower 48 bits, the others 0. The clock goes
    /// on from there; [`finish`](Self::finish) sets it as if it had never been touched.
    fn set_clock(&mut self, _source: Iova) -> Result<(), EngineError> {
        Err(EngineError::NoClock)
    }

    /// The device writes 8 bytes to `destination`, its clock in the lower 48 bits.
    fn read_clock(&mut self, _destination: Iova) -> Result<(), EngineError> {
        Err(EngineError::NoClock)
    }
}

/// A device, and where its engine gets memory of its own: in the address space that the device is attached to.
#[derive(Clone, Copy)]
pub struct Seat<'d> {
    /// The device.
    pub device: &'d VfioDevice,
    /// Memory for the engine's rings and queues.
    pub arena: &'d Arena<'d>,
}

/// What an engine is made of.
#[derive(Clone, Copy)]
pub struct EngineParts<'d> {
    /// The device that reads and writes.
    pub seat: Seat<'d>,
    /// A second device of the same kind, as the far end for engines that send from one device to another; they use the
    /// first device for both ends if there is none. It touches the engine's own memory only.
    pub peer: Option<Seat<'d>>,
    /// Whether the engine may change data that the device stores. It puts back what was there.
    pub destructive: bool,
}

/// A driver for one kind of DMA engine.
pub trait EngineDriver: Sync {
    /// Its short name, for reports and options.
    fn name(&self) -> &'static str;
    /// One line about the devices it drives.
    fn about(&self) -> &'static str;
    /// What it can transfer, in words: sizes, addresses, and what it shows of what the device reads.
    fn limits(&self) -> &'static str;
    /// Whether it drives devices with this identity.
    fn drives(&self, id: &PciId) -> bool;
    /// Whether this driver was ever run on such a device, physical or emulated; otherwise only against fake registers.
    fn ran_on_hardware(&self) -> bool;
    /// Whether it works between two devices of the kind, see [`EngineParts::peer`].
    fn takes_peer(&self) -> bool {
        false
    }
    /// Takes the device into use.
    fn open<'d>(&self, parts: EngineParts<'d>) -> Result<Box<dyn DmaEngine + 'd>, EngineError>;
}

/// All engine drivers.
pub static ENGINES: &[&dyn EngineDriver] = &[
    &edu::EduDriver,
    &nvme::NvmeDriver,
    &igb::IgbDriver,
    &igb::IgbvfDriver,
];

/// The driver for a device with this identity.
#[must_use]
pub fn driver_for(id: &PciId) -> Option<&'static dyn EngineDriver> {
    ENGINES.iter().copied().find(|driver| driver.drives(id))
}
