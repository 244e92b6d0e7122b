//! Do the processor and the IOMMU mean the same physical page?
//!
//! The processor's side is told by the page tables of this process, the IOMMU's by its own page tables where the kernel shows them, else
//! by the trace of the mapping.

use std::ptr::NonNull;
use std::sync::Arc;

use super::isolation::attempt;
use super::lane::{Lane, page_address};
use super::observer::Translations;
use super::pattern::{Pattern, inverted};
use super::{Check, Finding, Problem, Rig, Role};
use crate::engine::Reading;
use crate::iommu::{DmaBuffer, DmaMapping, PageKind};
use crate::types::{Iova, IovaRange, Level, Protection, Size};

/// Every page of some mappings, from both sides.
pub(super) const PAGES: Check = Check {
    id: "agreement.pages",
    title: "compare the IOMMU's physical address of every mapped page with the processor's",
    proves: "each IOVA leads to the physical page that the processor has, with the right permissions, and nowhere after the unmap",
    role: Role::WithoutDma,
    level: Level::Quick,
    run: pages,
};

/// DMA, seen through another virtual address.
pub(super) const DMA: Check = Check {
    id: "agreement.dma",
    title: "DMA to a page that the processor sees at a second virtual address too, then to another page at the same IOVA",
    proves: "the device writes to the physical page that both sides mean, before and after the IOVA is mapped anew",
    role: Role::Dma,
    level: Level::Quick,
    run: dma,
};

/// No two pages of these follow each other in memory.
const ORDER: [usize; 6] = [3, 0, 5, 1, 4, 2];

const HUGE: u64 = 2 << 20;

fn pages(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    if let Err(why) = rig.observer.watch_mappings() {
        return Ok(not_known(&why));
    }
    let mut compared = Compared::default();
    let mut scattered = Lane::new(rig, &ORDER, Protection::ReadWrite)?;
    let read_only = Lane::new(rig, &[0, 1], Protection::Read)?;
    for (lane, writable) in [(&scattered, true), (&read_only, false)] {
        let places: Vec<_> = lane.places().collect();
        if let Err(finding) = compared.compare(rig, &places, rig.page(), writable) {
            return Ok(finding);
        }
    }
    let huge = match HugePage::map(rig)? {
        Some(huge) => {
            let places = [(huge.iova, huge.memory.address())];
            if let Err(finding) = compared.compare(rig, &places, HUGE as usize, true) {
                return Ok(finding);
            }
            ", a huge page among it"
        }
        None => "",
    };

    // Taken out, and other memory put in its place.
    let (start, length) = (scattered.iova(0), scattered.size() as u64);
    let range = IovaRange::new(start, length).expect("what was mapped has an end");
    scattered.unmap()?;
    match rig.observer.translations(range) {
        Err(why) => return Ok(not_known(&why)),
        Ok(left) => {
            if let Some(page) = left.pages.first() {
                return Ok(Finding::fail(format!(
                    "{} was unmapped, and still leads to {:#x} by {}",
                    page.iova, page.physical, left.source
                )));
            }
        }
    }
    let again = Lane::at(rig, start, &ORDER, Protection::ReadWrite)?;
    let places: Vec<_> = again.places().collect();
    if let Err(finding) = compared.compare(rig, &places, rig.page(), true) {
        return Ok(finding);
    }
    let Compared { bytes, source } = compared;
    let size = Size::new(bytes).map_or_else(String::new, |size| size.to_string());
    Ok(Finding::pass(format!(
        "{size}{huge}: the physical address of each page is the same by {source} and by the processor's page tables"
    )))
}

fn dma(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    // Without it the bytes alone are compared.
    let watched = rig.observer.watch_mappings();
    let size = rig.largest_transfer();
    let page = rig.page();
    let both = Size::new(2 * page as u64).expect("a page is not empty");
    let [mapped, seen] = DmaBuffer::allocate_twice(both)?;
    let (mapped, iova) = (Arc::new(mapped), rig.iovas(1)?.start());
    let source = Lane::new(rig, &[0], Protection::Read)?;
    let mut compared = Compared::default();
    for offset in [0, page] {
        let wanted = Pattern::Counter.bytes(size, rig.next_turn());
        let payload = rig.payload(&wanted);
        source.write(&payload);
        seen.write(0, &inverted(&payload));
        seen.write(page, &inverted(&payload));
        let part = offset..offset + page;
        let mapping = DmaMapping::new(
            rig.space.clone(),
            &mapped,
            part,
            iova,
            Protection::ReadWrite,
        )?;
        if watched.is_ok() {
            let places = [(iova, page_address(&mapped, offset))];
            if let Err(finding) = compared.compare(rig, &places, page, true) {
                return Ok(finding);
            }
        }
        let read = match rig.limits().reading {
            Reading::Never => true,
            Reading::Kept | Reading::Compared => rig.load(source.iova(0), size)?,
        };
        // A complaint does not matter where the bytes are there.
        let stored = attempt(rig.store(iova, size))?;
        let mut arrived = vec![0; size];
        seen.read(offset, &mut arrived);
        let mut other = vec![0; size];
        seen.read(page - offset, &mut other);
        if other != inverted(&payload) {
            return Ok(Finding::fail(format!(
                "the device wrote to {iova}, and the page that is not mapped there changed"
            )));
        }
        if !read || arrived != payload {
            return Ok(Finding::fail(format!(
                "what the device wrote to {iova} is not in the page mapped there, as a second virtual address of it shows"
            ))
            .with_evidence(stored.err()));
        }
        mapping.unmap()?;
    }
    let by = match watched {
        Ok(()) => format!("as {} has it too", compared.source),
        Err(_) => format!("by its bytes only ({} says why)", PAGES.id),
    };
    Ok(Finding::pass(format!(
        "what the device wrote to {iova} appeared at a second virtual address of the page, and of another page mapped there next, {by}"
    )))
}

/// What was found to agree so far.
#[derive(Default)]
struct Compared {
    bytes: u64,
    source: &'static str,
}

impl Compared {
    /// Compares pieces of memory, `size` bytes each, at these IOVAs and addresses of this process. The finding ends the check.
    fn compare(
        &mut self,
        rig: &Rig<'_>,
        places: &[(Iova, NonNull<u8>)],
        size: usize,
        writable: bool,
    ) -> Result<(), Finding> {
        for (start, memory) in places {
            let range = IovaRange::new(*start, size as u64).expect("what is mapped has an end");
            let told = rig.observer.translations(range);
            let told = told.map_err(|why| not_known(&why))?;
            self.source = told.source;
            for offset in (0..size).step_by(rig.page()) {
                let iova = Iova(start.0 + offset as u64);
                let address = memory.map_addr(|first| {
                    first
                        .checked_add(offset)
                        .expect("the offset lies within the memory")
                });
                self.compare_page(rig, &told, iova, address, writable)?;
            }
        }
        Ok(())
    }

    fn compare_page(
        &mut self,
        rig: &Rig<'_>,
        told: &Translations,
        iova: Iova,
        address: NonNull<u8>,
        writable: bool,
    ) -> Result<(), Finding> {
        let cpu = rig.observer.physical_address(address);
        let cpu = cpu.map_err(|why| not_known(&why))?;
        let page = told.page(iova).ok_or_else(|| {
            Finding::fail(format!(
                "{iova} was mapped, and leads nowhere by {}",
                told.source
            ))
        })?;
        let iommu = page.translate(iova);
        if iommu != Some(cpu) {
            return Err(Finding::fail(format!(
                "{iova} leads to {:#x} by {}, and its page is at {cpu:#x} by the processor's page tables",
                iommu.unwrap_or_default(),
                told.source
            )));
        }
        if told.with_permissions && (!page.readable || page.writable != writable) {
            let word = |yes| if yes { "may" } else { "may not" };
            return Err(Finding::fail(format!(
                "the device {} read and {} write {iova} by {}: it was mapped otherwise",
                word(page.readable),
                word(page.writable),
                told.source
            )));
        }
        self.bytes += rig.page() as u64;
        Ok(())
    }
}

/// Memory of one huge page at an IOVA, where there is any.
struct HugePage {
    _mapping: DmaMapping,
    memory: Arc<DmaBuffer>,
    iova: Iova,
}

impl HugePage {
    fn map(rig: &mut Rig<'_>) -> Result<Option<Self>, Problem> {
        let size = Size::new(HUGE).expect("2 MiB are not nothing");
        let Ok(memory) = DmaBuffer::allocate(size, PageKind::Transparent).map(Arc::new) else {
            return Ok(None);
        };
        let Ok(range) = rig.aligned_iovas(HUGE, HUGE) else {
            return Ok(None);
        };
        let (all, iova) = (0..memory.size(), range.start());
        let mapping =
            DmaMapping::new(rig.space.clone(), &memory, all, iova, Protection::ReadWrite)?;
        Ok(Some(Self {
            _mapping: mapping,
            memory,
            iova,
        }))
    }
}

fn not_known(why: &str) -> Finding {
    Finding::not_here(format!("one of the two sides is not known: {why}"))
}
