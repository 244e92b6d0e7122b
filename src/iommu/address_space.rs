//! The trait of address spaces, and the table of the kernel interfaces that give one.

use std::ptr::NonNull;
use std::sync::Arc;

use super::IommuError;
use crate::types::{Backend, BackendChoice, IovaRange, PageSizes, Protection, VfioNode};

/// An opened device file, attached to an address space.
pub struct DeviceFd;

/// An IOVA space: a VFIO container or an iommufd IOAS.
pub trait AddressSpace: Send + Sync {
    /// The kernel interface behind it.
    fn backend(&self) -> Backend;

    /// Opens the device and attaches it to this address space.
    fn attach(&self, node: &VfioNode) -> Result<DeviceFd, IommuError>;

    /// Makes `range` reach the memory at `memory`.
    ///
    /// # Safety
    /// The memory is as long as the range and stays valid, and no plain Rust reference to it lives, until the range is unmapped.
    #[allow(unsafe_code)]
    unsafe fn map(
        &self,
        range: IovaRange,
        memory: NonNull<u8>,
        protection: Protection,
    ) -> Result<(), IommuError>;

    /// Takes out all mappings in `range`, each whole; returns how many bytes that were.
    fn unmap(&self, range: IovaRange) -> Result<u64, IommuError>;

    /// Takes out every mapping; returns how many bytes that were.
    fn unmap_all(&self) -> Result<u64, IommuError>;

    /// The usable IOVAs, as the kernel reports them now; attaching a device can narrow them.
    fn iova_ranges(&self) -> Result<Vec<IovaRange>, IommuError>;

    /// The page sizes; iommufd reports only the smallest.
    fn page_sizes(&self) -> Result<PageSizes, IommuError>;

    /// How many more mappings the kernel lets in; `None` where it sets no limit.
    fn entries_left(&self) -> Result<Option<u32>, IommuError>;
}

/// A kernel interface for address spaces.
pub struct BackendEntry {
    /// Its name.
    pub backend: Backend,
    /// One line about it.
    pub about: &'static str,
    /// Makes an empty address space.
    pub open: fn() -> Result<Arc<dyn AddressSpace>, IommuError>,
    /// Whether it can be used for this device; the error says why not.
    pub usable: fn(&VfioNode) -> Result<(), IommuError>,
}

/// All kernel interfaces, the preferred one first.
pub static BACKENDS: &[BackendEntry] = &[];

/// Makes an empty address space.
pub fn open(_backend: Backend) -> Result<Arc<dyn AddressSpace>, IommuError> {
    unimplemented!()
}

/// A backend, and why it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The backend.
    pub backend: Backend,
    /// Why, in words.
    pub reason: String,
}

/// Chooses the backend for a device: the one asked for, else the first of [`BACKENDS`] that is usable.
pub fn choose(_choice: BackendChoice, _node: &VfioNode) -> Result<Choice, IommuError> {
    unimplemented!()
}
