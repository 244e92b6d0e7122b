//! Addresses beside a mapping, and what a mapping does not permit.

use std::sync::Arc;

use super::super::lane::Lane;
use super::super::pattern::{Pattern, inverted};
use super::super::{Check, Finding, Problem, Rig, Role};
use super::intruder::{Intruder, not_blocked};
use crate::engine::Reading;
use crate::iommu::{DmaBuffer, DmaMapping};
use crate::types::{Iova, Level, Protection};

/// DMA over the end of a mapping and after it.
pub(in crate::checks) const PAST_END: Check = Check {
    id: "isolation.past-end",
    title: "DMA over the end of a mapping, right after it, and a page further on",
    proves: "a mapping ends where it ends: memory that follows it is out of reach",
    role: Role::Dma,
    level: Level::Quick,
    run: past_end,
};

/// DMA that fills a mapping, with everything around it watched.
pub(in crate::checks) const NEIGHBOURS: Check = Check {
    id: "isolation.neighbours",
    title: "fill a mapped page by DMA between guard pages, in IOVAs and in memory",
    proves: "DMA to a page changes neither the pages mapped beside it nor the memory beside it",
    role: Role::Dma,
    level: Level::Quick,
    run: neighbours,
};

/// DMA to memory that the device may only read.
pub(in crate::checks) const READ_ONLY: Check = Check {
    id: "isolation.read-only",
    title: "write by DMA to memory that is mapped to be read only, before and after reading it",
    proves: "the device can read memory that it may only read, and cannot change it",
    role: Role::Dma,
    level: Level::Quick,
    run: read_only,
};

/// Memory of which one page is mapped. The IOVAs are as if all were.
struct Fenced {
    memory: Arc<DmaBuffer>,
    _mapping: DmaMapping,
    start: Iova,
    page: usize,
}

impl Fenced {
    /// `pages` of memory, of which `mapped` is.
    fn new(rig: &mut Rig<'_>, pages: usize, mapped: usize) -> Result<Self, Problem> {
        let page = rig.page();
        let memory = rig.memory(pages)?;
        let start = rig.iovas(pages)?.start();
        let part = mapped * page..(mapped + 1) * page;
        let iova = Iova(start.0 + part.start as u64);
        let mapping = DmaMapping::new(
            rig.space.clone(),
            &memory,
            part,
            iova,
            Protection::ReadWrite,
        )?;
        Ok(Self {
            memory,
            _mapping: mapping,
            start,
            page,
        })
    }

    fn iova(&self, offset: usize) -> Iova {
        Iova(self.start.0 + offset as u64)
    }

    /// What the memory holds.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.memory.size()];
        self.memory.read(0, &mut bytes);
        bytes
    }

    /// The first offset outside the mapped page at which the memory does not hold what it should.
    fn changed_outside(&self, mapped: usize, expected: &[u8]) -> Option<usize> {
        let inside = mapped * self.page..(mapped + 1) * self.page;
        let now = self.bytes();
        let differs = |at: &usize| !inside.contains(at) && now[*at] != expected[*at];
        (0..now.len()).find(differs)
    }
}

/// The page of [`Fenced`] memory that is mapped.
const MAPPED: usize = 1;

fn past_end(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let limits = rig.limits();
    // As few bytes over the end as the engine can. None starts at the last byte of a page: QEMU's virtio-iommu translates that byte
    // by what follows (hw/virtio/virtio-iommu.c looks up `addr` and `addr + 1` together), so it could hit memory of others.
    let over = limits.alignment;
    let size = rig.size_from(2 * over.max(2)).min(rig.largest_transfer());
    let mut intruder = match Intruder::with_size(rig, size)? {
        Ok(intruder) => intruder,
        Err(finding) => return Ok(finding),
    };
    // A page before, the mapped one, and two after it.
    let fenced = Fenced::new(rig, 4, MAPPED)?;
    let page = fenced.page;
    let end = (MAPPED + 1) * page;
    let starts = [end - (size - over), end, end + page];

    let mut expected = vec![0; fenced.memory.size()];
    for start in starts {
        // They overlap, so each is prepared when it is its turn.
        expected[start..start + size].copy_from_slice(&intruder.untouched());
        fenced.memory.write(0, &expected);
        intruder.write(rig, fenced.iova(start))?;
        if let Some(at) = fenced.changed_outside(MAPPED, &expected) {
            return Ok(not_blocked(format!(
                "a write of {size} bytes to {} changed the byte at offset {} from the end of the mapping, {}",
                fenced.iova(start),
                at as i64 - end as i64,
                fenced.iova(end)
            )));
        }
    }
    let secret = intruder.secret(rig);
    for start in starts {
        // What of the transfer lies outside the mapping.
        let outside = end.saturating_sub(start)..size;
        if !intruder.own_bytes_show(rig, outside.clone()) {
            intruder.cannot_see();
            continue;
        }
        // Within the mapping the device may read: there it finds what tells the rest apart.
        let mut bytes = intruder.payload().to_vec();
        bytes[outside.clone()].copy_from_slice(&secret[outside.clone()]);
        fenced.memory.write(start, &bytes);
        let got = intruder.read(rig, fenced.iova(start))?.unwrap_or_default();
        let stolen = got.iter().zip(&secret).skip(outside.start);
        let stolen = stolen.filter(|(a, b)| a == b).count();
        if stolen > 0 {
            return Ok(not_blocked(format!(
                "a read of {size} bytes at {} gave {stolen} bytes from after the end of the mapping, {}",
                fenced.iova(start),
                fenced.iova(end)
            )));
        }
    }
    let over = match over {
        1 => "1 byte".to_owned(),
        bytes => format!("{bytes} bytes"),
    };
    let what = format!(
        "DMA over the end at {} by {over}, right after it, and a page further on reached nothing there",
        fenced.iova(end)
    );
    intruder.blocked(rig, what)
}

fn neighbours(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let fenced = Fenced::new(rig, 3, MAPPED)?;
    let page = fenced.page;
    let guard = |offset: usize| Lane::at(rig, fenced.iova(offset), &[0], Protection::ReadWrite);
    let guards = [guard(0)?, guard(2 * page)?];
    let largest = rig.largest_transfer();
    let wanted = Pattern::Counter.bytes(largest, rig.next_turn());
    let payload = rig.payload(&wanted);
    let source = Lane::new(rig, &[0], Protection::Read)?;
    source.write(&payload);

    let filling: Vec<u8> = inverted(&payload).into_iter().cycle().take(page).collect();
    for guard in &guards {
        guard.write(&filling);
    }
    let mut expected = filling.repeat(3);
    fenced.memory.write(0, &expected);
    let read = rig.load(source.iova(0), largest)?;
    // The last piece ends where the page does.
    let last = page - largest;
    for start in (0..last).step_by(largest).chain([last]) {
        rig.store(fenced.iova(MAPPED * page + start), largest)?;
        let place = MAPPED * page + start;
        expected[place..place + largest].copy_from_slice(&payload);
    }

    if let Some(side) = guards.iter().position(|guard| guard.read(page) != filling) {
        let side = ["before", "after"][side];
        return Ok(not_blocked(format!(
            "filling the page at {} changed the page that is mapped right {side} it",
            fenced.iova(page)
        )));
    }
    if let Some(at) = fenced.changed_outside(MAPPED, &expected) {
        let side = if at < page { "before" } else { "after" };
        return Ok(not_blocked(format!(
            "filling the page at {} changed memory that lies right {side} the mapped page, and is not mapped",
            fenced.iova(page)
        )));
    }
    Ok(if read && fenced.bytes() == expected {
        Finding::pass(format!(
            "the page at {} was filled, the guard pages on both sides stayed as they were, and so did the memory around it",
            fenced.iova(page)
        ))
    } else {
        Finding::fail(format!(
            "the page at {} does not hold what the device wrote",
            fenced.iova(page)
        ))
    })
}

fn read_only(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let mut intruder = match Intruder::new(rig)? {
        Ok(intruder) => intruder,
        Err(finding) => return Ok(finding),
    };
    let target = Lane::new(rig, &[0], Protection::Read)?;
    let (iova, size) = (target.iova(0), intruder.size());
    let untouched = intruder.untouched();
    let changed = |when: &str| {
        not_blocked(format!(
            "a write to {iova}, which is mapped to be read only, changed it{when}"
        ))
    };
    target.write(&untouched);
    intruder.write(rig, iova)?;
    if target.read(size) != untouched {
        return Ok(changed(""));
    }
    let readable = match rig.limits().reading {
        Reading::Kept => Pattern::Counter.bytes(size, rig.next_turn()),
        Reading::Compared | Reading::Never => intruder.payload().to_vec(),
    };
    target.write(&readable);
    if intruder.read(rig, iova)?.is_some_and(|got| got != readable) {
        return Ok(Finding::fail(format!(
            "the device could not read {iova}, which is mapped to be read"
        )));
    }
    // By now the IOMMU may have kept the translation.
    target.write(&untouched);
    intruder.write(rig, iova)?;
    if target.read(size) != untouched {
        return Ok(changed(" after a read"));
    }
    let what = format!("writes to {iova} had no effect before and after it was read");
    intruder.blocked(rig, what)
}
