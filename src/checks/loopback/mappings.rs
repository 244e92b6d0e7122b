//! Loops through mappings of special kinds.

use std::sync::Arc;

use super::super::lane::Lane;
use super::super::pattern::{Pattern, SplitMix, inverted};
use super::super::{Check, Finding, Problem, Rig, Role};
use super::{Case, there_and_back};
use crate::iommu::{DmaBuffer, DmaMapping, IommuError, PageKind};
use crate::types::{Level, Protection, Size};

/// Huge pages.
pub(in crate::checks) const HUGE_PAGES: Check = Check {
    id: "loopback.huge-pages",
    title: "loops through both ends and the middle of huge pages of 2 MiB and 1 GiB, where the host has them",
    proves: "memory that the IOMMU may translate by one large entry is translated right in all of it",
    role: Role::Dma,
    level: Level::Full,
    run: huge_pages,
};

/// A page at two IOVAs.
pub(in crate::checks) const SHARED_PAGE: Check = Check {
    id: "loopback.shared-page",
    title: "one page mapped at two IOVAs: written through one, read through the other, also after the first is gone",
    proves: "mappings of the same memory lead to the same bytes, and end one by one",
    role: Role::Dma,
    level: Level::Full,
    run: shared_page,
};

/// A large table.
pub(in crate::checks) const MANY: Check = Check {
    id: "loopback.many",
    title: "loops among 2048 pages that are mapped one by one, in mixed-up order",
    proves: "many mappings at once do not get into each other's way",
    role: Role::Dma,
    level: Level::Full,
    run: many,
};

/// How many mappings there are at once.
const MANY_PAGES: usize = 2048;

/// Mixes the order of pages: odd, so that each of a power of two comes once.
const STRIDE: usize = 1031;

/// Among how many of the pages bytes are looped.
const VISITED: usize = 8;

/// A size of huge pages.
struct HugeSize {
    words: &'static str,
    bytes: u64,
    /// How they may be had; the first that works is taken.
    ways: &'static [fn(Size) -> PageKind],
}

const HUGE: [HugeSize; 2] = [
    HugeSize {
        words: "2 MiB",
        bytes: 2 << 20,
        ways: &[|_| PageKind::Transparent, PageKind::Huge],
    },
    HugeSize {
        words: "1 GiB",
        bytes: 1 << 30,
        ways: &[PageKind::Huge],
    },
];

fn huge_pages(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let (mut seen, mut missing) = (Vec::new(), Vec::new());
    for HugeSize { words, bytes, ways } in HUGE {
        let size = Size::new(bytes).expect("huge pages are not empty");
        let memory = match allocate(size, ways) {
            Ok(memory) => Arc::new(memory),
            Err(error) => {
                missing.push((words, error.to_string()));
                continue;
            }
        };
        let Ok(range) = rig.aligned_iovas(bytes, bytes) else {
            let why = format!("no free IOVAs for a page of {words} within the device's reach");
            missing.push((words, why));
            continue;
        };
        let (all, start) = (0..memory.size(), range.start());
        let _mapping = DmaMapping::new(
            rig.space.clone(),
            &memory,
            all,
            start,
            Protection::ReadWrite,
        )?;
        let elsewhere = Lane::new(rig, &[0, 1], Protection::ReadWrite)?;
        let (page, size) = (rig.page(), rig.largest_transfer());
        let last = memory.size() / page - 2;
        for first in [0, last / 2, last] {
            let part = Lane::window(rig, &memory, start, first..first + 2);
            let case = Case {
                source: page - size / 2,
                destination: page - size / 2,
                size,
            };
            if let Err(finding) = there_and_back(rig, &part, &elsewhere, case)? {
                return Ok(
                    finding.with_evidence([format!("a page of {words} is mapped at {range}")])
                );
            }
        }
        seen.push(words);
    }
    Ok(if seen.is_empty() {
        let why: Vec<String> = missing.into_iter().map(|(_, why)| why).collect();
        Finding::not_here(why.join("; "))
    } else {
        let pages = seen.join(" and one of ");
        let missing = missing
            .iter()
            .map(|(words, _)| format!("; there is none of {words}"));
        Finding::pass(format!(
            "loops through both ends and the middle of a page of {pages} came back right{}",
            missing.collect::<String>()
        ))
    })
}

/// One huge page, in the first way that works; or why the last did not.
fn allocate(size: Size, ways: &[fn(Size) -> PageKind]) -> Result<DmaBuffer, IommuError> {
    let (last, others) = ways.split_last().expect("each size has a way to be had");
    let allocate = |way: &fn(Size) -> PageKind| DmaBuffer::allocate(size, way(size));
    let found = others.iter().find_map(|way| allocate(way).ok());
    found.map_or_else(|| allocate(last), Ok)
}

fn shared_page(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let (memory, size) = (rig.memory(1)?, rig.largest_transfer());
    let map = |rig: &mut Rig<'_>| {
        let (all, iova) = (0..memory.size(), rig.iovas(1)?.start());
        Ok::<_, Problem>(DmaMapping::new(
            rig.space.clone(),
            &memory,
            all,
            iova,
            Protection::ReadWrite,
        )?)
    };
    let (first, second) = (map(rig)?, map(rig)?);
    let (a, b) = (first.iova(), second.iova());
    let mut first = Some(first);
    let source = Lane::new(rig, &[0], Protection::Read)?;
    let landing = Lane::new(rig, &[0], Protection::ReadWrite)?;

    let payload = new_payload(rig, size);
    source.write(&payload);
    memory.write(0, &inverted(&payload));
    let read = rig.load(source.iova(0), size)?;
    rig.store(a, size)?;
    let mut now = vec![0; size];
    memory.read(0, &mut now);
    if !read || now != payload {
        return Ok(Finding::fail(format!(
            "what the device wrote to {a} is not in the page, which is mapped at {b} too"
        )));
    }
    for when in ["", ", once the other was unmapped"] {
        let payload = new_payload(rig, size);
        memory.write(0, &payload);
        landing.write(&inverted(&payload));
        let read = rig.load(b, size)?;
        rig.store(landing.iova(0), size)?;
        if !read || landing.read(size) != payload {
            return Ok(Finding::fail(format!(
                "what the device read through {b} is not what the page holds, which was mapped at {a} first{when}"
            )));
        }
        if let Some(first) = first.take() {
            first.unmap()?;
        }
    }
    Ok(Finding::pass(format!(
        "a page at {a} and {b} was written through the one and read through the other, also when the one was gone"
    )))
}

fn many(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let order: Vec<usize> = (0..MANY_PAGES).map(|at| at * STRIDE % MANY_PAGES).collect();
    let lane = Lane::new(rig, &order, Protection::ReadWrite)?;
    let (page, size) = (rig.page(), rig.largest_transfer());
    let turn = rig.next_turn();
    let mut expected = Pattern::Random(rig.seed).bytes(lane.size(), turn);
    let mut random = SplitMix(rig.seed ^ turn);
    let visited: Vec<usize> = [0, MANY_PAGES - 1]
        .into_iter()
        .chain(std::iter::repeat_with(|| 1 + random.below(MANY_PAGES - 2)))
        .take(VISITED)
        .collect();
    let ways = visited.windows(2).filter(|pages| pages[0] != pages[1]);
    let ways: Vec<_> = ways
        .map(|pages| (pages[0] * page, pages[1] * page))
        .collect();
    for (from, to) in &ways {
        let payload = new_payload(rig, size);
        expected[*from..from + size].copy_from_slice(&payload);
        expected[*to..to + size].copy_from_slice(&inverted(&payload));
        lane.write(&expected);
        let read = rig.load(lane.iova(*from), size)?;
        rig.store(lane.iova(*to), size)?;
        expected[*to..to + size].copy_from_slice(&payload);
        let found = lane.read(lane.size());
        if !read {
            return Ok(Finding::fail(format!(
                "the device did not find at {} what is in the page mapped there",
                lane.iova(*from)
            )));
        }
        if let Some(at) = found.iter().zip(&expected).position(|(a, b)| a != b) {
            return Ok(Finding::fail(format!(
                "a loop from {} to {}: what is mapped at {} does not hold what it should",
                lane.iova(*from),
                lane.iova(*to),
                lane.iova(at)
            )));
        }
    }
    Ok(Finding::pass(format!(
        "{} loops among {MANY_PAGES} pages, each mapped on its own from {} on, came back right, no other page changed",
        ways.len(),
        lane.iova(0)
    )))
}

fn new_payload(rig: &mut Rig<'_>, size: usize) -> Vec<u8> {
    let wanted = Pattern::Counter.bytes(size, rig.next_turn());
    rig.payload(&wanted)
}
