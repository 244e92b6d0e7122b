//! Random loops, until the time is over.

use std::time::{Duration, Instant};

use super::super::lane::Lane;
use super::super::pattern::{Pattern, SplitMix};
use super::super::{Check, Finding, Problem, Rig, Role};
use super::{Case, run_loop};
use crate::engine::EngineLimits;
use crate::types::{Iova, IovaRange, Level, Protection};

/// Random sizes, places, orders of pages and contents.
pub(in crate::checks) const SOAK: Check = Check {
    id: "loopback.soak",
    title: "loops of random sizes and contents between random places of the IOVA space, for --duration",
    proves: "nothing that comes and goes, or takes long to come, spoils transfers",
    role: Role::Dma,
    level: Level::Soak,
    run: soak,
};

/// The least number of loops, however short the time is.
const LEAST: u64 = 8;

/// The most pages of a range.
const MOST_PAGES: usize = 8;

/// How many places are tried until one is free.
const TRIES: usize = 16;

fn soak(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let turn = rig.next_turn();
    let mut random = SplitMix(rig.seed ^ turn);
    let (begin, time) = (Instant::now(), rig.soak);
    let (mut loops, mut bytes) = (0, 0);
    while loops < LEAST || begin.elapsed() < time {
        let left = time.saturating_sub(begin.elapsed()).as_secs();
        (rig.progress)(&format!("{}: {loops} loops, {left} s left", SOAK.id));
        let (from, to) = (place(rig, &mut random)?, place(rig, &mut random)?);
        let found = random_loop(rig, &mut random, [from, to])?;
        rig.give_back(from);
        rig.give_back(to);
        loops += 1;
        match found {
            Ok(size) => bytes += size as u64,
            Err(finding) => {
                return Ok(finding.with_evidence([
                    format!("from {from} to {to}, random seed {}", rig.seed),
                    format!("{} loops before this one came back right", loops - 1),
                ]));
            }
        }
    }
    let seconds = begin.elapsed().max(Duration::from_millis(1)).as_secs_f64();
    Ok(Finding::pass(format!(
        "{loops} random loops, {bytes} bytes in {seconds:.1} s, came back right (random seed {})",
        rig.seed
    )))
}

/// A loop of a random size between random places of these ranges; its size, or what was wrong.
fn random_loop(
    rig: &mut Rig<'_>,
    random: &mut SplitMix,
    ranges: [IovaRange; 2],
) -> Result<Result<usize, Finding>, Problem> {
    let limits = rig.limits();
    let [source, destination] = ranges.map(|range| range.size() as usize / rig.page());
    let (source, destination) = (shuffled(source, random), shuffled(destination, random));
    let source = Lane::at(rig, ranges[0].start(), &source, Protection::Read)?;
    let destination = Lane::at(rig, ranges[1].start(), &destination, Protection::ReadWrite)?;
    let units = rig.largest_transfer() / limits.size_unit;
    let size = (1 + random.below(units)) * limits.size_unit;
    let mut offset = |lane: &Lane| offset(rig.page(), lane.size() - size, limits, random);
    let case = Case {
        source: offset(&source),
        destination: offset(&destination),
        size,
    };
    let patterns = [
        Pattern::Counter,
        Pattern::WalkingOne,
        Pattern::Zeros,
        Pattern::Ones,
        Pattern::Random(rig.seed),
        Pattern::Random(rig.seed),
    ];
    let pattern = patterns[random.below(patterns.len())];
    let done = run_loop(rig, &source, &destination, case, pattern)?;
    Ok(match done {
        Ok(()) => Ok(size),
        Err(mismatch) => Err(mismatch
            .finding(case)
            .with_evidence([format!("pattern: {pattern:?}")])),
    })
}

/// An offset up to `most`; not at the last byte of a page, see [`super::PAGE_CROSSING`].
fn offset(page: usize, most: usize, limits: EngineLimits, random: &mut SplitMix) -> usize {
    let offset = random.below(most / limits.alignment + 1) * limits.alignment;
    if offset % page == page - 1 {
        offset - 1
    } else {
        offset
    }
}

/// The numbers below `count` in a random order.
fn shuffled(count: usize, random: &mut SplitMix) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        numbers.swap(at, random.below(at + 1));
    }
    numbers
}

/// Some pages anywhere in the IOVA space.
fn place(rig: &mut Rig<'_>, random: &mut SplitMix) -> Result<IovaRange, Problem> {
    let pages = 1 + random.below(MOST_PAGES);
    let page = rig.page() as u64;
    let ranges = rig.within_reach();
    for _ in 0..TRIES {
        let range = ranges[random.below(ranges.len())];
        // A range of all 64-bit addresses has one page too many for its number of bytes.
        let room = (range.last().0 - range.start().0) / page;
        let start = Iova(range.start().0 + random.next() % room.max(1) * page);
        // Some devices take address 0 for none.
        let taken = (start.0 != 0)
            .then(|| rig.take_place(start, pages))
            .flatten();
        if let Some(taken) = taken {
            return Ok(taken);
        }
    }
    rig.iovas(pages)
}
