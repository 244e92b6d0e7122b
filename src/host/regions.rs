//! The memory and I/O regions (BARs) of a function, and the space its virtual functions were given.

use super::Host;
use super::pci::sysfs;
use crate::types::Bdf;

/// The places in the `resource` file (`include/linux/pci.h`: the standard BARs, the ROM, then the BARs of all virtual functions).
const BARS: usize = 6;
const ROM: usize = 6;
const VF_BARS: std::ops::Range<usize> = 7..13;

/// Flags of `include/linux/ioport.h`.
const IO: u64 = 0x100;
const MEMORY: u64 = 0x200;
const PREFETCH: u64 = 0x2000;
const MEMORY_64: u64 = 0x0010_0000;
const UNSET: u64 = 0x2000_0000;

/// A region of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Its number, 0 to 5; 6 is the ROM.
    pub index: u8,
    /// Where it begins, as the processor sees it; `None` if it was given no place.
    pub start: Option<u64>,
    /// Its size in bytes.
    pub size: u64,
    /// What it is.
    pub kind: BarKind,
    /// Whether reading has no side effects, so that it may be cached and combined.
    pub prefetchable: bool,
}

/// What kind of space a region lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere.
    Memory64,
    /// The expansion ROM.
    Rom,
}

impl BarKind {
    /// In words.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Io => "I/O ports",
            Self::Memory32 => "32-bit memory",
            Self::Memory64 => "64-bit memory",
            Self::Rom => "ROM",
        }
    }
}

impl Host {
    /// The regions of a function.
    #[must_use]
    pub fn bars(&self, bdf: Bdf) -> Vec<Bar> {
        self.resources(bdf)
            .iter()
            .take(BARS + 1)
            .enumerate()
            .filter_map(|(place, line)| bar(place, line))
            .collect()
    }

    /// The regions of all virtual functions together that a physical function was given space for; `None` if sysfs does not say
    /// (kernels without CONFIG_PCI_IOV have no such lines).
    #[must_use]
    pub fn vf_space(&self, bdf: Bdf) -> Option<Vec<Bar>> {
        let lines = self.resources(bdf);
        let lines = lines.get(VF_BARS)?;
        Some(
            lines
                .iter()
                .enumerate()
                .filter_map(|(place, line)| bar(place, line))
                .collect(),
        )
    }

    fn resources(&self, bdf: Bdf) -> Vec<String> {
        self.text(sysfs(bdf).join("resource"), 4096)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

/// A line: first address, last address, flags.
fn bar(place: usize, line: &str) -> Option<Bar> {
    let mut numbers = line
        .split_whitespace()
        .map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    let (start, last, flags) = (numbers.next()??, numbers.next()??, numbers.next()??);
    if flags & (IO | MEMORY) == 0 || last < start {
        return None;
    }
    let kind = match flags {
        _ if place == ROM => BarKind::Rom,
        flags if flags & IO != 0 => BarKind::Io,
        flags if flags & MEMORY_64 != 0 => BarKind::Memory64,
        _ => BarKind::Memory32,
    };
    Some(Bar {
        index: u8::try_from(place).ok()?,
        start: (start != 0 && flags & UNSET == 0).then_some(start),
        size: (last - start).checked_add(1)?,
        kind,
        prefetchable: flags & PREFETCH != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn regions_are_read_and_odd_lines_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("sys/bus/pci/devices/0000:01:00.0");
        fs::create_dir_all(&device).unwrap();
        let host = Host::at(folder.path());
        let bdf = "01:00.0".parse().unwrap();
        let none = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
        let mut text = "0x00000000fe800000 0x00000000fe81ffff 0x0000000000040200\n".to_owned();
        text += none;
        text += "0x000000000000e000 0x000000000000e01f 0x0000000000040101\n";
        text += "nonsense\n0x2 0x1 0x200\n";
        text += "0x0000000000000000 0x0000000000003fff 0x0000000020140204\n";
        text += "0x00000000fe000000 0x00000000fe03ffff 0x0000000000046200\n";
        fs::write(device.join("resource"), &text).unwrap();

        let bars = host.bars(bdf);
        let kinds: Vec<_> = bars.iter().map(|bar| (bar.index, bar.kind)).collect();
        assert_eq!(
            kinds,
            [
                (0, BarKind::Memory32),
                (2, BarKind::Io),
                (5, BarKind::Memory64),
                (6, BarKind::Rom)
            ]
        );
        assert_eq!((bars[0].size, bars[0].start), (0x20000, Some(0xfe80_0000)));
        assert_eq!((bars[2].size, bars[2].start), (0x4000, None));
        assert_eq!(host.vf_space(bdf), None);

        text += "0x0000004000000000 0x000000400001ffff 0x000000000014220c\n";
        text += &none.repeat(5);
        fs::write(device.join("resource"), &text).unwrap();
        let space = host.vf_space(bdf).unwrap();
        assert_eq!(
            (space.len(), space[0].index, space[0].size),
            (1, 0, 0x20000)
        );
        assert!(space[0].prefetchable);
    }
}
