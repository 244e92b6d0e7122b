//! Mapping memory that is in RAM already, and unmapping it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Memory, Rows, Stage, SuiteEntry, one_mapped_at_a_time};
use crate::bench::BenchError;
use crate::bench::plan::{Plan, Row, Shape};
use crate::bench::record::{Phase, Route};
use crate::bench::sampler::{Pace, Subject, nanoseconds};
use crate::bench::space::{Opened, allocate};
use crate::iommu::{AddressSpace, BareMapping, DmaBuffer, DmaMapping};
use crate::types::{Backend, Iova, Protection, Suite};

pub const ENTRY: SuiteEntry = SuiteEntry {
    suite: Suite::Map,
    time: Duration::from_secs(5),
    least: 4,
    rows,
    memory,
    launch,
};

const SIZES: [u64; 5] = [4 << 10, 64 << 10, 2 << 20, 16 << 20, 64 << 20];

fn rows(plan: &Plan, backend: Backend) -> Result<Rows, BenchError> {
    let mut rows = Vec::new();
    for shape in plan.shapes(&plan.sizes_or(&SIZES)) {
        let row = Row::new(Suite::Map, backend, &[Phase::Map, Phase::Unmap]).of(shape);
        if plan.bare {
            let mut bare = row.clone();
            bare.key.route = Route::Bare;
            rows.push(row);
            rows.push(bare);
        } else {
            rows.push(row);
        }
    }
    Ok(rows.into())
}

fn memory(rows: &[Row]) -> Memory {
    one_mapped_at_a_time(rows)
}

fn launch(stage: &mut Stage<'_>) -> Result<ControlFlow<()>, BenchError> {
    let Opened {
        device: _device,
        mut room,
    } = stage.open()?;
    let mut known: HashMap<Shape, (Arc<DmaBuffer>, Iova)> = HashMap::new();
    let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
    for at in 0..stage.rows.len() {
        let shape = stage.shape(at);
        let (buffer, iova) = match known.entry(shape) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let buffer = allocate(shape)?;
                let iova = room.place_at(stage.plan.iova, shape.size)?;
                place.insert((Arc::new(buffer), iova))
            }
        };
        stage.samples[at].iova = Some(*iova);
        stage.note_pieces(at, buffer);
        let cycle = Cycle {
            space: room.space.clone(),
            buffer: buffer.clone(),
            // It is in memory, so it fits the address space of this process.
            size: shape.size as usize,
            iova: *iova,
        };
        subjects.push(match stage.rows[at].key.route {
            Route::Bare => Box::new(BareCycle::of(&cycle)?),
            _ => Box::new(cycle),
        });
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

/// Does both, and notes what each took.
#[inline]
pub fn time_both<M>(
    times: &mut [u64],
    map: impl FnOnce() -> Result<M, BenchError>,
    unmap: impl FnOnce(M) -> Result<(), BenchError>,
) -> Result<(), BenchError> {
    let begin = Instant::now();
    let mapping = map()?;
    let mapped = Instant::now();
    unmap(mapping)?;
    let unmapped = Instant::now();
    times[0] = nanoseconds(begin, mapped);
    times[1] = nanoseconds(mapped, unmapped);
    Ok(())
}

/// Takes a mapping out.
#[inline]
pub fn unmap(mapping: DmaMapping<&Arc<dyn AddressSpace>>) -> Result<(), BenchError> {
    Ok(mapping.unmap()?)
}

impl Subject for Cycle {
    fn sample(&mut self, times: &mut [u64]) -> Result<(), BenchError> {
        let (part, access) = (0..self.size, Protection::ReadWrite);
        let map = || {
            Ok(DmaMapping::new(
                &self.space,
                &self.buffer,
                part,
                self.iova,
                access,
            )?)
        };
        time_both(times, map, unmap)
    }
}

/// The same by the kernel's own calls, with nothing of this program around them.
struct BareCycle(BareMapping);

impl BareCycle {
    fn of(cycle: &Cycle) -> Result<Self, BenchError> {
        let bare = BareMapping::new(&cycle.space, &cycle.buffer, 0..cycle.size, cycle.iova)?;
        Ok(Self(bare.expect("bench opens the kernel's address spaces")))
    }
}

impl Subject for BareCycle {
    fn sample(&mut self, times: &mut [u64]) -> Result<(), BenchError> {
        let Self(calls) = self;
        let map = || {
            calls.map().map_err(BenchError::Bare)?;
            Ok(calls)
        };
        time_both(times, map, |calls| calls.unmap().map_err(BenchError::Bare))
    }
}
