//! A PCI device that VFIO gave to this process: regions, registers, interrupts, reset.

mod error;
mod interrupts;
#[allow(unsafe_code)]
mod registers;
mod vfio;

pub use error::{DeviceError, RegionName};
pub use interrupts::InterruptKind;
pub use registers::{MappedBar, Registers};
pub use vfio::{BusMaster, Region, VfioDevice};
