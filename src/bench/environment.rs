//! The host as it was during a run: enough to tell two runs apart.

use serde::{Deserialize, Serialize};

use crate::types::{Backend, Bdf, GroupId};

/// The host during a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The version of this program.
    pub version: String,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The kernel's parameters that concern IOMMUs, PCI, VFIO, huge pages or processors; others are private.
    pub kernel_parameters: Vec<String>,
    /// The model of the processors.
    pub processor: Option<String>,
    /// How many processors this process may use.
    pub processors: u32,
    /// The NUMA node of the processor that the run began on.
    pub node: Option<u32>,
    /// The scaling governor of the processors.
    pub governor: Option<String>,
    /// The load average of the last minute before the run.
    pub load: Option<f64>,
    /// Whether this is a virtual machine.
    pub virtual_machine: bool,
    /// All memory, in bytes.
    pub memory: Option<u64>,
    /// When transparent huge pages are used: `always`, `madvise`, `never`; `None` if the kernel has none.
    pub transparent_huge_pages: Option<String>,
    /// The reserves of huge pages.
    pub huge_pages: Vec<HugePageReserve>,
    /// How much memory this process may lock, in bytes; `None` if there is no limit or it does not bind this process.
    pub locked_memory: Option<u64>,
    /// The devices: the first is the one that is measured with.
    pub devices: Vec<MeasuredDevice>,
    /// The address spaces, one for each backend.
    pub spaces: Vec<MeasuredSpace>,
}

/// A reserve of huge pages of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugePageReserve {
    /// Bytes a page.
    pub size: u64,
    /// Pages in the reserve.
    pub total: u64,
    /// Pages that were free before the run.
    pub free: u64,
}

/// A device of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredDevice {
    /// Its address.
    pub bdf: Bdf,
    /// Vendor and device ID, as `8086:10c9`.
    pub id: String,
    /// Its driver.
    pub driver: Option<String>,
    /// Its NUMA node.
    pub node: Option<u32>,
    /// Its IOMMU group.
    pub group: Option<GroupId>,
    /// The type of its group's default domain: `DMA` (strict), `DMA-FQ` (lazy), `identity`. VFIO maps in a domain of its own, which is
    /// always strict.
    pub domain: Option<String>,
    /// The IOMMU that translates for it.
    pub iommu: Option<MeasuredIommu>,
}

/// An IOMMU of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredIommu {
    /// Its name, as `dmar0`.
    pub name: String,
    /// What it is, as `vtd`.
    pub kind: String,
    /// The version of its architecture.
    pub version: Option<String>,
    /// The bits of an IOVA.
    pub address_width: Option<u8>,
    /// The sizes of its pages in bytes.
    pub page_sizes: Vec<u64>,
    /// What else it can do, as `caching mode`, `scalable mode`.
    pub features: Vec<String>,
}

/// An address space of a run, with the device attached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredSpace {
    /// The kernel interface.
    pub backend: Backend,
    /// The sizes of its pages in bytes; iommufd tells the smallest only.
    pub page_sizes: Vec<u64>,
    /// The bytes that can be mapped, at most.
    pub room: u64,
    /// How many mappings it takes; `None` if there is no limit.
    pub entries: Option<u32>,
}
