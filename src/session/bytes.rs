//! Bytes inside a JSON document.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes, written in JSON as hexadecimal digits, two a byte.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

const DIGITS: &[u8; 16] = b"0123456789abcdef";

impl Bytes {
    /// The hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
        let mut text = String::with_capacity(self.0.len() * 2);
        for byte in &self.0 {
            text.push(digit(byte >> 4));
            text.push(digit(byte & 0xf));
        }
        text
    }

    /// From hexadecimal digits, in either case; `None` for anything else, or half a byte.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let nibble = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
        let digits = text.as_bytes();
        if digits.len() % 2 != 0 {
            return None;
        }
        let byte = |pair: &[u8]| Some(nibble(pair[0])? << 4 | nibble(pair[1])?);
        digits
            .chunks_exact(2)
            .map(byte)
            .collect::<Option<_>>()
            .map(Self)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text)
            .ok_or_else(|| de::Error::custom("bytes are pairs of hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        let all = Bytes((0..=255).collect());
        assert_eq!(Bytes::from_hex(&all.hex()), Some(all));
        assert_eq!(Bytes::from_hex("00fFA5"), Some(Bytes(vec![0, 255, 0xa5])));
        for text in ["0", "0x", "é", "+1", "gg"] {
            assert_eq!(Bytes::from_hex(text), None, "{text}");
        }
    }
}
