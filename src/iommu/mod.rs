//! Address spaces of the IOMMU: what a device may reach, and at which IOVA.
//!
//! [`AddressSpace`] is the one way to attach devices and to map memory. The kernel offers it twice, and [`BACKENDS`] lists both.

mod address_space;
mod dma;
mod error;
mod iova;

pub use address_space::{AddressSpace, BACKENDS, BackendEntry, Choice, DeviceFd, choose, open};
pub use dma::{DmaBuffer, DmaMapping, PageKind};
pub use error::IommuError;
pub use iova::{IovaAllocator, IovaError};
