//! Memory at an IOVA.

use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::{DmaBuffer, share_out};
use crate::iommu::{AddressSpace, IommuError};
use crate::types::{Iova, IovaRange, Protection};

/// How a mapping is made of pieces.
pub(in crate::iommu) struct Pieces<'r> {
    /// The bytes of each, but for the last.
    pub size: usize,
    /// How many threads share the work.
    pub threads: usize,
    /// What is done to a part of the buffer before it is mapped.
    pub ready: &'r (dyn Fn(Range<usize>) -> Result<(), IommuError> + Sync),
}

/// A buffer, or a part of it, at an IOVA; unmapped on drop.
///
/// It holds its address space as `S`: by an `Arc`, or by a reference to one where it does not outlive its scope. A reference needs no
/// count that all threads share. Either way it holds the buffer by a count of its own, so memory that is still mapped is never freed.
///
/// If the kernel refuses to unmap, the memory is kept for the life of the process, as a device may still reach it.
pub struct DmaMapping<S: AsRef<dyn AddressSpace> = Arc<dyn AddressSpace>> {
    space: S,
    buffer: Arc<DmaBuffer>,
    range: IovaRange,
    protection: Protection,
    mapped: bool,
}

impl<S: AsRef<dyn AddressSpace>> DmaMapping<S> {
    /// Maps `part` of the buffer, in bytes, at `iova`.
    ///
    /// # Panics
    /// If `part` is empty or not within the buffer.
    #[inline]
    pub fn new(
        space: S,
        buffer: &Arc<DmaBuffer>,
        part: Range<usize>,
        iova: Iova,
        protection: Protection,
    ) -> Result<Self, IommuError> {
        let (range, memory) = place(buffer, &part, iova)?;
        // SAFETY: the buffer is valid for `part`, and it lives until the mapping is taken out: the mapping holds it, and `take_out` keeps
        // it forever if that fails. Nothing refers to its bytes but by raw pointer.
        unsafe { space.as_ref().map(range, memory, protection) }?;
        Ok(Self::of(space, buffer, range, protection))
    }

    /// As [`Self::new`], but through the buffer's memfd where it has one and the kernel can.
    ///
    /// # Panics
    /// If `part` is empty or not within the buffer.
    pub fn through_file(
        space: S,
        buffer: &Arc<DmaBuffer>,
        part: Range<usize>,
        iova: Iova,
        protection: Protection,
    ) -> Result<Self, IommuError> {
        let (range, _) = place(buffer, &part, iova)?;
        if let Some(file) = &buffer.file {
            if space
                .as_ref()
                .map_file(range, file.as_fd(), part.start as u64, protection)?
            {
                return Ok(Self::of(space, buffer, range, protection));
            }
        }
        Self::new(space, buffer, part, iova, protection)
    }

    /// As [`Self::new`], piece by piece, by as many threads; each piece is made ready just before it is mapped. Zeroing the pages of one piece
    /// and mapping another go on at the same time that way. It is unmapped as a whole.
    ///
    /// # Panics
    /// If the pieces are not within the buffer, or not what `part` is made of.
    pub(in crate::iommu) fn in_pieces(
        space: S,
        buffer: &Arc<DmaBuffer>,
        part: Range<usize>,
        iova: Iova,
        protection: Protection,
        pieces: &Pieces<'_>,
    ) -> Result<Self, IommuError> {
        let (range, _) = place(buffer, &part, iova)?;
        let count = part.len().div_ceil(pieces.size);
        // From here on what is mapped is unmapped when this is dropped.
        let mapping = Self::of(space, buffer, range, protection);
        let space = mapping.space.as_ref();
        let one = |at: usize| -> Result<(), IommuError> {
            let start = part.start + at * pieces.size;
            let piece = start..(start + pieces.size).min(part.end);
            (pieces.ready)(piece.clone())?;
            let iova = Iova(iova.0 + (start - part.start) as u64);
            let (range, memory) = place(buffer, &piece, iova)?;
            // SAFETY: as in `new`; the whole is taken out at once.
            unsafe { space.map(range, memory, protection) }
        };
        share_out(count, pieces.threads, one)?;
        Ok(mapping)
    }

    #[inline]
    fn of(space: S, buffer: &Arc<DmaBuffer>, range: IovaRange, protection: Protection) -> Self {
        Self {
            space,
            buffer: buffer.clone(),
            range,
            protection,
            mapped: true,
        }
    }

    /// The mapped IOVAs.
    #[must_use]
    pub fn range(&self) -> IovaRange {
        self.range
    }

    /// The first mapped IOVA.
    #[must_use]
    pub fn iova(&self) -> Iova {
        self.range.start()
    }

    /// What the device may do with it.
    #[must_use]
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Unmaps now, and says whether that worked.
    #[inline(always)] // It costs less than to hand all of it over.
    pub fn unmap(self) -> Result<(), IommuError> {
        // Taken apart instead of dropped: that need not ask any more whether it is mapped.
        let parts = ManuallyDrop::new(self);
        let result = parts.space.as_ref().unmap(parts.range);
        // SAFETY: each is moved out once, and `parts` is not dropped. The buffer goes after it was unmapped, or is kept.
        let (_space, buffer) = unsafe { (ptr::read(&parts.space), ptr::read(&parts.buffer)) };
        match result {
            Ok(_) => Ok(()),
            Err(error) => Err(keep(buffer, error)),
        }
    }

    /// Unmaps many, in fewer calls than one each: neighbours go together. Says of each whether that worked, in the order given.
    pub fn unmap_together(mut mappings: Vec<Self>) -> Vec<Result<(), IommuError>> {
        let mut order: Vec<usize> = (0..mappings.len()).collect();
        order.sort_unstable_by_key(|&at| mappings[at].range.start());
        let mut results: Vec<_> = mappings.iter().map(|_| Ok(())).collect();
        let follows = |a: &usize, b: &usize| {
            let (a, b) = (&mappings[*a], &mappings[*b]);
            let next = a.range.last().0.checked_add(1);
            ptr::addr_eq(a.space.as_ref(), b.space.as_ref()) && next == Some(b.range.start().0)
        };
        let runs: Vec<Vec<usize>> = order.chunk_by(follows).map(<[_]>::to_vec).collect();
        for run in runs {
            if Self::take_out_run(&mut mappings, &run) {
                continue;
            }
            for at in run {
                results[at] = match mappings[at].take_out() {
                    // It went with its neighbours, before the one that did not.
                    Err(IommuError::NothingToUnmap { .. }) => Ok(()),
                    result => result,
                };
            }
        }
        results
    }

    /// Unmaps neighbours by one call; `false` if there are none or that did not work, when some may be left.
    fn take_out_run(mappings: &mut [Self], run: &[usize]) -> bool {
        let ([first, _, ..], Some(last)) = (run, run.last()) else {
            return false;
        };
        let (start, end) = (mappings[*first].range.start(), mappings[*last].range.last());
        let gone = IovaRange::from_ends(start, end)
            .is_some_and(|range| mappings[*first].space.as_ref().unmap(range).is_ok());
        for at in run.iter().filter(|_| gone) {
            mappings[*at].mapped = false;
        }
        gone
    }

    fn take_out(&mut self) -> Result<(), IommuError> {
        self.mapped = false;
        match self.space.as_ref().unmap(self.range) {
            Ok(_) => Ok(()),
            Err(error) => Err(keep(self.buffer.clone(), error)),
        }
    }

    /// What drop does, apart from it so that a mapping that was unmapped goes by a glance.
    #[inline(never)]
    fn take_out_and_log(&mut self) {
        match self.take_out() {
            Ok(()) => {}
            // The address space was cleared before.
            Err(IommuError::NothingToUnmap { range }) => {
                log::debug!("{range} was unmapped already")
            }
            Err(error) => log::error!("{error}. The memory is kept until the program ends"),
        }
    }
}

/// Keeps memory that a device may still reach, as it could not be unmapped.
#[cold]
#[inline(never)]
fn keep(buffer: Arc<DmaBuffer>, error: IommuError) -> IommuError {
    if !matches!(error, IommuError::NothingToUnmap { .. }) {
        std::mem::forget(buffer);
    }
    error
}

/// The IOVAs of a part of a buffer, and its first byte.
#[inline]
pub(super) fn place(
    buffer: &DmaBuffer,
    part: &Range<usize>,
    iova: Iova,
) -> Result<(IovaRange, NonNull<u8>), IommuError> {
    assert!(!part.is_empty(), "an empty part of a buffer maps nothing");
    let memory = buffer.place(part.start, part.len());
    let memory = NonNull::new(memory).expect("a buffer is not at address 0");
    Ok((IovaRange::new(iova, part.len() as u64)?, memory))
}

impl<S: AsRef<dyn AddressSpace>> Drop for DmaMapping<S> {
    #[inline]
    fn drop(&mut self) {
        if self.mapped {
            self.take_out_and_log();
        }
    }
}

#[cfg(test)]
pub mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use nix::errno::Errno;

    use super::*;
    use crate::iommu::{DeviceFd, PageKind};
    use crate::types::{Backend, PageSizes, VfioNode};

    fn buffer(size: &str) -> Arc<DmaBuffer> {
        Arc::new(DmaBuffer::allocate(size.parse().unwrap(), PageKind::Base).unwrap())
    }

    /// Records what is mapped; refuses to unmap if told so. IOVAs are 32 bits wide, less the interrupt window.
    #[derive(Default)]
    pub struct FakeSpace {
        mapped: Mutex<Vec<(IovaRange, usize)>>,
        unmaps: AtomicUsize,
        stuck: bool,
    }

    impl AddressSpace for FakeSpace {
        fn backend(&self) -> Backend {
            Backend::Type1
        }
        fn attach(&self, node: &VfioNode) -> Result<DeviceFd, IommuError> {
            Err(IommuError::NoGroup { bdf: node.bdf })
        }
        unsafe fn map(
            &self,
            range: IovaRange,
            memory: NonNull<u8>,
            _protection: Protection,
        ) -> Result<(), IommuError> {
            let mut mapped = self.mapped.lock().unwrap();
            mapped.push((range, memory.as_ptr() as usize));
            Ok(())
        }
        fn unmap(&self, range: IovaRange) -> Result<u64, IommuError> {
            self.unmaps.fetch_add(1, Ordering::Relaxed);
            if self.stuck {
                let errno = Errno::EBUSY;
                return Err(IommuError::Partial { range, errno });
            }
            let mut mapped = self.mapped.lock().unwrap();
            let before = mapped.len();
            // Each mapping in the range, whole.
            mapped
                .retain(|(known, _)| known.start() < range.start() || known.last() > range.last());
            match before - mapped.len() {
                0 => Err(IommuError::NothingToUnmap { range }),
                _ => Ok(range.size() as u64),
            }
        }
        fn unmap_all(&self) -> Result<u64, IommuError> {
            self.mapped.lock().unwrap().clear();
            Ok(0)
        }
        fn iova_ranges(&self) -> Result<Vec<IovaRange>, IommuError> {
            let ends = [(0, 0xfedf_ffff), (0xfef0_0000, 0xffff_ffff)];
            let range = |(start, last)| IovaRange::from_ends(Iova(start), Iova(last)).unwrap();
            Ok(ends.map(range).to_vec())
        }
        fn page_sizes(&self) -> Result<PageSizes, IommuError> {
            Ok(PageSizes(0x1000))
        }
        fn entries_left(&self) -> Result<Option<u32>, IommuError> {
            Ok(None)
        }
    }

    fn map(
        space: &Arc<FakeSpace>,
        buffer: &Arc<DmaBuffer>,
        part: Range<usize>,
        iova: u64,
    ) -> DmaMapping {
        let space = space.clone() as Arc<dyn AddressSpace>;
        DmaMapping::new(space, buffer, part, Iova(iova), Protection::ReadWrite).unwrap()
    }

    #[test]
    fn a_mapping_lasts_until_it_is_dropped() {
        let space = Arc::new(FakeSpace::default());
        let buffer = buffer("16K");
        let first = map(&space, &buffer, 0x1000..0x3000, 0x10_0000);
        let second = map(&space, &buffer, 0x1000..0x2000, 0x20_0000);
        let at = buffer.address().as_ptr() as usize + 0x1000;
        let known = space.mapped.lock().unwrap().clone();
        assert_eq!(known, [(first.range(), at), (second.range(), at)]);
        assert_eq!(first.range().size(), 0x2000);
        drop(first);
        assert_eq!(space.mapped.lock().unwrap().len(), 1);
        second.unmap().unwrap();
        assert!(space.mapped.lock().unwrap().is_empty());
        assert_eq!(Arc::strong_count(&buffer), 1);
    }

    #[test]
    fn memory_that_may_still_be_mapped_is_kept() {
        let space = Arc::new(FakeSpace {
            stuck: true,
            ..FakeSpace::default()
        });
        let buffer = buffer("4K");
        drop(map(&space, &buffer, 0..0x1000, 0x10_0000));
        assert_eq!(Arc::strong_count(&buffer), 2);
        assert!(map(&space, &buffer, 0..0x1000, 0x10_0000).unmap().is_err());
        assert_eq!(Arc::strong_count(&buffer), 3);
    }

    #[test]
    fn a_mapping_in_a_borrowed_address_space_keeps_its_memory_even_if_forgotten() {
        let space: Arc<dyn AddressSpace> = Arc::new(FakeSpace::default());
        let buffer = buffer("4K");
        let map = || {
            let iova = Iova(0x10_0000);
            DmaMapping::new(&space, &buffer, 0..0x1000, iova, Protection::Read).unwrap()
        };
        map().unmap().unwrap();
        drop(map());
        assert_eq!(Arc::strong_count(&buffer), 1);
        std::mem::forget(map());
        assert_eq!(Arc::strong_count(&buffer), 2);
    }

    #[test]
    fn pieces_are_made_ready_mapped_and_unmapped_as_one() {
        let space = Arc::new(FakeSpace::default());
        let buffer = buffer("64K");
        let map = |ready: &(dyn Fn(Range<usize>) -> Result<(), IommuError> + Sync)| {
            let pieces = Pieces {
                size: 0x3000,
                threads: 3,
                ready,
            };
            let space = space.clone() as Arc<dyn AddressSpace>;
            let (part, iova) = (0x1000..0x9000, Iova(0x10_0000));
            DmaMapping::in_pieces(space, &buffer, part, iova, Protection::Read, &pieces)
        };

        let made_ready = Mutex::new(Vec::new());
        let mapping = map(&|piece| {
            made_ready.lock().unwrap().push(piece);
            Ok(())
        })
        .unwrap();
        let mut made_ready = made_ready.into_inner().unwrap();
        made_ready.sort_by_key(|piece| piece.start);
        assert_eq!(made_ready, [0x1000..0x4000, 0x4000..0x7000, 0x7000..0x9000]);
        let mut mapped = space.mapped.lock().unwrap().clone();
        mapped.sort_unstable_by_key(|(range, _)| range.start());
        let places = mapped
            .iter()
            .map(|(range, memory)| (range.start().0, range.size(), *memory));
        let first = buffer.address().as_ptr() as usize;
        assert!(places.eq([
            (0x10_0000, 0x3000, first + 0x1000),
            (0x10_3000, 0x3000, first + 0x4000),
            (0x10_6000, 0x2000, first + 0x7000),
        ]));
        mapping.unmap().unwrap();
        assert!(space.mapped.lock().unwrap().is_empty());

        let failed = map(&|piece| match piece.start {
            0x4000 => Err(IommuError::NoPages {
                pages: PageKind::Base,
                size: "4K".parse().unwrap(),
                cause: "none is left".to_owned(),
            }),
            _ => Ok(()),
        });
        assert!(failed.is_err());
        assert!(space.mapped.lock().unwrap().is_empty());
    }

    #[test]
    fn neighbours_are_unmapped_by_one_call() {
        let space = Arc::new(FakeSpace::default());
        let buffer = buffer("16K");
        let [a, b, c, d] = [0x10_2000, 0x10_0000, 0x20_0000, 0x10_1000]
            .map(|iova| map(&space, &buffer, 0..0x1000, iova));
        let other = map(&space, &buffer, 0..0x1000, 0x10_3000);

        let results = DmaMapping::unmap_together(vec![a, b, c, d]);

        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 4);
        assert_eq!(space.unmaps.load(Ordering::Relaxed), 2);
        let left = space.mapped.lock().unwrap().clone();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].0, other.range());
        drop(other);
        assert_eq!(Arc::strong_count(&buffer), 1);
    }

    #[test]
    fn neighbours_that_stay_mapped_are_told_one_by_one_and_keep_their_memory() {
        let space = Arc::new(FakeSpace {
            stuck: true,
            ..FakeSpace::default()
        });
        let buffer = buffer("4K");
        let both = [0x10_0000, 0x10_1000].map(|iova| map(&space, &buffer, 0..0x1000, iova));

        let results = DmaMapping::unmap_together(both.into());

        assert!(results.iter().all(Result::is_err));
        assert_eq!(Arc::strong_count(&buffer), 3);
    }

    #[test]
    fn memory_of_a_cleared_space_is_freed() {
        let space = Arc::new(FakeSpace::default());
        let buffer = buffer("4K");
        let mapping = map(&space, &buffer, 0..0x1000, 0x10_0000);
        space.unmap_all().unwrap();
        drop(mapping);
        assert_eq!(Arc::strong_count(&buffer), 1);
    }
}
