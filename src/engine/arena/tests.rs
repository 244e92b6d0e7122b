//! Where the arena puts its pages.

use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use super::{Arena, PAGE, Pages};
use crate::engine::EngineError;
use crate::iommu::{AddressSpace, DeviceFd, IommuError};
use crate::types::{Backend, Iova, IovaRange, PageSizes, Protection, VfioNode};

/// An address space that remembers what is mapped.
#[derive(Default)]
struct Notes {
    mapped: Mutex<Vec<IovaRange>>,
}

impl AddressSpace for Notes {
    fn backend(&self) -> Backend {
        Backend::Type1
    }

    fn attach(&self, _node: &VfioNode) -> Result<DeviceFd, IommuError> {
        unreachable!("an arena attaches nothing")
    }

    #[allow(unsafe_code)] // The trait's; this one touches no memory.
    unsafe fn map(
        &self,
        range: IovaRange,
        _memory: NonNull<u8>,
        _protection: Protection,
    ) -> Result<(), IommuError> {
        self.mapped.lock().unwrap().push(range);
        Ok(())
    }

    fn unmap(&self, range: IovaRange) -> Result<u64, IommuError> {
        self.mapped.lock().unwrap().retain(|known| *known != range);
        Ok(PAGE as u64)
    }

    fn unmap_all(&self) -> Result<u64, IommuError> {
        unreachable!("an arena has only pages of its own")
    }

    fn iova_ranges(&self) -> Result<Vec<IovaRange>, IommuError> {
        Ok(vec![IovaRange::new(Iova(0), 1 << 39).unwrap()])
    }

    fn page_sizes(&self) -> Result<PageSizes, IommuError> {
        Ok(PageSizes(PAGE as u64))
    }

    fn entries_left(&self) -> Result<Option<u32>, IommuError> {
        Ok(None)
    }
}

fn page(iova: u64) -> IovaRange {
    IovaRange::new(Iova(iova), PAGE as u64).unwrap()
}

const ABOVE: Iova = Iova(1 << 32);

#[test]
fn a_page_lies_at_its_physical_address() {
    let space = Arc::new(Notes::default());
    let physical = |_| Some(0x1234_5000);
    let arena = Arena::new(space.clone(), Some(ABOVE), &physical).unwrap();

    let first = arena.page().unwrap();

    assert_eq!(first.iova(), Iova(0x1234_5000));
    assert_eq!(*space.mapped.lock().unwrap(), [page(0x1234_5000)]);
    assert_eq!(arena.taken(), [page(0x1234_5000)]);
    drop(first);
    assert!(space.mapped.lock().unwrap().is_empty());
}

#[test]
fn a_page_whose_physical_address_is_no_iova_lies_above_all_memory() {
    let space = Arc::new(Notes::default());
    let physical = |_| Some(1 << 40);
    let arena = Arena::new(space.clone(), Some(ABOVE), &physical).unwrap();

    let pages = [arena.page().unwrap(), arena.page().unwrap()];

    assert_eq!(
        pages.map(|page| page.iova()),
        [ABOVE, Iova(ABOVE.0 + PAGE as u64)]
    );
    assert_eq!(arena.taken(), [page(ABOVE.0), page(ABOVE.0 + PAGE as u64)]);
}

#[test]
fn a_page_without_a_harmless_place_is_not_given_out() {
    let space = Arc::new(Notes::default());
    let unknown = |_| None;
    for lowest in [None, Some(Iova(1 << 40))] {
        let arena = Arena::new(space.clone(), lowest, &unknown).unwrap();
        let error = arena.page().err().unwrap();
        let expected = match lowest {
            None => matches!(error, EngineError::NowhereHarmless),
            Some(_) => matches!(error, EngineError::Room(_)),
        };
        assert!(expected, "{error}");
        assert!(space.mapped.lock().unwrap().is_empty());
        assert!(arena.taken().is_empty());
    }
}
