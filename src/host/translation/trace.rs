//! What trace events tell of a mapping while it is made (Documentation/trace/events.rst; include/trace/events/iommu.h).
//!
//! Every kernel with tracing has `iommu:map`: the IOVA, the physical address and the size of each piece that is mapped.
//! They say nothing of what was mapped before, and nothing of the page table's levels.

use nix::errno::Errno;
use nix::unistd::gettid;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Leaf, NotShown, hex};
use crate::host::Host;
use crate::host::root::errno;
use crate::types::Iova;

/// Where tracefs is mounted; the second place is for hosts that mount debugfs only.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A piece of physical memory that was mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TracedPiece {
    /// Its first IOVA.
    pub iova: Iova,
    /// The physical address of its first byte.
    #[serde(serialize_with = "hex")]
    pub physical: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// Records the mappings that this thread makes, in a trace instance of its own, which goes when this is dropped.
#[derive(Debug)]
pub struct TraceRecorder {
    instance: PathBuf,
}

impl TraceRecorder {
    /// Starts to record. This makes a folder below tracefs's `instances`, so that no other user of tracing is disturbed.
    ///
    /// # Errors
    /// The kernel has no such events, tracefs is not mounted, or the process may not.
    pub fn start(host: &Host) -> Result<Self, NotShown> {
        let tracefs = TRACEFS
            .iter()
            .find(|folder| host.exists(format!("{folder}/events/iommu/map")))
            .ok_or_else(|| Self::missing(host))?;
        let name = format!("iommu-tool-{}", gettid());
        let instance = host.path(format!("{tracefs}/instances/{name}"));
        let recorder = Self { instance };
        recorder
            .switch_on()
            .map_err(|error| recorder.denied(&error))?;
        Ok(recorder)
    }

    fn missing(host: &Host) -> NotShown {
        match fs::read_dir(host.path(TRACEFS[0])) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => NotShown::Denied {
                path: TRACEFS[0].to_owned(),
                errno: Errno::EACCES,
            },
            _ if host.names(TRACEFS[0]).is_empty() => NotShown::NoTracing,
            _ => NotShown::NotBuilt {
                option: "CONFIG_FTRACE with trace events of the IOMMU subsystem",
            },
        }
    }

    fn switch_on(&self) -> io::Result<()> {
        fs::create_dir(&self.instance)?;
        // The events of this thread only; others map at the same IOVAs in address spaces of their own.
        self.write("set_event_pid", &gettid().to_string())?;
        self.write("events/iommu/map/enable", "1")?;
        self.write("events/iommu/unmap/enable", "1")?;
        self.write("tracing_on", "1")
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.instance.join(file), text)
    }

    fn denied(&self, error: &io::Error) -> NotShown {
        NotShown::Denied {
            path: self.instance.display().to_string(),
            errno: errno(error),
        }
    }

    /// The pieces that were mapped since the start or since [`TraceRecorder::clear`], and not unmapped since, by rising IOVA.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub fn pieces(&self) -> Result<Vec<TracedPiece>, NotShown> {
        let trace = fs::read(self.instance.join("trace")).map_err(|error| self.denied(&error))?;
        Ok(parse(&String::from_utf8_lossy(&trace)))
    }

    /// Forgets what was recorded.
    ///
    /// # Errors
    /// The trace cannot be written.
    pub fn clear(&self) -> Result<(), NotShown> {
        // Opening the file to write it anew empties the buffer.
        self.write("trace", "").map_err(|error| self.denied(&error))
    }
}

impl Drop for TraceRecorder {
    fn drop(&mut self) {
        for file in ["events/iommu/map/enable", "events/iommu/unmap/enable"] {
            let _ = self.write(file, "0");
        }
        // tracefs removes an instance with all its files.
        if let Err(error) = fs::remove_dir(&self.instance) {
            if error.kind() != io::ErrorKind::NotFound {
                log::warn!("cannot remove {}: {error}", self.instance.display());
            }
        }
    }
}

impl TracedPiece {
    /// As a page that can be read and written: what the device may do is not traced.
    #[must_use]
    pub fn as_leaf(&self) -> Leaf {
        Leaf {
            iova: self.iova,
            size: self.size,
            physical: self.physical,
            readable: true,
            writable: true,
        }
    }
}

/// Lines as `iommu-tool-71 [001] ..... 12.345678: map: IOMMU: iova=0x… - 0x… paddr=0x… size=4096`, in the order of time.
fn parse(trace: &str) -> Vec<TracedPiece> {
    let mut pieces: Vec<TracedPiece> = Vec::new();
    for line in trace.lines() {
        if let Some((_, event)) = line.split_once(": map: IOMMU: ") {
            let piece = || {
                Some(TracedPiece {
                    iova: Iova(value(event, "iova=")?),
                    physical: value(event, "paddr=")?,
                    size: value(event, "size=").filter(|size| *size > 0)?,
                })
            };
            pieces.extend(piece());
        } else if let Some((_, event)) = line.split_once(": unmap: IOMMU: ") {
            if let (Some(start), Some(size)) =
                (value(event, "iova="), value(event, "unmapped_size="))
            {
                pieces.retain(|piece| piece.iova.0 < start || piece.iova.0 - start >= size);
            }
        }
    }
    pieces.sort_by_key(|piece| piece.iova);
    pieces
}

/// The number after a name, hexadecimal with `0x`, else decimal.
fn value(event: &str, name: &str) -> Option<u64> {
    let text = event.split(' ').find_map(|word| word.strip_prefix(name))?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "# tracer: nop\n#\n\
        iommu-tool-71      [001] .....    12.345678: map: IOMMU: iova=0x0000000000101000 - 0x0000000000102000 paddr=0x0000000005a21000 size=4096\n\
        iommu-tool-71      [001] .....    12.345690: map: IOMMU: iova=0x0000000000100000 - 0x0000000000101000 paddr=0x0000000002f20000 size=4096\n\
        iommu-tool-71      [000] .....    12.345700: map: IOMMU: iova=0x0000000000200000 - 0x0000000000400000 paddr=0x0000000004000000 size=2097152\n";

    #[test]
    fn pieces_come_by_rising_iova() {
        let pieces = parse(TRACE);
        let told: Vec<_> = pieces
            .iter()
            .map(|p| (p.iova.0, p.physical, p.size))
            .collect();
        assert_eq!(
            told,
            [
                (0x10_0000, 0x2f2_0000, 4096),
                (0x10_1000, 0x5a2_1000, 4096),
                (0x20_0000, 0x400_0000, 2 << 20),
            ]
        );
    }

    #[test]
    fn what_was_unmapped_since_is_left_out() {
        let trace = format!(
            "{TRACE}iommu-tool-71 [001] ..... 13.0: unmap: IOMMU: iova=0x0000000000100000 - 0x0000000000102000 size=8192 unmapped_size=8192\n"
        );
        let pieces = parse(&trace);
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].size, 2 << 20);
    }

    #[test]
    fn damaged_lines_break_nothing() {
        for end in 0..TRACE.len() {
            parse(&TRACE[..end]);
            parse(&TRACE[end..]);
        }
        assert_eq!(parse("x: map: IOMMU: iova=0x0 paddr=0x1 size=0"), []);
        assert_eq!(parse("x: map: IOMMU: iova=- paddr=0x1 size=1"), []);
    }
}
