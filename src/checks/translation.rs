//! Does the IOMMU translate at all? On a host where it does not, every further DMA would hit memory of others.

use std::ptr::NonNull;
use std::sync::Arc;

use super::lane::Lane;
use super::pattern::{Pattern, inverted};
use super::placement::last_address;
use super::{Blocking, Check, Finding, Problem, Rig, Role, Verdict};
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
const CANDIDATES: usize = 256;

fn canary(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let finding = probe(rig)?;
    if finding.verdict == Verdict::Pass && !reaches_all_it_can_be_told(rig)? {
        rig.keep_within_certain_reach()?;
    }
    Ok(finding)
}

fn probe(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
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
        by_loop(rig, &memory, range, &why_not)
    } else {
        Ok(Finding::skip(format!(
            "{why_not}, and no IOVA above all memory is usable: DMA could hit memory of others if the IOMMU does not translate"
        )))
    }
}

/// A page of the buffer, and its physical address used as an IOVA.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: usize,
    iova: Iova,
}

/// The two pages with the lowest physical addresses that are usable as IOVAs: low ones are in reach of engines that
/// drop upper address bits.
fn places(rig: &mut Rig<'_>, memory: &DmaBuffer) -> Result<Option<[Place; 2]>, String> {
    let place = |offset| {
        let physical = rig
            .observer
            .physical_address(page_address(memory, offset))?;
        Ok::<_, String>(Place {
            offset,
            iova: Iova(physical),
        })
    };
    let offsets = (0..memory.size()).step_by(rig.page());
    let mut places = offsets.map(place).collect::<Result<Vec<_>, _>>()?;
    places.sort_by_key(|place| place.iova);
    let mut usable = places.into_iter().filter(|place| rig.take_page(place.iova));
    Ok(usable.next().zip(usable.next()).map(<[Place; 2]>::from))
}

/// The virtual address of a page of the buffer.
fn page_address(memory: &DmaBuffer, offset: usize) -> NonNull<u8> {
    memory.address().map_addr(|start| {
        start
            .checked_add(offset)
            .expect("the offset lies within the buffer")
    })
}

/// The probe itself. The device reads at the physical address of one page, and writes what it got to the physical
/// address of another. That other page is mapped at exactly that number: so the write lands on a page of our own
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
    let page = landing.offset..landing.offset + rig.page();
    let space = Arc::clone(&rig.space);
    let map = |iova| DmaMapping::new(&space, memory, page.clone(), iova, Protection::ReadWrite);
    let _landing = map(landing.iova)?;
    // Where an engine that drops upper address bits ends up.
    let low = Iova(landing.iova.0 & last_address(rig.limits().address_bits).0);
    let _low_landing = (low != landing.iova && rig.take_page(low))
        .then(|| map(low))
        .transpose()?;

    rig.load(secret.iova, CANARY_SIZE)?;
    rig.store(landing.iova, CANARY_SIZE)?;

    let mut landed = vec![0; CANARY_SIZE];
    memory.read(landing.offset, &mut landed);
    Ok(if landed == canary {
        Finding::fail(format!(
            "the device read physical memory at {}, where nothing is mapped for it: this IOMMU does not hold it back",
            secret.iova
        ))
        .classed(Blocking::NotTranslated)
    } else if landed == untouched {
        Finding::fail(nothing_arrived(rig, landing.iova))
    } else {
        Finding::pass(format!(
            "a read at physical address {} gave the device nothing of the page there",
            secret.iova
        ))
    })
}

/// Without physical addresses: a loop through mappings above all memory. Only an IOMMU that translates can lead
/// it to our pages; where there is none, it hits nothing.
fn by_loop(
    rig: &mut Rig<'_>,
    memory: &DmaBuffer,
    range: IovaRange,
    why_not: &str,
) -> Result<Finding, Problem> {
    let payload = Pattern::Random(rig.seed).bytes(CANARY_SIZE, rig.next_turn());
    let destination = Iova(range.start().0 + rig.page() as u64);
    memory.write(0, &payload);
    memory.write(rig.page(), &inverted(&payload));

    rig.load(range.start(), CANARY_SIZE)?;
    rig.store(destination, CANARY_SIZE)?;

    let mut landed = vec![0; CANARY_SIZE];
    memory.read(rig.page(), &mut landed);
    Ok(if landed == payload {
        Finding::pass(format!(
            "a loop through {}, above all memory, came back ({why_not}, so there was no canary)",
            range.start()
        ))
    } else {
        Finding::fail(format!(
            "{}; {why_not}, so it is not known which",
            nothing_arrived(rig, destination)
        ))
        .classed(Blocking::NotTranslated)
    })
}

fn nothing_arrived(rig: &Rig<'_>, iova: Iova) -> String {
    let limits = rig.limits();
    let bits = if limits.address_bits < limits.register_bits {
        format!(
            ", or it drops the address bits from {} on",
            limits.address_bits
        )
    } else {
        String::new()
    };
    format!(
        "what the device wrote to {iova} did not arrive in the page mapped there: its DMA does not work{bits}"
    )
}

/// Whether every address that fits the engine's registers leads where it should. Some devices drop upper bits without a
/// word; now that the IOMMU is known to translate, this can be tried without harm.
fn reaches_all_it_can_be_told(rig: &mut Rig<'_>) -> Result<bool, Problem> {
    let limits = rig.limits();
    if limits.register_bits <= limits.address_bits {
        return Ok(true);
    }
    let (source, destination) = Lane::pair(rig, &[0], &[0])?;
    let payload = Pattern::Random(rig.seed).bytes(CANARY_SIZE, rig.next_turn());
    source.write(&payload);
    destination.write(&inverted(&payload));
    rig.load(source.iova(0), CANARY_SIZE)?;
    rig.store(destination.iova(0), CANARY_SIZE)?;
    Ok(destination.read(CANARY_SIZE) == payload)
}
