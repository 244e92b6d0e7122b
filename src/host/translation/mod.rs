//! How an IOMMU translates an address of a device: first which page table belongs to the device, then where that leads.
//!
//! What the kernel shows of it differs: all of it in debugfs for VT-d (on kernels built for that), the first step for AMD-Vi,
//! nothing for others. What was mapped while one looked on is told by trace events on every kernel.

mod amd;
mod debugfs;
mod page_table;
mod trace;
mod vtd;
mod vtd_entries;

pub use page_table::{Leaf, MappedRange, Neighbours, Path, RangeCollector, TableWalk, Walker};
pub(super) use trace::trace_value;
pub use trace::{TraceRecorder, TracedPiece};

use nix::errno::Errno;
use serde::Serialize;

use super::{Host, IommuKind, IommuUnit};
use crate::types::Bdf;

/// A structure in memory that the IOMMU reads on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What it is: `root entry`, `PML4E`.
    pub name: &'static str,
    /// Where its format is defined: the section of the IOMMU's specification.
    pub section: &'static str,
    /// What chose it among the others of its table: `bus 0x01`, `IOVA bits 47:39 = 0x004`.
    pub chosen_by: String,
    /// Its physical address, if it is known.
    #[serde(serialize_with = "hex_option")]
    pub at: Option<u64>,
    /// Its contents, 64 bits each, the lowest first.
    #[serde(serialize_with = "hex_list")]
    pub words: Vec<u64>,
    /// What it says, in short.
    pub says: String,
    /// Its bits, one by one.
    pub fields: Vec<Field>,
}

/// Some bits of an [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Which bits, counted through all words: `87:72`.
    pub bits: String,
    /// Their name in the specification.
    pub name: &'static str,
    /// Their value.
    #[serde(serialize_with = "hex")]
    pub value: u64,
    /// What the value means.
    pub meaning: &'static str,
}

/// Which of its two kinds of page tables an IOMMU walks; the formats differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The processor's own format (VT-d 9.7).
    First,
    /// The IOMMU's format (VT-d 9.8; the host page table of AMD-Vi).
    Second,
}

/// What the IOMMU does with a device's requests, as the end of the first step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Attachment {
    /// It translates them by a page table.
    Table {
        /// The format of the table.
        stage: Stage,
        /// The physical address of its top level.
        #[serde(serialize_with = "hex")]
        root: u64,
        /// How many levels it has.
        levels: u8,
    },
    /// It lets them through as they are: an IOVA is a physical address.
    PassThrough,
    /// It blocks them all.
    Blocked,
    /// It does something that this program does not follow.
    Other {
        /// What.
        words: String,
    },
}

/// The first step: from a device to its page table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lookup {
    /// The mode of the IOMMU: `legacy mode`, `scalable mode`.
    pub mode: &'static str,
    /// The physical address of the table that the step starts from, if it is known.
    #[serde(serialize_with = "hex_option")]
    pub start: Option<u64>,
    /// The entries on the way.
    pub entries: Vec<Entry>,
    /// Where they lead.
    pub attachment: Attachment,
}

/// Why the kernel does not show something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotShown {
    /// The folder is there, and nothing is mounted on it.
    #[error(
        "debugfs is not mounted: 'mount -t debugfs none /sys/kernel/debug' shows what it has, if the kernel has it at all"
    )]
    NotMounted,
    /// There are no trace events.
    #[error(
        "tracefs is not mounted, or this kernel was built without tracing: try 'mount -t tracefs none /sys/kernel/tracing'"
    )]
    NoTracing,
    /// The process may not look.
    #[error("{path} cannot be read: {errno} (it takes root)")]
    Denied {
        /// What it would have read.
        path: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// The kernel was built without it.
    #[error("this kernel does not show it: it takes {option}")]
    NotBuilt {
        /// The option of the kernel's configuration.
        option: &'static str,
    },
    /// No kernel shows it for this kind of IOMMU.
    #[error("{0}")]
    NoSource(&'static str),
    /// The device's requests are treated in a way that this program does not follow.
    #[error("this program does not follow how the device's requests are treated: {0}")]
    NotFollowed(String),
    /// It is shown, and not for this device.
    #[error("the kernel shows nothing for this device: {0}")]
    NoEntry(&'static str),
}

impl Host {
    /// The first step: which page table the IOMMU uses for a device.
    ///
    /// # Errors
    /// The kernel does not show it.
    pub fn lookup(&self, bdf: Bdf, unit: &IommuUnit) -> Result<Lookup, NotShown> {
        match unit.kind {
            IommuKind::Vtd => self.vtd_lookup(bdf, &unit.name),
            IommuKind::AmdVi => self.amd_lookup(bdf),
            _ => Err(no_source(unit)),
        }
    }

    /// Walks all of a device's page table, in the order of IOVAs: `visit` gets each leaf, and the values of the entries that lead to it.
    ///
    /// While it reads, the kernel holds a lock of the IOMMU, the longer the more is mapped.
    ///
    /// # Errors
    /// The kernel does not show it.
    pub fn visit_page_table(
        &self,
        bdf: Bdf,
        unit: &IommuUnit,
        visit: &mut dyn FnMut(Path),
    ) -> Result<(), NotShown> {
        match unit.kind {
            IommuKind::Vtd => self.vtd_visit(bdf, visit),
            _ => Err(no_source(unit)),
        }
    }
}

fn no_source(unit: &IommuUnit) -> NotShown {
    NotShown::NoSource(match unit.kind {
        IommuKind::Virtio => {
            "virtio-iommu has no tables here: the hypervisor keeps the mappings, and does not show them"
        }
        IommuKind::AmdVi => "no kernel shows the page tables of AMD-Vi",
        IommuKind::SmmuV3 => "no kernel shows the tables of an SMMU",
        IommuKind::Vtd | IommuKind::Smmu | IommuKind::Other => {
            "no kernel shows the tables of this kind of IOMMU"
        }
    })
}

/// What the low bits of a table's address are for is up to the table; addresses take bits 51:12 (VT-d, AMD-Vi, and x86).
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The bits `high:low` of words that are counted through.
fn bits(words: &[u64], high: u32, low: u32) -> u64 {
    let word = words.get(low as usize / 64).copied().unwrap_or_default();
    let width = high - low + 1;
    let shifted = word >> (low % 64);
    match width {
        64.. => shifted,
        _ => shifted & ((1 << width) - 1),
    }
}

/// A field of an entry: its bits, what they are called, and what they mean.
fn field(
    words: &[u64],
    high: u32,
    low: u32,
    name: &'static str,
    meaning: fn(u64) -> &'static str,
) -> Field {
    let value = bits(words, high, low);
    Field {
        bits: if high == low {
            low.to_string()
        } else {
            format!("{high}:{low}")
        },
        name,
        value,
        meaning: meaning(value),
    }
}

/// An address field: its value is the address, not the bits.
fn address_field(words: &[u64], high: u32, low: u32, name: &'static str) -> Field {
    let mut field = field(words, high, low, name, |_| "");
    field.value <<= low % 64;
    field
}

fn hex<S: serde::Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}

fn hex_option<S: serde::Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => hex(value, serializer),
        None => serializer.serialize_none(),
    }
}

fn hex_list<S: serde::Serializer>(values: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| format!("{value:#018x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_through_all_words() {
        let words = [0x8000_0000_0000_0001, 0x0000_0000_00ab_cd02];
        assert_eq!(bits(&words, 0, 0), 1);
        assert_eq!(bits(&words, 63, 63), 1);
        assert_eq!(bits(&words, 63, 0), words[0]);
        assert_eq!(bits(&words, 87, 72), 0xabcd);
        assert_eq!(bits(&words, 200, 192), 0);
        assert_eq!(
            address_field(&[0x1234_5fff], 63, 12, "table").value,
            0x1234_5000
        );
    }
}
