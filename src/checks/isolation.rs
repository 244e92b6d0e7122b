//! What is not mapped for the device must be out of its reach.

use super::lane::Lane;
use super::pattern::{Pattern, inverted};
use super::{Blocking, Check, Finding, Problem, Rig, Role};

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
    let size = rig.largest_transfer().min(SIZE);
    let (source, mut target) = Lane::pair(rig, &[0], &[0])?;

    // A loop that arrives first: without it, DMA that does nothing at all would pass for DMA that is blocked.
    let payload = Pattern::Counter.bytes(size, rig.next_turn());
    source.write(&payload);
    target.write(&inverted(&payload));
    rig.load(source.iova(0), size)?;
    rig.store(target.iova(0), size)?;
    if target.read(size) != payload {
        return Ok(Finding::fail(
            "the loop before the unmap did not arrive, so DMA that is blocked afterwards would prove nothing",
        ));
    }

    let log = rig.observer.mark_log();
    // The device still holds the payload; the memory now holds a secret that differs from it in every byte.
    let secret = inverted(&payload);
    target.write(&secret);
    target.unmap()?;
    let unmapped = target.iova(0);
    let stored = attempt(rig.store(unmapped, size))?;
    let after_store = target.read(size);

    let (_, landing) = Lane::pair(rig, &[0], &[0])?;
    landing.write(&payload);
    let loaded = attempt(rig.load(unmapped, size))?;
    rig.store(landing.iova(0), size)?;
    let read = landing.read(size);

    if after_store != secret {
        return Ok(Finding::fail(format!(
            "the device wrote to {unmapped} after it was unmapped, and the memory changed"
        ))
        .classed(Blocking::NotBlocked));
    }
    // A blocked read gives zeros, ones or what the device held before: the secret has no such byte.
    let leaked = read.iter().zip(&secret).filter(|(a, b)| a == b).count();
    if leaked > 0 {
        return Ok(Finding::fail(format!(
            "the device read {leaked} of {size} bytes at {unmapped} after it was unmapped"
        ))
        .classed(Blocking::NotBlocked));
    }
    let faults = log.and_then(|()| rig.observer.log_since_mark()).map(faults);
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
    Ok(Finding::pass(format!(
        "a write and a read at {unmapped} had no effect after the unmap, both had before{how}"
    ))
    .classed(blocking)
    .with_evidence(lines)
    .with_evidence(complaints))
}

/// Lets the engine complain about a transfer that is to be blocked: only memory counts.
fn attempt(result: Result<(), Problem>) -> Result<Option<String>, Problem> {
    match result {
        Ok(()) => Ok(None),
        Err(problem @ Problem::Engine(_)) => Ok(Some(problem.in_words())),
        Err(other) => Err(other),
    }
}

/// The lines in which an IOMMU driver reports a fault.
fn faults(lines: Vec<String>) -> Vec<String> {
    let is_fault = |line: &String| {
        ["DMAR: [DMA", "IO_PAGE_FAULT", "virtio_iommu", "arm-smmu-v3"]
            .iter()
            .any(|sign| line.contains(sign))
    };
    lines.into_iter().filter(is_fault).collect()
}
