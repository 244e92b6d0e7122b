//! What a Linux host says about its PCI devices, IOMMU groups and drivers in sysfs and procfs. Nothing here changes a host,
//! but for the trace instance that [`TraceRecorder`] makes and removes.
//!
//! Everything is read below a root folder: `/` on a live host, another folder for a captured one. Files that are missing,
//! empty, huge or not UTF-8 count as "not said": each read is bounded, and what a caller cannot do without is an error.

mod capture;
mod config_space;
mod denylist;
mod distribution;
mod driver_modules;
mod error;
mod faults;
mod group;
mod holders;
mod huge_pages;
mod in_use;
mod interface;
mod interrupt_remapping;
mod iommu;
mod iommu_unit;
mod isolation;
mod kernel;
mod kernel_log;
mod kernel_names;
mod limits;
mod link;
mod memory;
mod nameplate;
mod node_access;
mod own;
mod pagemap;
mod pci;
mod pci_names;
mod processor;
mod profile;
mod recording;
mod regions;
mod reset;
mod resolve;
mod root;
mod sriov;
mod topology;
mod tracing;
mod translation;
mod vfio;

pub use capture::{CaptureError, CaptureSummary};
pub use config_space::{
    Acs, AcsFlags, Ats, ConfigSpace, Express, Msi, MsiX, Pasid, PortType, Pri, Reach,
};
pub use distribution::{CommandLineChange, Distribution, Family};
pub use driver_modules::{DriverModules, VfioAlias};
pub use error::HostError;
pub use faults::{
    Access, Fault, FaultInterrupts, FaultReader, FaultSource, FaultTrace, LogEvent, Overflow,
    Reason, Requester, Suppressed,
};
pub use group::{Blocker, IommuGroup, OtherDevice, ReservedRegion};
pub use holders::Holder;
pub use huge_pages::{HugePages, TransparentHugePages};
pub use in_use::{Usage, Use};
pub use interrupt_remapping::InterruptRemapping;
pub use iommu::{MissingIommu, ParameterChange};
pub use iommu_unit::{IommuKind, IommuUnit};
pub use isolation::{Effect, IsolationStep};
pub use kernel::{KernelOption, Lockdown, ModuleState};
pub use kernel_log::{KernelLog, KernelRecord};
use kernel_names::last_bdf;
pub use kernel_names::{KernelName, KernelNames, NameKind};
pub use limits::{GroupLimit, LockedMemory};
pub use link::{Link, LinkRate};
pub use nameplate::Nameplate;
pub use node_access::NodeAccess;
pub use own::OwnMemory;
pub use pagemap::{Pagemap, PagemapError, physical_address};
pub use pci::{PciDevice, SubsystemId, driver_override_of};
pub use pci_names::PciNames;
pub use profile::DeviceProfile;
pub use recording::{Recording, Seen};
pub use regions::{Bar, BarKind};
pub use reset::ResetMethod;
pub use root::Host;
pub use sriov::Sriov;
pub use translation::{
    Attachment, Entry, Field, Leaf, Lookup, MappedRange, Neighbours, NotShown, RangeCollector,
    Stage, TableWalk, TraceRecorder, TracedPiece, Walker,
};
pub use vfio::is_vfio_driver;
