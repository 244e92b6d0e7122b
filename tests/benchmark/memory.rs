//! Bars 3, 4 and 6: large memory by the mapping strategy, against what a plain program does.

use anyhow::{Context, Result};
use iommu_tool::iommu::{BareMapping, DmaBuffer, DmaMapping, Memory, PageKind};
use iommu_tool::types::{Backend, Iova, Protection, Size};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use super::Space;
use super::bars::{Bound, Measured, Row};
use super::turns::{self, Turns};

const RW: Protection = Protection::ReadWrite;
const PLACE: Iova = Iova(1 << 36);
const RESERVED: &str = "/proc/sys/vm/nr_hugepages";

fn bare(space: &Space, buffer: &Arc<DmaBuffer>) -> Result<BareMapping> {
    BareMapping::new(space, buffer, 0..buffer.size(), PLACE)?.context("no file of the kernel's")
}

/// Has the kernel reserve this many huge pages.
fn reserve(pages: usize) -> Result<()> {
    std::fs::write(RESERVED, pages.to_string())?;
    let got = std::fs::read_to_string(RESERVED)?;
    anyhow::ensure!(
        got.trim() == pages.to_string(),
        "only {} of {pages} huge pages could be reserved",
        got.trim()
    );
    Ok(())
}

/// Bar 3: memory that is not there yet.
pub fn cold(space: &Space) -> Result<Vec<Row>> {
    let size = Size::new(1 << 30).context("no size")?;
    let plain = || {
        let begin = Instant::now();
        let buffer = Arc::new(DmaBuffer::reserve(size, PageKind::Base)?);
        let mut bare = bare(space, &buffer)?;
        bare.map()?;
        Ok(begin.elapsed())
    };
    let strategy = || {
        let begin = Instant::now();
        let mapping = Memory::new(&**space, size, None, PLACE)?.map(space, PLACE, RW)?;
        let time = begin.elapsed();
        mapping.unmap()?;
        Ok(time)
    };
    let turns = Turns {
        warm_up: 1,
        rounds: 9,
        block: 1,
    };
    let backend = space.backend();
    let bound = match backend {
        Backend::Type1 => 10.0,
        Backend::Iommufd => 12.0,
    };
    let mut rows = Vec::new();
    for (pages, state) in [(0, "no pages reserved"), (600, "2M pages reserved")] {
        reserve(pages)?;
        let medians = turns::take(&mut [Box::new(plain), Box::new(strategy)], turns)?;
        rows.push(Row::new(
            3,
            format!(
                "{backend}: cold 1 GiB, plain 4K over the strategy by {} threads, {state}",
                thread::available_parallelism()?
            ),
            turns::ratio(&medians[0], &medians[1])?,
            Bound::AtLeast(bound),
        ));
    }
    reserve(0)?;
    Ok(rows)
}

/// Bar 4: memory that is there, of reserved pages. Promised of iommufd alone.
pub fn hot(space: &Space) -> Result<Vec<Row>> {
    if space.backend() != Backend::Iommufd {
        return Ok(Vec::new());
    }
    reserve(200)?;
    let size = Size::new(256 << 20).context("no size")?;
    let memory = Memory::new(&**space, size, None, PLACE)?;
    memory.map(space, PLACE, RW)?.unmap()?;
    let mut bare = bare(space, memory.buffer())?;
    let by_address = || {
        let begin = Instant::now();
        bare.map()?;
        let time = begin.elapsed();
        bare.unmap()?;
        Ok(time)
    };
    let by_default = || {
        let begin = Instant::now();
        let mapping = memory.map(space, PLACE, RW)?;
        let time = begin.elapsed();
        mapping.unmap()?;
        Ok(time)
    };
    let turns = Turns {
        warm_up: 20,
        rounds: 40,
        block: 10,
    };
    let medians = turns::take(&mut [Box::new(by_address), Box::new(by_default)], turns)?;
    drop(memory);
    reserve(0)?;
    Ok(vec![Row::new(
        4,
        format!(
            "{}: hot 256M of reserved 2M pages, bare IOAS_MAP over the default path",
            space.backend()
        ),
        turns::ratio(&medians[0], &medians[1])?,
        Bound::AtLeast(10.0),
    )])
}

/// Bar 6: several threads in one address space, each with mappings of its own. Promised of iommufd alone.
pub fn threads(space: &Space) -> Result<Vec<Row>> {
    const PIECE: u64 = 16 << 20;
    if space.backend() != Backend::Iommufd {
        return Ok(Vec::new());
    }
    let cores = thread::available_parallelism()?.get();
    let size = Size::new(PIECE).context("no size")?;
    let buffers: Vec<_> = (0..4)
        .map(|_| Ok(Arc::new(DmaBuffer::allocate(size, PageKind::Transparent)?)))
        .collect::<Result<_>>()?;
    let by = |count: usize| -> Result<Duration> {
        const PAIRS: u32 = 100;
        let start = Barrier::new(count);
        let one = |index: usize| -> Result<Duration> {
            let iova = Iova(PLACE.0 + index as u64 * (1 << 30));
            let buffer = &buffers[index];
            start.wait();
            let begin = Instant::now();
            for _ in 0..PAIRS {
                DmaMapping::new(space, buffer, 0..buffer.size(), iova, RW)?.unmap()?;
            }
            Ok(begin.elapsed())
        };
        let times: Vec<_> = thread::scope(|scope| {
            let others: Vec<_> = (0..count)
                .map(|index| scope.spawn(move || one(index)))
                .collect();
            others
                .into_iter()
                .map(|other| other.join().expect("mapping does not panic"))
                .collect()
        });
        let slowest = times
            .into_iter()
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .max();
        // The time for as much work as one thread does.
        Ok(slowest.context("no thread")? / u32::try_from(count)?)
    };
    let turns = Turns {
        warm_up: 3,
        rounds: 40,
        block: 5,
    };
    let mut rows = Vec::new();
    for (count, bound) in [(2, 1.8), (4, 3.0)] {
        // Four threads need a core each, and one that is left for the rest of the machine.
        let measured = if count > 2 && cores < count {
            Measured::NotHere("needs more than 4 processors".to_owned())
        } else {
            let medians = turns::take(&mut [Box::new(|| by(1)), Box::new(|| by(count))], turns)?;
            turns::ratio(&medians[0], &medians[1])?
        };
        rows.push(Row::new(
            6,
            format!(
                "{}: 16M pieces of THP, {count} threads over one",
                space.backend()
            ),
            measured,
            Bound::AtLeast(bound),
        ));
    }
    Ok(rows)
}
