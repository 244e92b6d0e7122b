//! The configuration space of a PCI function, as far as this user may read it, and the capabilities in it.
//!
//! Section numbers are those of the PCI Express Base Specification 6.0; offsets are those of `linux/pci_regs.h`.

mod acs;
mod express;
mod interrupts;
mod translation;

pub use acs::{Acs, AcsFlags};
pub use express::{Express, PortType};
pub use interrupts::{Msi, MsiX};
pub use translation::{Ats, Pasid, Pri};

use super::Host;
use super::pci::sysfs;
use crate::types::Bdf;

/// The size of the extended configuration space (section 7.2).
const EXTENDED_SIZE: usize = 4096;
/// The size of the conventional configuration space.
const CONVENTIONAL_SIZE: usize = 256;
/// The size of the header, which is all that the kernel shows to ordinary users (`pci_read_config` of drivers/pci/pci-sysfs.c).
const HEADER_SIZE: usize = 64;

/// Status register and its bit that says there is a list of capabilities (section 7.5.1.1.4).
const STATUS: usize = 0x06;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const REVISION_AND_CLASS: usize = 0x08;
const HEADER_TYPE: usize = 0x0e;
const HEADER_MULTIFUNCTION: u8 = 1 << 7;
const CAPABILITIES_POINTER: usize = 0x34;
const INTERRUPT_PIN: usize = 0x3d;

/// There is no room for more capabilities of 4 bytes each.
const MOST_CAPABILITIES: usize = (CONVENTIONAL_SIZE - HEADER_SIZE) / 4;
const MOST_EXTENDED: usize = (EXTENDED_SIZE - CONVENTIONAL_SIZE) / 8;

/// The configuration space of a function. What lies beyond the visible part, or was damaged, reads as "not there".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSpace {
    bytes: Vec<u8>,
}

/// How much of a configuration space is visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Nothing: the file cannot be read, or the device does not answer (switched off, or gone).
    Nothing,
    /// The header of 64 bytes, no capabilities: what ordinary users see.
    Header,
    /// 256 bytes, without the extended capabilities.
    Conventional,
    /// All there is.
    Whole,
}

impl Host {
    /// Reads the configuration space of a function. This wakes a device that the kernel has put to sleep.
    #[must_use]
    pub fn config_space(&self, bdf: Bdf) -> ConfigSpace {
        let file = sysfs(bdf).join("config");
        ConfigSpace::new(self.read(file, EXTENDED_SIZE as u64).unwrap_or_default())
    }
}

impl ConfigSpace {
    /// From the bytes that could be read.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// How much is visible.
    #[must_use]
    pub fn reach(&self) -> Reach {
        // A device that does not answer reads as all ones. A virtual function's own IDs do so too (section 9.3.4.1), its class does not.
        if self.bytes.len() < HEADER_SIZE || !self.answers() {
            return Reach::Nothing;
        }
        let is_express = self.capability(express::ID).is_some();
        match self.bytes.len() {
            ..CONVENTIONAL_SIZE if self.has_capabilities() => Reach::Header,
            CONVENTIONAL_SIZE..EXTENDED_SIZE if is_express => Reach::Conventional,
            _ => Reach::Whole,
        }
    }

    /// Whether the device answers: one that is switched off, in reset or gone reads as all ones.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.dword(REVISION_AND_CLASS)
            .is_some_and(|class| class != u32::MAX)
    }

    /// Whether the device has more functions than this one (section 7.5.1.1.9).
    #[must_use]
    pub fn is_multifunction(&self) -> bool {
        self.byte(HEADER_TYPE)
            .is_some_and(|kind| kind & HEADER_MULTIFUNCTION != 0)
    }

    /// The pin of the legacy interrupt, `A` to `D`, if it has one (section 7.5.1.1.13).
    #[must_use]
    pub fn interrupt_pin(&self) -> Option<char> {
        match self.byte(INTERRUPT_PIN)? {
            pin @ 1..=4 => Some(char::from(b'A' + pin - 1)),
            _ => None,
        }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn word(&self, at: usize) -> Option<u16> {
        let bytes = self.bytes.get(at..at.checked_add(2)?)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    }

    fn dword(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn has_capabilities(&self) -> bool {
        self.word(STATUS)
            .is_some_and(|status| status & STATUS_CAPABILITIES != 0)
    }

    /// Where the first capability with this ID begins (section 7.5.1.1.11). A list that runs in a circle ends.
    fn capability(&self, id: u8) -> Option<usize> {
        if !self.has_capabilities() {
            return None;
        }
        let mut at = usize::from(self.byte(CAPABILITIES_POINTER)? & !3);
        for _ in 0..MOST_CAPABILITIES {
            if at < HEADER_SIZE {
                return None;
            }
            if self.byte(at)? == id {
                return Some(at);
            }
            at = usize::from(self.byte(at + 1)? & !3);
        }
        None
    }

    /// Where the first extended capability with this ID begins (section 7.6.3). A list that runs in a circle ends.
    fn extended_capability(&self, id: u16) -> Option<usize> {
        let mut at = CONVENTIONAL_SIZE;
        for _ in 0..MOST_EXTENDED {
            if at < CONVENTIONAL_SIZE {
                return None;
            }
            let header = self.dword(at)?;
            // All zeros: no extended capabilities. All ones: the device has gone.
            if header == 0 || header == u32::MAX {
                return None;
            }
            if (header & 0xffff) as u16 == id {
                return Some(at);
            }
            at = (header >> 20) as usize & !3;
        }
        None
    }

    /// The device serial number's place (section 7.9.3), 8 bytes; it often holds a MAC address.
    pub(super) fn serial_number(&self) -> Option<std::ops::Range<usize>> {
        let at = self.extended_capability(0x03)? + 4;
        (at + 8 <= self.bytes.len()).then_some(at..at + 8)
    }

    /// The device serial number (section 7.9.3); `None` where there is none, or it is blank, or this user may not read it.
    #[must_use]
    pub fn device_serial(&self) -> Option<u64> {
        let bytes = &self.bytes[self.serial_number()?];
        let serial = u64::from_le_bytes(bytes.try_into().ok()?);
        (serial != 0 && serial != u64::MAX).then_some(serial)
    }

    /// The most virtual functions that the hardware can have (section 9.3.3.6); a driver may allow fewer.
    pub(super) fn total_virtual_functions(&self) -> Option<u16> {
        self.word(self.extended_capability(0x10)? + 0x0e)
    }

    /// The address routing ID capability, by which a device has up to 256 functions (section 7.8.8).
    #[must_use]
    pub fn has_ari(&self) -> bool {
        self.extended_capability(0x0e).is_some()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A configuration space of `size` bytes with capabilities at the places given: ID and the bytes after the two of the header.
    pub fn space(
        size: usize,
        list: &[(u8, usize, &[u8])],
        extended: &[(u16, usize, &[u8])],
    ) -> ConfigSpace {
        let mut bytes = vec![0; EXTENDED_SIZE];
        bytes[..4].copy_from_slice(&[0x86, 0x80, 0xc9, 0x10]);
        let mut link = CAPABILITIES_POINTER;
        for (id, at, body) in list {
            bytes[STATUS] = 1 << 4;
            bytes[link] = *at as u8;
            bytes[*at] = *id;
            bytes[at + 2..at + 2 + body.len()].copy_from_slice(body);
            link = at + 1;
        }
        for (place, (id, at, body)) in extended.iter().enumerate() {
            let next = extended.get(place + 1).map_or(0, |(_, next, _)| *next);
            let header = u32::from(*id) | 1 << 16 | (next as u32) << 20;
            bytes[*at..at + 4].copy_from_slice(&header.to_le_bytes());
            bytes[at + 4..at + 4 + body.len()].copy_from_slice(body);
        }
        bytes.truncate(size);
        ConfigSpace::new(bytes)
    }

    #[test]
    fn what_is_hidden_is_known() {
        let list: &[(u8, usize, &[u8])] = &[(0x01, 0x40, &[]), (0x10, 0x50, &[2, 0])];
        assert_eq!(ConfigSpace::new(vec![]).reach(), Reach::Nothing);
        assert_eq!(ConfigSpace::new(vec![0xff; 256]).reach(), Reach::Nothing);
        let mut virtual_function = space(4096, list, &[]);
        virtual_function.bytes[..4].fill(0xff);
        assert_eq!(virtual_function.reach(), Reach::Whole);
        assert_eq!(space(64, list, &[]).reach(), Reach::Header);
        assert_eq!(space(256, list, &[]).reach(), Reach::Conventional);
        assert_eq!(space(4096, list, &[]).reach(), Reach::Whole);
        // Nothing is hidden of a device that has no capabilities, or is not PCI Express.
        assert_eq!(space(64, &[], &[]).reach(), Reach::Whole);
        assert_eq!(space(256, &list[..1], &[]).reach(), Reach::Whole);
    }

    #[test]
    fn capabilities_are_found_in_their_lists() {
        let space = space(
            4096,
            &[(0x01, 0x40, &[]), (0x11, 0x70, &[]), (0x10, 0xa0, &[])],
            &[
                (0x01, 0x100, &[]),
                (0x0e, 0x150, &[]),
                (0x03, 0x140, &[1, 2, 3, 4, 5, 6, 7, 8]),
            ],
        );
        assert_eq!(space.capability(0x10), Some(0xa0));
        assert_eq!(space.capability(0x05), None);
        assert!(space.has_ari());
        assert_eq!(space.serial_number(), Some(0x144..0x14c));
    }

    #[test]
    fn lists_that_run_in_a_circle_or_off_the_end_do_no_harm() {
        let mut circle = space(4096, &[(0x01, 0x40, &[])], &[(0x01, 0x100, &[])]);
        circle.bytes[0x41] = 0x40;
        circle.bytes[0x100..0x104].copy_from_slice(&0x1001_0001_u32.to_le_bytes());
        assert_eq!(circle.capability(0x10), None);
        assert_eq!(circle.extended_capability(0x10), None);

        let mut beyond = space(4096, &[(0x01, 0xfc, &[])], &[(0x01, 0x100, &[])]);
        beyond.bytes[0xfd] = 0xff;
        beyond.bytes[0x100..0x104].copy_from_slice(&0xfff1_0001_u32.to_le_bytes());
        assert_eq!(beyond.capability(0x10), None);
        assert_eq!(beyond.extended_capability(0x10), None);

        for seed in 0..2000_u32 {
            let noise: Vec<u8> = (0..4096_u32)
                .map(|at| ((at ^ seed).wrapping_mul(2_654_435_761) >> 13) as u8)
                .take(1 + seed as usize * 7 % 4096)
                .collect();
            let space = ConfigSpace::new(noise);
            let _ = (
                space.reach(),
                space.acs(),
                space.express(),
                space.msi(),
                space.msi_x(),
            );
            let _ = (
                space.ats(),
                space.pri(),
                space.pasid(),
                space.serial_number(),
            );
        }
    }
}
