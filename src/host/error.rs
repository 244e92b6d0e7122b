//! Why something could not be learned of a host.

use nix::errno::Errno;
use std::path::PathBuf;

use super::MissingIommu;
use crate::types::{Bdf, DeviceName, ExitClass, GroupId};

/// Why something could not be learned of a host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The root folder holds no sysfs.
    #[error("there is no sysfs at {}: is this the root folder of a host?", .0.display())]
    NoSysfs(PathBuf),
    /// A folder that must be readable is not.
    #[error("cannot read {}: {errno}", path.display())]
    Read {
        /// The path on the host.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// No device has this name.
    #[error("there is no device '{0}' on this host: 'iommu-tool list' shows what there is")]
    NoSuchDevice(DeviceName),
    /// The name exists, and stands for something that no PCI device provides.
    #[error("'{0}' does not belong to a PCI device, so it cannot be assigned by itself")]
    NotPci(DeviceName),
    /// The name means several devices.
    #[error(
        "'{name}' means several devices, name one of them: {}",
        list(candidates)
    )]
    Ambiguous {
        /// What the user wrote.
        name: DeviceName,
        /// What it may mean.
        candidates: Vec<Bdf>,
    },
    /// There is no such IOMMU group, or it holds no PCI device.
    #[error(
        "there is no IOMMU group {0} with PCI devices on this host: 'iommu-tool list' shows the groups"
    )]
    NoSuchGroup(GroupId),
    /// The device is there, and its `modalias` does not say what it is.
    #[error("cannot tell what device {0} is: its modalias in sysfs is missing or damaged")]
    Unidentified(Bdf),
    /// The host has no IOMMU that is on.
    #[error(transparent)]
    NoIommu(#[from] MissingIommu),
}

impl HostError {
    /// The exit status that this error leads to.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::NoSysfs(_)
            | Self::NoSuchDevice(_)
            | Self::NotPci(_)
            | Self::Ambiguous { .. }
            | Self::NoSuchGroup(_) => ExitClass::Usage,
            Self::NoIommu(_) => ExitClass::NoVerdict,
            Self::Read { .. } | Self::Unidentified(_) => ExitClass::Failed,
        }
    }
}

fn list(candidates: &[Bdf]) -> String {
    let names: Vec<String> = candidates.iter().map(ToString::to_string).collect();
    names.join(", ")
}
