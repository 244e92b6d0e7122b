//! What is not mapped for the device must be out of its reach.

use super::loopback::{Lane, lanes};
use super::pattern::{Pattern, inverted};
use super::{Check, Finding, Problem, Rig, Role};
use crate::types::Iova;

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
    let (source, mut target) = lanes(rig, &[0], &[0])?;

    // A loop that arrives first: without it, DMA that does nothing at all would pass for DMA that is blocked.
    let payload = Pattern::Counter.bytes(size, rig.next_turn());
    source.memory.write(0, &payload);
    target.memory.write(0, &inverted(&payload));
    rig.load(source.iova(0), size)?;
    rig.store(target.iova(0), size)?;
    if held(&target, size) != payload {
        return Ok(Finding::fail(
            "the loop before the unmap did not arrive, so DMA that is blocked afterwards would prove nothing",
        ));
    }

    let log = rig.observer.mark_log();
    // The device still holds the payload; the memory now holds a secret that differs from it in every byte.
    let secret = inverted(&payload);
    target.memory.write(0, &secret);
    target.unmap()?;
    let unmapped = target.iova(0);
    let stored = attempt(rig.store(unmapped, size))?;
    let after_store = held(&target, size);

    let (_, landing) = lanes(rig, &[0], &[0])?;
    landing.memory.write(0, &payload);
    let loaded = attempt(rig.load(unmapped, size))?;
    rig.store(landing.iova(0), size)?;
    let read = held(&landing, size);

    if after_store != secret {
        return Ok(Finding::fail(format!(
            "NOT BLOCKED: the device wrote to {unmapped} after it was unmapped, and the memory changed"
        )));
    }
    let leaked = read.iter().zip(&secret).filter(|(a, b)| a == b).count();
    if leaked > size / 2 {
        return Ok(Finding::fail(format!(
            "NOT BLOCKED: the device read {leaked} of {size} bytes at {unmapped} after it was unmapped"
        )));
    }
    let (how, lines) = match log.and_then(|()| rig.observer.log_since_mark()) {
        Err(why) => (format!("the kernel log cannot be read: {why}"), Vec::new()),
        Ok(lines) => reported(lines, unmapped),
    };
    let complaints = [("write", stored), ("read", loaded)]
        .into_iter()
        .filter_map(|(what, complaint)| {
            Some(format!("the engine about the {what}: {}", complaint?))
        });
    Ok(
        Finding::pass(format!("write and read at {unmapped} blocked, {how}"))
            .with_evidence(lines)
            .with_evidence(complaints),
    )
}

/// The first bytes of the memory.
fn held(lane: &Lane, size: usize) -> Vec<u8> {
    let mut bytes = lane.contents();
    bytes.truncate(size);
    bytes
}

/// Lets the engine complain about a transfer that is to be blocked: only memory counts.
fn attempt(result: Result<(), Problem>) -> Result<Option<String>, Problem> {
    match result {
        Ok(()) => Ok(None),
        Err(problem @ Problem::Engine(_)) => Ok(Some(problem.in_words())),
        Err(other) => Err(other),
    }
}

/// Whether the kernel reported the blocked DMA, and the lines about it.
fn reported(lines: Vec<String>, iova: Iova) -> (String, Vec<String>) {
    let is_fault = |line: &String| {
        ["DMAR:", "AMD-Vi:", "virtio_iommu", "arm-smmu"]
            .iter()
            .any(|source| line.contains(source))
    };
    let faults: Vec<String> = lines.into_iter().filter(is_fault).collect();
    let named = faults.iter().any(|line| line.contains(&iova.to_string()));
    let how = match (named, faults.is_empty()) {
        (true, _) => "and reported by the kernel",
        (false, false) => "and reported by the kernel, which does not name the address",
        (false, true) => "not reported by the kernel",
    };
    (how.to_owned(), faults)
}
