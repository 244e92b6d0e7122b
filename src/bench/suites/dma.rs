//! How long the device takes to read and write mapped memory, and how far its IOMMU's cache of translations (IOTLB) reaches.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Memory, Rows, Stage, SuiteEntry};
use crate::bench::BenchError;
use crate::bench::plan::{Plan, Row, Shape};
use crate::bench::record::Phase;
use crate::bench::sampler::{Pace, Subject, nanoseconds};
use crate::bench::space::{Opened, Room, allocate};
use crate::device::VfioDevice;
use crate::engine::{self, Arena, DmaEngine, EngineParts, PhysicalAddress, Seat};
use crate::host;
use crate::iommu::{AddressSpace, DmaBuffer, DmaMapping, PageKind, base_page};
use crate::types::{Backend, EngineLimits, Iova, IovaRange, Protection, Size, Suite};

pub const ENTRY: SuiteEntry = SuiteEntry {
    suite: Suite::Dma,
    time: Duration::from_secs(3),
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
    let Opened { device, mut room } = Opened::open(&device.node, backend)?;
    let (limits, time) = with_engine(plan, &device, &mut room, |engine, places| {
        let limits = engine.limits();
        let (_mapping, iova) = places.map(plan.smallest_shape())?;
        let mut quickest = Duration::MAX;
        // The first ones take longer.
        for _ in 0..5 {
            let begin = Instant::now();
            engine.load(iova, limits.size_unit)?;
            quickest = quickest.min(begin.elapsed());
        }
        Ok((limits, quickest))
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
            size: smallest.size.max(size.next_multiple_of(base_page())),
            ..smallest
        };
        rows.rows.push(transfer(*size, shape));
    }
    if time > QUICK {
        rows.missing.push(format!(
            "how far the IOMMU's cache reaches, as a transfer by {} takes {} ms, which hides it",
            driver.name(),
            time.as_millis()
        ));
    } else {
        for shape in plan.shapes(&WORKING_SETS) {
            // All of them are mapped at the same time, and engines do not reach far.
            if shape.size <= end(limits) / 16 {
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

/// The first address that the engine does not reach for certain.
fn end(limits: EngineLimits) -> u64 {
    1_u64.checked_shl(limits.address_bits).unwrap_or(u64::MAX)
}

fn memory(rows: &[Row]) -> Memory {
    // All of it is there and mapped at the same time.
    let mut memory = Memory::default();
    for shape in rows.iter().filter_map(|row| row.shape) {
        memory.add(shape, 1);
        memory.lock(memory.locked + shape.size);
    }
    memory
}

fn launch(stage: &mut Stage<'_>) -> Result<ControlFlow<()>, BenchError> {
    let plan = stage.plan;
    let Opened { device, mut room } = stage.open()?;
    with_engine(plan, &device, &mut room, |engine, places| {
        let mut mapped = Vec::new();
        for row in 0..stage.rows.len() {
            let (mapping, iova) = places.map(stage.shape(row))?;
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
                let step = STRIDE.max(size);
                Box::new(Transfers {
                    engine: &engine,
                    iova: *iova,
                    size: size as usize, // At most what the engine takes.
                    places: (set / step).max(1),
                    step,
                    next: 0,
                })
            })
            .collect();
        stage.sample_all(Pace::Warm, subjects)
    })
}

/// Where memory is mapped for the engine.
struct Places<'r> {
    room: &'r mut Room,
    /// The engine reaches no further.
    end: u64,
    /// The first address above all of the host's memory, if the engine reaches beyond it.
    harmless: Option<Iova>,
}

impl Places<'_> {
    /// Memory of a shape, mapped where the engine reaches it.
    fn map(&mut self, shape: Shape) -> Result<(DmaMapping, Iova), BenchError> {
        let iova = match self.harmless {
            Some(start) => self.room.place_between(start, self.end, shape.size),
            None => self.room.place_between(Iova(LEGACY), self.end, shape.size),
        };
        let iova = iova.ok_or(BenchError::OutOfReach {
            size: shape.size(),
            end: Iova(self.end),
        })?;
        let buffer = Arc::new(allocate(shape)?);
        let whole = 0..shape.size as usize; // It is in memory.
        let space = self.room.space.clone();
        let mapping = DmaMapping::new(space, &buffer, whole, iova, Protection::ReadWrite)?;
        Ok((mapping, iova))
    }
}

/// Devices and firmware have habits below this.
const LEGACY: u64 = 1 << 20;

/// Does something with the device's engine, where what it writes cannot hit memory of others.
///
/// Where the engine reaches beyond all memory of the host, everything is mapped there. Where it does not, it is first seen that the IOMMU
/// translates.
fn with_engine<T>(
    plan: &Plan,
    device: &VfioDevice,
    room: &mut Room,
    work: impl FnOnce(&mut dyn DmaEngine, &mut Places<'_>) -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    let driver = engine::driver_for(&plan.devices[0].id);
    let driver = driver.expect("only a device with an engine gets here");
    let physical = |address: NonNull<u8>| host::physical_address(address.as_ptr() as usize).ok();
    let arena = Arena::new(room.space.clone(), plan.physical_top, &physical)?;
    let mut engine = driver.open(EngineParts {
        seat: Seat {
            device,
            arena: &arena,
        },
        peer: None,
        destructive: false,
    })?;
    for range in arena.taken() {
        room.keep(range);
    }
    let end = end(engine.limits());
    // Half of what it reaches is more than enough for all rows.
    let harmless = plan.physical_top.filter(|top| top.0 <= end / 2);
    if harmless.is_none() {
        see_translation(&mut *engine, room, &physical)?;
    }
    let mut places = Places {
        room,
        end,
        harmless,
    };
    let result = work(&mut *engine, &mut places)?;
    engine.finish()?;
    Ok(result)
}

/// Has the device write where a page of this process lies in physical memory and another one is mapped: the mapped one must get it.
fn see_translation(
    engine: &mut dyn DmaEngine,
    room: &mut Room,
    physical: &PhysicalAddress<'_>,
) -> Result<(), BenchError> {
    const CANARY: u8 = 0xc7;
    let page = Size::new(base_page()).expect("a page is not empty");
    let new = || DmaBuffer::allocate(page, PageKind::Base).map(Arc::new);
    let (canary, target) = (new()?, new()?);
    let whole = 0..canary.size();
    let map = |space: &Arc<dyn AddressSpace>, buffer: &Arc<DmaBuffer>, iova| {
        DmaMapping::new(
            space.clone(),
            buffer,
            whole.clone(),
            iova,
            Protection::ReadWrite,
        )
    };
    // Mapped, the canary is pinned: it stays where it is in physical memory.
    let aside = room.place(page.bytes())?;
    let _pinned = map(&room.space, &canary, aside)?;
    let range = physical(canary.address())
        .and_then(|address| IovaRange::new(Iova(address), page.bytes()).ok())
        .filter(|range| room.keep(*range))
        .ok_or(BenchError::NowhereHarmless)?;
    let mapping = map(&room.space, &target, range.start())?;

    let size = engine.limits().size_unit;
    let payload = engine.payload(&vec![0x3a; size]);
    target.write(0, &payload);
    engine.load(range.start(), size)?;
    canary.fill(CANARY);
    target.fill(!payload[0]);
    engine.store(range.start(), size)?;
    let mut bytes = vec![0; canary.size()];
    canary.read(0, &mut bytes);
    if bytes.iter().any(|byte| *byte != CANARY) {
        return Err(BenchError::NotTranslated);
    }
    target.read(0, &mut bytes[..size]);
    if bytes[..size] != payload {
        return Err(BenchError::NotWritten);
    }
    mapping.unmap()?;
    room.give_back(range);
    Ok(())
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
