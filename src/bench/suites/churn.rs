//! A map and an unmap beside many other mappings.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::map::Cycle;
use super::{Memory, Rows, Stage, SuiteEntry};
use crate::bench::BenchError;
use crate::bench::plan::{Plan, PlannedPages, Row, Shape};
use crate::bench::record::Phase;
use crate::bench::sampler::Pace;
use crate::bench::space::Opened;
use crate::iommu::{DmaBuffer, DmaMapping, PageKind, base_page};
use crate::types::{Backend, Iova, Protection, Suite};

pub const ENTRY: SuiteEntry = SuiteEntry {
    suite: Suite::Churn,
    time: Duration::from_secs(6),
    least: 4,
    rows,
    memory,
    launch,
};

/// How many other mappings are there.
const LEVELS: [u64; 4] = [0, 1_000, 16_000, 64_000];

fn rows(plan: &Plan, backend: Backend) -> Result<Rows, BenchError> {
    let entries = Opened::open(&plan.devices[0].node, backend)?
        .room
        .space
        .entries_left()?
        .map_or(u64::MAX, u64::from);
    let lockable = plan.lockable.map_or(u64::MAX, |bytes| bytes / base_page());
    // One more is mapped and unmapped all the time.
    let most = entries.min(lockable).saturating_sub(1);
    let mut levels: Vec<u64> = LEVELS.into_iter().filter(|level| *level <= most).collect();
    let mut rows = Rows::default();
    if levels.len() < LEVELS.len() {
        levels.push(most);
        levels.dedup();
        let limit = if entries <= lockable {
            "the kernel's limit on mappings (vfio_iommu_type1.dma_entry_limit)"
        } else {
            "the limit on locked memory (ulimit -l)"
        };
        rows.missing
            .push(format!("more than {most} other mappings, by {limit}"));
    } else if entries < u64::MAX {
        levels.push(most);
    }
    let shape = Shape {
        size: base_page(),
        pages: PlannedPages {
            kind: PageKind::Base,
            bytes: base_page(),
        },
    };
    rows.rows = levels
        .into_iter()
        .map(|live| {
            let mut row = Row::new(Suite::Churn, backend, &[Phase::Map, Phase::Unmap]).of(shape);
            row.key.live = live;
            row
        })
        .collect();
    Ok(rows)
}

fn memory(rows: &[Row]) -> Memory {
    let mut memory = Memory::default();
    for row in rows {
        // Every mapping is of the same page, which is charged each time.
        memory.at_least(row.shape(), 1);
        memory.lock((row.key.live + 1) * row.shape().size);
    }
    memory
}

fn launch(stage: &mut Stage<'_>) -> Result<ControlFlow<()>, BenchError> {
    let Some(most) = stage.rows.iter().map(|row| row.key.live).max() else {
        return Ok(ControlFlow::Continue(()));
    };
    let mut opened = stage.open()?;
    let page = stage.shape(0);
    let buffer = Arc::new(DmaBuffer::allocate(page.size(), PageKind::Base)?);
    // The one that comes and goes lies in the middle of those that stay, and no two touch.
    let first = opened.room.place((most + 1) * 2 * base_page())?;
    let place = |at: u64| Iova(first.0 + at * 2 * base_page());
    let middle = most / 2;
    let mut live = Vec::new();
    for row in 0..stage.rows.len() {
        while (live.len() as u64) < stage.rows[row].key.live {
            let next = live.len() as u64;
            let next = if next < middle { next } else { next + 1 };
            live.push(DmaMapping::new(
                &opened.room.space,
                &buffer,
                0..buffer.size(),
                place(next),
                Protection::ReadWrite,
            )?);
        }
        stage.samples[row].iova = Some(place(middle));
        let cycle = Cycle {
            space: opened.room.space.clone(),
            buffer: buffer.clone(),
            size: buffer.size(),
            iova: place(middle),
        };
        if stage
            .sample(row..row + 1, Pace::Warm, vec![Box::new(cycle)])?
            .is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    // At once, as one by one takes long.
    opened.room.space.unmap_all()?;
    Ok(ControlFlow::Continue(()))
}
