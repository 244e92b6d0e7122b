//! What debugfs shows of AMD-Vi: the device table's entry (drivers/iommu/amd/debugfs.c; CONFIG_AMD_IOMMU_DEBUGFS, on kernels newer than 6.12).

use std::fs;
use std::io::Read;

use super::{ADDRESS, Attachment, Entry, Lookup, NotShown, Stage, address_field, bits, field};
use crate::host::Host;
use crate::types::Bdf;

const FOLDER: &str = "/sys/kernel/debug/iommu/amd";
const OPTION: &str = "CONFIG_AMD_IOMMU_DEBUGFS, on a kernel newer than 6.12";
const LIMIT: u64 = 4096;

impl Host {
    /// The device table entry. On a live host, the file `devid` is told first whose entry `devtbl` is to show.
    pub(super) fn amd_lookup(&self, bdf: Bdf) -> Result<Lookup, NotShown> {
        let mut file = self.open_debugfs(FOLDER, "devtbl", OPTION)?;
        if self.is_live() {
            let path = format!("{FOLDER}/devid");
            fs::write(self.path(&path), bdf.to_string())
                .map_err(|e| Self::read_failed(&path, &e))?;
        }
        let mut text = String::new();
        file.by_ref()
            .take(LIMIT)
            .read_to_string(&mut text)
            .map_err(|e| Self::read_failed("devtbl", &e))?;
        text.lines()
            .find_map(|line| device(line, bdf))
            .map(lookup)
            .ok_or(NotShown::NoEntry(
                "its IOMMU has no device table entry for it",
            ))
    }
}

/// `0000:00:05.0 QWORD[3] QWORD[2] QWORD[1] QWORD[0] iommu0`, the words in hexadecimal digits.
fn device(line: &str, bdf: Bdf) -> Option<(Bdf, [u64; 4])> {
    let mut columns = line.split_whitespace();
    if columns.next()?.parse::<Bdf>().ok()? != bdf {
        return None;
    }
    let mut words = [0; 4];
    for word in words.iter_mut().rev() {
        *word = u64::from_str_radix(columns.next()?, 16).ok()?;
    }
    Some((bdf, words))
}

fn yes(value: u64) -> &'static str {
    if value == 0 { "no" } else { "yes" }
}

fn nothing(_: u64) -> &'static str {
    ""
}

/// The device table entry (AMD IOMMU specification 48882, section 2.2.2.1).
fn lookup((bdf, words): (Bdf, [u64; 4])) -> Lookup {
    let (valid, translates) = (bits(&words, 0, 0) == 1, bits(&words, 1, 1) == 1);
    let (levels, domain) = (bits(&words, 11, 9), bits(&words, 79, 64));
    let root = words[0] & ADDRESS;
    let guest = bits(&words, 55, 55) == 1;
    let attachment = match levels {
        _ if !valid => Attachment::PassThrough,
        _ if !translates => Attachment::Blocked,
        _ if guest => Attachment::Other {
            words:
                "translated by a guest (processor format) page table, found through the GCR3 table"
                    .to_owned(),
        },
        0 => Attachment::PassThrough,
        // Three bits; 7 is reserved.
        levels => Attachment::Table {
            stage: Stage::Second,
            root,
            levels: levels as u8,
        },
    };
    let says = match &attachment {
        Attachment::Table { levels, .. } => {
            format!("domain {domain}, {levels} levels -> host page table at {root:#x}")
        }
        Attachment::PassThrough => {
            format!("domain {domain}, pass-through: addresses are not translated")
        }
        Attachment::Blocked => "all requests are blocked".to_owned(),
        Attachment::Other { words } => format!("domain {domain}, {words}"),
    };
    let entry = Entry {
        name: "device table entry",
        section: "AMD 48882, 2.2.2.1",
        chosen_by: format!("{bdf}"),
        at: None,
        words: words.to_vec(),
        says,
        fields: vec![
            field(&words, 0, 0, "V, valid", yes),
            field(&words, 1, 1, "TV, translation information valid", yes),
            field(
                &words,
                11,
                9,
                "Mode, levels of the page table",
                |mode| match mode {
                    0 => "no translation",
                    7 => "reserved",
                    _ => "levels",
                },
            ),
            address_field(&words, 51, 12, "host page table root pointer"),
            field(&words, 55, 55, "GV, guest translation valid", yes),
            field(&words, 61, 61, "IR, reads allowed", yes),
            field(&words, 62, 62, "IW, writes allowed", yes),
            field(&words, 79, 64, "DomainID", nothing),
            field(&words, 96, 96, "I, IOTLB (ATS) enabled", yes),
            field(&words, 128, 128, "IV, interrupt map valid", yes),
        ],
    };
    Lookup {
        mode: "AMD-Vi",
        start: None,
        entries: vec![entry],
        attachment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Lookup> {
        device(line, "00:05.0".parse().unwrap()).map(lookup)
    }

    #[test]
    fn the_device_table_entry_names_the_page_table() {
        let found = read(
            "0000:00:05.0 0000000000000000 2000000000ba2013 0000000000000006 60000000009de603 iommu0",
        )
        .unwrap();
        assert_eq!(
            found.attachment,
            Attachment::Table {
                stage: Stage::Second,
                root: 0x9d_e000,
                levels: 3
            }
        );
        assert_eq!(
            found.entries[0].says,
            "domain 6, 3 levels -> host page table at 0x9de000"
        );
    }

    #[test]
    fn entries_without_a_table_say_what_happens() {
        let kind = |low: &str| {
            read(&format!("0000:00:05.0 0 0 6 {low} iommu0"))
                .unwrap()
                .attachment
        };
        assert_eq!(kind("6000000000000003"), Attachment::PassThrough);
        assert_eq!(kind("0000000000000001"), Attachment::Blocked);
        assert_eq!(kind("0"), Attachment::PassThrough);
        assert!(matches!(kind("6080000000001603"), Attachment::Other { .. }));
    }

    #[test]
    fn other_lines_are_left_alone() {
        for line in [
            "",
            "DeviceId             QWORD[3]         QWORD[2]         QWORD[1]         QWORD[0] iommu",
            "0000:00:06.0 0 0 0 0 iommu0",
            "0000:00:05.0 0 0 0",
            "0000:00:05.0 0 0 x 0 iommu0",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
