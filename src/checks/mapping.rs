//! What can be checked of an address space without any DMA.

use super::{Check, Finding, Problem, Rig, Role};
use crate::iommu::DmaMapping;
use crate::types::{Level, Protection};

/// Map, refuse an overlap, unmap, map again.
pub(super) const ROUND_TRIP: Check = Check {
    id: "mapping.round-trip",
    title: "map memory, refuse an overlap, unmap, map again",
    proves: "the kernel maps memory for this device, keeps mappings apart, and takes them out again",
    role: Role::WithoutDma,
    level: Level::Quick,
    run: round_trip,
};

const PAGES: usize = 8;

fn round_trip(rig: &mut Rig<'_>) -> Result<Finding, Problem> {
    let memory = rig.memory(PAGES)?;
    let range = rig.iovas(PAGES)?;
    let all = 0..memory.size();
    let map = || {
        DmaMapping::new(
            &rig.space,
            &memory,
            all.clone(),
            range.start(),
            Protection::ReadWrite,
        )
    };
    let first = map()?;
    if map().is_ok() {
        return Ok(Finding::fail(format!(
            "the kernel mapped {range} a second time while it was mapped already"
        )));
    }
    first.unmap()?;
    match map() {
        Ok(again) => again.unmap()?,
        Err(error) => {
            return Ok(Finding::fail(format!(
                "{range} could not be mapped again after it was unmapped: {}",
                Problem::from(error).in_words()
            )));
        }
    }
    Ok(Finding::pass(format!(
        "{PAGES} pages mapped at {}, an overlap refused, unmapped, mapped again",
        range.start()
    )))
}
