//! A PCI device that VFIO gave to this process: regions, registers, interrupts, reset.

mod error;
mod interrupts;
mod registers;
mod vfio;

pub use error::DeviceError;
pub use interrupts::{InterruptKind, Interrupts};
pub use registers::{MappedBar, Registers};
pub use vfio::{Region, VfioDevice};
