//! Bars 1, 2, 5, 7 and 8: what the library adds to the kernel's calls, and how little of them it needs.

use anyhow::{Context, Result, ensure};
use iommu_tool::bench::{interval_of_median, median};
use iommu_tool::iommu::{
    BareMapping, DmaBuffer, DmaMapping, IommuError, IovaAllocator, PageKind, alignment,
};
use iommu_tool::types::{Iova, Protection, Size};
use nix::errno::Errno;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Space;
use super::bars::{Bound, Measured, Row};
use super::turns::{self, QUICK, Turns, Way};

const PAGE: usize = 4096;
const PLACE: Iova = Iova(1 << 36);
const LIVE: usize = 16_000;
const CLEARED: usize = 1000;
const RW: Protection = Protection::ReadWrite;

fn buffer(bytes: usize, pages: PageKind) -> Result<Arc<DmaBuffer>> {
    let size = Size::new(bytes as u64).context("no size")?;
    Ok(Arc::new(DmaBuffer::allocate(size, pages)?))
}

/// When it began, was mapped, and was unmapped, by the bare calls.
///
/// This and the next do nothing else between the calls, and are small: QEMU takes a percent more for a function that lies across two pages.
#[inline(never)]
fn bare_pair(bare: &mut BareMapping) -> Result<[Instant; 3], Errno> {
    let begin = Instant::now();
    bare.map()?;
    let mapped = Instant::now();
    bare.unmap()?;
    Ok([begin, mapped, Instant::now()])
}

/// The same through the library.
#[inline(never)]
fn pair(space: &Space, buffer: &Arc<DmaBuffer>, iova: Iova) -> Result<[Instant; 3], IommuError> {
    let begin = Instant::now();
    let mapping = DmaMapping::new(space, buffer, 0..PAGE, iova, RW)?;
    let mapped = Instant::now();
    mapping.unmap()?;
    Ok([begin, mapped, Instant::now()])
}

fn bare(space: &Space, buffer: &Arc<DmaBuffer>) -> Result<BareMapping> {
    BareMapping::new(space, buffer, 0..buffer.size(), PLACE)?.context("no file of the kernel's")
}

/// What both calls took.
fn both([begin, _, unmapped]: [Instant; 3]) -> Duration {
    unmapped - begin
}

/// Bars 1 and 2: one page at a time, in an empty address space and in one that is full of mappings.
pub fn one_page(empty: &Space, full: &Space) -> Result<Vec<Row>> {
    let page = buffer(PAGE, PageKind::Base)?;
    let lots = buffer(LIVE * PAGE, PageKind::Base)?;
    let mut few = IovaAllocator::new(&empty.iova_ranges()?);
    let mut many = IovaAllocator::new(&full.iova_ranges()?);
    let mut live = Vec::new();
    for at in 0..LIVE {
        // Every second page stays free, so that the allocator has as many gaps.
        let iova = many.allocate(2 * PAGE as u64, PAGE as u64)?.start();
        let part = at * PAGE..(at + 1) * PAGE;
        live.push(DmaMapping::new(full, &lots, part, iova, RW)?);
    }
    let placed = |space: &Space, places: &mut IovaAllocator| {
        let begin = Instant::now();
        let range = places.allocate(PAGE as u64, alignment(PAGE as u64, PAGE as u64))?;
        DmaMapping::new(space, &page, 0..PAGE, range.start(), RW)?.unmap()?;
        places.free(range);
        Ok(begin.elapsed())
    };
    let (mut bare_few, mut bare_many) = (bare(empty, &page)?, bare(full, &page)?);
    let mut ways: [Way<'_>; 6] = [
        Box::new(|| Ok(both(bare_pair(&mut bare_few)?))),
        Box::new(|| Ok(both(pair(empty, &page, PLACE)?))),
        Box::new(|| placed(empty, &mut few)),
        Box::new(|| Ok(both(bare_pair(&mut bare_many)?))),
        Box::new(|| Ok(both(pair(full, &page, PLACE)?))),
        Box::new(|| placed(full, &mut many)),
    ];
    let medians = turns::take(&mut ways, QUICK)?;
    drop(ways);
    let unmapped = DmaMapping::unmap_together(live);
    ensure!(unmapped.iter().all(Result::is_ok), "not all was unmapped");

    let backend = empty.backend();
    let of = |way: usize, bare: usize| -> Vec<f64> {
        let pairs = medians[way].iter().zip(&medians[bare]);
        pairs.map(|(way, bare)| way / bare).collect()
    };
    Ok(vec![
        Row::new(
            1,
            format!("{backend}: 4K map+unmap, by the library over bare calls"),
            turns::ratio(&medians[1], &medians[0])?,
            Bound::AtMost(1.02),
        ),
        Row::new(
            2,
            format!("{backend}: the same ratio with {LIVE} live maps over none"),
            turns::ratio(&of(4, 3), &of(1, 0))?,
            Bound::AtMost(1.05),
        ),
        Row::new(
            2,
            format!("{backend}: the same, IOVAs from the allocator"),
            turns::ratio(&of(5, 3), &of(2, 0))?,
            Bound::AtMost(1.05),
        ),
    ])
}

/// Bar 1 by instructions: the guest's clock counts them.
pub fn instructions(space: &Space) -> Result<Vec<Row>> {
    let page = buffer(PAGE, PageKind::Base)?;
    let mut bare = bare(space, &page)?;
    let (mut by_bare, mut by_library) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        for _ in 0..25 {
            by_bare.push(bare_pair(&mut bare)?);
        }
        for _ in 0..25 {
            by_library.push(pair(space, &page, PLACE)?);
        }
    }
    let typical = |samples: &[[Instant; 3]], step: usize| {
        let nanoseconds = samples
            .iter()
            .map(|times| (times[step + 1] - times[step]).as_nanos() as f64);
        median(nanoseconds.collect()).context("nothing was measured")
    };
    let more = |step| anyhow::Ok(typical(&by_library, step)? - typical(&by_bare, step)?);
    let backend = space.backend();
    let row = |what: &str, count: f64| {
        Row::new(
            1,
            format!("{backend}: more instructions {what} by the library"),
            Measured::Instructions(count),
            Bound::AtMost(60.0),
        )
    };
    Ok(vec![row("a 4K map", more(0)?), row("an unmap", more(1)?)])
}

/// Bar 5: where the allocator places large memory, against every better aligned place.
pub fn placement(space: &Space) -> Result<Vec<Row>> {
    const SIZE: u64 = 256 << 20;
    let memory = buffer(SIZE as usize, PageKind::Transparent)?;
    let mut places = IovaAllocator::new(&space.iova_ranges()?);
    let default = places.allocate(SIZE, alignment(SIZE, PAGE as u64))?.start();
    let mut iovas = vec![default];
    for aligned in [2 << 20, SIZE, 1 << 30] {
        // Far from what came before, and of no better alignment by chance.
        let floor = Iova((16 << 30) + aligned);
        iovas.push(places.allocate_above(floor, SIZE, aligned)?.start());
    }
    let mut ways: Vec<Way<'_>> = Vec::new();
    for iova in &iovas {
        ways.push(Box::new(|| {
            let begin = Instant::now();
            DmaMapping::new(space, &memory, 0..memory.size(), *iova, RW)?.unmap()?;
            Ok(begin.elapsed())
        }));
    }
    let turns = Turns {
        warm_up: 20,
        rounds: 40,
        block: 10,
    };
    let medians = turns::take(&mut ways, turns)?;
    let typical = |way: &Vec<f64>| median(way.clone()).unwrap_or(f64::INFINITY);
    let best = medians[1..]
        .iter()
        .min_by(|a, b| typical(a).total_cmp(&typical(b)))
        .context("nothing was measured")?;
    Ok(vec![Row::new(
        5,
        format!(
            "{}: 256M of THP at the default IOVA over the best aligned",
            space.backend()
        ),
        turns::ratio(&medians[0], best)?,
        Bound::AtMost(1.05),
    )])
}

/// Bar 7: many small mappings taken out at once.
pub fn clearing(space: &Space) -> Result<Vec<Row>> {
    let memory = buffer(CLEARED * PAGE, PageKind::Base)?;
    let full = || -> Result<Vec<DmaMapping<&Space>>> {
        (0..CLEARED)
            .map(|at| {
                let part = at * PAGE..(at + 1) * PAGE;
                let iova = Iova(PLACE.0 + part.start as u64);
                Ok(DmaMapping::new(space, &memory, part, iova, RW)?)
            })
            .collect()
    };
    let one_by_one = || {
        let mappings = full()?;
        let begin = Instant::now();
        for mapping in mappings {
            mapping.unmap()?;
        }
        Ok(begin.elapsed())
    };
    let together = || {
        let mappings = full()?;
        let begin = Instant::now();
        let results = DmaMapping::unmap_together(mappings);
        let time = begin.elapsed();
        ensure!(results.iter().all(Result::is_ok), "not all was unmapped");
        Ok(time)
    };
    let turns = Turns {
        warm_up: 3,
        rounds: 60,
        block: 5,
    };
    let medians = turns::take(&mut [Box::new(one_by_one), Box::new(together)], turns)?;
    Ok(vec![Row::new(
        7,
        format!(
            "{}: {CLEARED} x 4K cleared, one by one over together",
            space.backend()
        ),
        turns::ratio(&medians[0], &medians[1])?,
        Bound::AtLeast(1.25),
    )])
}

/// Bar 8: the same against itself, many times over, by the method of `bench`.
pub fn against_itself(space: &Space) -> Result<Vec<Row>> {
    const REPEATS: usize = 100;
    let page = buffer(PAGE, PageKind::Base)?;
    let once = || Ok(both(pair(space, &page, PLACE)?));
    let turns = Turns {
        warm_up: 50,
        rounds: 40 * REPEATS,
        block: 25,
    };
    let medians = turns::take(&mut [Box::new(once), Box::new(once)], turns)?;
    // The blocks of each repeat are spread over the whole time, as those of `bench` over its own.
    let spread = |way: usize, repeat: usize| -> Vec<f64> {
        medians[way]
            .iter()
            .skip(repeat)
            .step_by(REPEATS)
            .copied()
            .collect()
    };
    let long_run = median(medians[0].clone()).context("nothing was measured")?;
    let mut farthest: f64 = 0.0;
    let (mut covered, mut alarms) = (0, 0);
    for repeat in 0..REPEATS {
        let blocks = spread(0, repeat);
        let Measured::Ratio(ratio, Some((low, high))) = turns::ratio(&blocks, &spread(1, repeat))?
        else {
            anyhow::bail!("too few blocks");
        };
        farthest = farthest.max((ratio - 1.0).abs());
        alarms += usize::from(!(low..=high).contains(&1.0));
        let interval = interval_of_median(blocks).context("too few blocks")?;
        covered += usize::from((interval.low..=interval.high).contains(&long_run));
    }
    let percent = |count: usize| Measured::Percent(count as f64 * 100.0 / REPEATS as f64);
    let backend = space.backend();
    Ok(vec![
        Row::new(
            8,
            format!("{backend}: A against A, the farthest from 1 of {REPEATS} ratios"),
            Measured::Percent(farthest * 100.0),
            Bound::AtMost(0.5),
        ),
        Row::new(
            8,
            format!("{backend}: intervals that hold the long run's median"),
            percent(covered),
            Bound::AtLeast(90.0),
        ),
        Row::new(
            8,
            format!("{backend}: intervals of a ratio that hold 1"),
            percent(REPEATS - alarms),
            Bound::AtLeast(90.0),
        ),
    ])
}
