//! The kernel's own interfaces: ioctls on the bindings' structs, and safe types above what needs `unsafe`.
#![allow(unsafe_code)]

mod capability;
mod device_fd;
pub mod iommufd;
mod patient_write;
pub mod vfio;

pub use device_fd::{AttachError, DeviceFd, Owner};
pub use patient_write::{WriteOutcome, write_patiently};
