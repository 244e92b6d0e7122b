//! Loops at the ends of the IOVA space and beside what is left out of it. They come after the gate: low IOVAs are the physical addresses of
//! the host's memory.

use super::super::lane::Lane;
use super::super::pattern::Pattern;
use super::super::{Check, Finding, Problem, Rig, Role};
use super::{Case, loops, there_and_back};
use crate::engine::Reading;
use crate::host::IommuKind;
use crate::types::{Iova, IovaRange, Level, Protection};

/// The first pages of the IOVA space.
pub(in crate::checks) const LOW: Check = Check {
    id: "loopback.low",
    title: "loops through the first pages of the IOVA space",
    proves: "low IOVAs lead to the memory mapped there, not to the host's own low memory",
    role: Role::Dma,
    level: Level::Full,
    run: low,
};

/// Over the border of 32-bit addresses.
pub(in crate::checks) const ABOVE_4G: Check = Check {
    id: "loopback.above-4g",
    title: "loops across the 4 GiB border of the IOVA space",
    proves: "addresses of more than 32 bits arrive whole",
    role: Role::Dma,
    level: Level::Full,
    run: above_4g,
};

/// The last pages of the IOVA space.
pub(in crate::checks) const TOP: Check = Check {
    id: "loopback.top",
    title: "loops through the last pages of the IOVA space, as far as the device reaches",
    proves: "the highest address bits arrive whole",
    role: Role::Dma,
    level: Level::Full,
    run: top,
};

/// Both sides of reserved ranges.
pub(in crate::checks) const BESIDE_RESERVED: Check = Check {
    id: "loopback.beside-reserved",
    title: "loops between the pages on both sides of each range that is left out of the IOVA space",
    proves: "reserved ranges, as that of interrupts, end where the kernel says",
    role: Role::Dma,
    level: Level::Full,
    run: beside_reserved,
};

/// Reads that begin at the last byte of a page.
pub(in crate::checks) const LAST_BYTE: Check = Check {
    id: "loopback.last-byte",
    title: "reads that begin at the last byte of a page",
    proves: "the last byte of a page is translated with its page",
    role: Role::Dma,
    level: Level::Full,
    run: last_byte,
};

/// Where addresses begin to need more than 32 bits.
const FOUR_GIB: u64 = 1 << 32;

/// How many pages are tried until some are free.
const TRIES: u64 = 256;

/// The most ranges that are looked at from both sides.
const MOST_GAPS: usize = 8;

/// Pages in a special place.
const PAGES: usize = 2;

fn low(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let Some(start) = rig.within_reach().first().map(|range| range.start()) else {
        return Ok(out_of_bounds());
    };
    let page = rig.page() as u64;
    let places = (0..TRIES).filter_map(|at| start.0.checked_add(at * page));
    at_first_free(rig, places.map(Iova).collect())
}

fn above_4g(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let reach = rig.within_reach().last().map(|range| range.last());
    if reach.is_none_or(|last| last.0 < FOUR_GIB) {
        return Ok(Finding::not_here(format!(
            "the device reaches addresses of {} bits, and usable IOVAs end at {}",
            rig.limits().address_bits,
            reach.unwrap_or_default()
        )));
    }
    match rig.take_border() {
        Some(border) => through(rig, border),
        None => {
            let page = rig.page() as u64;
            let places = (0..TRIES).map(|at| Iova(FOUR_GIB + at * page));
            at_first_free(rig, places.collect())
        }
    }
}

fn top(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let Some(last) = rig.within_reach().last().map(|range| range.last()) else {
        return Ok(out_of_bounds());
    };
    let page = rig.page() as u64;
    // The very last page of all that 64 bits can say is left out: an end that is 2^64 is 0 to some kernels and devices.
    let end = last.0.saturating_add(1) & !(page - 1);
    let places = (PAGES as u64..TRIES).filter_map(|back| end.checked_sub(back * page));
    let found = at_first_free(rig, places.map(Iova).collect())?;
    let whole = rig
        .usable()
        .last()
        .is_some_and(|range| range.last() == last);
    Ok(if whole {
        found
    } else {
        let bits = rig.limits().address_bits;
        found.with_evidence([format!(
            "the IOVA space goes on, out of the device's reach: it has addresses of {bits} bits"
        )])
    })
}

/// [`through`] the first of these places that is free.
fn at_first_free(rig: &mut Rig<'_>, places: Vec<Iova>) -> Result<Finding, Problem> {
    let free = |place: &Iova| rig.take_place(*place, PAGES);
    match places.iter().find_map(free) {
        Some(range) => through(rig, range.start()),
        None => Ok(out_of_bounds()),
    }
}

/// Loops between the two pages from `start` on, across the border between them, and memory elsewhere.
fn through(rig: &mut Rig<'_>, start: Iova) -> Result<Finding, Problem> {
    let there = Lane::at(rig, start, &[0, 1], Protection::ReadWrite)?;
    let elsewhere = Lane::new(rig, &[0, 1], Protection::ReadWrite)?;
    let (page, size) = (rig.page(), rig.largest_transfer());
    // Not at address 0 itself, which some devices take for no address.
    let case = Case {
        source: page - size / 2,
        destination: page - size / 2,
        size,
    };
    Ok(match there_and_back(rig, &there, &elsewhere, case)? {
        Ok(()) => Finding::pass(format!(
            "loops of {size} bytes across {} came back right",
            there.iova(page)
        )),
        Err(finding) => finding,
    })
}

fn out_of_bounds() -> Finding {
    Finding::not_here(
        "no page there is usable: it is in use, out of the device's reach, or below --iova",
    )
}

fn beside_reserved(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let ranges = rig.within_reach();
    let (page, size) = (rig.page(), rig.largest_transfer());
    let mut seen = Vec::new();
    for sides in ranges.windows(2).take(MOST_GAPS) {
        let (Some(below), Some(above)) = (
            sides[0].last().0.checked_add(1),
            sides[1].start().0.checked_sub(1),
        ) else {
            continue;
        };
        let Some(gap) = IovaRange::from_ends(Iova(below), Iova(above)) else {
            continue;
        };
        let before = Iova(below - page as u64);
        let taken = (
            rig.take_place(before, 1),
            rig.take_place(sides[1].start(), 1),
        );
        let (Some(before), Some(after)) = taken else {
            continue;
        };
        let before = Lane::at(rig, before.start(), &[0], Protection::ReadWrite)?;
        let after = Lane::at(rig, after.start(), &[0], Protection::ReadWrite)?;
        // The last bytes before it, and the first after it.
        let case = Case {
            source: page - size,
            destination: 0,
            size,
        };
        if let Err(finding) = there_and_back(rig, &before, &after, case)? {
            return Ok(finding.with_evidence([format!("{gap} lies between")]));
        }
        seen.push(gap.to_string());
    }
    Ok(if seen.is_empty() {
        Finding::not_here("the device reaches no two sides of a reserved range")
    } else {
        Finding::pass(format!(
            "loops between the last page before and the first after {} came back right",
            seen.join(", ")
        ))
    })
}

fn last_byte(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let limits = rig.limits();
    if limits.alignment > 1 || limits.size_unit > 1 || limits.reading == Reading::Never {
        return Ok(Finding::not_here("the device reads from no odd address"));
    }
    if rig.iommu == Some(IommuKind::Virtio) {
        // hw/virtio/virtio-iommu.c looks up the bytes `addr` and `addr + 1` together.
        return Ok(Finding::not_here(
            "QEMU's virtio-iommu translates the last byte of a page by what follows it",
        ));
    }
    let last = rig.page() - 1;
    let cases = [1, 4].map(|size| Case {
        source: last,
        destination: 8,
        size,
    });
    // What follows the page for the device does not follow it in memory.
    let (source, destination) = Lane::pair(rig, &[1, 0], &[0, 1])?;
    let described = "from the last byte of a page";
    loops(
        rig,
        &source,
        &destination,
        cases.to_vec(),
        Pattern::Counter,
        described,
    )
}
