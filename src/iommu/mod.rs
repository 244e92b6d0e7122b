//! Address spaces of the IOMMU: what a device may reach, and at which IOVA.
//!
//! [`AddressSpace`] is the one way to attach devices and to map memory. The kernel offers it twice, and [`BACKENDS`] lists both.

#[allow(unsafe_code)] // `map` is unsafe to call.
mod address_space;
mod backends;
mod diagnosis;
#[allow(unsafe_code)]
mod dma;
mod error;
#[allow(unsafe_code)]
mod iommufd;
mod iova;
mod pages;
#[allow(unsafe_code)] // As for the trait.
mod part;
mod strategy;
#[allow(unsafe_code)]
mod type1;

pub use crate::sys::{DeviceFd, Pinner};
pub use address_space::AddressSpace;
pub use backends::{BACKENDS, BackendEntry, Choice, choose, open};
pub use diagnosis::base_page;
pub use dma::{BareMapping, DmaBuffer, DmaMapping, SHARED};
pub use error::{Blocker, Holder, IommuError};
pub use iova::{IovaAllocator, IovaError};
pub use pages::PageKind;
pub use part::Part;
pub use strategy::{Memory, Way, alignment};
