//! Addresses in a device's IOVA space.

use std::fmt;
use std::str::FromStr;

/// An I/O virtual address: what a device puts on the bus, and the IOMMU translates. Printed as `0x…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Iova(pub u64);

/// Why a text is no IOVA.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an IOVA: write it in hexadecimal, as 0x100000")]
pub struct ParseIovaError(String);

impl Iova {
    /// The address `bytes` further on; `None` past the end of 64 bits.
    #[must_use]
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }

    /// Whether the address is a multiple of `alignment`, a power of two.
    #[must_use]
    pub fn is_aligned(self, alignment: u64) -> bool {
        debug_assert!(alignment.is_power_of_two());
        self.0 & (alignment - 1) == 0
    }
}

impl fmt::Display for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl FromStr for Iova {
    type Err = ParseIovaError;

    /// Hexadecimal digits, with or without `0x`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text
            .strip_prefix("0x")
            .or_else(|| text.strip_prefix("0X"))
            .unwrap_or(text);
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseIovaError(text.to_owned()));
        }
        u64::from_str_radix(digits, 16)
            .map(Self)
            .map_err(|_| ParseIovaError(text.to_owned()))
    }
}

impl<'de> serde::Deserialize<'de> for Iova {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Iova {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A range of IOVAs, both ends included, never empty; so that the last byte of 64 bits can be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct IovaRange {
    start: Iova,
    last: Iova,
}

/// A range that would be empty or run past the end of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{size} bytes from {start} are empty or run past the last 64-bit address")]
pub struct InvalidRange {
    start: Iova,
    size: u64,
}

impl IovaRange {
    /// The range of `size` bytes from `start`.
    pub fn new(start: Iova, size: u64) -> Result<Self, InvalidRange> {
        size.checked_sub(1)
            .and_then(|more| start.checked_add(more))
            .map(|last| Self { start, last })
            .ok_or(InvalidRange { start, size })
    }

    /// The range from `start` to `last`, both included; `None` if `last` is before `start`.
    #[must_use]
    pub fn from_ends(start: Iova, last: Iova) -> Option<Self> {
        (start <= last).then_some(Self { start, last })
    }

    /// The first address.
    #[must_use]
    pub fn start(self) -> Iova {
        self.start
    }

    /// The last address, part of the range.
    #[must_use]
    pub fn last(self) -> Iova {
        self.last
    }

    /// The number of bytes; wider than 64 bits because the whole space is 2^64 bytes.
    #[must_use]
    pub fn size(self) -> u128 {
        u128::from(self.last.0 - self.start.0) + 1
    }

    /// Whether all of `other` lies in this range.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.last <= self.last
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.start <= other.last && other.start <= self.last
    }
}

impl fmt::Display for IovaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.last)
    }
}

/// What a device may do with mapped memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// The device may read it.
    Read,
    /// The device may write it. Not portable as a guarantee: some IOMMUs and kernels let the device read it too.
    Write,
    /// The device may read and write it.
    ReadWrite,
}

impl Protection {
    /// Whether the device may read.
    #[must_use]
    pub fn readable(self) -> bool {
        self != Self::Write
    }

    /// Whether the device may write.
    #[must_use]
    pub fn writable(self) -> bool {
        self != Self::Read
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "r",
            Self::Write => "w",
            Self::ReadWrite => "rw",
        })
    }
}

/// The page sizes of an address space, as the kernel's bitmap: bit N set means pages of 2^N bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSizes(pub u64);

impl PageSizes {
    /// The smallest page in bytes, the unit of mapping; `None` if the kernel reported none.
    #[must_use]
    pub fn smallest(self) -> Option<u64> {
        (self.0 != 0).then(|| 1 << self.0.trailing_zeros())
    }

    /// All sizes in bytes, smallest first.
    pub fn iter(self) -> impl Iterator<Item = u64> {
        (0..u64::BITS)
            .map(|bit| 1 << bit)
            .filter(move |size| self.0 & size != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_know_their_ends() {
        let top = IovaRange::new(Iova(u64::MAX - 0xfff), 0x1000).unwrap();
        assert_eq!(top.last(), Iova(u64::MAX));
        assert!(IovaRange::new(Iova(u64::MAX - 0xfff), 0x1001).is_err());
        assert!(IovaRange::new(Iova(0), 0).is_err());
        assert_eq!(
            IovaRange::from_ends(Iova(0), Iova(u64::MAX))
                .unwrap()
                .size(),
            1 << 64
        );
    }

    #[test]
    fn overlap_and_containment() {
        let range = |start, last| IovaRange::from_ends(Iova(start), Iova(last)).unwrap();
        assert!(range(0, 9).overlaps(range(9, 20)));
        assert!(!range(0, 9).overlaps(range(10, 20)));
        assert!(range(0, 20).contains(range(0, 20)));
        assert!(!range(1, 20).contains(range(0, 20)));
    }

    #[test]
    fn addresses_are_hexadecimal() {
        assert_eq!("0x1F000".parse(), Ok(Iova(0x1f000)));
        assert_eq!("1000".parse(), Ok(Iova(0x1000)));
        for text in ["", "0x", "-1", "0x1_0", "10000000000000000"] {
            assert!(text.parse::<Iova>().is_err(), "{text}");
        }
    }

    #[test]
    fn page_sizes_come_from_the_bitmap() {
        let sizes = PageSizes(0x4020_1000);
        assert_eq!(sizes.smallest(), Some(4096));
        assert_eq!(sizes.iter().collect::<Vec<_>>(), [4096, 2 << 20, 1 << 30]);
        assert_eq!(PageSizes(0).smallest(), None);
    }
}
