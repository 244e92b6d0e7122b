//! What holds for a device as a whole: bus mastering, resets, and the address spaces of others.

use super::super::lane::Lane;
use super::super::{Check, Finding, Problem, Rig, Role, Verdict};
use super::intruder::{Intruder, attempt, not_blocked};
use super::lifetime::{try_unmapped, use_it};
use crate::iommu::DmaMapping;
use crate::types::{IovaRange, Level, Protection};

/// DMA to what is mapped for another device.
pub(in crate::checks) const OTHER_DEVICE: Check = Check {
    id: "isolation.other-device",
    title: "DMA to an address that is mapped for another device only, and to one that is mapped for both",
    proves: "each device has an address space of its own: the same address leads to other memory, or nowhere",
    role: Role::Dma,
    level: Level::Quick,
    run: other_device,
};

/// DMA of a device that may not start transactions.
pub(in crate::checks) const BUS_MASTER: Check = Check {
    id: "isolation.bus-master",
    title: "DMA to mapped memory with bus mastering off, and on again",
    proves: "with bus mastering off the device neither changes nor sees anything, not even what is mapped for it",
    role: Role::Dma,
    level: Level::Quick,
    run: bus_master,
};

/// DMA after a reset.
pub(in crate::checks) const RESET: Check = Check {
    id: "isolation.reset",
    title: "DMA to an address that was unmapped before the device was reset",
    proves: "a reset brings back nothing that was taken from the device, and it works as before",
    role: Role::Dma,
    level: Level::Quick,
    run: reset,
};

fn other_device(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let Some((other, space)) = rig
        .other
        .as_ref()
        .map(|other| (other.bdf, other.space.clone()))
    else {
        return Ok(Finding::not_here(
            "there is no second device in another IOMMU group: name one too, as in 'iommu-tool test A B'",
        ));
    };
    let mut intruder = match Intruder::new(rig)? {
        Ok(intruder) => intruder,
        Err(finding) => return Ok(finding),
    };
    let range = rig.iovas(1)?;
    let iova = range.start();
    let usable = space.iova_ranges()?;
    if !usable.iter().any(|known: &IovaRange| known.contains(range)) {
        return Ok(Finding::skip(format!(
            "{iova} is not usable for {other}, so both cannot have it"
        )));
    }
    let foreign = rig.memory(1)?;
    let all = 0..foreign.size();
    let _mapping = DmaMapping::new(&space, &foreign, all, iova, Protection::ReadWrite)?;
    let (size, untouched, secret) = (intruder.size(), intruder.untouched(), intruder.secret(rig));
    let is_untouched = || {
        let mut bytes = vec![0; size];
        foreign.read(0, &mut bytes);
        bytes == untouched
    };
    foreign.write(0, &untouched);
    intruder.write(rig, iova)?;
    if !is_untouched() {
        return Ok(not_blocked(format!(
            "the device wrote to {iova}, and changed memory that is mapped there for {other} only"
        )));
    }
    foreign.write(0, &secret);
    let stolen = intruder.steal(rig, iova)?;
    if stolen > 0 {
        return Ok(not_blocked(format!(
            "the device read {stolen} of {size} bytes at {iova} that are mapped there for {other} only"
        )));
    }
    // The same address for both.
    let own = Lane::at(rig, iova, &[0], Protection::ReadWrite)?;
    foreign.write(0, &untouched);
    own.write(&untouched);
    intruder.write(rig, iova)?;
    if !is_untouched() {
        return Ok(not_blocked(format!(
            "the device wrote to {iova}, and changed what is mapped there for {other}"
        )));
    }
    if own.read(size) != intruder.payload() {
        return Ok(Finding::fail(format!(
            "what the device wrote to {iova} did not arrive in its own memory there"
        )));
    }
    let what = format!(
        "memory of {other} at {iova} was out of reach, without and with a page of the device's own there"
    );
    intruder.blocked(rig, what)
}

fn bus_master(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let mut intruder = match Intruder::new(rig)? {
        Ok(intruder) => intruder,
        Err(finding) => return Ok(finding),
    };
    let target = Lane::new(rig, &[0], Protection::ReadWrite)?;
    let (iova, untouched) = (target.iova(0), intruder.untouched());
    target.write(&untouched);
    // A device that waits for its turn may do late what it was told now: memory is looked at before it may.
    let unchanged = rig.without_bus_master(|rig| {
        intruder.write(rig, iova)?;
        Ok(target.read(untouched.len()) == untouched)
    })?;
    if !unchanged {
        return Ok(not_blocked(format!(
            "the device wrote to {iova} while bus mastering was off"
        )));
    }
    // A loop in between, so that nothing is left to be done late.
    let what = format!("DMA at {iova} had no effect while bus mastering was off");
    intruder.recover(rig)?;
    let after_write = intruder.no_effect(rig, what.clone())?;
    if after_write.verdict != Verdict::Pass {
        return Ok(after_write);
    }
    let secret = intruder.secret(rig);
    target.write(&secret);
    let loaded = rig.without_bus_master(|rig| intruder.load(rig, iova))?;
    target.write(&untouched);
    // The first transfer after it may be lost, as `recover` says. What the device holds it still does then.
    let shown = match attempt(intruder.show(rig, loaded))? {
        Ok(shown) => shown,
        Err(_) => intruder.show(rig, loaded)?,
    };
    if shown.is_some_and(|got| got == secret) {
        return Ok(not_blocked(format!(
            "the device read {iova} while bus mastering was off"
        )));
    }
    intruder.recover(rig)?;
    intruder.no_effect(rig, what)
}

fn reset(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    if !rig.can_reset() {
        return Ok(Finding::not_here(
            "the kernel knows no way to reset this device alone",
        ));
    }
    let mut target = Lane::new(rig, &[0], Protection::ReadWrite)?;
    // Nothing else may be mapped while the device is reset.
    {
        let mut before = match Intruder::new(rig)? {
            Ok(intruder) => intruder,
            Err(finding) => return Ok(finding),
        };
        if let Some(finding) = use_it(rig, &mut before, &target)? {
            return Ok(finding);
        }
    }
    target.unmap()?;
    rig.reset()?;
    let mut after = match Intruder::new(rig)? {
        Ok(intruder) => intruder,
        Err(finding) => return Ok(finding),
    };
    if let Some(finding) = try_unmapped(rig, &mut after, &target, "after a reset")? {
        return Ok(finding);
    }
    let what = format!(
        "DMA at {}, unmapped before the reset, had no effect after it",
        target.iova(0)
    );
    after.blocked(rig, what)
}
