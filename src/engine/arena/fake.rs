//! Memory at IOVAs for devices of software.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::{DmaPage, PAGE, Pages};
use crate::engine::EngineError;
use crate::iommu::{DmaBuffer, PageKind};
use crate::types::{Iova, Size};

/// What a device of software reaches by DMA: pages, each at an IOVA. Elsewhere reads give zeros, and writes go nowhere.
#[derive(Default)]
pub struct FakeMemory {
    pages: RefCell<BTreeMap<u64, Arc<DmaBuffer>>>,
    next: Cell<u64>,
}

impl FakeMemory {
    /// New memory for the caller, at consecutive IOVAs; with a gap before and after. Returns its first IOVA.
    pub fn map(&self, pages: u64) -> Iova {
        self.next.set(self.next.get() + PAGE as u64);
        let start = self.next.get() + 0x10_0000_0000;
        for _ in 0..pages {
            self.add();
        }
        Iova(start)
    }

    /// Takes a page away from the device.
    pub fn unmap(&self, iova: Iova) {
        self.pages.borrow_mut().remove(&iova.0).unwrap();
    }

    fn add(&self) -> (Iova, Arc<DmaBuffer>) {
        let size = Size::new(PAGE as u64).unwrap();
        let memory = Arc::new(DmaBuffer::allocate(size, PageKind::Base).unwrap());
        let iova = self.next.get() + 0x10_0000_0000;
        self.next.set(self.next.get() + PAGE as u64);
        self.pages.borrow_mut().insert(iova, memory.clone());
        (Iova(iova), memory)
    }

    /// The pieces of a range, one a page: where in the range, and the buffer and the offset in it where there is a page.
    fn each(
        &self,
        at: u64,
        size: usize,
        mut act: impl FnMut(Range<usize>, Option<(&DmaBuffer, usize)>),
    ) {
        let pages = self.pages.borrow();
        let mut done = 0;
        while done < size {
            let address = at + done as u64;
            let offset = address as usize % PAGE;
            let piece = done..size.min(done + PAGE - offset);
            done = piece.end;
            let page = pages.get(&(address - offset as u64));
            act(piece, page.map(|page| (&**page, offset)));
        }
    }

    /// What a device reads.
    pub fn read(&self, at: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.each(at, size, |piece, place| {
            if let Some((page, offset)) = place {
                page.read(offset, &mut bytes[piece]);
            }
        });
        bytes
    }

    /// What a device writes.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.each(at, bytes.len(), |piece, place| {
            if let Some((page, offset)) = place {
                page.write(offset, &bytes[piece]);
            }
        });
    }
}

impl Pages for &FakeMemory {
    fn page(&self) -> Result<DmaPage, EngineError> {
        let (iova, memory) = self.add();
        Ok(DmaPage {
            _mapping: None,
            memory,
            iova,
        })
    }
}
