//! Plain values that every layer may use: names of devices and groups, addresses, sizes, exit classes.
//!
//! Each value is checked where it is made, so that code which holds one need not check it again.

mod backend;
mod bdf;
mod device_name;
mod driver_choice;
mod engine_limits;
mod exit;
mod function_count;
mod iova;
mod node;
mod owner_name;
mod pci_id;
mod seconds;
mod size;
mod suite;
mod test_scope;
mod use_reason;
mod user_of_devices;

pub use backend::{Backend, BackendChoice};
pub use bdf::{Bdf, ParseBdfError};
pub use device_name::{DeviceName, ParseDeviceNameError};
pub use driver_choice::DriverChoice;
pub use engine_limits::{EngineLimits, Reading};
pub use exit::{ExitClass, ExitStatus};
pub use function_count::{FunctionCount, ParseFunctionCountError};
pub use iova::{InvalidRange, Iova, IovaRange, PageSizes, ParseIovaError, Protection};
pub use node::{GroupId, VfioNode};
pub use owner_name::{OwnerName, ParseOwnerNameError};
pub use pci_id::PciId;
pub use seconds::{ParseSecondsError, Seconds};
pub use size::{ParseSizeError, Size};
pub use suite::Suite;
pub use test_scope::{Level, TestScope};
pub use use_reason::UseReason;
pub use user_of_devices::UserOfDevices;
