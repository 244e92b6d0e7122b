//! Addresses that are not mapped: never, not any more, or to other memory by now.

use std::ops::Range;

use super::super::lane::Lane;
use super::super::pattern::{Pattern, inverted};
use super::super::{Check, Finding, Problem, Rig, Role};
use super::intruder::{Intruder, not_blocked};
use crate::engine::Reading;
use crate::types::{Iova, Level, Protection};

/// DMA to addresses that were never mapped.
pub(in crate::checks) const NEVER_MAPPED: Check = Check {
    id: "isolation.never-mapped",
    title: "DMA to addresses that were never mapped, each a single bit beside a mapped one, for each level of a page table",
    proves: "an address that was never mapped does not lead to memory that is mapped elsewhere",
    role: Role::Dma,
    level: Level::Quick,
    run: never_mapped,
};

/// DMA to memory that was mapped a moment ago.
pub(in crate::checks) const UNMAPPED: Check = Check {
    id: "isolation.unmapped",
    title: "DMA to an address just unmapped, after a good loop through it",
    proves: "once memory is unmapped, the device can neither change it nor read it",
    role: Role::Dma,
    level: Level::Quick,
    run: unmapped,
};

/// DMA to an address that leads to other memory by now.
pub(in crate::checks) const REMAPPED: Check = Check {
    id: "isolation.remapped",
    title: "map other memory at an address that the device has just used",
    proves: "the IOMMU forgets an old translation at once: the device reaches the new page, and the old one no more",
    role: Role::Dma,
    level: Level::Quick,
    run: remapped,
};

/// The bits of an address that choose an entry in each level of a page table of 4 KiB pages. One of each is tried.
const LEVELS: [Range<u32>; 5] = [12..21, 21..30, 30..39, 39..48, 48..57];

/// How often an address is mapped anew.
const ROUNDS: usize = 2;

fn never_mapped(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let mut intruder = match Intruder::new(rig)? {
        Ok(intruder) => intruder,
        Err(finding) => return Ok(finding),
    };
    let target = Lane::new(rig, &[0], Protection::ReadWrite)?;
    let mapped = target.iova(0);
    let mut stray = |bits: Range<u32>| {
        bits.rev()
            .map(|bit| Iova(mapped.0 ^ 1 << bit))
            .find(|stray| rig.take_stray_page(*stray))
    };
    let strays: Vec<Iova> = LEVELS.into_iter().filter_map(&mut stray).collect();
    if strays.is_empty() {
        return Ok(Finding::skip(format!(
            "no usable address differs from {mapped} in a single bit"
        )));
    }
    let untouched = intruder.untouched();
    target.write(&untouched);
    for stray in &strays {
        intruder.write(rig, *stray)?;
        if target.read(untouched.len()) != untouched {
            return Ok(not_blocked(format!(
                "a write to {stray}, which was never mapped, changed the page at {mapped}"
            )));
        }
    }
    target.write(&intruder.secret(rig));
    for stray in &strays {
        let stolen = intruder.steal(rig, *stray)?;
        if stolen > 0 {
            return Ok(not_blocked(format!(
                "a read at {stray}, which was never mapped, gave {stolen} bytes of the page at {mapped}"
            )));
        }
    }
    let listed: Vec<String> = strays.iter().map(ToString::to_string).collect();
    let what = format!(
        "DMA at {}, each one bit beside {mapped}, had no effect",
        listed.join(", ")
    );
    intruder.blocked(rig, what)
}

fn unmapped(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let mut intruder = match Intruder::new(rig)? {
        Ok(intruder) => intruder,
        Err(finding) => return Ok(finding),
    };
    let mut target = Lane::new(rig, &[0], Protection::ReadWrite)?;
    if let Some(finding) = use_it(rig, &mut intruder, &target)? {
        return Ok(finding);
    }
    target.unmap()?;
    if let Some(finding) = try_unmapped(rig, &mut intruder, &target, "after it was unmapped")? {
        return Ok(finding);
    }
    let what = format!(
        "DMA at {} had no effect after the unmap, but had before",
        target.iova(0)
    );
    intruder.blocked(rig, what)
}

/// Has the device write to mapped memory and read there, so that the IOMMU keeps the translation. Gives what ends the check.
pub(super) fn use_it(
    rig: &mut Rig<'_>,
    intruder: &mut Intruder,
    target: &Lane,
) -> Result<Option<Finding>, Problem> {
    let iova = target.iova(0);
    intruder.hold_payload(rig)?;
    target.write(&intruder.untouched());
    rig.store(iova, intruder.size())?;
    if target.read(intruder.size()) != intruder.payload() {
        return Ok(Some(Finding::fail(format!(
            "what the device wrote to {iova} while it was mapped did not arrive, so DMA that is blocked afterwards would prove nothing"
        ))));
    }
    // The device holds the same bytes before and after.
    rig.load(iova, intruder.size())?;
    Ok(None)
}

/// Has the device write and read at the address of memory that it was taken out. Gives what ends the check.
pub(super) fn try_unmapped(
    rig: &mut Rig<'_>,
    intruder: &mut Intruder,
    target: &Lane,
    when: &str,
) -> Result<Option<Finding>, Problem> {
    let iova = target.iova(0);
    let untouched = intruder.untouched();
    target.write(&untouched);
    intruder.write(rig, iova)?;
    if target.read(untouched.len()) != untouched {
        return Ok(Some(not_blocked(format!(
            "the device wrote to {iova} {when}, and the memory changed"
        ))));
    }
    target.write(&intruder.secret(rig));
    let stolen = intruder.steal(rig, iova)?;
    Ok((stolen > 0).then(|| {
        let size = intruder.size();
        not_blocked(format!(
            "the device read {stolen} of {size} bytes at {iova} {when}"
        ))
    }))
}

fn remapped(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let mut intruder = match Intruder::new(rig)? {
        Ok(intruder) => intruder,
        Err(finding) => return Ok(finding),
    };
    let mut old = Lane::new(rig, &[0], Protection::ReadWrite)?;
    let iova = old.iova(0);
    for _ in 0..ROUNDS {
        if let Some(finding) = use_it(rig, &mut intruder, &old)? {
            return Ok(finding);
        }
        old.unmap()?;
        let new = Lane::at(rig, iova, &[0], Protection::ReadWrite)?;
        if let Some(finding) = leads_to(rig, &mut intruder, &old, &new)? {
            return Ok(finding);
        }
        old = new;
    }
    intruder.no_effect(
        rig,
        format!(
            "{ROUNDS} times other memory was mapped at {iova} after the device had used it, and the device reached that only"
        ),
    )
}

/// That an address leads to new memory for writes and for reads. Gives what ends the check.
fn leads_to(
    rig: &mut Rig<'_>,
    intruder: &mut Intruder,
    old: &Lane,
    new: &Lane,
) -> Result<Option<Finding>, Problem> {
    let iova = new.iova(0);
    let (size, untouched) = (intruder.size(), intruder.untouched());
    old.write(&untouched);
    new.write(&untouched);
    intruder.write(rig, iova)?;
    if old.read(size) != untouched {
        return Ok(Some(not_blocked(format!(
            "a write to {iova} changed the page that was mapped there before: the IOMMU keeps old translations"
        ))));
    }
    if new.read(size) != intruder.payload() {
        return Ok(Some(Finding::fail(format!(
            "a write to {iova} did not arrive in the page that is mapped there now"
        ))));
    }
    // Reads: the new page has what the device can show that it got, the old one differs in every byte.
    let wanted = match rig.limits().reading {
        Reading::Kept => Pattern::Counter.bytes(size, rig.next_turn()),
        Reading::Compared | Reading::Never => intruder.payload().to_vec(),
    };
    new.write(&wanted);
    old.write(&inverted(&wanted));
    let got = intruder.read(rig, iova)?;
    Ok(match got {
        None => None,
        Some(got) if got == wanted => None,
        Some(got) if got == inverted(&wanted) => Some(not_blocked(format!(
            "a read at {iova} gave the page that was mapped there before: the IOMMU keeps old translations"
        ))),
        Some(_) => Some(Finding::fail(format!(
            "a read at {iova} did not give the page that is mapped there now"
        ))),
    })
}
