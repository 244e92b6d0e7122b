//! The kernel's own interfaces: ioctls on the bindings' structs, and safe types above them.

mod capability;
mod device_fd;
pub mod iommufd;
pub mod vfio;

pub use device_fd::{AttachError, DeviceFd, Owner};
