//! The host as it was during a run: enough to tell two runs apart.

use serde::{Deserialize, Serialize};
use std::thread;

use crate::host::{Host, HugePages, IommuKind, PciDevice, TransparentHugePages};
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
    /// What the kernel tells the time by, as `tsc`.
    pub clock_source: Option<String>,
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
    /// What it is.
    pub kind: IommuKind,
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

/// What the names of the kernel's parameters begin with that bear on mapping and on time.
const PARAMETERS: [&str; 22] = [
    "amd_iommu",
    "amd_pstate",
    "arm-smmu",
    "cpuidle",
    "default_hugepagesz",
    "hugepages",
    "intel_idle",
    "intel_iommu",
    "intel_pstate",
    "intremap",
    "iommu",
    "isolcpus",
    "maxcpus",
    "mem=",
    "mitigations",
    "nohz",
    "nosmt",
    "numa",
    "pci",
    "swiotlb",
    "transparent_hugepage",
    "vfio",
];

impl Environment {
    /// The host as it is now, with these devices. The address spaces are not known before they are opened.
    #[must_use]
    pub fn of(host: &Host, devices: &[PciDevice]) -> Self {
        let is_told = |word: &String| {
            let name = word.trim_start_matches('-');
            PARAMETERS.iter().any(|start| name.starts_with(start))
        };
        let limit = host.locked_memory().filter(|limit| !limit.exempt);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: host.kernel_release(),
            kernel_parameters: host
                .kernel_parameters()
                .into_iter()
                .filter(is_told)
                .collect(),
            processor: host.processor_model(),
            processors: thread::available_parallelism()
                .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
            node: host.own_node(),
            governor: host.governor(),
            clock_source: host.clock_source(),
            load: host.load(),
            virtual_machine: host.is_virtual_machine(),
            memory: host.total_memory(),
            transparent_huge_pages: host.transparent_huge_pages().map(|use_of| {
                match use_of {
                    TransparentHugePages::Always => "always",
                    TransparentHugePages::OnRequest => "madvise",
                    TransparentHugePages::Never => "never",
                }
                .to_owned()
            }),
            huge_pages: host
                .huge_pages()
                .into_iter()
                .map(|HugePages { size, total, free }| HugePageReserve { size, total, free })
                .collect(),
            locked_memory: limit.and_then(|limit| limit.soft),
            devices: devices
                .iter()
                .map(|device| MeasuredDevice::of(host, device))
                .collect(),
            spaces: Vec::new(),
        }
    }
}

impl MeasuredDevice {
    fn of(host: &Host, device: &PciDevice) -> Self {
        let unit = host.iommu_unit(device.bdf);
        let group = device.group.and_then(|group| host.group(group).ok());
        Self {
            bdf: device.bdf,
            id: device.id.to_string(),
            driver: device.driver.clone(),
            node: device.numa_node,
            group: device.group,
            domain: group.and_then(|group| group.domain),
            iommu: unit.map(|unit| MeasuredIommu {
                name: unit.name,
                kind: unit.kind,
                version: unit.version,
                address_width: unit.address_width,
                page_sizes: unit
                    .page_sizes
                    .map_or_else(Vec::new, |sizes| sizes.iter().collect()),
                features: unit.features.into_iter().map(str::to_owned).collect(),
            }),
        }
    }
}
