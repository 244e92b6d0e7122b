//! The kernel's own calls on a buffer, to measure the library by.

use std::ops::Range;
use std::sync::Arc;

use nix::errno::Errno;

use super::DmaBuffer;
use super::mapping::place;
use crate::iommu::{AddressSpace, IommuError};
use crate::sys::Bare;
use crate::types::Iova;

/// Maps and unmaps one part of a buffer by bare `ioctl`s on structs that are built once; unmapped on drop.
///
/// It does what [`super::DmaMapping`] does, in the same address space, and shares no code with it: the difference of their times is what the
/// library costs.
pub struct BareMapping {
    bare: Bare,
    buffer: Arc<DmaBuffer>,
    _space: Arc<dyn AddressSpace>,
}

impl BareMapping {
    /// Prepares the calls to map `part` of the buffer, in bytes, at `iova`, for reading and writing. Nothing is mapped yet.
    /// `None` if the address space is none of the kernel's own.
    ///
    /// # Panics
    /// If `part` is empty or not within the buffer.
    pub fn new(
        space: &Arc<dyn AddressSpace>,
        buffer: &Arc<DmaBuffer>,
        part: Range<usize>,
        iova: Iova,
    ) -> Result<Option<Self>, IommuError> {
        let (range, memory) = place(buffer, &part, iova)?;
        let Some((file, ioas)) = space.file() else {
            return Ok(None);
        };
        let (size, iova) = (part.len() as u64, range.start().0);
        // SAFETY: the space has the file open and the buffer is valid for `part`, and both live as long as this does. Nothing refers to the
        // buffer's bytes but by raw pointer. `drop` unmaps before the buffer goes, or keeps it forever.
        let bare = unsafe { Bare::new(file, ioas, memory, size, iova) };
        Ok(Some(Self {
            bare,
            buffer: Arc::clone(buffer),
            _space: Arc::clone(space),
        }))
    }

    /// Maps.
    ///
    /// # Errors
    /// The kernel's error, EEXIST (type1) or EADDRINUSE (iommufd) if it is mapped already.
    #[inline]
    pub fn map(&mut self) -> Result<(), Errno> {
        self.bare.map()
    }

    /// Unmaps.
    ///
    /// # Errors
    /// The kernel's error, ENOENT (iommufd; type1 has none) if it is not mapped.
    #[inline]
    pub fn unmap(&mut self) -> Result<(), Errno> {
        self.bare.unmap()
    }
}

impl Drop for BareMapping {
    fn drop(&mut self) {
        match self.bare.unmap() {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => {
                std::mem::forget(Arc::clone(&self.buffer));
                log::error!("cannot unmap: {errno}. The memory is kept until the program ends");
            }
        }
    }
}
