//! Mappings that outlive a command.

use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;

use super::{Report, Style};
use crate::host;
use crate::session::Bytes;
use crate::session::protocol::{Hello, MappingInfo};
use crate::types::{Backend, Bdf, Iova, Protection, Size};

/// A mapping, as it is shown.
#[derive(Debug, Serialize)]
struct Mapping {
    iova: Iova,
    size: u64,
    /// `4K`, `thp`, `2M`, `1G`, or `file` for the pages of a file.
    pages: String,
    protection: Protection,
    name: Option<String>,
    file: Option<String>,
    file_offset: Option<u64>,
    private: Option<bool>,
}

impl Mapping {
    fn new(info: MappingInfo) -> Self {
        let file = info.file.as_ref();
        Self {
            iova: info.iova,
            size: info.size,
            file_offset: file.map(|file| file.offset),
            private: file.map(|file| file.private),
            file: info.file.map(|file| file.path),
            pages: info.pages,
            protection: info.protection,
            name: info.name,
        }
    }

    /// What the memory is, in words.
    fn source(&self) -> String {
        let name = self.name.as_deref();
        let name = name.map_or_else(String::new, |name| format!(" '{name}'"));
        match (&self.file, self.private) {
            (None, _) => format!("new memory{name}"),
            (Some(file), Some(true)) => format!("copy of {file}{}{name}", self.place()),
            (Some(file), _) => format!("{file}{}{name}", self.place()),
        }
    }

    fn place(&self) -> String {
        match self.file_offset {
            None | Some(0) => String::new(),
            Some(offset) => format!(" from {offset:#x}"),
        }
    }

    fn cells(&self) -> [String; 5] {
        [
            self.iova.to_string(),
            bytes(self.size),
            self.pages.clone(),
            self.protection.to_string(),
            self.source(),
        ]
    }
}

/// A number of bytes with its unit.
fn bytes(number: u64) -> String {
    Size::new(number).map_or_else(|| "0".to_owned(), |size| size.to_string())
}

/// What `map` did.
#[derive(Debug, Serialize)]
pub struct MapReport {
    device: Bdf,
    backend: Backend,
    /// The process that holds the mapping.
    holder_pid: u32,
    #[serde(flatten)]
    mapping: Mapping,
}

impl MapReport {
    /// From what the holder said.
    #[must_use]
    pub fn new(device: Bdf, mapping: MappingInfo, holder: &Hello) -> Self {
        Self {
            device,
            backend: holder.backend,
            holder_pid: holder.pid,
            mapping: Mapping::new(mapping),
        }
    }
}

impl Report for MapReport {
    const KIND: &'static str = "map";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let [iova, size, pages, protection, source] = self.mapping.cells();
        writeln!(
            out,
            "{} {size} of {pages} pages, {protection}, {source}; {} of {}, held by process {}",
            style.heading(&iova),
            self.backend,
            self.device,
            self.holder_pid
        )
    }
}

/// What `unmap` did.
#[derive(Debug, Serialize)]
pub struct UnmapReport {
    device: Bdf,
    unmapped: usize,
    unmapped_bytes: u64,
    left: usize,
}

impl UnmapReport {
    /// From what the holder said.
    #[must_use]
    pub fn new(device: Bdf, unmapped: usize, unmapped_bytes: u64, left: usize) -> Self {
        Self {
            device,
            unmapped,
            unmapped_bytes,
            left,
        }
    }

    /// Where there was no holder.
    #[must_use]
    pub fn nothing(device: Bdf) -> Self {
        Self::new(device, 0, 0, 0)
    }
}

impl Report for UnmapReport {
    const KIND: &'static str = "unmap";

    fn text(&self, out: &mut dyn Write, _style: Style) -> io::Result<()> {
        let what = match self.unmapped {
            0 => return writeln!(out, "nothing was mapped for {}", self.device),
            1 => "1 mapping".to_owned(),
            many => format!("{many} mappings"),
        };
        write!(out, "unmapped {what}, {}", bytes(self.unmapped_bytes))?;
        match self.left {
            0 => writeln!(out, "; nothing is left"),
            left => writeln!(out, "; {left} left"),
        }
    }
}

/// What `maps` found.
#[derive(Debug, Default, Serialize)]
pub struct MapsReport {
    holders: Vec<Holder>,
    /// Who else has devices open; such a process does not say what it has mapped.
    others: Vec<Other>,
}

#[derive(Debug, Serialize)]
struct Other {
    device: Bdf,
    pid: u32,
    command: String,
    user: Option<String>,
    node: PathBuf,
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Serialize)]
struct Holder {
    pid: u32,
    uid: u32,
    /// RFC 3339, UTC.
    since: String,
    backend: Backend,
    devices: Vec<Bdf>,
    until_unmapped: bool,
    pinned_bytes: u64,
    mappings: Vec<Mapping>,
}

impl MapsReport {
    /// Takes in a holder and its mappings.
    pub fn add(&mut self, holder: &Hello, mappings: Vec<MappingInfo>) {
        self.holders.push(Holder {
            pid: holder.pid,
            uid: holder.uid,
            since: utc(holder.since),
            backend: holder.backend,
            devices: holder.devices.clone(),
            until_unmapped: holder.until_unmapped,
            pinned_bytes: mappings
                .iter()
                .fold(0, |sum, mapping| sum.saturating_add(mapping.size)),
            mappings: mappings.into_iter().map(Mapping::new).collect(),
        });
    }

    /// Takes in a process of another program that has a device open.
    pub fn add_other(&mut self, device: Bdf, process: host::Holder) {
        self.others.push(Other {
            device,
            text: process.to_string(),
            pid: process.pid,
            command: process.command,
            user: process.user,
            node: process.node,
        });
    }
}

impl Report for MapsReport {
    const KIND: &'static str = "maps";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        if self.holders.is_empty() && self.others.is_empty() {
            return writeln!(out, "nothing is mapped");
        }
        for holder in &self.holders {
            holder.text(out, style)?;
        }
        for Other { device, text, .. } in &self.others {
            writeln!(
                out,
                "{device} is held by {text}, which does not say what it has mapped; 'iommu-tool walk {device} IOVA' shows where an IOVA leads"
            )?;
        }
        Ok(())
    }
}

impl Holder {
    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let user = match self.uid {
            0 => "root".to_owned(),
            uid => format!("user {uid}"),
        };
        let devices: Vec<_> = self.devices.iter().map(Bdf::to_string).collect();
        let heading = format!("Process {}", self.pid);
        writeln!(
            out,
            "{} of {user} since {}, {}: {}; {} pinned",
            style.heading(&heading),
            self.since,
            self.backend,
            devices.join(", "),
            bytes(self.pinned_bytes)
        )?;
        let rows: Vec<_> = self.mappings.iter().map(Mapping::cells).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].len());
            cells.max().unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2), width(3)];
        for [iova, size, pages, protection, source] in &rows {
            writeln!(
                out,
                "  {iova:<0$}  {size:>1$}  {pages:<2$}  {protection:<3$}  {source}",
                widths[0], widths[1], widths[2], widths[3]
            )?;
        }
        Ok(())
    }
}

/// Seconds since 1970 as a date and time of UTC (RFC 3339).
fn utc(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Years from March on, so that the leap day is the last of its year; eras of 400 years have the same days.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        era * 400 + year + next,
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

/// What `dump` or `fill` did.
#[derive(Debug, Serialize)]
pub struct BytesReport {
    #[serde(skip)]
    done: &'static str,
    device: Bdf,
    iova: Iova,
    size: u64,
    /// The bytes as hexadecimal digits, where they are not in a file.
    data: Option<Bytes>,
}

impl BytesReport {
    /// What was done to how many bytes.
    #[must_use]
    pub fn new(
        done: &'static str,
        device: Bdf,
        iova: Iova,
        size: Size,
        data: Option<Vec<u8>>,
    ) -> Self {
        Self {
            done,
            device,
            iova,
            size: size.bytes(),
            data: data.map(Bytes),
        }
    }
}

impl Report for BytesReport {
    const KIND: &'static str = "bytes";

    fn text(&self, out: &mut dyn Write, _style: Style) -> io::Result<()> {
        let done = match self.done {
            "fill" => "filled",
            _ => "saved",
        };
        writeln!(out, "{done} {} bytes at {}", self.size, self.iova)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> MapsReport {
        use crate::session::protocol::FileSource;
        let hello = Hello {
            pid: 812,
            uid: 1000,
            since: 1_000_000_000,
            backend: Backend::Iommufd,
            devices: vec!["01:00.0".parse().unwrap()],
            until_unmapped: true,
        };
        let mapping = |iova, size, file| MappingInfo {
            iova: Iova(iova),
            size,
            pages: "thp".to_owned(),
            way: None,
            protection: Protection::ReadWrite,
            name: Some("ring".to_owned()),
            file,
        };
        let file = FileSource {
            path: "/dev/shm/window".to_owned(),
            offset: 0x2000,
            private: true,
        };
        let mut report = MapsReport::default();
        report.add(
            &hello,
            vec![
                mapping(0x10_0000, 2 << 20, None),
                mapping(0x1_0000_0000, 4096, Some(file)),
            ],
        );
        report
    }

    #[test]
    fn holders_and_their_mappings_are_listed() {
        let mut out = Vec::new();
        holder().text(&mut out, Style::new(false)).unwrap();
        let expected = "\
Process 812 of user 1000 since 2001-09-09T01:46:40Z, iommufd: 0000:01:00.0; 2052K pinned
  0x100000     2M  thp  rw  new memory 'ring'
  0x100000000  4K  thp  rw  copy of /dev/shm/window from 0x2000 'ring'
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn processes_that_cannot_be_asked_are_named() {
        let process = host::Holder {
            pid: 42,
            command: "qemu".to_owned(),
            user: Some("root".to_owned()),
            node: "/dev/vfio/7".into(),
        };
        let device = "02:10.0".parse().unwrap();
        let mut report = MapsReport::default();
        report.add_other(device, process);
        let mut out = Vec::new();
        report.text(&mut out, Style::new(false)).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("0000:02:10.0 is held by qemu (process 42, user root, /dev/vfio/7), which does not say"),
            "{text}"
        );
    }

    #[test]
    fn scripts_get_the_same() {
        let json = serde_json::to_value(holder()).unwrap();
        let holder = &json["holders"][0];
        assert_eq!(holder["pinned_bytes"], (2 << 20) + 4096);
        assert_eq!(holder["since"], "2001-09-09T01:46:40Z");
        assert_eq!(
            holder["mappings"][1],
            serde_json::json!({
                "iova": "0x100000000",
                "size": 4096,
                "pages": "thp",
                "protection": "read-write",
                "name": "ring",
                "file": "/dev/shm/window",
                "file_offset": 0x2000,
                "private": true,
            })
        );
    }

    #[test]
    fn seconds_become_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }
}
