//! What trace events tell of a mapping while it is made (Documentation/trace/events.rst; include/trace/events/iommu.h).
//!
//! Every kernel with tracing has `iommu:map`: the IOVA, the physical address and the size of each piece that is mapped.
//! They say nothing of what was mapped before, and nothing of the page table's levels.

use nix::unistd::gettid;
use serde::Serialize;

use super::{Leaf, NotShown, hex};
use crate::host::Host;
use crate::host::tracing::TraceInstance;
use crate::types::Iova;

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
pub struct TraceRecorder(TraceInstance);

impl TraceRecorder {
    /// Starts to record.
    ///
    /// # Errors
    /// The kernel has no such events, tracefs is not mounted, or the process may not.
    pub fn start(host: &Host) -> Result<Self, NotShown> {
        // The events of this thread only; others map at the same IOVAs in address spaces of their own.
        TraceInstance::start(host, &["map", "unmap"], Some(gettid())).map(Self)
    }

    /// The pieces that were mapped since the start or since [`TraceRecorder::clear`], and not unmapped since, by rising IOVA.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub fn pieces(&self) -> Result<Vec<TracedPiece>, NotShown> {
        self.0.text().map(|trace| parse(&trace))
    }

    /// Forgets what was recorded.
    ///
    /// # Errors
    /// The trace cannot be written.
    pub fn clear(&self) -> Result<(), NotShown> {
        self.0.clear()
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
                    iova: Iova(trace_value(event, "iova=")?),
                    physical: trace_value(event, "paddr=")?,
                    size: trace_value(event, "size=").filter(|size| *size > 0)?,
                })
            };
            pieces.extend(piece());
        } else if let Some((_, event)) = line.split_once(": unmap: IOMMU: ") {
            if let (Some(start), Some(size)) = (
                trace_value(event, "iova="),
                trace_value(event, "unmapped_size="),
            ) {
                pieces.retain(|piece| piece.iova.0 < start || piece.iova.0 - start >= size);
            }
        }
    }
    pieces.sort_by_key(|piece| piece.iova);
    pieces
}

/// The number after a name, hexadecimal with `0x`, else decimal.
pub(in crate::host) fn trace_value(event: &str, name: &str) -> Option<u64> {
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
