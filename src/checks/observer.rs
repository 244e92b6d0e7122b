//! What the checks ask of the host, beside the kernel's interface for IOMMUs.

use std::ptr::NonNull;

use crate::host::{Fault, Leaf};
use crate::types::{Bdf, Iova, IovaRange};

use super::Blocking;

/// Eyes on the host.
pub trait Observer {
    /// The physical address behind an address of this process.
    ///
    /// # Errors
    /// Why it cannot be known, in words.
    fn physical_address(&self, address: NonNull<u8>) -> Result<u64, String>;

    /// From now on remembers what the host tells of faults.
    fn mark_faults(&self);

    /// What the host told of faults since the mark; gives it the time it needs to do so.
    fn signs_since_mark(&self) -> Signs;

    /// From now on remembers what this thread maps, where the kernel does not show an IOMMU's page tables.
    ///
    /// # Errors
    /// Why neither can be known, in words.
    fn watch_mappings(&self) -> Result<(), String>;

    /// The pages that the IOMMU has for the device in this range now, by rising IOVA.
    ///
    /// # Errors
    /// Why they cannot be known, in words.
    fn translations(&self, range: IovaRange) -> Result<Translations, String>;
}

/// What a host tells of faults.
#[derive(Debug)]
pub struct Signs {
    /// Those in the kernel's log; or why it cannot be read, in words.
    pub faults: Result<Vec<Fault>, String>,
    /// How often IOMMUs interrupted the processor for faults.
    pub interrupts: u64,
    /// How many messages about faults the kernel left out of its log.
    pub suppressed: u64,
}

impl Signs {
    /// The class of DMA that was stopped, by a device that was sent to these addresses.
    pub(super) fn class(&self, device: Bdf, addresses: &[Iova]) -> Blocking {
        // IOMMUs may report the page only.
        let page = |iova: Iova| iova.0 & !0xfff;
        let names_it = |fault: &Fault| {
            let address = fault.address.map(page);
            fault.device == Some(device)
                && addresses.iter().any(|sent| Some(page(*sent)) == address)
        };
        let faults = self.faults.as_deref().unwrap_or_default();
        if faults.iter().any(names_it) {
            Blocking::BlockedAndReported
        } else if self.interrupts + self.suppressed > 0 || !faults.is_empty() {
            Blocking::BlockedAndCounted
        } else {
            Blocking::BlockedUnreported
        }
    }

    /// What supports the class: some lines of the log, each once, and counts.
    pub(super) fn evidence(&self) -> Vec<String> {
        let mut lines = match &self.faults {
            Ok(faults) => quoted(faults.iter().map(|fault| fault.line.clone()).collect()),
            Err(why) => vec![format!("the kernel log cannot be read: {why}")],
        };
        if self.suppressed > 0 {
            let count = self.suppressed;
            lines.push(format!("the kernel left {count} messages about faults out"));
        }
        if lines.is_empty() && self.interrupts > 0 {
            let count = self.interrupts;
            lines.push(format!("fault interrupts of the IOMMU: {count}"));
        }
        lines
    }
}

/// Pages of an IOMMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translations {
    /// By rising IOVA.
    pub pages: Vec<Leaf>,
    /// Where they were learned, in words.
    pub source: &'static str,
    /// Whether their permissions are known.
    pub with_permissions: bool,
}

impl Translations {
    /// The page that holds an IOVA.
    pub(super) fn page(&self, iova: Iova) -> Option<&Leaf> {
        let holds = |page: &&Leaf| page.translate(iova).is_some();
        self.pages.iter().find(holds)
    }
}

/// The most lines of the kernel log that are quoted.
const QUOTED: usize = 4;

/// The lines in which an IOMMU driver reports a fault, each once, and not all if there are many.
#[must_use]
pub fn fault_lines(lines: Vec<String>) -> Vec<String> {
    let signs = ["DMAR: [DMA", "IO_PAGE_FAULT", "virtio_iommu", "arm-smmu-v3"];
    quoted(
        lines
            .into_iter()
            .filter(|line| signs.iter().any(|sign| line.contains(sign)))
            .collect(),
    )
}

fn quoted(mut lines: Vec<String>) -> Vec<String> {
    lines.dedup();
    if lines.len() > QUOTED {
        let more = lines.split_off(QUOTED).len();
        lines.push(format!("(and {more} lines like these)"));
    }
    lines
}
