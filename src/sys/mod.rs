//! The kernel's own interfaces: ioctls on the bindings' structs, and safe types above what needs `unsafe`.
#![allow(unsafe_code)]

mod bare;
mod capability;
mod child;
pub mod descriptors;
mod device_fd;
mod direct;
mod event;
pub mod iommufd;
pub mod nvme;
mod patient;
mod pin;
pub mod vfio;

pub use bare::Bare;
pub use child::spawn_with_mask;
pub use device_fd::{AttachError, DeviceFd, Owner};
pub use event::event_fd;
pub use patient::PatientCall;
pub use pin::Pinner;
