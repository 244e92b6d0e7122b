//! Does the IOMMU translate at all? On a host where it does not, every further DMA would hit memory of others.

use std::ptr::NonNull;
use std::sync::Arc;

use super::pattern::{Pattern, inverted};
use super::{Check, Finding, Problem, Rig, Role};
use crate::iommu::{DmaBuffer, DmaMapping};
use crate::types::{Iova, IovaRange, Protection};

/// The canary probe.
pub(super) const CANARY: Check = Check {
    id: "translation.canary",
    title: "have the device read a page of ours by its physical address, which is not mapped",
    proves: "the IOMMU translates what this device sends: a physical address leads nowhere",
    role: Role::Gate,
    run: canary,
};

/// Enough bytes that they do not come back by chance, few enough for any engine.
const CANARY_SIZE: usize = 64;

/// Pages among which two are looked for whose physical addresses can be used as IOVAs.
const CANDIDATES: usize = 64;

fn canary(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let memory = rig.memory(CANDIDATES)?;
    let range = rig.iovas(CANDIDATES)?;
    // Mapping pins the pages, so their physical addresses stay what they are.
    let _pin = DmaMapping::new(
        &rig.space,
        &memory,
        0..memory.size(),
        range.start(),
        Protection::ReadWrite,
    )?;
    let why_not = match places(rig, &memory) {
        Ok(Some([secret, landing])) => return by_canary(rig, &memory, secret, landing),
        Ok(None) => "no page of ours has a physical address that is usable as an IOVA".to_owned(),
        Err(why) => why,
    };
    if rig.is_above_memory() {
        by_loopback(rig, &memory, range, &why_not)
    } else {
        Ok(Finding::skip(format!(
            "{why_not}, and no IOVA above all memory is usable: DMA could hit memory of others if the IOMMU does not translate"
        )))
    }
}

/// A page of the buffer, and its physical address used as an IOVA.
#[derive(Clone, Copy)]
struct Place {
    offset: usize,
    iova: Iova,
}

/// Two pages whose physical addresses are usable as IOVAs and not mapped.
fn places(rig: &mut Rig<'_>, memory: &DmaBuffer) -> Result<Option<[Place; 2]>, String> {
    let page = rig.page();
    let mut found = Vec::new();
    for offset in (0..memory.size()).step_by(page) {
        let physical = rig
            .observer
            .physical_address(page_address(memory, offset))?;
        let iova = Iova(physical);
        if IovaRange::new(iova, page as u64).is_ok_and(|range| rig.take(range)) {
            found.push(Place { offset, iova });
        }
        if let [secret, landing] = found[..] {
            return Ok(Some([secret, landing]));
        }
    }
    Ok(None)
}

/// The virtual address of a page of the buffer.
fn page_address(memory: &DmaBuffer, offset: usize) -> NonNull<u8> {
    let address = memory.address();
    address.map_addr(|start| {
        start
            .checked_add(offset)
            .expect("the offset lies within the buffer")
    })
}

/// The probe itself. The device reads at the physical address of one page, and writes what it got to the physical
/// address of another. Only that other page is mapped, at exactly that number: so the write lands on a page of our own
/// whether the IOMMU translates or not, and shows what the device has read.
fn by_canary(
    rig: &mut Rig<'_>,
    memory: &Arc<DmaBuffer>,
    secret: Place,
    landing: Place,
) -> Result<Finding, Problem> {
    let canary = Pattern::Random(rig.seed).bytes(CANARY_SIZE, rig.next_turn());
    let untouched = inverted(&canary);
    memory.write(secret.offset, &canary);
    memory.write(landing.offset, &untouched);
    let page = rig.page();
    let _landing = DmaMapping::new(
        &rig.space,
        memory,
        landing.offset..landing.offset + page,
        landing.iova,
        Protection::ReadWrite,
    )?;

    rig.load(secret.iova, CANARY_SIZE)?;
    rig.store(landing.iova, CANARY_SIZE)?;

    let mut landed = vec![0; CANARY_SIZE];
    memory.read(landing.offset, &mut landed);
    Ok(if landed == canary {
        Finding::fail(format!(
            "NOT TRANSLATED: the device read physical memory at {} though nothing is mapped there; \
             the IOMMU does not hold this device back, and a device assigned to a guest could read and write all of this host",
            secret.iova
        ))
    } else if landed == untouched {
        Finding::fail(format!(
            "the device wrote nothing to {}, where a page is mapped for it: its DMA does not work, so nothing can be proved",
            landing.iova
        ))
    } else {
        Finding::pass(format!(
            "reading physical address {} as an IOVA gave the device nothing of that page",
            secret.iova
        ))
    })
}

/// Without physical addresses: a loop through mappings above all memory. Only an IOMMU that translates can lead
/// it to our pages; where there is none, it hits nothing.
fn by_loopback(
    rig: &mut Rig<'_>,
    memory: &DmaBuffer,
    range: IovaRange,
    why_not: &str,
) -> Result<Finding, Problem> {
    let payload = Pattern::Random(rig.seed).bytes(CANARY_SIZE, rig.next_turn());
    let page = rig.page();
    memory.write(0, &payload);
    memory.write(page, &inverted(&payload));
    let destination = Iova(range.start().0 + page as u64);

    rig.load(range.start(), CANARY_SIZE)?;
    rig.store(destination, CANARY_SIZE)?;

    let mut landed = vec![0; CANARY_SIZE];
    memory.read(page, &mut landed);
    Ok(if landed == payload {
        Finding::pass(format!(
            "a loop through IOVA {}, above all memory, came back right ({why_not}: so no canary)",
            range.start()
        ))
    } else {
        Finding::fail(format!(
            "NOT TRANSLATED, or the device's DMA does not work: a loop through IOVA {} did not come back ({why_not}: so no canary)",
            range.start()
        ))
    })
}
