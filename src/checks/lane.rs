//! Memory for one end of a loop.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use super::{Problem, Rig};
use crate::iommu::{DmaBuffer, DmaMapping};
use crate::types::{Iova, Protection};

/// Memory and the range of IOVAs at which the device sees it: page `n` of the range is page `pages[n]` of the memory.
pub(super) struct Lane {
    memory: Arc<DmaBuffer>,
    pages: Vec<usize>,
    page: usize,
    start: Iova,
    mappings: Vec<DmaMapping>,
}

impl Lane {
    /// Maps each page of new memory on its own, in the given order.
    pub(super) fn new(
        rig: &mut Rig<'_>,
        pages: &[usize],
        protection: Protection,
    ) -> Result<Self, Problem> {
        let start = rig.iovas(pages.len())?.start();
        Self::at(rig, start, pages, protection)
    }

    /// As [`Self::new`], at IOVAs that are free now.
    pub(super) fn at(
        rig: &Rig<'_>,
        start: Iova,
        pages: &[usize],
        protection: Protection,
    ) -> Result<Self, Problem> {
        let page = rig.page();
        let memory = rig.memory(pages.len())?;
        let map = |(at, from): (usize, &usize)| {
            let iova = Iova(start.0 + (at * page) as u64);
            let part = from * page..(from + 1) * page;
            DmaMapping::new(rig.space.clone(), &memory, part, iova, protection)
        };
        let mappings = pages
            .iter()
            .enumerate()
            .map(map)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            memory,
            pages: pages.to_vec(),
            page,
            start,
            mappings,
        })
    }

    /// Pages of memory that is mapped as a whole already, its first byte at `start`.
    pub(super) fn window(
        rig: &Rig<'_>,
        memory: &Arc<DmaBuffer>,
        start: Iova,
        pages: Range<usize>,
    ) -> Self {
        let page = rig.page();
        Self {
            memory: Arc::clone(memory),
            start: Iova(start.0 + (pages.start * page) as u64),
            pages: pages.collect(),
            page,
            mappings: Vec::new(),
        }
    }

    /// A source that the device may only read, and a destination that it may write too: write-only is not portable
    /// between IOMMUs.
    pub(super) fn pair(
        rig: &mut Rig<'_>,
        source: &[usize],
        destination: &[usize],
    ) -> Result<(Self, Self), Problem> {
        Ok((
            Self::new(rig, source, Protection::Read)?,
            Self::new(rig, destination, Protection::ReadWrite)?,
        ))
    }

    /// The length in bytes.
    pub(super) fn size(&self) -> usize {
        self.pages.len() * self.page
    }

    /// The length in pages.
    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The IOVA of a byte.
    pub(super) fn iova(&self, offset: usize) -> Iova {
        Iova(self.start.0 + offset as u64)
    }

    /// Where each page begins, for the device and for this process.
    pub(super) fn places(&self) -> impl Iterator<Item = (Iova, NonNull<u8>)> {
        self.pages.iter().enumerate().map(|(at, from)| {
            let place = page_address(&self.memory, from * self.page);
            (self.iova(at * self.page), place)
        })
    }

    /// The first `size` bytes, in the order in which the device sees them.
    pub(super) fn read(&self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        for (chunk, from) in bytes.chunks_mut(self.page).zip(&self.pages) {
            self.memory.read(from * self.page, chunk);
        }
        bytes
    }

    /// Sets the first bytes, in the order in which the device sees them.
    pub(super) fn write(&self, bytes: &[u8]) {
        for (chunk, from) in bytes.chunks(self.page).zip(&self.pages) {
            self.memory.write(from * self.page, chunk);
        }
    }

    /// Unmaps all of it; the memory stays, and can be looked at.
    pub(super) fn unmap(&mut self) -> Result<(), Problem> {
        for mapping in self.mappings.drain(..) {
            mapping.unmap()?;
        }
        Ok(())
    }
}

/// The virtual address of a page of the buffer.
pub(super) fn page_address(memory: &DmaBuffer, offset: usize) -> NonNull<u8> {
    memory.address().map_addr(|start| {
        start
            .checked_add(offset)
            .expect("the offset lies within the buffer")
    })
}
