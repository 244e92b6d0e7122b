//! What a host is expected to be like: a file that `validate` holds against what it finds.
//!
//! Only what the file says is checked. Each section of it leads to one finding, `expect.link` and so on.

mod compare;
mod latency;
mod observed;
mod questions;
#[cfg(test)]
mod tests;
mod write;

pub use compare::{Compared, compare};
pub use observed::{Observed, Place};
pub use write::written;

use serde::Deserialize;

use crate::host::{IommuKind, SubsystemId};
use crate::types::{Bdf, DeviceName, PciId};

/// The version of the format. It grows when a key changes its meaning, not when one is added.
pub const SCHEMA_VERSION: u32 = 1;

/// What devices are expected to be like.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    #[allow(dead_code, reason = "it is checked when it is read")]
    schema_version: SchemaVersion,
    /// What is expected of each device.
    #[serde(default, rename = "device")]
    pub devices: Vec<Expected>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "u32")]
struct SchemaVersion;

impl TryFrom<u32> for SchemaVersion {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        if number == SCHEMA_VERSION {
            return Ok(Self);
        }
        Err(format!(
            "the file is of version {number}, and this program knows version {SCHEMA_VERSION}"
        ))
    }
}

/// What one device is expected to be like. What is `None` is not checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Which device this is about.
    #[serde(rename = "match")]
    pub subject: Subject,
    /// Vendor and device ID.
    pub id: Option<Id>,
    /// Vendor and device ID of the card that it is on.
    pub subsystem: Option<Id>,
    /// What the device calls itself, or else its name in the list of PCI IDs.
    pub model: Option<String>,
    /// The version of its firmware.
    pub firmware: Option<String>,
    /// The NUMA node it is nearest to.
    pub numa_node: Option<u32>,
    /// Whether it, or each of its virtual functions, must have an IOMMU group of its own.
    #[serde(default)]
    pub isolated: bool,
    /// Its link.
    #[serde(default)]
    pub link: ExpectedLink,
    /// Its virtual functions.
    #[serde(default)]
    pub functions: ExpectedFunctions,
    /// The IOMMU that translates for it.
    #[serde(default)]
    pub iommu: ExpectedIommu,
    /// How long mapping memory for it may take.
    pub latency: Option<Ceilings>,
}

/// The least that a link is to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedLink {
    /// The speed at which it runs, in GT/s.
    pub speed: Option<f32>,
    /// On how many lanes.
    pub width: Option<u8>,
    /// The speed that the device could do, in GT/s.
    pub max_speed: Option<f32>,
    /// The lanes that it has.
    pub max_width: Option<u8>,
}

/// How many virtual functions a device is to have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedFunctions {
    /// The most that it can have.
    pub total: Option<u16>,
    /// Those that it has while it is checked; so many are made if the user does not say how many.
    pub wanted: Option<u16>,
}

/// How requests of a device are to be translated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedIommu {
    /// What kind of IOMMU translates.
    pub unit: Option<IommuKind>,
    /// The mode for the host's own drivers.
    pub mode: Option<Mode>,
}

/// How an IOMMU translates for the host's own drivers: the default domain of a group (Documentation/ABI/testing/sysfs-kernel-iommu_groups).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Not at all: `identity`.
    Direct,
    /// What is unmapped is out of reach at once: `DMA`.
    Strict,
    /// What is unmapped stays in reach for some milliseconds: `DMA-FQ`.
    Lazy,
}

impl Mode {
    /// What the kernel calls `type` of a group.
    #[must_use]
    pub fn of_domain(domain: &str) -> Option<Self> {
        match domain {
            "identity" => Some(Self::Direct),
            "DMA" => Some(Self::Strict),
            "DMA-FQ" => Some(Self::Lazy),
            _ => None,
        }
    }

    /// As in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Strict => "strict",
            Self::Lazy => "lazy",
        }
    }
}

/// How long mapping memory may take, as ratios: times alone depend too much on the processor.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, try_from = "WrittenCeilings")]
pub struct Ceilings {
    /// Mapping and unmapping for the first function, in nanoseconds, and how many times that it may take.
    pub stored: Option<(u64, f64)>,
    /// How many times as long as for the first function it may take for each other one.
    pub to_first: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCeilings {
    map_ns: Option<u64>,
    unmap_ns: Option<u64>,
    max_ratio_to_stored: Option<f64>,
    max_ratio_to_first: Option<f64>,
}

impl TryFrom<WrittenCeilings> for Ceilings {
    type Error = &'static str;

    fn try_from(written: WrittenCeilings) -> Result<Self, Self::Error> {
        let ratios = [written.max_ratio_to_stored, written.max_ratio_to_first];
        if ratios
            .iter()
            .flatten()
            .any(|ratio| !(ratio.is_finite() && *ratio > 0.0))
        {
            return Err("a ratio is a number above 0");
        }
        let stored = match (
            written.map_ns,
            written.unmap_ns,
            written.max_ratio_to_stored,
        ) {
            (Some(map), Some(unmap), Some(ratio)) if map > 0 => {
                Some((map.saturating_add(unmap), ratio))
            }
            (None, None, None) => None,
            _ => return Err("map_ns (above 0), unmap_ns and max_ratio_to_stored go together"),
        };
        Ok(Self {
            stored,
            to_first: written.max_ratio_to_first,
        })
    }
}

/// Which device a section is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Subject {
    /// The one at this address.
    Address(Bdf),
    /// Each one that has these IDs, unless another section names its address.
    Id(Id),
}

/// Vendor and device ID, written as `8086:10c9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Id {
    vendor: u16,
    device: u16,
}

impl From<PciId> for Id {
    fn from(id: PciId) -> Self {
        Self {
            vendor: id.vendor,
            device: id.device,
        }
    }
}

impl From<SubsystemId> for Id {
    fn from(id: SubsystemId) -> Self {
        Self {
            vendor: id.vendor,
            device: id.device,
        }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(bdf) => bdf.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.parse() {
            Ok(DeviceName::Id { vendor, device }) => Ok(Self { vendor, device }),
            _ => Err(format!("'{text}' is no vendor and device ID, as 8086:10c9")),
        }
    }
}

impl TryFrom<String> for Subject {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.parse() {
            Ok(DeviceName::Bdf(bdf)) => Ok(Self::Address(bdf)),
            Ok(DeviceName::Id { vendor, device }) => Ok(Self::Id(Id { vendor, device })),
            _ => Err(format!(
                "'{text}' is neither a vendor and device ID, as 8086:10c9, nor a PCI address, as 0000:01:00.0"
            )),
        }
    }
}

/// Why a text is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Something in it is wrong.
    #[error("line {line}, column {column}: {what}")]
    Wrong {
        /// From 1 on.
        line: usize,
        /// In characters, from 1 on.
        column: usize,
        /// What.
        what: String,
    },
    /// Two sections are about the same device.
    #[error("two [[device]] sections have match = \"{0}\": make one of them")]
    Twice(String),
    /// It has no section.
    #[error("nothing is expected: a [[device]] section with 'match' says which device it is about")]
    Empty,
}

impl Manifest {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// It is not TOML, has a key that is not known or a value that cannot be, or says nothing.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Version {
            #[allow(dead_code, reason = "it is checked when it is read")]
            schema_version: SchemaVersion,
        }
        let wrong = |error: toml::de::Error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            ManifestError::Wrong {
                line,
                column,
                // The sections are the only sequence that there is.
                what: error
                    .message()
                    .replace('\n', ", ")
                    .replace("a sequence", "[[device]], in two pairs of brackets"),
            }
        };
        // First, as another version may well have other keys.
        toml::from_str::<Version>(text).map_err(wrong)?;
        let manifest: Self = toml::from_str(text).map_err(wrong)?;
        for (at, expected) in manifest.devices.iter().enumerate() {
            let before = &manifest.devices[..at];
            if before.iter().any(|other| other.subject == expected.subject) {
                return Err(ManifestError::Twice(expected.subject.to_string()));
            }
        }
        if manifest.devices.is_empty() {
            return Err(ManifestError::Empty);
        }
        Ok(manifest)
    }

    /// What is expected of a device: a section that names its address comes before one that names its IDs.
    #[must_use]
    pub fn of(&self, bdf: Bdf, id: PciId) -> Option<&Expected> {
        let about = |subject| self.devices.iter().find(|it| it.subject == subject);
        about(Subject::Address(bdf)).or_else(|| about(Subject::Id(id.into())))
    }
}

/// Line and column of a byte of a text, both from 1 on.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}
