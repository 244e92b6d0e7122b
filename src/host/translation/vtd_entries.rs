//! The entries of VT-d's tables, bit by bit (Intel Virtualization Technology for Directed I/O, revision 4.1, chapter 9).

use super::page_table::size_at;
use super::{ADDRESS, Attachment, Entry, Stage, address_field, bits, field};
use crate::types::{Bdf, Iova, Size};

fn present(value: u64) -> &'static str {
    if value == 0 { "not present" } else { "present" }
}

fn yes(value: u64) -> &'static str {
    if value == 0 { "no" } else { "yes" }
}

fn fault_reports(value: u64) -> &'static str {
    if value == 0 {
        "faults are reported"
    } else {
        "faults are not reported"
    }
}

fn nothing(_: u64) -> &'static str {
    ""
}

/// AW, the address width of a second-stage table: how many bits, as words.
fn width(value: u64) -> &'static str {
    match value {
        1 => "39 bits, 3 levels",
        2 => "48 bits, 4 levels",
        3 => "57 bits, 5 levels",
        _ => "reserved",
    }
}

fn levels(width: u64) -> u8 {
    // AW is at most 7, as it has three bits.
    width as u8 + 2
}

/// The device's place in a table of entries for each device and function of a bus.
fn devfn(bdf: Bdf) -> u64 {
    u64::from(bdf.device()) << 3 | u64::from(bdf.function())
}

/// Sections 9.1 (legacy) and 9.2 (scalable mode): an entry of 16 bytes for each bus.
pub(super) fn root_entry(bdf: Bdf, table: Option<u64>, words: [u64; 2], scalable: bool) -> Entry {
    let (section, says, fields) = if scalable {
        let upper = devfn(bdf) >= 0x80;
        let (part, word) = if upper {
            ("upper", words[1])
        } else {
            ("lower", words[0])
        };
        (
            "VT-d 9.2",
            pointer(word, &format!("{part} context table")),
            vec![
                field(&words, 0, 0, "LP, lower context table present", present),
                address_field(&words, 63, 12, "LCTP, lower context table pointer"),
                field(&words, 64, 64, "UP, upper context table present", present),
                address_field(&words, 127, 76, "UCTP, upper context table pointer"),
            ],
        )
    } else {
        (
            "VT-d 9.1",
            pointer(words[0], "context table"),
            vec![
                field(&words, 0, 0, "P, present", present),
                address_field(&words, 63, 12, "CTP, context table pointer"),
            ],
        )
    };
    Entry {
        name: "root entry",
        section,
        chosen_by: format!("bus {:#04x}", bdf.bus()),
        at: table.map(|table| table.wrapping_add(u64::from(bdf.bus()) * 16)),
        words: words.to_vec(),
        says,
        fields,
    }
}

fn pointer(word: u64, what: &str) -> String {
    if word & 1 == 0 {
        "not present".to_owned()
    } else {
        format!("-> {what} at {:#x}", word & ADDRESS)
    }
}

/// The context table that a root entry leads a device to.
pub(super) fn context_table(bdf: Bdf, root: [u64; 2], scalable: bool) -> u64 {
    let upper = scalable && devfn(bdf) >= 0x80;
    root[usize::from(upper)] & ADDRESS
}

fn device_and_function(bdf: Bdf) -> String {
    format!("device {:#04x}, function {}", bdf.device(), bdf.function())
}

/// Section 9.3: an entry of 16 bytes for each device and function.
pub(super) fn context_entry(bdf: Bdf, table: u64, words: [u64; 2]) -> (Entry, Attachment) {
    let (translation, width_bits) = (bits(&words, 3, 2), bits(&words, 66, 64));
    let domain = bits(&words, 87, 72);
    let attachment = match translation {
        _ if words[0] & 1 == 0 => Attachment::Blocked,
        0 | 1 => Attachment::Table {
            stage: Stage::Second,
            root: words[0] & ADDRESS,
            levels: levels(width_bits),
        },
        2 => Attachment::PassThrough,
        _ => Attachment::Other {
            words: "a reserved translation type".to_owned(),
        },
    };
    let entry = Entry {
        name: "context entry",
        section: "VT-d 9.3",
        chosen_by: device_and_function(bdf),
        at: Some(table + devfn(bdf) * 16),
        words: words.to_vec(),
        says: describe(&attachment, width(width_bits), domain),
        fields: vec![
            field(&words, 0, 0, "P, present", present),
            field(&words, 1, 1, "FPD, fault processing disable", fault_reports),
            field(&words, 3, 2, "TT, translation type", |tt| match tt {
                0 => "second-stage table; translation requests (ATS) are blocked",
                1 => "second-stage table; translation requests (ATS) are answered",
                2 => "pass-through: not translated",
                _ => "reserved",
            }),
            address_field(&words, 63, 12, "SSPTPTR, second-stage table pointer"),
            field(&words, 66, 64, "AW, address width", width),
            field(&words, 87, 72, "DID, domain ID", nothing),
        ],
    };
    (entry, attachment)
}

fn describe(attachment: &Attachment, width: &str, domain: u64) -> String {
    match attachment {
        Attachment::Table { stage, root, .. } => {
            let stage = match stage {
                Stage::First => "first",
                Stage::Second => "second",
            };
            format!("domain {domain}, {width} -> {stage}-stage table at {root:#x}")
        }
        Attachment::PassThrough => {
            format!("domain {domain}, pass-through: addresses are not translated")
        }
        Attachment::Blocked => "not present: all requests are blocked".to_owned(),
        Attachment::Other { words } => words.clone(),
    }
}

/// Section 9.4: an entry of 32 bytes for each device and function, of which Linux shows the lower 16.
pub(super) fn scalable_context_entry(bdf: Bdf, table: u64, words: [u64; 2]) -> Entry {
    Entry {
        name: "context entry",
        section: "VT-d 9.4",
        chosen_by: device_and_function(bdf),
        at: Some(table + devfn(bdf) % 0x80 * 32),
        words: words.to_vec(),
        says: match words[0] & 1 {
            0 => "not present: all requests are blocked".to_owned(),
            _ => format!("-> PASID directory at {:#x}", words[0] & ADDRESS),
        },
        fields: vec![
            field(&words, 0, 0, "P, present", present),
            field(&words, 1, 1, "FPD, fault processing disable", fault_reports),
            field(&words, 2, 2, "DTE, device TLB (ATS) enabled", yes),
            field(&words, 3, 3, "PASIDE, requests with PASID allowed", yes),
            field(&words, 4, 4, "PRE, page requests allowed", yes),
            field(
                &words,
                11,
                9,
                "PDTS, size of the PASID directory",
                directory_size,
            ),
            address_field(&words, 63, 12, "PASIDDIRPTR, PASID directory pointer"),
            field(
                &words,
                83,
                64,
                "RID_PASID, PASID of requests without one",
                nothing,
            ),
        ],
    }
}

/// PDTS: 2 to the power of 7 and this, each of them for 64 PASIDs.
fn directory_size(value: u64) -> &'static str {
    const SIZES: [&str; 8] = [
        "for 2^13 PASIDs",
        "for 2^14 PASIDs",
        "for 2^15 PASIDs",
        "for 2^16 PASIDs",
        "for 2^17 PASIDs",
        "for 2^18 PASIDs",
        "for 2^19 PASIDs",
        "for 2^20 PASIDs",
    ];
    SIZES.get(value as usize).copied().unwrap_or("")
}

/// The PASID that stands for requests without one (section 9.4, RID_PASID).
pub(super) fn request_pasid(context: [u64; 2]) -> u64 {
    bits(&context, 83, 64)
}

/// Section 9.6: an entry of 64 bytes for each PASID, of which Linux shows the lower 24.
pub(super) fn pasid_entry(pasid: u64, words: [u64; 3]) -> (Entry, Attachment) {
    let width_bits = bits(&words, 4, 2);
    let domain = bits(&words, 79, 64);
    let table = |stage, root: u64, levels| Attachment::Table {
        stage,
        root: root & ADDRESS,
        levels,
    };
    let (attachment, width) = match bits(&words, 8, 6) {
        _ if words[0] & 1 == 0 => (Attachment::Blocked, ""),
        1 => {
            // FSPM: 4 or 5 levels, as the processor has.
            let five = bits(&words, 131, 130) == 1;
            let (levels, width) = if five { (5, width(3)) } else { (4, width(2)) };
            (table(Stage::First, words[2], levels), width)
        }
        2 => (
            table(Stage::Second, words[0], levels(width_bits)),
            width(width_bits),
        ),
        3 => (
            Attachment::Other {
                words: format!(
                    "domain {domain}, nested: the first-stage table at {:#x} is a guest's, below it is the second-stage table at {:#x}",
                    words[2] & ADDRESS,
                    words[0] & ADDRESS
                ),
            },
            "",
        ),
        4 => (Attachment::PassThrough, ""),
        _ => (
            Attachment::Other {
                words: "a reserved translation type".to_owned(),
            },
            "",
        ),
    };
    let entry = Entry {
        name: "PASID entry",
        section: "VT-d 9.6",
        chosen_by: format!("PASID {pasid}, of requests without"),
        // The directory entry between is not shown, so the table's address is not known.
        at: None,
        words: words.to_vec(),
        says: describe(&attachment, width, domain),
        fields: vec![
            field(&words, 0, 0, "P, present", present),
            field(&words, 1, 1, "FPD, fault processing disable", fault_reports),
            field(&words, 4, 2, "AW, address width", width_of_second_stage),
            field(&words, 8, 6, "PGTT, translation type", |pgtt| match pgtt {
                1 => "first-stage table only",
                2 => "second-stage table only",
                3 => "nested",
                4 => "pass-through: not translated",
                _ => "reserved",
            }),
            field(
                &words,
                9,
                9,
                "SSADE, second-stage accessed and dirty bits",
                yes,
            ),
            address_field(&words, 63, 12, "SSPTPTR, second-stage table pointer"),
            field(&words, 79, 64, "DID, domain ID", nothing),
            field(&words, 87, 87, "PWSNP, page walks snoop caches", yes),
            field(&words, 88, 88, "PGSNP, accesses snoop caches", yes),
            field(
                &words,
                131,
                130,
                "FSPM, levels of the first-stage table",
                |fspm| match fspm {
                    0 => "4 levels",
                    1 => "5 levels",
                    _ => "reserved",
                },
            ),
            field(
                &words,
                132,
                132,
                "WPE, write protection for supervisors",
                yes,
            ),
            address_field(&words, 191, 140, "FSPTPTR, first-stage table pointer"),
        ],
    };
    (entry, attachment)
}

fn width_of_second_stage(value: u64) -> &'static str {
    match value {
        0 => "not used",
        _ => width(value),
    }
}

/// Whether a device may read through an entry: R (9.8), or P (9.7).
pub(super) fn readable(entry: u64, _stage: Stage) -> bool {
    entry & 1 != 0
}

/// Whether a device may write through an entry: W (9.8), or R/W of one that is present (9.7).
pub(super) fn writable(entry: u64, stage: Stage) -> bool {
    match stage {
        Stage::First => entry & 3 == 3,
        Stage::Second => entry & 2 != 0,
    }
}

/// The names of the entries, the lowest level first.
const NAMES: [&str; 5] = ["PTE", "PDE", "PDPE", "PML4E", "PML5E"];

/// Sections 9.7 (first stage) and 9.8 (second stage): an entry of 8 bytes for each value of 9 bits of the IOVA.
pub(super) fn paging_entry(
    level: usize,
    iova: Iova,
    table: u64,
    value: u64,
    stage: Stage,
) -> Entry {
    let low = 12 + 9 * (level - 1);
    let index = iova.0 >> low & 0x1ff;
    let size = size_at(level);
    let is_page = level == 1 || value & (1 << 7) != 0;
    let permission = match (readable(value, stage), writable(value, stage)) {
        (true, true) => "read, write",
        (true, false) => "read only",
        (false, true) => "write only",
        (false, false) => "",
    };
    let says = match (value, is_page) {
        (0, _) => "not present: nothing is mapped here".to_owned(),
        (_, true) => {
            let page = Size::new(size).map_or(String::new(), |size| size.to_string());
            format!(
                "{permission} -> page of {page} at {:#x}",
                value & ADDRESS & !(size - 1)
            )
        }
        (_, false) => format!("{permission} -> next table at {:#x}", value & ADDRESS),
    };
    let words = [value];
    let mut fields = match stage {
        Stage::First => vec![
            field(&words, 0, 0, "P, present", present),
            field(&words, 1, 1, "R/W, writes allowed", yes),
            field(&words, 2, 2, "U/S, user requests allowed", yes),
            field(&words, 5, 5, "A, accessed", yes),
            field(&words, 6, 6, "D, dirty", yes),
        ],
        Stage::Second => vec![
            field(&words, 0, 0, "R, reads allowed", yes),
            field(&words, 1, 1, "W, writes allowed", yes),
            field(&words, 8, 8, "A, accessed", yes),
            field(&words, 9, 9, "D, dirty", yes),
            field(&words, 11, 11, "SNP, accesses snoop caches", yes),
        ],
    };
    if level > 1 {
        fields.push(field(&words, 7, 7, "PS, page size: this is a page", yes));
    }
    fields.push(address_field(&words, 51, 12, "ADDR, address"));
    Entry {
        name: NAMES[level - 1],
        section: match stage {
            Stage::First => "VT-d 9.7",
            Stage::Second => "VT-d 9.8",
        },
        chosen_by: format!("IOVA bits {}:{low} = {index:#05x}", low + 8),
        at: Some(table + index * 8),
        words: vec![value],
        says,
        fields,
    }
}
