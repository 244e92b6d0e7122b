//! What is not mapped for the device must be out of its reach.

use super::lane::Lane;
use super::pattern::{Pattern, inverted};
use super::{Blocking, Check, Finding, Problem, Rig, Role};
use crate::engine::Reading;

/// DMA to memory that was mapped a moment ago.
pub(super) const UNMAPPED: Check = Check {
    id: "isolation.unmapped",
    title: "DMA to an address just unmapped, after a good loop through it",
    proves: "once memory is unmapped, the device can neither change it nor read it",
    role: Role::Dma,
    run: unmapped,
};

const SIZE: usize = 256;

fn unmapped(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let size = rig.size_from(SIZE).min(rig.largest_transfer());
    let (source, mut target) = Lane::pair(rig, &[0], &[0])?;

    // A loop that arrives first: without it, DMA that does nothing at all would pass for DMA that is blocked.
    let wanted = Pattern::Counter.bytes(size, rig.next_turn());
    let payload = rig.payload(&wanted);
    source.write(&payload);
    target.write(&inverted(&payload));
    let read = rig.load(source.iova(0), size)?;
    rig.store(target.iova(0), size)?;
    if !read || target.read(size) != payload {
        return Ok(Finding::fail(
            "the loop before the unmap did not arrive, so DMA that is blocked afterwards would prove nothing",
        ));
    }

    let log = rig.observer.mark_log();
    // The device still holds the payload; the memory now holds what differs from it in every byte.
    let untouched = inverted(&payload);
    target.write(&untouched);
    target.unmap()?;
    let unmapped = target.iova(0);
    let stored = attempt(rig.store(unmapped, size))?.err();
    let after_store = target.read(size);
    if after_store != untouched {
        return Ok(Finding::fail(format!(
            "the device wrote to {unmapped} after it was unmapped, and the memory changed"
        ))
        .classed(Blocking::NotBlocked));
    }

    let (leaked, loaded) = match rig.limits().reading {
        Reading::Kept => {
            let (_, landing) = Lane::pair(rig, &[0], &[0])?;
            landing.write(&payload);
            let loaded = attempt(rig.load(unmapped, size))?.err();
            rig.store(landing.iova(0), size)?;
            // A blocked read gives zeros, ones or what the device held before: the memory has no such byte.
            let read = landing.read(size);
            let leaked = read.iter().zip(&untouched).filter(|(a, b)| a == b);
            (leaked.count(), loaded)
        }
        Reading::Compared if rig.shows_reads(size) => {
            target.write(&payload);
            let loaded = attempt(rig.load(unmapped, size))?;
            (if loaded == Ok(true) { size } else { 0 }, loaded.err())
        }
        _ => (0, None),
    };
    if leaked > 0 {
        return Ok(Finding::fail(format!(
            "the device read {leaked} of {size} bytes at {unmapped} after it was unmapped"
        ))
        .classed(Blocking::NotBlocked));
    }
    let faults = log
        .and_then(|()| rig.observer.log_since_mark())
        .map(fault_lines);
    let (blocking, how, lines) = match faults {
        Ok(lines) if lines.is_empty() => (Blocking::BlockedUnreported, String::new(), lines),
        Ok(lines) => (Blocking::BlockedAndReported, String::new(), lines),
        Err(why) => (
            Blocking::BlockedUnreported,
            format!(" (the kernel log cannot be read: {why})"),
            Vec::new(),
        ),
    };
    let complaints = [("write", stored), ("read", loaded)]
        .into_iter()
        .filter_map(|(what, complaint)| {
            Some(format!("the engine about the {what}: {}", complaint?))
        });
    let what = if rig.shows_reads(size) {
        "a write and a read"
    } else {
        "a write (this device cannot show what it reads there)"
    };
    Ok(Finding::pass(format!(
        "{what} at {unmapped} had no effect after the unmap, but had before{how}"
    ))
    .classed(blocking)
    .with_evidence(lines)
    .with_evidence(complaints))
}

/// Lets the engine complain, in words, about a transfer that may be blocked: only memory counts.
pub(super) fn attempt<T>(result: Result<T, Problem>) -> Result<Result<T, String>, Problem> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(problem @ Problem::Engine(_)) => Ok(Err(problem.in_words())),
        Err(other) => Err(other),
    }
}

/// The most lines of the kernel log that are quoted.
const QUOTED: usize = 4;

/// The lines in which an IOMMU driver reports a fault, each once, and not all if there are many.
#[must_use]
pub fn fault_lines(lines: Vec<String>) -> Vec<String> {
    let signs = ["DMAR: [DMA", "IO_PAGE_FAULT", "virtio_iommu", "arm-smmu-v3"];
    let mut faults: Vec<String> = lines
        .into_iter()
        .filter(|line| signs.iter().any(|sign| line.contains(sign)))
        .collect();
    faults.dedup();
    if faults.len() > QUOTED {
        let more = faults.split_off(QUOTED).len();
        faults.push(format!("(and {more} lines like these)"));
    }
    faults
}
