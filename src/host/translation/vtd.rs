//! What debugfs shows of VT-d's tables (drivers/iommu/intel/debugfs.c; CONFIG_INTEL_IOMMU_DEBUGFS).

use std::io::{BufRead, BufReader};

use super::page_table::{LEVELS, Path};
use super::vtd_entries::{
    context_entry, context_table, pasid_entry, request_pasid, root_entry, scalable_context_entry,
};
use super::{Attachment, Lookup, NotShown};
use crate::host::Host;
use crate::types::{Bdf, Iova};

const FOLDER: &str = "/sys/kernel/debug/iommu/intel";
const OPTION: &str = "CONFIG_INTEL_IOMMU_DEBUGFS";
const STRUCTURES: &str = "dmar_translation_struct";
const PAGE_TABLE: &str = "domain_translation_struct";

impl Host {
    /// The root, context and PASID entries of a device, from `dmar_translation_struct`.
    pub(super) fn vtd_lookup(&self, bdf: Bdf, unit: &str) -> Result<Lookup, NotShown> {
        let file = self.open_debugfs(FOLDER, STRUCTURES, OPTION)?;
        let mut search = Search::new(bdf, unit);
        for line in BufReader::new(file).lines() {
            search.read(&line.map_err(|e| Self::read_failed(STRUCTURES, &e))?);
        }
        search.finish()
    }

    /// The leaves of a device's page table, from its `domain_translation_struct`; older kernels have one file for all devices.
    pub(super) fn vtd_visit(&self, bdf: Bdf, visit: &mut dyn FnMut(Path)) -> Result<(), NotShown> {
        let own = format!("{bdf}/{PAGE_TABLE}");
        let file = match self.open_debugfs(FOLDER, &own, OPTION) {
            Err(NotShown::NoEntry(_)) => self.open_debugfs(FOLDER, PAGE_TABLE, OPTION)?,
            other => other?,
        };
        let mut is_ours = false;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|e| Self::read_failed(PAGE_TABLE, &e))?;
            match line.strip_prefix("Device ") {
                Some(device) => is_ours = device.split(' ').next() == Some(&bdf.to_string()),
                None if is_ours => path_of(&line).into_iter().for_each(&mut *visit),
                None => {}
            }
        }
        Ok(())
    }
}

/// Reads the lines of all units in search of one device.
struct Search<'u> {
    bdf: Bdf,
    short: String,
    unit: &'u str,
    is_unit: bool,
    root_table: Option<u64>,
    is_off: bool,
    found: Option<Lookup>,
}

impl<'u> Search<'u> {
    fn new(bdf: Bdf, unit: &'u str) -> Self {
        let short = format!(
            "{:02x}:{:02x}.{:x}",
            bdf.bus(),
            bdf.device(),
            bdf.function()
        );
        Self {
            bdf,
            short,
            unit,
            is_unit: false,
            root_table: None,
            is_off: false,
            found: None,
        }
    }

    fn read(&mut self, line: &str) {
        if let Some(heading) = line.strip_prefix("IOMMU ") {
            // "IOMMU dmar0: Root Table Address: 0xdd0000"
            let mut parts = heading.split(": ");
            self.is_unit = parts.next() == Some(self.unit);
            if self.is_unit {
                self.root_table = parts.nth(1).and_then(number);
            }
        } else if let Some(unit) = line.strip_prefix("DMA Remapping is not enabled on ") {
            self.is_off |= unit.trim() == self.unit;
        } else if self.is_unit && self.found.is_none() {
            self.found = self.device(line);
        }
    }

    /// `01:00.0<tab>root entry, high:low<tab>context entry, high:low<tab>PASID or -1<tab>PASID entry, high:middle:low`.
    fn device(&self, line: &str) -> Option<Lookup> {
        let mut columns = line.split('\t').map(str::trim);
        if columns.next()? != self.short {
            return None;
        }
        let root: [u64; 2] = words(columns.next()?)?;
        let context: [u64; 2] = words(columns.next()?)?;
        let pasid: i64 = columns.next()?.parse().ok()?;
        let scalable = pasid >= 0;
        let mut entries = vec![root_entry(self.bdf, self.root_table, root, scalable)];
        let table = context_table(self.bdf, root, scalable);
        let attachment = if scalable {
            let pasid = pasid.unsigned_abs();
            // A line for each PASID of the device: requests without one use this.
            if pasid != request_pasid(context) {
                return None;
            }
            entries.push(scalable_context_entry(self.bdf, table, context));
            let (entry, attachment) = pasid_entry(pasid, words(columns.next()?)?);
            entries.push(entry);
            attachment
        } else {
            let (entry, attachment) = context_entry(self.bdf, table, context);
            entries.push(entry);
            attachment
        };
        Some(Lookup {
            mode: if scalable {
                "scalable mode"
            } else {
                "legacy mode"
            },
            start: self.root_table,
            entries,
            attachment,
        })
    }

    fn finish(self) -> Result<Lookup, NotShown> {
        if self.is_off {
            return Ok(Lookup {
                mode: "off",
                start: None,
                entries: Vec::new(),
                attachment: Attachment::PassThrough,
            });
        }
        self.found.ok_or(NotShown::NoEntry(
            "its context entry is not present, so that all its requests are blocked, or they carry another device's address",
        ))
    }
}

/// `0x0000000000000202`, all of it.
fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// Numbers between colons, the highest first; the lowest comes first in the answer.
fn words<const COUNT: usize>(column: &str) -> Option<[u64; COUNT]> {
    let numbers: Option<Vec<u64>> = column.split(':').rev().map(number).collect();
    numbers?.try_into().ok()
}

/// `0x00000000fffbd |<tab>PML5E<tab>PML4E<tab>PDPE<tab>PDE<tab>PTE`; below a large page columns are 0 or left out.
fn path_of(line: &str) -> Option<Path> {
    let (page, columns) = line.split_once('|')?;
    let iova = number(page)?.checked_mul(4096).map(Iova)?;
    let mut entries = [0; LEVELS];
    let columns = columns.split_whitespace();
    for (entry, column) in entries.iter_mut().rev().zip(columns) {
        *entry = number(column)?;
    }
    Some(Path { iova, entries })
}

#[cfg(test)]
mod tests {
    use super::super::Stage;
    use super::*;

    const LEGACY: &str = "IOMMU dmar1: Root Table Address: 0xaa0000\n\
        00:03.0\t0x0000000000000000:0x0000000000aa7001\t0x0000000000000902:0x0000000000aa5001\t-1    \t0x0:0x0:0x0\n\
        IOMMU dmar0: Root Table Address: 0xbfe000\n\
        B.D.F\tRoot_entry\t\t\t\tContext_entry\t\t\t\tPASID\tPASID_table_entry\n\
        00:03.0\t0x0000000000000000:0x0000000000c07001\t0x0000000000000502:0x0000000000f85001\t-1    \t0x0000000000000000:0x0000000000000000:0x0000000000000000\n\
        00:1f.0\t0x0000000000000000:0x0000000000c07001\t0x0000000000000909:0x0000000000000009\t-1    \t0x0000000000000000:0x0000000000000000:0x0000000000000000\n";

    fn lookup(text: &str, bdf: &str, unit: &str) -> Result<Lookup, NotShown> {
        let mut search = Search::new(bdf.parse().unwrap(), unit);
        text.lines().for_each(|line| search.read(line));
        search.finish()
    }

    #[test]
    fn legacy_mode_leads_by_root_and_context_entry() {
        let found = lookup(LEGACY, "00:03.0", "dmar0").unwrap();
        let places: Vec<_> = found.entries.iter().map(|entry| entry.at).collect();
        assert_eq!(places, [Some(0xbf_e000), Some(0xc0_7180)]);
        assert_eq!(
            found.attachment,
            Attachment::Table {
                stage: Stage::Second,
                root: 0xf8_5000,
                levels: 4
            }
        );
        assert_eq!(
            found.entries[1].says,
            "domain 5, 48 bits, 4 levels -> second-stage table at 0xf85000"
        );
    }

    #[test]
    fn units_and_pass_through_are_told_apart() {
        let other = lookup(LEGACY, "00:03.0", "dmar1").unwrap();
        assert_eq!(other.start, Some(0xaa_0000));
        let bridge = lookup(LEGACY, "00:1f.0", "dmar0").unwrap();
        assert_eq!(bridge.attachment, Attachment::PassThrough);
        assert!(lookup(LEGACY, "00:04.0", "dmar0").is_err());
        let off = lookup(
            "DMA Remapping is not enabled on dmar0\n",
            "00:03.0",
            "dmar0",
        )
        .unwrap();
        assert_eq!(off.attachment, Attachment::PassThrough);
    }

    #[test]
    fn scalable_mode_leads_by_the_pasid_entry() {
        let line = |pasid: &str, entry: &str| {
            format!(
                "IOMMU dmar0: Root Table Address: 0xc1a000\n\
                 80:10.1\t0x0000000000c24001:0x0000000000c1c001\t0x0000000000000000:0x0000000000c21401\t{pasid}\t{entry}\n"
            )
        };
        let second = "0x0000000000000000:0x0000000000000005:0x0000000000c4f089";
        let found = lookup(&line("0     ", second), "80:10.1", "dmar0").unwrap();
        assert_eq!(found.mode, "scalable mode");
        // Device 0x10 is in the upper context table.
        assert_eq!(found.entries[1].at, Some(0xc2_4000 + 32));
        assert_eq!(found.entries[2].at, None);
        assert_eq!(
            found.attachment,
            Attachment::Table {
                stage: Stage::Second,
                root: 0xc4_f000,
                levels: 4
            }
        );
        let first = "0x0000000000c50001:0x0000000000000006:0x0000000000000049";
        let found = lookup(&line("0", first), "80:10.1", "dmar0").unwrap();
        assert_eq!(
            found.attachment,
            Attachment::Table {
                stage: Stage::First,
                root: 0xc5_0000,
                levels: 4
            }
        );
        assert!(lookup(&line("7", first), "80:10.1", "dmar0").is_err());
    }

    #[test]
    fn rows_of_all_kernels_are_understood() {
        let row = |text: &str| path_of(text).map(|path| (path.iova, path.entries));
        assert_eq!(
            row(
                "0x00000000fffbd |\t0x0000000000000000\t0x0000000000dec403\t0x0000000000ded403\t0x0000000000dee403\t0x0000000002f20003"
            ),
            Some((
                Iova(0xfffb_d000),
                [0x2f2_0003, 0xde_e403, 0xde_d403, 0xde_c403, 0]
            ))
        );
        let large = (Iova(0x4000_0000), [0, 0x4060_0083, 0xded403, 0xdec403, 0]);
        for text in [
            "0x0000000040000 |\t0x0\t0xdec403\t0xded403\t0x0000000040600083",
            "0x0000000040000 |\t0x0\t0xdec403\t0xded403\t0x0000000040600083\t0x0000000000000000",
        ] {
            assert_eq!(row(text), Some(large));
        }
        for text in [
            "",
            "|",
            "IOVA_PFN         \tPML5E",
            "0x |\t0x1",
            "0xffffffffffffffff |\t0x0",
            "0x1 |\t0x1\tx",
        ] {
            assert_eq!(row(text), None, "{text}");
        }
    }
}
