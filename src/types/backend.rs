//! The two kernel interfaces that give user space an IOMMU address space.

use std::fmt;

/// A kernel interface for IOMMU address spaces.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// VFIO container and group with the type1 v2 IOMMU driver (`/dev/vfio/vfio`, `/dev/vfio/GROUP`).
    Type1,
    /// iommufd IOAS and VFIO device node (`/dev/iommu`, `/dev/vfio/devices/vfioN`).
    Iommufd,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Type1 => "type1",
            Self::Iommufd => "iommufd",
        })
    }
}

/// What the user asked for with `--backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum BackendChoice {
    /// iommufd where it works for the device, else type1.
    #[default]
    Auto,
    /// Only type1.
    Type1,
    /// Only iommufd.
    Iommufd,
}

impl fmt::Display for BackendChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.named() {
            None => f.write_str("auto"),
            Some(backend) => backend.fmt(f),
        }
    }
}

impl BackendChoice {
    /// The backend that was asked for by name; `None` for `auto`.
    #[must_use]
    pub fn named(self) -> Option<Backend> {
        match self {
            Self::Auto => None,
            Self::Type1 => Some(Backend::Type1),
            Self::Iommufd => Some(Backend::Iommufd),
        }
    }
}
