//! The memory of a guest, from nothing to mapped, and back.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Memory, Rows, Stage, SuiteEntry};
use crate::bench::BenchError;
use crate::bench::growth::{LEAST_SIZES, tells_of};
use crate::bench::plan::{Plan, Row, Shape};
use crate::bench::record::{Phase, Route};
use crate::bench::sampler::{Pace, Subject, nanoseconds};
use crate::iommu::{self, AddressSpace, DmaBuffer, DmaMapping, Pinner, SHARED};
use crate::types::{Backend, Iova, Protection, Size, Suite};

pub const ENTRY: SuiteEntry = SuiteEntry {
    suite: Suite::Cold,
    time: Duration::from_secs(4),
    least: 1,
    rows,
    memory,
    launch,
};

/// What stands for the pages of a row whose memory is made as the host allows best.
pub const BEST_PAGES: &str = "best";

/// The largest size where the user names none.
const LARGEST: u64 = 1 << 30;

/// The least size that says anything about a guest.
const LEAST: u64 = 4 << 20;

fn rows(plan: &Plan, backend: Backend) -> Result<Rows, BenchError> {
    let sizes = plan.sizes_or(&sizes(plan));
    let mut rows = Vec::new();
    let pinner = Pinner::new();
    let steps: &[Phase] = match pinner {
        Ok(_) => &[
            Phase::Fault,
            Phase::Map,
            Phase::Ready,
            Phase::Unmap,
            Phase::Pin,
        ],
        Err(_) => &[Phase::Fault, Phase::Map, Phase::Ready, Phase::Unmap],
    };
    for shape in plan.shapes(&sizes) {
        rows.push(Row::new(Suite::Cold, backend, steps).of(shape));
    }
    for size in sizes.iter().copied() {
        let mut row = Row::new(Suite::Cold, backend, &[Phase::Ready, Phase::Unmap]);
        row.key.size = Some(size);
        row.key.pages = Some(BEST_PAGES.to_owned());
        row.key.route = Route::Strategy;
        // Its pages are decided when it is made; ordinary ones need the most.
        row.shape = plan.pages.first().map(|pages| Shape {
            size,
            pages: *pages,
        });
        rows.push(row);
    }
    let missing = pinner.err().map(|error| {
        format!("pinning apart from the rest of a map: it takes io_uring, and the kernel said '{error}' (sysctl kernel.io_uring_disabled)")
    });
    let untold = plan.guest.and_then(|guest| untold(guest, &sizes));
    Ok(Rows {
        rows,
        missing: missing.into_iter().chain(untold).collect(),
    })
}

/// What cannot be told of a guest's size from these, in words.
fn untold(guest: Size, sizes: &[u64]) -> Option<String> {
    let asked = guest.bytes();
    let tell = |route| {
        let sizes = sizes.iter().filter(|size| tells_of(route, **size, asked));
        sizes.count() >= LEAST_SIZES
    };
    if sizes.contains(&asked) || tell(Route::Strategy) {
        return None;
    }
    let shared = SHARED >> 20;
    let (way, which) = match (tell(Route::Address), asked >= SHARED as u64) {
        (false, _) => ("", String::new()),
        (true, true) => (" the fastest way", format!(" of {shared}M or more")),
        (true, false) => (" the fastest way", format!(" below {shared}M")),
    };
    Some(format!(
        "how long {guest} takes{way}: to extrapolate it takes {LEAST_SIZES} sizes{which} (--sizes)"
    ))
}

/// Three sizes, to see how the time grows: the guest's, if it fits in memory, or the largest that is sensible to measure.
fn sizes(plan: &Plan) -> Vec<u64> {
    let available = plan.available.unwrap_or(u64::MAX);
    let lockable = plan.lockable.unwrap_or(u64::MAX);
    let fits = |size: u64| size <= measurable(available) && size <= lockable;
    let largest = match plan.guest {
        Some(guest) if fits(guest.bytes()) => guest.bytes(),
        _ => {
            let mut largest = LARGEST;
            // A quarter: what is left over is for the page cache and for others.
            while largest > LEAST && (largest > available / 4 || largest > lockable) {
                largest /= 2;
            }
            largest
        }
    };
    let mut smallest = largest / 16;
    // The fastest way takes less by one thread, which tells nothing of a large guest.
    if largest >= 4 * SHARED as u64 {
        smallest = smallest.max(SHARED as u64);
    }
    [smallest, (largest / 4).max(2 * smallest), largest]
        .into_iter()
        .map(|size| (size >> 21 << 21).max(LEAST).min(largest))
        .collect()
}

/// How much of the available memory is taken for a guest that the user named.
pub fn measurable(available: u64) -> u64 {
    available / 10 * 9
}

fn memory(rows: &[Row]) -> Memory {
    let mut memory = Memory::default();
    for shape in rows.iter().filter_map(|row| row.shape) {
        memory.at_least(shape, 1);
        memory.lock(shape.size);
    }
    memory
}

fn launch(stage: &mut Stage<'_>) -> Result<ControlFlow<()>, BenchError> {
    let mut opened = stage.open()?;
    let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
    for (at, row) in stage.rows.iter().enumerate() {
        let shape = row.shape();
        let iova = opened.room.place_at(stage.plan.iova, shape.size)?;
        stage.samples[at].iova = Some(iova);
        let space = opened.room.space.clone();
        subjects.push(match row.key.route {
            Route::Strategy => Box::new(Best { space, shape, iova }),
            _ => Box::new(Plain { space, shape, iova }),
        });
    }
    stage.sample_all(Pace::Cold, subjects)
}

/// Step by step, each for all of the memory, by one thread: as a program does that knows no better.
struct Plain {
    space: Arc<dyn AddressSpace>,
    shape: Shape,
    iova: Iova,
}

impl Subject for Plain {
    fn sample(&mut self, times: &mut [u64]) -> Result<(), BenchError> {
        let (kind, size) = (self.shape.pages.kind, self.shape.size as usize);
        let begin = Instant::now();
        let buffer = DmaBuffer::reserve(self.shape.size(), kind)?;
        buffer.populate(0..size, kind, 1)?;
        let populated = Instant::now();
        let buffer = Arc::new(buffer);
        let mapping = DmaMapping::new(
            &self.space,
            &buffer,
            0..size,
            self.iova,
            Protection::ReadWrite,
        )?;
        let mapped = Instant::now();
        mapping.unmap()?;
        let unmapped = Instant::now();
        times[0] = nanoseconds(begin, populated);
        times[1] = nanoseconds(populated, mapped);
        times[2] = nanoseconds(begin, mapped);
        times[3] = nanoseconds(mapped, unmapped);
        if let Some(time) = times.get_mut(4) {
            *time = self.pin(&buffer)?;
        }
        Ok(())
    }
}

impl Plain {
    /// What pinning alone takes. Last, as it would leave the map less to do that is slow the first time.
    fn pin(&self, buffer: &DmaBuffer) -> Result<u64, BenchError> {
        let failed = |source| BenchError::Io {
            what: "cannot pin memory through io_uring",
            source,
        };
        let pinner = Pinner::new().map_err(failed)?;
        let begin = Instant::now();
        buffer
            .pin(&pinner, self.shape.size as usize)
            .map_err(failed)?;
        let pinned = Instant::now();
        pinner.unpin().map_err(failed)?;
        Ok(nanoseconds(begin, pinned))
    }
}

/// All together, as `map` does it.
struct Best {
    space: Arc<dyn AddressSpace>,
    shape: Shape,
    iova: Iova,
}

impl Subject for Best {
    fn sample(&mut self, times: &mut [u64]) -> Result<(), BenchError> {
        let begin = Instant::now();
        let memory = iommu::Memory::new(&*self.space, self.shape.size(), None, self.iova)?;
        let mapping = memory.map(&self.space, self.iova, Protection::ReadWrite)?;
        let mapped = Instant::now();
        mapping.unmap()?;
        let unmapped = Instant::now();
        times[0] = nanoseconds(begin, mapped);
        times[1] = nanoseconds(mapped, unmapped);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_extrapolated_is_told() {
        let of = |guest: &str, sizes: &[u64]| {
            let sizes: Vec<u64> = sizes.iter().map(|size| size << 20).collect();
            untold(guest.parse().unwrap(), &sizes)
        };
        assert_eq!(of("24G", &[64, 128, 256]), None);
        assert_eq!(of("16M", &[4, 8, 12]), None);
        assert_eq!(of("64M", &[64]), None);
        let text = of("24G", &[16, 64, 256]).unwrap();
        assert!(
            text.contains("fastest way") && text.contains("64M or more"),
            "{text}"
        );
        let text = of("24G", &[64, 256]).unwrap();
        assert!(text.starts_with("how long 24G takes: "), "{text}");
    }
}
