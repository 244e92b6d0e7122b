//! How mapping scales with threads in one address space.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Memory, Rows, Stage, SuiteEntry};
use crate::bench::BenchError;
use crate::bench::plan::{Plan, Row};
use crate::bench::record::Phase;
use crate::bench::sampler::{Pace, Subject, nanoseconds};
use crate::bench::space::{Opened, allocate};
use crate::iommu::{AddressSpace, DmaBuffer, DmaMapping, IommuError, base_page};
use crate::types::{Backend, Iova, IovaRange, Protection, Suite};

pub const ENTRY: SuiteEntry = SuiteEntry {
    suite: Suite::Threads,
    time: Duration::from_secs(6),
    least: 4,
    rows,
    memory,
    launch,
};

const SIZES: [u64; 3] = [4 << 10, 64 << 10, 16 << 20];

fn rows(plan: &Plan, backend: Backend) -> Result<Rows, BenchError> {
    let mut shapes = plan.shapes(&plan.sizes_or(&SIZES));
    if plan.sizes.is_none() {
        // Large memory of small pages takes long, and says the same as small memory does.
        shapes.retain(|shape| shape.size < 16 << 20 || shape.pages.bytes > base_page());
    }
    let mut rows = Vec::new();
    for shape in shapes {
        for threads in &plan.threads {
            let steps = &[Phase::Map, Phase::Unmap];
            let mut row = Row::new(Suite::Threads, backend, steps).of(shape);
            row.key.threads = *threads;
            rows.push(row);
        }
    }
    Ok(rows.into())
}

/// How many maps a thread makes in one sample: enough to make up for threads that start a moment later.
fn maps(size: u64) -> u64 {
    (4_u64 << 20).checked_div(size).unwrap_or(0).clamp(4, 64)
}

fn memory(rows: &[Row]) -> Memory {
    let mut memory = Memory::default();
    for row in rows {
        if let Some(shape) = row.shape {
            let threads = u64::from(row.key.threads);
            // Each thread has memory of its own, which it maps several times.
            memory.at_least(shape, threads);
            memory.lock(shape.size * threads * maps(shape.size));
        }
    }
    memory
}

fn launch(stage: &mut Stage<'_>) -> Result<ControlFlow<()>, BenchError> {
    let Opened {
        device: _device,
        mut room,
    } = stage.open()?;
    let mut first = 0;
    // The thread counts of one shape are measured in turn; memory of one shape is there at a time.
    for group in stage.rows.chunk_by(|one, other| one.shape == other.shape) {
        let rows = first..first + group.len();
        first = rows.end;
        let most = group.iter().map(|row| row.key.threads).max().unwrap_or(1);
        let shape = stage.shape(rows.start);
        let mut lanes = Vec::new();
        for _ in 0..most {
            let buffer = Arc::new(allocate(shape)?);
            let iovas = (0..maps(shape.size)).map(|_| room.place(shape.size));
            lanes.push(Lane {
                buffer,
                iovas: iovas.collect::<Result<_, _>>()?,
            });
        }
        let subjects = group
            .iter()
            .map(|row| -> Box<dyn Subject + '_> {
                Box::new(Race {
                    space: &room.space,
                    lanes: &lanes[..row.key.threads as usize],
                })
            })
            .collect();
        for at in rows.clone() {
            stage.samples[at].iova = lanes[0].iovas.first().copied();
        }
        if stage.sample(rows, Pace::Warm, subjects)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        for iova in lanes.iter().flat_map(|lane| &lane.iovas) {
            let range = IovaRange::new(*iova, shape.size).map_err(IommuError::from)?;
            room.give_back(range);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// What one thread maps, and where.
struct Lane {
    buffer: Arc<DmaBuffer>,
    iovas: Vec<Iova>,
}

/// Threads that map at the same time, and then unmap. A time is that of all together, divided by the number of maps.
struct Race<'r> {
    space: &'r Arc<dyn AddressSpace>,
    lanes: &'r [Lane],
}

/// When a thread began and ended to map, and to unmap.
type Laps = [(Instant, Instant); 2];

impl Subject for Race<'_> {
    fn sample(&mut self, times: &mut [u64]) -> Result<(), BenchError> {
        let gates = [const { AtomicUsize::new(0) }; 2];
        let lanes = self.lanes;
        let laps: Vec<Laps> = thread::scope(|scope| {
            let (space, gates) = (self.space, &gates);
            let map = move |lane| map_and_unmap(space, lane, gates, lanes.len());
            let mut others = Vec::new();
            for lane in &lanes[1..] {
                let other = thread::Builder::new().spawn_scoped(scope, move || map(lane));
                others.push(other.map_err(|source| {
                    // Nobody waits for one that does not come.
                    for gate in gates {
                        gate.fetch_add(lanes.len(), Ordering::AcqRel);
                    }
                    BenchError::Io {
                        what: "cannot start a thread that maps",
                        source,
                    }
                })?);
            }
            let own = map(&lanes[0]);
            let others = others
                .into_iter()
                .map(|other| other.join().expect("a thread that maps does not panic"));
            let all = std::iter::once(own).chain(others);
            all.collect::<Result<_, _>>().map_err(BenchError::from)
        })?;
        let maps: usize = lanes.iter().map(|lane| lane.iovas.len()).sum();
        for (lap, time) in times.iter_mut().enumerate() {
            let begin = laps.iter().map(|laps| laps[lap].0).min();
            let end = laps.iter().map(|laps| laps[lap].1).max();
            let whole = begin.zip(end).map_or(0, |(from, to)| nanoseconds(from, to));
            *time = whole / maps as u64;
        }
        Ok(())
    }
}

fn map_and_unmap(
    space: &Arc<dyn AddressSpace>,
    lane: &Lane,
    gates: &[AtomicUsize; 2],
    threads: usize,
) -> Result<Laps, IommuError> {
    let map = |iova: &Iova| {
        let whole = 0..lane.buffer.size();
        DmaMapping::new(space, &lane.buffer, whole, *iova, Protection::ReadWrite)
    };
    meet(&gates[0], threads);
    let begin = Instant::now();
    let mappings: Result<Vec<_>, _> = lane.iovas.iter().map(map).collect();
    let mapped = Instant::now();
    // An error ends this thread after the others got past the gate as well.
    meet(&gates[1], threads);
    let (mappings, again) = (mappings?, Instant::now());
    mappings.into_iter().try_for_each(DmaMapping::unmap)?;
    Ok([(begin, mapped), (again, Instant::now())])
}

/// Waits for the others by looking again and again: to be woken takes longer than a map.
fn meet(gate: &AtomicUsize, threads: usize) {
    gate.fetch_add(1, Ordering::AcqRel);
    let mut looks = 0_u32;
    while gate.load(Ordering::Acquire) < threads {
        looks += 1;
        // Where there are more threads than processors, another one has to run first.
        if looks % 1000 == 0 {
            thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}
