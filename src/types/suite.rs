//! What `bench` can measure.

use std::fmt;

/// A group of measurements that answer one question.
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
#[serde(rename_all = "kebab-case")]
pub enum Suite {
    /// What a map and an unmap cost, for memory that is in RAM already
    Map,
    /// How long a guest's memory takes from nothing to mapped, and where the time goes
    Cold,
    /// What a map and an unmap cost beside many other mappings, up to the limit
    Churn,
    /// How mapping scales with threads in one address space
    Threads,
    /// What more devices in one address space cost
    Devices,
    /// Mapping a memfd as such, against mapping its address (iommufd)
    File,
    /// How long the device takes to read and write mapped memory, and how far its IOMMU's cache reaches
    Dma,
    /// What opening an address space and the device, and resetting it, cost
    Open,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Map => "map",
            Self::Cold => "cold",
            Self::Churn => "churn",
            Self::Threads => "threads",
            Self::Devices => "devices",
            Self::File => "file",
            Self::Dma => "dma",
            Self::Open => "open",
        })
    }
}
