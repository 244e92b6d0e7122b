//! How memory is made so that mapping it costs little.
//!
//! The cost of a map is that of its pages and of its contiguous pieces: filling a page with zeros, pinning it, and an entry in
//! the IOMMU's page table. So memory is made of huge pages where it can be, populated by all processors at once, and placed so
//! that the IOMMU can use huge pages as well: addresses in this process and IOVAs agree modulo the huge page.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::dma::mapping::Pieces;
use super::dma::{SHARED, piece, processors};
use super::{AddressSpace, DmaBuffer, DmaMapping, IommuError, PageKind};
use crate::types::{Backend, Iova, Protection, Size};

/// The huge page that mappings are aligned for, where nothing says otherwise.
const HUGE: Size = match Size::new(2 << 20) {
    Some(size) => size,
    None => unreachable!(),
};

/// Memory that suits a place in an IOVA space.
pub struct Memory {
    buffer: Arc<DmaBuffer>,
    part: Range<usize>,
    pages: PageKind,
    /// Whether all its pages were put there. Nobody else has them to take them away; what the kernel swaps out, a map brings back.
    populated: AtomicBool,
    threads: usize,
}

/// How memory is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By one call, through its memfd.
    File,
    /// By one call, by its address.
    Once,
    /// In pieces of this many bytes, by this many threads.
    Pieces {
        /// Bytes of a piece.
        size: usize,
        /// Threads.
        threads: usize,
    },
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("by one call, through a memfd"),
            Self::Once => f.write_str("by one call"),
            Self::Pieces { size, threads: 1 } => {
                write!(f, "in pieces of {} MiB, by 1 thread", size >> 20)
            }
            Self::Pieces { size, threads } => {
                write!(f, "in pieces of {} MiB, by {threads} threads", size >> 20)
            }
        }
    }
}

impl Memory {
    /// New memory of `size` bytes, to be mapped at `iova`; of these pages, else of those that make the map fastest. Its pages are put behind it
    /// when it is mapped, or written.
    ///
    /// 1. With iommufd, which maps them through their memfd: reserved pages of 2 MiB, if enough are free and the size is a multiple of them.
    ///    Larger ones only on demand: a page is filled with zeros by one processor, so that a few large ones take longer;
    /// 2. transparent huge pages, if one fits;
    /// 3. with type1, reserved pages where there are no transparent ones;
    /// 4. base pages.
    pub fn new(
        space: &dyn AddressSpace,
        size: Size,
        pages: Option<PageKind>,
        iova: Iova,
    ) -> Result<Self, IommuError> {
        if let Some(pages) = pages {
            return Self::of(size, pages, iova);
        }
        let reserved = PageKind::Huge(HUGE);
        let whole = size.bytes() % HUGE.bytes() == 0 && iova.is_aligned(HUGE.bytes());
        let order = match space.backend() {
            Backend::Iommufd => [reserved, PageKind::Transparent],
            Backend::Type1 => [PageKind::Transparent, reserved],
        };
        for pages in order {
            let suits = size >= HUGE && (whole || pages != reserved);
            if suits && pages.has(size.bytes()) {
                match Self::of(size, pages, iova) {
                    Ok(memory) => return Ok(memory),
                    // Someone else took them since.
                    Err(error) => log::debug!("{error}"),
                }
            }
        }
        Self::of(size, PageKind::Base, iova)
    }

    fn of(size: Size, pages: PageKind, iova: Iova) -> Result<Self, IommuError> {
        let page = pages.page(size)?;
        // What lies before the IOVA in its huge page lies before the memory in its own.
        let before = iova.0 % page;
        let whole = size.bytes().checked_add(before).and_then(Size::new);
        let buffer = DmaBuffer::reserve(whole.unwrap_or(size), pages)?;
        let before = before as usize; // Less than a page.
        let part = before..before + size.bytes() as usize; // As the buffer is as long.
        Ok(Self {
            buffer: Arc::new(buffer),
            part,
            pages,
            populated: AtomicBool::new(false),
            threads: processors(),
        })
    }

    /// The pages it is made of.
    #[must_use]
    pub fn pages(&self) -> PageKind {
        self.pages
    }

    /// The same, populated and mapped by this many threads; otherwise by as many as there are processors.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// How [`Self::map`] maps it in this address space.
    #[must_use]
    pub fn way(&self, space: &dyn AddressSpace) -> Way {
        if space.backend() == Backend::Type1 {
            return Way::Once;
        }
        if self.buffer.is_file() {
            return Way::File;
        }
        let populated = self.populated.load(Ordering::Acquire);
        let size = piece(self.part.len(), self.threads);
        if populated || self.part.len() < SHARED {
            return Way::Once;
        }
        Way::Pieces {
            size,
            threads: self.threads.min(self.part.len().div_ceil(size)),
        }
    }

    /// The memory itself.
    #[must_use]
    pub fn buffer(&self) -> &Arc<DmaBuffer> {
        &self.buffer
    }

    /// The bytes of it that are meant.
    #[must_use]
    pub fn part(&self) -> Range<usize> {
        self.part.clone()
    }

    /// Puts its pages behind it, and maps it.
    ///
    /// All processors fill pages with zeros. iommufd maps other than reserved pages in pieces: while one processor fills a piece, another has
    /// the kernel map one. Reserved pages are mapped through their memfd where the kernel can, which spares it looking each page up.
    /// type1 gets all in one call: to count what it locks, it waits in each until no processor fills pages (`vfio_lock_acct` of
    /// drivers/vfio/vfio_iommu_type1.c). Once its pages are there, memory is mapped by one call anywhere.
    pub fn map(
        &self,
        space: &Arc<dyn AddressSpace>,
        iova: Iova,
        protection: Protection,
    ) -> Result<DmaMapping, IommuError> {
        let (buffer, part) = (&self.buffer, self.part());
        if let Way::Pieces { size, threads } = self.way(&**space) {
            let pieces = Pieces {
                size,
                threads,
                ready: &|piece| buffer.populate(piece, self.pages, 1),
            };
            let mapping =
                DmaMapping::in_pieces(space.clone(), buffer, part, iova, protection, &pieces)?;
            self.populated.store(true, Ordering::Release);
            return Ok(mapping);
        }
        if !self.populated.load(Ordering::Acquire) {
            buffer.populate(part.clone(), self.pages, self.threads)?;
            self.populated.store(true, Ordering::Release);
        }
        DmaMapping::through_file(space.clone(), buffer, part, iova, protection)
    }
}

/// The multiple that an IOVA for `size` bytes is best of: the largest usual page that is not larger.
#[must_use]
pub fn alignment(size: u64, smallest: u64) -> u64 {
    [1 << 30, HUGE.bytes()]
        .into_iter()
        .find(|page| *page <= size)
        .unwrap_or(smallest)
}
