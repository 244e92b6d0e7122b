//! Mapping a memfd as such, against mapping the address where it is in this process.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::map::{Cycle, time_both, unmap};
use super::{Memory, Rows, Stage, SuiteEntry, one_mapped_at_a_time};
use crate::bench::BenchError;
use crate::bench::plan::{Plan, Row, Shape};
use crate::bench::record::{Phase, Route};
use crate::bench::sampler::{Pace, Subject};
use crate::iommu::{DmaBuffer, DmaMapping, PageKind};
use crate::types::{Backend, Protection, Suite};

pub const ENTRY: SuiteEntry = SuiteEntry {
    suite: Suite::File,
    time: Duration::from_secs(5),
    least: 4,
    rows,
    memory,
    launch,
};

const SIZES: [u64; 3] = [2 << 20, 32 << 20, 256 << 20];

fn rows(plan: &Plan, backend: Backend) -> Result<Rows, BenchError> {
    if backend == Backend::Type1 {
        return Ok(Rows::none("type1 maps addresses only; iommufd maps files"));
    }
    let mut shapes: Vec<Shape> = plan.shapes(&plan.sizes_or(&SIZES));
    shapes.retain(|shape| matches!(shape.pages.kind, PageKind::Huge(_)));
    if shapes.is_empty() {
        return Ok(Rows::none(
            "it takes reserved huge pages: write their number to /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages, and measure with --pages 2M",
        ));
    }
    let steps = &[Phase::Map, Phase::Unmap];
    let rows: Vec<Row> = shapes
        .into_iter()
        .flat_map(|shape| {
            [Route::Address, Route::File].map(|route| {
                let mut row = Row::new(Suite::File, backend, steps).of(shape);
                row.key.route = route;
                row
            })
        })
        .collect();
    Ok(rows.into())
}

fn memory(rows: &[Row]) -> Memory {
    one_mapped_at_a_time(rows)
}

fn launch(stage: &mut Stage<'_>) -> Result<ControlFlow<()>, BenchError> {
    let mut opened = stage.open()?;
    let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
    for first in (0..stage.rows.len()).step_by(2) {
        let shape = stage.shape(first);
        let buffer = Arc::new(DmaBuffer::allocate(shape.size(), shape.pages.kind)?);
        let iova = opened.room.place(shape.size)?;
        for (at, row) in stage.rows[first..first + 2].iter().enumerate() {
            stage.samples[first + at].iova = Some(iova);
            let cycle = Cycle {
                space: opened.room.space.clone(),
                buffer: buffer.clone(),
                size: shape.size as usize,
                iova,
            };
            subjects.push(match row.key.route {
                Route::File => Box::new(FileCycle(cycle)),
                _ => Box::new(cycle),
            });
        }
    }
    stage.sample_all(Pace::Warm, subjects)
}

/// Maps and unmaps the same file at the same IOVA.
struct FileCycle(Cycle);

impl Subject for FileCycle {
    fn sample(&mut self, times: &mut [u64]) -> Result<(), BenchError> {
        let Cycle {
            space,
            buffer,
            size,
            iova,
        } = &self.0;
        let (part, access) = (0..*size, Protection::ReadWrite);
        let map = || {
            Ok(DmaMapping::through_file(
                space, buffer, part, *iova, access,
            )?)
        };
        time_both(times, map, unmap)
    }
}
