//! Does the IOMMU translate at all? On a host where it does not, every further DMA would hit memory of others.

use std::sync::Arc;

use super::isolation::attempt;
use super::lane::{Lane, page_address};
use super::pattern::{Pattern, inverted};
use super::{Blocking, Check, Finding, Problem, Rig, Role, Verdict};
use crate::engine::Reading;
use crate::iommu::{DmaBuffer, DmaMapping};
use crate::types::{Iova, IovaRange, Level, Protection};

/// The canary probe.
pub(super) const CANARY: Check = Check {
    id: "translation.canary",
    title: "have the device read a page of ours by its physical address, which is not mapped",
    proves: "the IOMMU translates what this device sends: a physical address leads nowhere",
    role: Role::Gate,
    level: Level::Quick,
    run: canary,
};

/// Enough bytes that they do not come back by chance, few enough for any engine.
const CANARY_SIZE: usize = 64;

/// Pages among which two are looked for whose physical addresses can be used as IOVAs: few, then many.
const CANDIDATES: [usize; 2] = [256, 8192];

fn canary(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let places = if rig.shows_reads(CANARY_SIZE) {
        places(rig)?
    } else {
        Err("the device cannot show what it reads where nothing is mapped".to_owned())
    };
    let finding = match places {
        Ok(places) => by_canary(rig, &places)?,
        Err(why_not) => by_loop(rig, &why_not)?,
    };
    if finding.verdict == Verdict::Pass && !reaches_all_it_can_be_told(rig)? {
        rig.keep_within_certain_reach()?;
    }
    Ok(finding)
}

/// Two pages of ours whose physical addresses are usable as IOVAs, and not mapped as such.
struct Places {
    memory: Arc<DmaBuffer>,
    /// Keeps the pages where they are.
    _pin: DmaMapping,
    secret: Place,
    landing: Place,
}

/// A page of the buffer, and its physical address used as an IOVA.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: usize,
    iova: Iova,
}

/// Looks for two pages that the device reaches by their physical addresses for certain; or says why there are none.
fn places(rig: &mut Rig<'_>) -> Result<Result<Places, String>, Problem> {
    for pages in CANDIDATES {
        let memory = rig.memory(pages)?;
        if let Err(why) = rig.observer.physical_address(memory.address()) {
            return Ok(Err(why));
        }
        let range = rig.iovas(pages)?;
        // Mapping pins the pages, so their physical addresses stay what they are.
        let pin = DmaMapping::new(
            rig.space.clone(),
            &memory,
            0..memory.size(),
            range.start(),
            Protection::ReadWrite,
        )?;
        let mut found = Vec::new();
        for offset in (0..memory.size()).step_by(rig.page()) {
            let iova = match rig.observer.physical_address(page_address(&memory, offset)) {
                Ok(physical) => Iova(physical),
                Err(why) => return Ok(Err(why)),
            };
            if rig.take_page(iova) {
                found.push(Place { offset, iova });
            }
            if let [secret, landing] = found[..] {
                return Ok(Ok(Places {
                    memory,
                    _pin: pin,
                    secret,
                    landing,
                }));
            }
        }
    }
    Ok(Err(
        "no page of ours has a physical address that the device reaches for certain as an IOVA"
            .to_owned(),
    ))
}

/// The probe itself. The device reads at the physical address of one page, and writes what it got to the physical
/// address of another. That other page is mapped at exactly that number: so the write lands on a page of our own
/// whether the IOMMU translates or not, and shows what the device has read.
fn by_canary(rig: &mut Rig<'_>, places: &Places) -> Result<Finding, Problem> {
    let Places {
        memory,
        secret,
        landing,
        ..
    } = places;
    let canary = payload(rig);
    let untouched = inverted(&canary);
    memory.write(secret.offset, &canary);
    memory.write(landing.offset, &untouched);
    let page = landing.offset..landing.offset + rig.page();
    let _landing = DmaMapping::new(
        rig.space.clone(),
        memory,
        page,
        landing.iova,
        Protection::ReadWrite,
    )?;

    let read = attempt(rig.load(secret.iova, canary.len()))?;
    rig.store(landing.iova, canary.len())?;

    let mut landed = vec![0; canary.len()];
    memory.read(landing.offset, &mut landed);
    let leaked = match rig.limits().reading {
        Reading::Kept => landed == canary,
        Reading::Compared => read == Ok(true),
        Reading::Never => false,
    };
    Ok(if leaked {
        Finding::fail(format!(
            "the device read physical memory at {}, where nothing is mapped for it: this IOMMU does not hold it back",
            secret.iova
        ))
        .classed(Blocking::NotTranslated)
    } else if landed == untouched {
        Finding::fail(format!(
            "what the device wrote to {} did not arrive in the page mapped there: its DMA does not work",
            landing.iova
        ))
    } else {
        Finding::pass(format!(
            "a read at physical address {} gave the device nothing of the page there",
            secret.iova
        ))
    })
}

/// Without physical addresses: a loop at IOVAs where nothing is that could be harmed. Only an IOMMU that translates can
/// lead it to our pages.
fn by_loop(rig: &mut Rig<'_>, why_not: &str) -> Result<Finding, Problem> {
    let Some((range, other)) = rig.harmless_iovas(2) else {
        return Ok(Finding::skip(format!(
            "{why_not}, and no IOVA is usable where DMA could harm nobody if the IOMMU does not translate"
        )));
    };
    let memory = rig.memory(2)?;
    let space = Arc::clone(&rig.space);
    let map = |range: IovaRange| {
        let all = 0..memory.size();
        DmaMapping::new(&space, &memory, all, range.start(), Protection::ReadWrite)
    };
    let _mapping = map(range)?;
    let _other = other.map(map).transpose()?;
    let payload = payload(rig);
    let destination = Iova(range.start().0 + rig.page() as u64);
    memory.write(0, &payload);
    memory.write(rig.page(), &inverted(&payload));

    let read = rig.load(range.start(), payload.len())?;
    rig.store(destination, payload.len())?;

    let mut landed = vec![0; payload.len()];
    memory.read(rig.page(), &mut landed);
    Ok(if read && landed == payload {
        Finding::pass(format!(
            "a loop through {}, above all memory, came back ({why_not}, so there was no canary)",
            range.start()
        ))
    } else {
        Finding::fail(format!(
            "NOT TRANSLATED, or the device's DMA does not work: a loop through {} did not come back \
             ({why_not}, so there was no canary to tell)",
            range.start()
        ))
    })
}

/// Whether every address that fits the engine's registers leads where it should. Some devices drop upper bits without a
/// word; now that the IOMMU is known to translate, this can be tried without harm.
fn reaches_all_it_can_be_told(rig: &mut Rig<'_>) -> Result<bool, Problem> {
    let limits = rig.limits();
    if limits.register_bits <= limits.address_bits {
        return Ok(true);
    }
    let (source, destination) = Lane::pair(rig, &[0], &[0])?;
    let payload = payload(rig);
    source.write(&payload);
    destination.write(&inverted(&payload));
    let read = rig.load(source.iova(0), payload.len())?;
    rig.store(destination.iova(0), payload.len())?;
    Ok(read && destination.read(payload.len()) == payload)
}

/// Bytes that do not come back by chance, at least [`CANARY_SIZE`].
fn payload(rig: &mut Rig<'_>) -> Vec<u8> {
    let size = rig.size_from(CANARY_SIZE);
    let wanted = Pattern::Random(rig.seed).bytes(size, rig.next_turn());
    rig.payload(&wanted)
}
