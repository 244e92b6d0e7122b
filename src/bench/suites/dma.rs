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
use crate::engine::{
    self, Arena, DmaEngine, EngineError, EngineParts, PhysicalAddress, Reading, Seat,
};
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
    match look(plan, backend) {
        Ok(found) => Ok(found.rows(plan, backend, driver.name())),
        // All else can be measured without it.
        Err(error) if plan.suites != [Suite::Dma] && leaves_out(&error) => {
            Ok(Rows::none(error.chain()))
        }
        Err(error) => Err(error),
    }
}

/// Whether an error says no more than that this engine cannot be used here.
fn leaves_out(error: &BenchError) -> bool {
    match error {
        // That a device was changed is no small matter.
        BenchError::Engine(error) => !matches!(error, EngineError::NotAsFound { .. }),
        BenchError::NowhereHarmless | BenchError::OutOfReach { .. } => true,
        _ => false,
    }
}

/// What an engine turns out to do.
struct Found {
    limits: EngineLimits,
    /// What a transfer takes.
    time: Duration,
}

/// Has the device do a few transfers.
fn look(plan: &Plan, backend: Backend) -> Result<Found, BenchError> {
    let Opened { device, mut room } = Opened::open(&plan.devices[0].node, backend)?;
    with_engine(plan, &device, &mut room, |engine, places| {
        let limits = engine.limits();
        let (_mapping, iova) = places.map(plan.smallest_shape())?;
        let mut quickest = Duration::MAX;
        // The first ones take longer.
        for _ in 0..5 {
            let begin = Instant::now();
            transfer(engine, steps(limits)[0], iova, limits.size_unit)?;
            quickest = quickest.min(begin.elapsed());
        }
        Ok(Found {
            limits,
            time: quickest,
        })
    })
}

/// What an engine is measured at.
fn steps(limits: EngineLimits) -> &'static [Phase] {
    match limits.reading {
        Reading::Kept | Reading::Compared => &[Phase::Load, Phase::Store],
        Reading::Never => &[Phase::Store],
    }
}

fn transfer(
    engine: &mut dyn DmaEngine,
    step: Phase,
    iova: Iova,
    size: usize,
) -> Result<(), EngineError> {
    match step {
        Phase::Load => engine.load(iova, size).map(drop),
        _ => engine.store(iova, size),
    }
}

impl Found {
    fn rows(&self, plan: &Plan, backend: Backend, engine: &str) -> Rows {
        let Self { limits, time } = *self;
        let mut sizes: Vec<u64> = plan
            .sizes_or(&SIZES)
            .into_iter()
            .map(|size| size.min(limits.max_size as u64))
            .map(|size| size.next_multiple_of(limits.size_unit as u64))
            .filter(|size| *size <= limits.max_size as u64)
            .collect();
        sizes.dedup();
        let mut rows = Rows::default();
        if !steps(limits).contains(&Phase::Load) {
            rows.missing.push(format!(
                "what it takes to read memory, as this {engine} device cannot be told to"
            ));
        }
        let row = |size: u64, shape: Shape| {
            let mut row = Row::new(Suite::Dma, backend, steps(limits)).of(shape);
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
            rows.rows.push(row(*size, shape));
        }
        if time > QUICK {
            rows.missing.push(format!(
                "how far the IOMMU's cache reaches, as a transfer by {engine} takes {} ms, which hides it",
                time.as_millis()
            ));
        } else {
            for shape in plan.shapes(&WORKING_SETS) {
                // All of them are mapped at the same time, and engines do not reach far.
                if shape.size <= end(limits) / 16 {
                    rows.rows.push(row(limits.size_unit as u64, shape));
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
        rows
    }
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
                    steps: &row.steps,
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
    if engine.limits().reading != Reading::Never {
        engine.load(range.start(), size)?;
    }
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

/// The device reads at one place of its working set and writes at the next, round and round; or it only writes.
struct Transfers<'e, 'd> {
    engine: &'e RefCell<&'d mut dyn DmaEngine>,
    steps: &'e [Phase],
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
        for (step, time) in self.steps.iter().zip(times) {
            let place = self.place();
            let mut engine = self.engine.borrow_mut();
            let begin = Instant::now();
            transfer(&mut **engine, *step, place, self.size)?;
            *time = nanoseconds(begin, Instant::now());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::example;
    use crate::engine::Loaded;

    /// A device that only writes memory, and notes where.
    #[derive(Default)]
    struct Writer(Vec<(Iova, usize)>);

    const LIMITS: EngineLimits = EngineLimits {
        address_bits: 64,
        register_bits: 64,
        max_size: 64 << 10,
        size_unit: 512,
        alignment: 4,
        reading: Reading::Never,
        echoes: false,
        has_clock: false,
    };

    impl DmaEngine for Writer {
        fn limits(&self) -> EngineLimits {
            LIMITS
        }
        fn load(&mut self, _source: Iova, _size: usize) -> Result<Loaded, EngineError> {
            Err(EngineError::OnlyWrites {
                engine: "fake",
                why: "it is told so",
            })
        }
        fn store(&mut self, destination: Iova, size: usize) -> Result<(), EngineError> {
            self.0.push((destination, size));
            Ok(())
        }
    }

    #[test]
    fn of_a_device_that_only_writes_writing_is_measured() {
        let mut writer = Writer::default();
        let engine = RefCell::new(&mut writer as &mut dyn DmaEngine);
        let mut transfers = Transfers {
            engine: &engine,
            steps: steps(LIMITS),
            iova: Iova(0x10_0000),
            size: 512,
            places: 2,
            step: STRIDE,
            next: 0,
        };
        let found = Found {
            limits: LIMITS,
            time: Duration::from_micros(10),
        };
        let rows = found.rows(&example::plan(), Backend::Type1, "fake");
        assert!(rows.rows.len() > SIZES.len());
        assert!(rows.rows.iter().all(|row| row.steps == [Phase::Store]));
        assert!(rows.missing[0].contains("read memory"), "{rows:?}");

        let mut times = [u64::MAX; 1];
        for _ in 0..3 {
            transfers.sample(&mut times).unwrap();
        }
        assert!(times[0] < u64::MAX);
        let places: Vec<u64> = writer.0.iter().map(|(iova, _)| iova.0).collect();
        assert_eq!(places, [0x10_0000, 0x10_1000, 0x10_0000]);
    }

    #[test]
    fn an_engine_that_cannot_be_used_leaves_its_suite_out_and_danger_ends_the_run() {
        let gone = || EngineError::Gone { engine: "fake" };
        for (error, left_out) in [
            (gone().into(), true),
            (EngineError::NowhereHarmless.into(), true),
            (BenchError::NowhereHarmless, true),
            (BenchError::NotTranslated, false),
            (BenchError::NotWritten, false),
            (
                BenchError::Engine(EngineError::NotAsFound {
                    engine: "fake",
                    what: "its clock".to_owned(),
                    source: Box::new(gone()),
                }),
                false,
            ),
        ] {
            assert_eq!(leaves_out(&error), left_out, "{error}");
        }
    }
}
