//! What mapping costs for each function, against the first one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Judged;
use crate::device::{DeviceError, VfioDevice};
use crate::iommu::{
    self, AddressSpace, DmaBuffer, DmaMapping, IommuError, IovaAllocator, PageKind,
};
use crate::types::{Backend, Bdf, Iova, Protection, Size, VfioNode};

const SIZE: Size = Size::new(64 << 10).unwrap();
const SAMPLES: usize = 200;
/// Above this the function is served worse than the first one.
const LIMIT: f64 = 1.5;

/// The medians of one function.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MapLatency {
    /// The function.
    pub bdf: Bdf,
    /// Mapping 64 KiB of ordinary pages, in nanoseconds.
    pub map_ns: u64,
    /// Unmapping them.
    pub unmap_ns: u64,
    /// Both together, as a multiple of the first function's.
    pub ratio: f64,
}

struct Subject {
    bdf: Bdf,
    // Before the space, which must outlive what is in it.
    _device: VfioDevice,
    space: Arc<dyn AddressSpace>,
    // The same memory for all: pages that lie together are mapped faster than those that do not.
    memory: Arc<DmaBuffer>,
    iova: Iova,
    samples: Vec<(Duration, Duration)>,
}

impl Subject {
    fn new(node: &VfioNode, backend: Backend, memory: &Arc<DmaBuffer>) -> Result<Self, String> {
        let space = iommu::open(backend).map_err(text)?;
        let device = VfioDevice::open(&space, node).map_err(device_text)?;
        let mut iovas = IovaAllocator::new(&space.iova_ranges().map_err(text)?);
        let range = iovas.allocate(SIZE.bytes(), SIZE.bytes());
        Ok(Self {
            bdf: node.bdf,
            _device: device,
            memory: memory.clone(),
            iova: range.map_err(|error| error.to_string())?.start(),
            space,
            samples: Vec::with_capacity(SAMPLES),
        })
    }

    fn sample(&mut self) -> Result<(), IommuError> {
        let begin = Instant::now();
        let whole = 0..self.memory.size();
        let mapping = DmaMapping::new(
            &self.space,
            &self.memory,
            whole,
            self.iova,
            Protection::ReadWrite,
        )?;
        let mapped = Instant::now();
        mapping.unmap()?;
        self.samples.push((mapped - begin, mapped.elapsed()));
        Ok(())
    }

    fn medians(&self) -> (u64, u64) {
        let median = |pick: fn(&(Duration, Duration)) -> Duration| {
            let mut times: Vec<u128> = self.samples.iter().map(|s| pick(s).as_nanos()).collect();
            times.sort_unstable();
            let middle = times.get(times.len() / 2).copied().unwrap_or(0);
            u64::try_from(middle).unwrap_or(u64::MAX)
        };
        (median(|sample| sample.0), median(|sample| sample.1))
    }
}

fn text(error: IommuError) -> String {
    error.to_string()
}

fn device_text(error: DeviceError) -> String {
    error.to_string()
}

/// Measures all functions in turns, so that what disturbs the host disturbs all of them alike.
///
/// # Errors
/// A function cannot be opened or mapped for, in words.
pub fn map_latencies(nodes: &[&VfioNode], backend: Backend) -> Result<Vec<MapLatency>, String> {
    let memory = Arc::new(DmaBuffer::allocate(SIZE, PageKind::Base).map_err(text)?);
    let subjects = nodes
        .iter()
        .map(|node| Subject::new(node, backend, &memory));
    let mut subjects: Vec<Subject> = subjects.collect::<Result<_, _>>()?;
    for _ in 0..SAMPLES {
        for subject in &mut subjects {
            subject.sample().map_err(text)?;
        }
    }
    let medians: Vec<(Bdf, (u64, u64))> = subjects.iter().map(|s| (s.bdf, s.medians())).collect();
    let first = medians.first().map_or(1, |(_, (map, unmap))| map + unmap);
    Ok(medians
        .into_iter()
        .map(|(bdf, (map_ns, unmap_ns))| MapLatency {
            bdf,
            map_ns,
            unmap_ns,
            ratio: (map_ns + unmap_ns) as f64 / first.max(1) as f64,
        })
        .collect())
}

/// Whether all functions are served as the first one is. Times depend on much beside the device: what differs is a warning.
#[must_use]
pub fn similar(latencies: &[MapLatency]) -> Judged {
    let Some(slowest) = latencies.iter().max_by(|a, b| a.ratio.total_cmp(&b.ratio)) else {
        return Judged::skip("nothing was measured");
    };
    let lines = latencies.iter().map(|one| {
        format!(
            "{}: map {:.1} us, unmap {:.1} us, {:.2} times the first",
            one.bdf,
            one.map_ns as f64 / 1e3,
            one.unmap_ns as f64 / 1e3,
            one.ratio
        )
    });
    let judged = if slowest.ratio <= LIMIT {
        Judged::pass(format!(
            "the slowest takes {:.2} times as long as the first",
            slowest.ratio
        ))
    } else {
        Judged::warn(
            format!(
                "{} takes {:.2} times as long as the first function",
                slowest.bdf, slowest.ratio
            ),
            "repeat it on an idle host; if it stays, look at what the slow ones share (IOMMU unit, NUMA node)",
        )
    };
    judged.with_evidence(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::doctor::Health;

    #[test]
    fn a_slow_function_is_warned_of() {
        let latency = |function: &str, ratio| MapLatency {
            bdf: function.parse().unwrap(),
            map_ns: 5000,
            unmap_ns: 4000,
            ratio,
        };
        let mut all = vec![latency("02:10.0", 1.0), latency("02:10.2", 1.2)];
        assert_eq!(similar(&all).verdict, Health::Pass);
        all.push(latency("02:10.4", 3.0));
        let judged = similar(&all);
        assert_eq!(judged.verdict, Health::Warn);
        assert!(judged.detail.contains("02:10.4"), "{}", judged.detail);
        assert_eq!(similar(&[]).verdict, Health::Skip);
    }
}
