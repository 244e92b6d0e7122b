//! What is to be measured.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::record::{Key, Phase, Route};
use crate::iommu::PageKind;
use crate::types::{Backend, Iova, PciId, Size, Suite, VfioNode};

/// How many processes measure, one after the other, each in address spaces, with devices and memory of its own.
///
/// What is decided once for all that follows (which physical pages the memory and the IOMMU's tables are made of, where the program's code
/// and memory lie) is decided several times that way. The process matters: between two of them, times differ by several times of what they
/// do within one, by 10 % for short calls.
pub const LAUNCHES: u32 = 5;

/// A device to measure with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedDevice {
    /// How VFIO offers it.
    pub node: VfioNode,
    /// What it is.
    pub id: PciId,
}

/// A kind of pages to measure with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlannedPages {
    /// The kind.
    pub kind: PageKind,
    /// Bytes a page.
    pub bytes: u64,
}

/// What a run of `bench` is to measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The device that is measured with, and others for the suite that takes several.
    pub devices: Vec<PlannedDevice>,
    /// The suites.
    pub suites: Vec<Suite>,
    /// The kernel interfaces.
    pub backends: Vec<Backend>,
    /// The sizes to map, if the user chose any; each suite has its own otherwise.
    pub sizes: Option<Vec<Size>>,
    /// The memory of a guest that is started.
    pub guest: Option<Size>,
    /// The kinds of pages.
    pub pages: Vec<PlannedPages>,
    /// How many threads map at the same time, for the suite that varies it.
    pub threads: Vec<u32>,
    /// Exactly as many samples of each series.
    pub samples: Option<u32>,
    /// How long the run may take, if the user chose; each suite has its own time otherwise.
    pub duration: Option<Duration>,
    /// Where to map; `None` leaves it to the allocator, which aligns for the largest page.
    pub iova: Option<Iova>,
    /// Whether to measure a bare loop of system calls along.
    pub bare: bool,
    /// Whether the record keeps every sample.
    pub keep_samples: bool,
    /// The memory that can be had without pushing anything out, in bytes; `None` if the host does not say.
    pub available: Option<u64>,
    /// The free bytes of each reserve of huge pages, by the size of a page.
    pub reserved: Vec<(Size, u64)>,
    /// The memory that this process may lock in bytes, if it is limited.
    pub lockable: Option<u64>,
    /// The first address above all memory and devices of the host, if it is known.
    pub physical_top: Option<Iova>,
}

impl Plan {
    /// The sizes for a suite, rising: those that the user chose, or its own.
    #[must_use]
    pub fn sizes_or(&self, own: &[u64]) -> Vec<u64> {
        let mut sizes: Vec<u64> = match &self.sizes {
            Some(sizes) => sizes.iter().map(|size| size.bytes()).collect(),
            None => own.to_vec(),
        };
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// A page of the first kind that was asked for.
    #[must_use]
    pub fn smallest_shape(&self) -> Shape {
        let pages = self.pages[0];
        Shape {
            size: pages.bytes,
            pages,
        }
    }

    /// Each of these sizes with each kind of pages that it holds at least one of.
    #[must_use]
    pub fn shapes(&self, sizes: &[u64]) -> Vec<Shape> {
        let of_size = |size: &u64| {
            let size = *size;
            let kinds = self.pages.iter().filter(move |pages| pages.bytes <= size);
            kinds.map(move |pages| Shape {
                size,
                pages: *pages,
            })
        };
        sizes.iter().flat_map(of_size).collect()
    }
}

/// Memory to map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Bytes.
    pub size: u64,
    /// What it is made of.
    pub pages: PlannedPages,
}

impl Shape {
    /// Bytes, as a size.
    #[must_use]
    pub fn size(self) -> Size {
        Size::new(self.size).expect("no shape is empty")
    }
}

/// What is measured by one subject: a series for each of its steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What the series are about; the step is that of the first.
    pub key: Key,
    /// The steps that are timed.
    pub steps: Vec<Phase>,
    /// The memory, where some is mapped.
    pub shape: Option<Shape>,
}

impl Row {
    /// A row of a suite that maps nothing and varies nothing.
    #[must_use]
    pub fn new(suite: Suite, backend: Backend, steps: &'static [Phase]) -> Self {
        Self {
            key: Key {
                suite,
                backend,
                size: None,
                pages: None,
                route: Route::Address,
                threads: 1,
                devices: 1,
                live: 0,
                working_set: None,
                phase: steps[0],
            },
            steps: steps.to_vec(),
            shape: None,
        }
    }

    /// The same, for this memory.
    #[must_use]
    pub fn of(mut self, shape: Shape) -> Self {
        self.key.size = Some(shape.size);
        self.key.pages = Some(shape.pages.kind.to_string());
        self.shape = Some(shape);
        self
    }

    /// Its memory, in a suite whose rows all have some.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape.expect("this row maps memory")
    }

    /// The key of the series of a step.
    #[must_use]
    pub fn key_of(&self, phase: Phase) -> Key {
        Key {
            phase,
            ..self.key.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_pages_go_together_where_a_page_fits() {
        let mut plan = crate::bench::example::plan();
        assert_eq!(plan.sizes_or(&[4096]), [4096]);
        plan.sizes = Some(vec!["2M".parse().unwrap(), "4K".parse().unwrap()]);
        let shapes: Vec<_> = plan
            .shapes(&plan.sizes_or(&[]))
            .iter()
            .map(|shape| (shape.size, shape.pages.kind))
            .collect();
        assert_eq!(
            shapes,
            [
                (4096, PageKind::Base),
                (2 << 20, PageKind::Base),
                (2 << 20, PageKind::Transparent)
            ]
        );
    }
}
