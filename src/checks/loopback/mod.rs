//! The device reads memory and writes it elsewhere: does each byte arrive where it belongs, and no other byte change?

mod clock;
mod mappings;
mod places;
mod soak;

pub(super) use clock::CLOCK;
pub(super) use mappings::{HUGE_PAGES, MANY, SHARED_PAGE};
pub(super) use places::{ABOVE_4G, BESIDE_RESERVED, LAST_BYTE, LOW, TOP};
pub(super) use soak::SOAK;

use super::lane::Lane;
use super::pattern::{Pattern, inverted};
use super::{Check, Finding, Problem, Rig, Role};
use crate::engine::EngineLimits;
use crate::types::Level;

/// Numbers through the engine's own memory.
pub(in crate::checks) const ECHO: Check = Check {
    id: "loopback.echo",
    title: "numbers in commands of the engine, and back in the device's answers",
    proves: "the device reads and writes, even one that shows nothing else of what it reads",
    role: Role::Echo,
    level: Level::Quick,
    run: echo,
};

/// Sizes from one byte to the largest transfer.
pub(in crate::checks) const SIZES: Check = Check {
    id: "loopback.sizes",
    title: "loops of 1 byte to the largest transfer",
    proves: "the device reads and writes exactly the bytes it is told to, through the mappings made for it",
    role: Role::Dma,
    level: Level::Quick,
    run: sizes,
};

/// Addresses that are not aligned.
pub(in crate::checks) const ALIGNMENT: Check = Check {
    id: "loopback.alignment",
    title: "loops from and to unaligned addresses",
    proves: "the offset within a page survives translation",
    role: Role::Dma,
    level: Level::Quick,
    run: alignment,
};

/// Transfers over the end of a page.
pub(in crate::checks) const PAGE_CROSSING: Check = Check {
    id: "loopback.page-crossing",
    title: "loops that cross from one page to the next",
    proves: "a transfer that crosses pages goes on at the start of the next page",
    role: Role::Dma,
    level: Level::Quick,
    run: page_crossing,
};

/// Different contents.
pub(in crate::checks) const PATTERNS: Check = Check {
    id: "loopback.patterns",
    title: "loops of counters, zeros, ones, a walking bit, and random bytes",
    proves: "no data line or bit is stuck",
    role: Role::KeepingDma,
    level: Level::Quick,
    run: patterns,
};

/// Pages in a mixed-up order.
pub(in crate::checks) const SCATTERED: Check = Check {
    id: "loopback.scattered",
    title: "loops through scattered pages that are mapped as one range",
    proves: "pages from anywhere in memory appear to the device as one range, in the order of the IOVAs",
    role: Role::Dma,
    level: Level::Quick,
    run: scattered,
};

/// How many numbers are echoed: each two bytes, about as many as a page holds twice.
const ECHOED: u64 = 4095;

/// Where a loop starts and ends within its memory, and how long it is; in bytes.
#[derive(Debug, Clone, Copy)]
struct Case {
    source: usize,
    destination: usize,
    size: usize,
}

impl Case {
    /// Whether the engine can do it.
    fn suits(&self, limits: EngineLimits) -> bool {
        let addresses = [self.source, self.destination];
        let aligned = |address: &usize| address % limits.alignment == 0;
        addresses.iter().all(aligned) && self.size % limits.size_unit == 0
    }
}

fn echo(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    // Different numbers, as each index is below the prime, in an order that nobody could guess.
    const PRIME: u64 = 65521;
    let (step, start) = (1 + rig.seed % (PRIME - 1), rig.next_turn());
    let mut sent: Vec<u16> = (0..ECHOED)
        .map(|index| ((start + index * step) % PRIME) as u16)
        .collect();
    let mut came = rig.echo(&sent)?;
    sent.sort_unstable();
    came.sort_unstable();
    Ok(if came == sent {
        Finding::pass(format!("{ECHOED} numbers came back"))
    } else {
        let right = came
            .iter()
            .filter(|number| sent.binary_search(number).is_ok());
        Finding::fail(format!("of {ECHOED} numbers {} came back", right.count()))
    })
}

fn sizes(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let largest = rig.largest_transfer();
    let mut sizes = vec![
        1, 2, 3, 4, 7, 8, 15, 16, 31, 64, 255, 256, 1000, 1024, 2048, 4095,
    ];
    sizes.push(rig.size_from(1));
    sizes.sort_unstable();
    sizes.dedup();
    sizes.retain(|size| *size < largest);
    sizes.push(largest);
    let cases = sizes.into_iter().map(|size| Case {
        source: 0,
        destination: 0,
        size,
    });
    in_order(rig, cases.collect(), Pattern::Counter)
}

fn alignment(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let size = rig.size_from(257).min(rig.largest_transfer());
    let offsets = [
        (1, 0),
        (0, 1),
        (2, 3),
        (4, 0),
        (0, 4),
        (5, 7),
        (60, 68),
        (63, 65),
        (127, 129),
    ];
    let cases = offsets.into_iter().map(|(source, destination)| Case {
        source,
        destination,
        size,
    });
    in_order(rig, cases.collect(), Pattern::Counter)
}

fn page_crossing(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let (page, largest) = (rig.page(), rig.largest_transfer());
    let cases = vec![
        // Two bytes on each side of the boundary; then the source, the destination, and both far across it.
        // None starts at the last byte of a page: QEMU's virtio-iommu translates that byte by the mapping that follows
        // (hw/virtio/virtio-iommu.c looks up the bytes `addr` and `addr + 1` together), so it could hit memory of others.
        Case {
            source: page - 2,
            destination: page - 2,
            size: 4,
        },
        Case {
            source: page - largest / 2,
            destination: 0,
            size: largest,
        },
        Case {
            source: 0,
            destination: page - largest / 2,
            size: largest,
        },
        Case {
            source: page - 2,
            destination: page - largest + 2,
            size: largest,
        },
    ];
    in_order(rig, cases, Pattern::Counter)
}

fn patterns(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let size = rig.largest_transfer();
    let case = Case {
        source: 0,
        destination: 0,
        size,
    };
    let (source, destination) = Lane::pair(rig, &[0, 1], &[0, 1])?;
    let seed = rig.seed;
    let patterns = [
        Pattern::Counter,
        Pattern::WalkingOne,
        Pattern::Ones,
        Pattern::Zeros,
        Pattern::Random(seed),
    ];
    for pattern in patterns {
        if let Err(mismatch) = run_loop(rig, &source, &destination, case, pattern)? {
            return Ok(mismatch
                .finding(case)
                .with_evidence([format!("pattern: {pattern:?}")]));
        }
    }
    Ok(Finding::pass(format!(
        "{} contents of {size} bytes came back right (random seed {seed})",
        patterns.len()
    )))
}

fn scattered(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    // Neither order has two pages that follow each other in memory.
    let (source, destination) = Lane::pair(rig, &[3, 0, 5, 1, 4, 2], &[2, 5, 0, 4, 1, 3])?;
    let (page, size) = (rig.page(), rig.largest_transfer());
    let boundaries = (1..source.pages()).map(|at| Case {
        source: at * page - size / 2,
        destination: at * page - size / 2,
        size,
    });
    let cases: Vec<Case> = boundaries.collect();
    loops(
        rig,
        &source,
        &destination,
        cases,
        Pattern::Counter,
        "over every boundary of 6 scattered pages",
    )
}

/// Loops between two ranges of two pages each, in the order of memory.
fn in_order(rig: &mut Rig<'_>, cases: Vec<Case>, pattern: Pattern) -> Result<Finding, Problem> {
    let (source, destination) = Lane::pair(rig, &[0, 1], &[0, 1])?;
    let limits = rig.limits();
    let sizes = cases
        .iter()
        .filter(|case| case.suits(limits))
        .map(|case| case.size);
    let described = match (sizes.clone().min(), sizes.max()) {
        (Some(least), Some(most)) if least < most => format!("of {least} to {most} bytes"),
        (Some(size), _) => format!("of {size} bytes"),
        _ => String::new(),
    };
    loops(rig, &source, &destination, cases, pattern, &described)
}

/// Runs the cases that the engine can do; the first mismatch ends it.
fn loops(
    rig: &mut Rig<'_>,
    source: &Lane,
    destination: &Lane,
    mut cases: Vec<Case>,
    pattern: Pattern,
    described: &str,
) -> Result<Finding, Problem> {
    let limits = rig.limits();
    cases.retain(|case| case.suits(limits));
    if cases.is_empty() {
        let EngineLimits {
            alignment,
            size_unit,
            ..
        } = limits;
        return Ok(Finding::skip(format!(
            "the engine transfers only multiples of {size_unit} bytes at multiples of {alignment}"
        )));
    }
    for case in &cases {
        if let Err(mismatch) = run_loop(rig, source, destination, *case, pattern)? {
            return Ok(mismatch.finding(*case));
        }
    }
    Ok(Finding::pass(format!(
        "{} loops {described} came back right, nothing around them changed",
        cases.len()
    )))
}

/// Loops from one range to the other, and back; returns how many, or what was wrong.
fn there_and_back(
    rig: &mut Rig<'_>,
    near: &Lane,
    far: &Lane,
    case: Case,
) -> Result<Result<(), Finding>, Problem> {
    let back = Case {
        source: case.destination,
        destination: case.source,
        size: case.size,
    };
    for (from, to, case) in [(near, far, case), (far, near, back)] {
        if let Err(mismatch) = run_loop(rig, from, to, case, Pattern::Counter)? {
            let (source, destination) = (from.iova(case.source), to.iova(case.destination));
            let finding = mismatch.finding(case);
            let way = format!("from {source} to {destination}");
            return Ok(Err(finding.with_evidence([way])));
        }
    }
    Ok(Ok(()))
}

/// The first byte that is not what it should be.
struct Mismatch {
    place: &'static str,
    at: usize,
    expected: Vec<u8>,
    found: Vec<u8>,
}

impl Mismatch {
    fn finding(&self, case: Case) -> Finding {
        let Case {
            source,
            destination,
            size,
        } = case;
        Finding::fail(format!(
            "a loop of {size} bytes from offset {source} to offset {destination}: wrong from byte {} of the {} on",
            self.at, self.place
        ))
        .with_evidence([
            format!("expected {}", hex(&self.expected)),
            format!("found    {}", hex(&self.found)),
        ])
    }
}

/// One loop, with all memory around it watched.
fn run_loop(
    rig: &mut Rig<'_>,
    source: &Lane,
    destination: &Lane,
    case: Case,
    pattern: Pattern,
) -> Result<Result<(), Mismatch>, Problem> {
    let wanted = pattern.bytes(case.size, rig.next_turn());
    let payload = rig.payload(&wanted);
    // The two ranges start different in every byte, so each byte that is not copied, and each that is copied
    // without having been asked for, shows.
    let filling = Pattern::Counter.bytes(source.size().max(destination.size()), rig.next_turn());
    let mut sent = filling[..source.size()].to_vec();
    sent[case.source..case.source + case.size].copy_from_slice(&payload);
    let mut expected = inverted(&filling[..destination.size()]);
    expected[case.destination..case.destination + case.size].copy_from_slice(&inverted(&payload));
    source.write(&sent);
    destination.write(&expected);

    if !rig.load(source.iova(case.source), case.size)? {
        return Ok(Err(Mismatch {
            place: "source, as the device reads it,",
            at: case.source,
            expected: payload[..payload.len().min(16)].to_vec(),
            found: Vec::new(),
        }));
    }
    rig.store(destination.iova(case.destination), case.size)?;

    expected[case.destination..case.destination + case.size].copy_from_slice(&payload);
    Ok(compare(
        "destination",
        &expected,
        &destination.read(destination.size()),
    )
    .and_then(|()| compare("source", &sent, &source.read(source.size()))))
}

fn compare(place: &'static str, expected: &[u8], found: &[u8]) -> Result<(), Mismatch> {
    match expected.iter().zip(found).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => {
            let shown = at..expected.len().min(at + 16);
            Err(Mismatch {
                place,
                at,
                expected: expected[shown.clone()].to_vec(),
                found: found[shown].to_vec(),
            })
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}
