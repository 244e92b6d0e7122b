//! A device's clock: a few bytes that it keeps, even where it keeps no others.

use super::super::lane::Lane;
use super::super::pattern::{SplitMix, inverted};
use super::super::{Check, Finding, Problem, Rig, Role};
use crate::types::{Level, Protection};

/// Set from memory, and read back to other memory.
pub(in crate::checks) const CLOCK: Check = Check {
    id: "loopback.clock",
    title: "set the device's clock from memory, and have it written to other memory; set right at the end",
    proves: "what the device reads is what memory holds, by a value that it cannot know",
    role: Role::Clock,
    level: Level::Quick,
    run: clock,
};

/// Bytes of a clock.
const SIZE: usize = 8;

/// Where they lie in their page.
const OFFSET: usize = 24;

/// By how much it may go on from being set to being read, in milliseconds: longer than any command may take.
const DRIFT: u64 = 60_000;

fn clock(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let turn = rig.next_turn();
    // 47 bits, so that it does not run over.
    let sent = SplitMix(rig.seed ^ turn).next() >> 17;
    let source = Lane::new(rig, &[0], Protection::Read)?;
    let destination = Lane::new(rig, &[0], Protection::ReadWrite)?;
    let mut page = vec![0; source.size()];
    page[OFFSET..OFFSET + SIZE].copy_from_slice(&sent.to_le_bytes());
    source.write(&page);
    let guard = inverted(&page);
    destination.write(&guard);

    rig.set_clock(source.iova(OFFSET))?;
    rig.read_clock(destination.iova(OFFSET))?;

    let found = destination.read(destination.size());
    let (before, rest) = found.split_at(OFFSET);
    let (bytes, after) = rest.split_at(SIZE);
    if before != &guard[..OFFSET] || after != &guard[OFFSET + SIZE..] {
        return Ok(Finding::fail(format!(
            "the device wrote its clock to {}, and bytes around it changed",
            destination.iova(OFFSET)
        )));
    }
    let digits = bytes[..6].iter().rev();
    let came = digits.fold(0, |value, byte| value << 8 | u64::from(*byte));
    Ok(if (sent..=sent + DRIFT).contains(&came) {
        Finding::pass(format!(
            "set to {sent} ms, read back as {came} ms, nothing around it changed"
        ))
    } else {
        Finding::fail(format!(
            "the clock was set to {sent} ms and read back as {came} ms"
        ))
    })
}
