//! All functions at work at the same time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use super::super::pattern::{Pattern, inverted};
use super::{Judged, counted};
use crate::device::{DeviceError, VfioDevice};
use crate::engine::{
    Arena, DmaEngine, EngineDriver, EngineError, EngineParts, Loaded, Reading, Seat,
};
use crate::iommu::{
    self, AddressSpace, DmaBuffer, DmaMapping, IommuError, IovaAllocator, IovaError, PageKind,
};
use crate::types::{Backend, Iova, Protection, Size, VfioNode};

/// How often whoever asked for it is asked whether it is to go on.
const TICK: Duration = Duration::from_millis(20);
const PAGES: u64 = 2;

/// A device that takes part, or two of which one is the far end.
#[derive(Clone, Copy)]
pub struct LoadLane<'n> {
    /// The device.
    pub near: &'n VfioNode,
    /// The far end.
    pub far: Option<&'n VfioNode>,
    /// What makes it do DMA; without one, memory is mapped and unmapped for it.
    pub driver: Option<&'static dyn EngineDriver>,
}

#[derive(Default)]
struct Work {
    loops: u64,
    bytes: u64,
    maps: u64,
}

#[derive(Debug, thiserror::Error)]
enum LaneError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Iommu(#[from] IommuError),
    #[error(transparent)]
    Iova(#[from] IovaError),
    #[error("{0} of {1} bytes came back wrong in loop {2}")]
    Wrong(usize, usize, u64),
}

/// Has all lanes work for this long, or until `stop`. Every device sees its memory at the same IOVAs, each other memory.
pub fn load(
    lanes: &[LoadLane<'_>],
    backend: Backend,
    lowest: Option<Iova>,
    time: Duration,
    stop: &dyn Fn() -> bool,
) -> Judged {
    let (start, end) = (Barrier::new(lanes.len() + 1), AtomicBool::new(false));
    let results: Vec<Result<Work, LaneError>> = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (number, &lane) in lanes.iter().enumerate() {
            let (start, end) = (&start, &end);
            threads.push(scope.spawn(move || {
                let mut waited = false;
                let result = work(number as u64, lane, backend, lowest, end, || {
                    waited = true;
                    start.wait();
                });
                // The others wait for a lane that could not even begin.
                if !waited {
                    start.wait();
                }
                result
            }));
        }
        start.wait();
        let deadline = Instant::now() + time;
        while Instant::now() < deadline && !stop() {
            thread::sleep(TICK);
        }
        end.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a lane does not panic"))
            .collect()
    });
    judged(lanes, results, time)
}

fn judged(lanes: &[LoadLane<'_>], results: Vec<Result<Work, LaneError>>, time: Duration) -> Judged {
    let (mut failed, mut all) = (Vec::new(), Work::default());
    for (lane, result) in lanes.iter().zip(results) {
        match result {
            Ok(work) => {
                all.loops += work.loops;
                all.bytes += work.bytes;
                all.maps += work.maps;
            }
            Err(error) => failed.push(format!("{}: {error}", Name(lane))),
        }
    }
    let devices: usize = lanes.iter().map(|l| 1 + usize::from(l.far.is_some())).sum();
    let still = lanes.iter().filter(|lane| lane.driver.is_none()).count();
    let still = match still {
        0 => String::new(),
        count => format!(" ({count} without DMA)"),
    };
    if failed.is_empty() {
        return Judged::pass(format!(
            "{}{still} at once for {:.0} s: {} loops, {} bytes right, {} mappings made and taken out",
            counted(devices, "device"),
            time.as_secs_f64(),
            all.loops,
            all.bytes,
            all.maps
        ));
    }
    Judged::fail(
        format!("{} of {} devices, or pairs of them, did not hold under load", failed.len(), lanes.len()),
        "repeat it with fewer virtual functions (--vfs) to see where it begins; do not hand out more than that",
    )
    .with_evidence(failed)
}

struct Name<'l>(&'l LoadLane<'l>);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.near.bdf.fmt(f)?;
        match self.0.far {
            Some(far) => write!(f, " with {}", far.bdf),
            None => Ok(()),
        }
    }
}

/// Loops bytes of its own through a lane until the end.
fn work(
    number: u64,
    lane: LoadLane<'_>,
    backend: Backend,
    lowest: Option<Iova>,
    end: &AtomicBool,
    ready: impl FnOnce(),
) -> Result<Work, LaneError> {
    // What is made first goes last: the engine stops before its memory goes, and that before the device closes.
    let space = iommu::open(backend)?;
    let device = VfioDevice::open(&space, lane.near)?;
    let far_space = lane.far.map(|_| iommu::open(backend)).transpose()?;
    let far_device = match (&far_space, lane.far) {
        (Some(space), Some(node)) => Some(VfioDevice::open(space, node)?),
        _ => None,
    };
    let nowhere = |_| None;
    let arena = Arena::new(space.clone(), lowest, &nowhere)?;
    let far_arena = far_space
        .map(|space| Arena::new(space, lowest, &nowhere))
        .transpose()?;
    let parts = EngineParts {
        seat: Seat {
            device: &device,
            arena: &arena,
        },
        peer: far_device
            .as_ref()
            .zip(far_arena.as_ref())
            .map(|(device, arena)| Seat { device, arena }),
        destructive: false,
    };
    let mut engine = lane.driver.map(|driver| driver.open(parts)).transpose()?;
    let room = Room::new(&space, lowest, &arena)?;
    ready();
    let mut done = Work::default();
    while !end.load(Ordering::Relaxed) {
        room.turn(number, engine.as_deref_mut(), &mut done)?;
    }
    Ok(done)
}

/// Memory for a source and a destination, and where they are mapped.
struct Room<'s> {
    space: &'s Arc<dyn AddressSpace>,
    memory: Arc<DmaBuffer>,
    iova: Iova,
    page: usize,
}

impl<'s> Room<'s> {
    fn new(
        space: &'s Arc<dyn AddressSpace>,
        lowest: Option<Iova>,
        arena: &Arena<'_>,
    ) -> Result<Self, LaneError> {
        let mut iovas = IovaAllocator::new(&space.iova_ranges()?);
        for taken in arena.taken() {
            iovas.reserve(taken)?;
        }
        let page = space.page_sizes()?.smallest().unwrap_or(4096);
        let size = Size::new(page * PAGES).expect("two pages are not empty");
        let range = match lowest {
            Some(lowest) => iovas.allocate_above(lowest, size.bytes(), page)?,
            None => iovas.allocate(size.bytes(), page)?,
        };
        Ok(Self {
            space,
            memory: Arc::new(DmaBuffer::allocate(size, PageKind::Base)?),
            iova: range.start(),
            // The smallest page of an IOMMU fits any usize.
            page: page as usize,
        })
    }

    /// Maps, loops bytes that no other lane has, and takes the mappings out.
    fn turn(
        &self,
        number: u64,
        engine: Option<&mut (dyn DmaEngine + '_)>,
        done: &mut Work,
    ) -> Result<(), LaneError> {
        let (source, target) = (self.iova, Iova(self.iova.0 + self.page as u64));
        let map = |part, iova, protection| {
            DmaMapping::new(self.space, &self.memory, part, iova, protection)
        };
        let first = map(0..self.page, source, Protection::Read)?;
        let second = map(self.page..2 * self.page, target, Protection::ReadWrite)?;
        done.maps += 2;
        if let Some(engine) = engine {
            let limits = engine.limits();
            let size = limits.max_size.min(self.page) / limits.size_unit * limits.size_unit;
            let payload = engine.payload(&Pattern::Random(number).bytes(size, done.loops));
            self.memory.write(0, &payload);
            self.memory.write(self.page, &inverted(&payload));
            let kept =
                limits.reading == Reading::Never || engine.load(source, size)? != Loaded::Different;
            engine.store(target, size)?;
            let mut back = vec![0; size];
            self.memory.read(self.page, &mut back);
            let wrong = back.iter().zip(&payload).filter(|(a, b)| a != b).count();
            if wrong > 0 || !kept {
                return Err(LaneError::Wrong(wrong, size, done.loops));
            }
            done.loops += 1;
            done.bytes += size as u64;
        }
        first.unmap()?;
        second.unmap()?;
        Ok(())
    }
}
