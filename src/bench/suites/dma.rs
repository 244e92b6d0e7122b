//! How long the device takes to read and write mapped memory, and how far its IOMMU's cache of translations (IOTLB) reaches.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Memory, Rows, Stage, SuiteEntry, ordinary};
use crate::bench::BenchError;
use crate::bench::plan::{Plan, PlannedDevice, Row, Shape};
use crate::bench::record::Phase;
use crate::bench::sampler::{Pace, Subject, nanoseconds};
use crate::bench::space::Opened;
use crate::device::VfioDevice;
use crate::engine::{self, Arena, DmaEngine, EngineParts, Seat};
use crate::host;
use crate::iommu::{AddressSpace, DmaBuffer, DmaMapping};
use crate::types::{Backend, EngineLimits, Iova, Protection, Suite};

pub const ENTRY: SuiteEntry = SuiteEntry {
    suite: Suite::Dma,
    time: Duration::from_secs(4),
    least: 4,
    rows,
    memory,
    launch,
};

/// The most bytes of a transfer whose latency is measured.
const SIZES: [u64; 3] = [64, 4 << 10, 64 << 10];

/// The memory that transfers go round in, to see from where on translations are not in the cache any more.
const WORKING_SETS: [u64; 5] = [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];

/// A transfer that takes longer than this hides what a translation takes.
const QUICK: Duration = Duration::from_millis(1);

/// A transfer takes place in each page of this size once, and then again from the first on.
const STRIDE: u64 = 4 << 10;

fn rows(plan: &Plan, backend: Backend) -> Result<Rows, BenchError> {
    let device = &plan.devices[0];
    let Some(driver) = engine::driver_for(&device.id) else {
        return Ok(Rows::none(format!(
            "no engine drives {}: it cannot be told to read or write memory",
            device.id
        )));
    };
    let mut opened = Opened::open(&device.node, backend)?;
    let (limits, time) = with_engine(plan, &mut opened, |engine, opened| {
        let limits = engine.limits();
        let shape = plan.smallest_shape();
        let (_mapping, iova) = map(opened, shape, limits)?;
        let begin = Instant::now();
        engine.load(iova, limits.size_unit)?;
        Ok((limits, begin.elapsed()))
    })?;
    let mut sizes: Vec<u64> = plan
        .sizes_or(&SIZES)
        .into_iter()
        .map(|size| size.min(limits.max_size as u64))
        .map(|size| size.next_multiple_of(limits.size_unit as u64))
        .filter(|size| *size <= limits.max_size as u64)
        .collect();
    sizes.dedup();
    let mut rows = Rows::default();
    let transfer = |size: u64, shape: Shape| {
        let mut row = Row::new(Suite::Dma, backend, &[Phase::Load, Phase::Store]).of(shape);
        row.key.size = Some(size);
        row.key.working_set = Some(shape.size);
        row
    };
    for size in &sizes {
        let smallest = plan.smallest_shape();
        let shape = Shape {
            size: smallest.size.max(size.next_multiple_of(plan.base_page)),
            ..smallest
        };
        rows.rows.push(transfer(*size, shape));
    }
    if time > QUICK {
        rows.missing.push(format!(
            "how far the IOMMU's cache reaches: a transfer by {} takes {} ms, which hides it",
            driver.name(),
            time.as_millis()
        ));
    } else {
        let reach = last_byte(limits);
        for shape in plan.shapes(&WORKING_SETS) {
            if shape.size <= reach {
                rows.rows.push(transfer(limits.size_unit as u64, shape));
            }
        }
    }
    // A working set of one page of the smallest size may be there already.
    let mut seen = Vec::new();
    rows.rows.retain(|row| {
        let is_new = !seen.contains(&row.key);
        seen.push(row.key.clone());
        is_new
    });
    Ok(rows)
}

/// How far the engine reaches for certain.
fn last_byte(limits: EngineLimits) -> u64 {
    1_u64.checked_shl(limits.address_bits).unwrap_or(u64::MAX)
}

fn memory(rows: &[Row]) -> Memory {
    // All of it is there and mapped at the same time.
    let shapes = || rows.iter().filter_map(|row| row.shape);
    Memory {
        ordinary: shapes().map(ordinary).sum(),
        locked: shapes().map(|shape| shape.size).sum(),
    }
}

fn launch(stage: &mut Stage<'_>) -> Result<ControlFlow<()>, BenchError> {
    let plan = stage.plan;
    let mut opened = stage.open()?;
    with_engine(plan, &mut opened, |engine, opened| {
        let limits = engine.limits();
        let mut mapped = Vec::new();
        for row in 0..stage.rows.len() {
            let (mapping, iova) = map(opened, stage.shape(row), limits)?;
            stage.samples[row].iova = Some(iova);
            mapped.push((mapping, iova));
        }
        let engine = RefCell::new(engine);
        let subjects = mapped
            .iter()
            .zip(stage.rows)
            .map(|((_, iova), row)| -> Box<dyn Subject + '_> {
                let size = row.key.size.unwrap_or(0);
                let set = row.key.working_set.unwrap_or(size);
                Box::new(Transfers {
                    engine: &engine,
                    iova: *iova,
                    size: size as usize, // At most what the engine takes.
                    places: (set / STRIDE.max(size)).max(1),
                    step: STRIDE.max(size),
                    next: 0,
                })
            })
            .collect();
        stage.sample_all(Pace::Warm, subjects)
    })
}

/// Memory of a shape, mapped where the engine reaches it.
fn map(
    opened: &mut Opened,
    shape: Shape,
    limits: EngineLimits,
) -> Result<(DmaMapping, Iova), BenchError> {
    let buffer = Arc::new(DmaBuffer::allocate(shape.size(), shape.pages.kind)?);
    let iova = opened.place_below(last_byte(limits), shape.size)?;
    let whole = 0..buffer.size().min(shape.size as usize);
    let mapping = DmaMapping::new(&opened.space, &buffer, whole, iova, Protection::ReadWrite)?;
    Ok((mapping, iova))
}

/// Does something with the device's engine.
fn with_engine<T>(
    plan: &Plan,
    opened: &mut Opened,
    work: impl FnOnce(&mut dyn DmaEngine, &mut Opened) -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    let PlannedDevice { id, .. } = &plan.devices[0];
    let driver = engine::driver_for(id).expect("there are rows only for a device with an engine");
    let space: Arc<dyn AddressSpace> = Arc::clone(&opened.space);
    let device = Arc::clone(&opened.device);
    let physical = |address: NonNull<u8>| host::physical_address(address.as_ptr() as usize).ok();
    let arena = Arena::new(space, plan.physical_top.map(Iova), &physical)?;
    let device: &VfioDevice = &device;
    let mut engine = driver.open(EngineParts {
        seat: Seat {
            device,
            arena: &arena,
        },
        peer: None,
        destructive: false,
    })?;
    for range in arena.taken() {
        opened.keep(range);
    }
    let result = work(&mut *engine, opened)?;
    engine.finish()?;
    Ok(result)
}

/// The device reads at one place of its working set and writes at the next, round and round.
struct Transfers<'e, 'd> {
    engine: &'e RefCell<&'d mut dyn DmaEngine>,
    iova: Iova,
    size: usize,
    places: u64,
    step: u64,
    next: u64,
}

impl Transfers<'_, '_> {
    fn place(&mut self) -> Iova {
        let place = self.next % self.places;
        self.next += 1;
        Iova(self.iova.0 + place * self.step)
    }
}

impl Subject for Transfers<'_, '_> {
    fn sample(&mut self, times: &mut [u64]) -> Result<(), BenchError> {
        let (source, destination) = (self.place(), self.place());
        let mut engine = self.engine.borrow_mut();
        let begin = Instant::now();
        engine.load(source, self.size)?;
        let loaded = Instant::now();
        engine.store(destination, self.size)?;
        let stored = Instant::now();
        times[0] = nanoseconds(begin, loaded);
        times[1] = nanoseconds(loaded, stored);
        Ok(())
    }
}
