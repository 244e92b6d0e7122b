//! How user space reaches a device that is bound to a VFIO driver.

use std::fmt;
use std::path::PathBuf;

use super::Bdf;

/// The number of an IOMMU group, as under `/sys/kernel/iommu_groups`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct GroupId(pub u32);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A device as VFIO offers it to user space.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VfioNode {
    /// The device's address.
    pub bdf: Bdf,
    /// The device's folder in sysfs, for example `/sys/bus/pci/devices/0000:01:00.0`.
    pub sysfs: PathBuf,
    /// The device's IOMMU group; `None` on a host without an IOMMU.
    pub group: Option<GroupId>,
    /// The device's own node, `/dev/vfio/devices/vfioN`; `None` where the kernel makes none (CONFIG_VFIO_DEVICE_CDEV).
    pub cdev: Option<PathBuf>,
}
