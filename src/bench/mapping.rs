//! What `bench` measures: mapping memory that is present already, and unmapping it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use super::sampler::{Amount, Sample, Samples, Subject, fill};
use crate::device::{DeviceError, VfioDevice};
use crate::iommu::{
    self, AddressSpace, DmaBuffer, DmaMapping, IommuError, IovaAllocator, IovaError, PageKind,
};
use crate::types::{Backend, ExitClass, Iova, IovaRange, Protection, Size, VfioNode};

/// How often each address space is made anew: what is decided once for all samples of one (which pages hold the IOMMU's
/// tables, say) is decided several times.
const LAUNCHES: usize = 3;

/// What one row of the result is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configuration {
    /// The kernel interface.
    pub backend: Backend,
    /// How much is mapped at once.
    pub size: Size,
    /// The pages that the memory is made of.
    pub pages: PageKind,
}

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Every row, those of one backend together.
    pub configurations: Vec<Configuration>,
    /// How many samples each row gets.
    pub amount: Amount,
    /// Where to map; `None` leaves it to the allocator, which aligns for the largest page.
    pub iova: Option<Iova>,
}

/// The samples of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// What was measured.
    pub configuration: Configuration,
    /// Where it was mapped.
    pub iova: Iova,
    /// The samples.
    pub record: Samples,
}

/// Why nothing could be measured, or not all.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The kernel refused to map or unmap, or to give memory.
    #[error(transparent)]
    Iommu(#[from] IommuError),
    /// The device cannot be opened.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// There is no room for it in the IOVA space.
    #[error("{size} cannot be mapped by {backend}")]
    NoRoom {
        /// How much was to be mapped.
        size: Size,
        /// Through what.
        backend: Backend,
        /// What is in the way.
        source: IovaError,
    },
}

impl BenchError {
    /// The exit status that this error leads to.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::Iommu(error) => error.class(),
            Self::Device(error) => error.class(),
            // All sizes were chosen by the user.
            Self::NoRoom { .. } => ExitClass::Usage,
        }
    }
}

/// What is done at the moment, for the progress.
pub struct Step<'s> {
    /// Which row is measured.
    pub configuration: &'s Configuration,
    /// How much of the whole plan is done, from 0 to 1.
    pub done: f64,
}

/// Measures all of the plan; `watch` sees each step and may end it early.
///
/// Before anything is measured, each row is mapped once: what does not fit the host's limits is told then.
///
/// # Errors
/// The device cannot be opened, or memory cannot be had or mapped.
pub fn run(
    node: &VfioNode,
    plan: &Plan,
    mut watch: impl FnMut(Step<'_>) -> ControlFlow<()>,
) -> Result<(Vec<Measured>, ControlFlow<()>), BenchError> {
    let memory = memory_for(&plan.configurations)?;
    let mut iovas = Vec::new();
    for rows in by_backend(&plan.configurations) {
        let opened = Opened::open(node, rows[0].backend)?;
        let placed = opened.place(rows, plan.iova)?;
        for mut cycle in opened.cycles(rows, &placed, &memory) {
            cycle.sample()?;
        }
        iovas.extend(placed);
    }

    let mut records = vec![Samples::default(); plan.configurations.len()];
    let mut end = ControlFlow::Continue(());
    'launches: for launch in 1..=LAUNCHES {
        let target = plan.amount.part(launch, LAUNCHES);
        let mut first = 0;
        for rows in by_backend(&plan.configurations) {
            let range = first..first + rows.len();
            first = range.end;
            let opened = Opened::open(node, rows[0].backend)?;
            let mut cycles = opened.cycles(rows, &iovas[range.clone()], &memory);
            let (before, rest) = records.split_at_mut(range.start);
            let (here, after) = rest.split_at_mut(rows.len());
            let others: f64 = before
                .iter()
                .chain(&*after)
                .map(|record| plan.amount.reached(record))
                .sum();
            end = fill(&mut cycles, here, target, |at, records| {
                let reached: f64 = records.iter().map(|r| plan.amount.reached(r)).sum();
                watch(Step {
                    configuration: &rows[at],
                    done: (others + reached) / plan.configurations.len() as f64,
                })
            })?;
            if end.is_break() {
                break 'launches;
            }
        }
    }
    let measured = plan.configurations.iter().zip(iovas).zip(records);
    Ok((
        measured
            .map(|((configuration, iova), record)| Measured {
                configuration: *configuration,
                iova,
                record,
            })
            .collect(),
        end,
    ))
}

fn by_backend(rows: &[Configuration]) -> impl Iterator<Item = &[Configuration]> {
    rows.chunk_by(|a, b| a.backend == b.backend)
}

type Memory = HashMap<(Size, PageKind), Arc<DmaBuffer>>;

/// The memory for each size and kind of pages; all backends get the same.
fn memory_for(rows: &[Configuration]) -> Result<Memory, IommuError> {
    let mut memory = Memory::new();
    for row in rows {
        if let Entry::Vacant(place) = memory.entry((row.size, row.pages)) {
            place.insert(Arc::new(DmaBuffer::allocate(row.size, row.pages)?));
        }
    }
    Ok(memory)
}

/// An address space with the device attached: without a device, a mapping would be a note and no more.
struct Opened {
    space: Arc<dyn AddressSpace>,
    _device: VfioDevice,
}

impl Opened {
    fn open(node: &VfioNode, backend: Backend) -> Result<Self, BenchError> {
        let space = iommu::open(backend)?;
        let device = VfioDevice::open(&space, node)?;
        Ok(Self {
            space,
            _device: device,
        })
    }

    /// An IOVA for each row: one of its own, or the one that the user chose for all. Only one is mapped at a time.
    fn place(&self, rows: &[Configuration], chosen: Option<Iova>) -> Result<Vec<Iova>, BenchError> {
        let mut allocator = IovaAllocator::new(&self.space.iova_ranges()?);
        let place = |row: &Configuration| {
            let size = row.size.bytes();
            let placed = match chosen {
                None => allocator.allocate(size, alignment(size)).map(|r| r.start()),
                Some(iova) => {
                    let range = IovaRange::new(iova, size).map_err(IommuError::from)?;
                    let taken = allocator.reserve(range);
                    taken.map(|()| {
                        allocator.free(range);
                        iova
                    })
                }
            };
            placed.map_err(|source| BenchError::NoRoom {
                size: row.size,
                backend: row.backend,
                source,
            })
        };
        rows.iter().map(place).collect()
    }

    fn cycles(&self, rows: &[Configuration], iovas: &[Iova], memory: &Memory) -> Vec<Cycle> {
        let cycle = |(row, iova): (&Configuration, &Iova)| Cycle {
            space: Arc::clone(&self.space),
            memory: Arc::clone(&memory[&(row.size, row.pages)]),
            // It was mapped before, so it fits the address space of this process.
            size: row.size.bytes() as usize,
            iova: *iova,
        };
        rows.iter().zip(iovas).map(cycle).collect()
    }
}

/// The alignment that lets the IOMMU use the largest page which fits: memory is aligned to its own pages, and the two
/// must agree. No IOMMU has pages of more than 1 GiB at a leaf that VFIO uses.
fn alignment(size: u64) -> u64 {
    let largest = 1 << size.ilog2();
    u64::clamp(largest, 4 << 10, 1 << 30)
}

/// Maps and unmaps the same memory at the same IOVA.
struct Cycle {
    space: Arc<dyn AddressSpace>,
    memory: Arc<DmaBuffer>,
    size: usize,
    iova: Iova,
}

impl Subject for Cycle {
    type Error = IommuError;

    fn sample(&mut self) -> Result<Sample, IommuError> {
        let begin = Instant::now();
        let mapping = DmaMapping::new(
            &self.space,
            &self.memory,
            0..self.size,
            self.iova,
            Protection::ReadWrite,
        )?;
        let mapped = Instant::now();
        mapping.unmap()?;
        let unmapped = Instant::now();
        Ok(Sample {
            map: mapped - begin,
            unmap: unmapped - mapped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_fits_the_largest_page_in_the_size() {
        for (size, expected) in [
            (4 << 10, 4 << 10),
            (12 << 10, 8 << 10),
            (2 << 20, 2 << 20),
            (3 << 30, 1 << 30),
        ] {
            assert_eq!(alignment(size), expected, "{size}");
        }
    }
}
