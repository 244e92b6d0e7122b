//! Mapping memory that is in RAM already, and unmapping it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Memory, Rows, Stage, SuiteEntry, one_mapped_at_a_time};
use crate::bench::BenchError;
use crate::bench::plan::{Plan, Row};
use crate::bench::record::Phase;
use crate::bench::sampler::{Pace, Subject, nanoseconds};
use crate::iommu::{AddressSpace, DmaBuffer, DmaMapping, PageKind};
use crate::types::{Backend, Iova, Protection, Suite};

pub const ENTRY: SuiteEntry = SuiteEntry {
    suite: Suite::Map,
    time: Duration::from_secs(6),
    least: 4,
    rows,
    memory,
    launch,
};

const SIZES: [u64; 4] = [4 << 10, 64 << 10, 2 << 20, 16 << 20];

fn rows(plan: &Plan, backend: Backend) -> Result<Rows, BenchError> {
    let shapes = plan.shapes(&plan.sizes_or(&SIZES));
    let row = |shape| Row::new(Suite::Map, backend, &[Phase::Map, Phase::Unmap]).of(shape);
    let rows: Vec<Row> = shapes.into_iter().map(row).collect();
    Ok(rows.into())
}

fn memory(rows: &[Row]) -> Memory {
    one_mapped_at_a_time(rows)
}

fn launch(stage: &mut Stage<'_>) -> Result<ControlFlow<()>, BenchError> {
    let mut opened = stage.open()?;
    let mut buffers: HashMap<(u64, PageKind), Arc<DmaBuffer>> = HashMap::new();
    let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
    for (at, row) in stage.rows.iter().enumerate() {
        let shape = row.shape();
        let key = (shape.size, shape.pages.kind);
        let buffer = match buffers.get(&key) {
            Some(buffer) => buffer.clone(),
            None => {
                let buffer = DmaBuffer::allocate(shape.size(), shape.pages.kind)?;
                buffers.entry(key).or_insert(Arc::new(buffer)).clone()
            }
        };
        let iova = opened.room.place_at(stage.plan.iova, shape.size)?;
        stage.samples[at].iova = Some(iova);
        stage.note_pieces(at, &buffer);
        subjects.push(Box::new(Cycle {
            space: opened.room.space.clone(),
            buffer,
            // It is in memory, so it fits the address space of this process.
            size: shape.size as usize,
            iova,
        }));
    }
    stage.sample_all(Pace::Warm, subjects)
}

/// Maps and unmaps the same memory at the same IOVA.
pub struct Cycle {
    pub space: Arc<dyn AddressSpace>,
    pub buffer: Arc<DmaBuffer>,
    pub size: usize,
    pub iova: Iova,
}

impl Subject for Cycle {
    fn sample(&mut self, times: &mut [u64]) -> Result<(), BenchError> {
        let begin = Instant::now();
        let mapping = DmaMapping::new(
            &self.space,
            &self.buffer,
            0..self.size,
            self.iova,
            Protection::ReadWrite,
        )?;
        let mapped = Instant::now();
        mapping.unmap()?;
        let unmapped = Instant::now();
        times[0] = nanoseconds(begin, mapped);
        times[1] = nanoseconds(mapped, unmapped);
        Ok(())
    }
}
