//! What a Linux host says about its PCI devices, IOMMU groups and drivers in sysfs and procfs. Nothing here changes a host,
//! but for the trace instance that [`TraceRecorder`] makes and removes.
//!
//! Everything is read below a root folder: `/` on a live host, another folder for a captured one. Files that are missing,
//! empty, huge or not UTF-8 count as "not said": each read is bounded, and what a caller cannot do without is an error.

mod error;
mod faults;
mod group;
mod holders;
mod in_use;
mod iommu;
mod kernel_log;
mod kernel_names;
mod memory;
mod pagemap;
mod pci;
mod pci_names;
mod resolve;
mod root;
mod translation;
mod vfio;

pub use error::HostError;
pub use faults::{
    Access, Fault, FaultInterrupts, FaultReader, IommuKind, LogEvent, Overflow, Reason, Requester,
    Suppressed,
};
pub use group::{Blocker, IommuGroup, OtherDevice, ReservedRegion};
pub use holders::Holder;
pub use iommu::MissingIommu;
pub use kernel_log::{KernelLog, KernelRecord};
pub use kernel_names::{KernelName, KernelNames, NameKind};
pub use pagemap::{Pagemap, PagemapError, physical_address};
pub use pci::{PciDevice, SubsystemId};
pub use pci_names::PciNames;
pub use root::Host;
pub use translation::{
    Attachment, Entry, Field, IommuUnit, Leaf, Lookup, MappedRange, Neighbours, NotShown,
    RangeCollector, Stage, TableWalk, TraceRecorder, TracedPiece, Walker,
};
pub use vfio::is_vfio_driver;
