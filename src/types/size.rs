//! Sizes in bytes, as users write them.

use std::fmt;
use std::str::FromStr;

/// A size in bytes, at least 1. Units are powers of 1024, as for page sizes: `4K` is 4096.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "u64", into = "u64")]
pub struct Size(u64);

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSizeError {
    /// The size is zero.
    #[error("a size of 0 maps nothing: give at least one page, as 4K")]
    Zero,
    /// Not a number with a known unit.
    #[error("'{0}' is not a size: write it as 4096, 0x1000, 4K, 2M or 1G")]
    Malformed(String),
}

impl Size {
    /// The size from a number of bytes; `None` for 0.
    #[must_use]
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes == 0 { None } else { Some(Self(bytes)) }
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Size {
    type Error = ParseSizeError;

    fn try_from(bytes: u64) -> Result<Self, Self::Error> {
        Self::new(bytes).ok_or(ParseSizeError::Zero)
    }
}

impl From<Size> for u64 {
    fn from(size: Size) -> Self {
        size.bytes()
    }
}

impl FromStr for Size {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseSizeError::Malformed(text.to_owned());
        let bytes = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) if digits.starts_with('+') => return Err(malformed()),
            Some(digits) => u64::from_str_radix(digits, 16).map_err(|_| malformed())?,
            None => parse_size::Config::new()
                .with_binary()
                .parse_size(text)
                .map_err(|_| malformed())?,
        };
        Self::new(bytes).ok_or(ParseSizeError::Zero)
    }
}

impl fmt::Display for Size {
    /// The shortest exact form: `4K`, `2M`, `1G`, `1500`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (1 << 40, "T"),
            (1 << 30, "G"),
            (1 << 20, "M"),
            (1 << 10, "K"),
        ];
        match units.into_iter().find(|(unit, _)| self.0 % unit == 0) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_printed() {
        for (text, bytes, printed) in [
            ("4K", 4096, "4K"),
            ("4096", 4096, "4K"),
            ("0x200000", 2 << 20, "2M"),
            ("1g", 1 << 30, "1G"),
            ("1500", 1500, "1500"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!(
                (size.bytes(), size.to_string().as_str()),
                (bytes, printed),
                "{text}"
            );
        }
    }

    #[test]
    fn zero_and_nonsense_are_refused() {
        assert_eq!("0".parse::<Size>(), Err(ParseSizeError::Zero));
        for text in ["", "K", "-4K", "4X", "0x", "0x+1", "99999999999999G"] {
            assert!(
                matches!(text.parse::<Size>(), Err(ParseSizeError::Malformed(_))),
                "{text}"
            );
        }
    }
}
