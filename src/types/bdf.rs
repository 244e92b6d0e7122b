//! PCI addresses.

use std::fmt;
use std::str::FromStr;

/// The address of a PCI function: domain, bus, device, function (PCI Local Bus 3.0, section 3.2.2.3.2; the domain is Linux's).
///
/// Printed in full, as sysfs names it: `0000:01:00.0`. The domain is wider than 16 bits on hosts with Intel VMD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bdf {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

/// Why a text is no PCI address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a PCI address: {reason}; write it as 0000:01:00.0 or 01:00.0")]
pub struct ParseBdfError {
    text: String,
    reason: &'static str,
}

impl Bdf {
    /// The address from its parts; `None` if the device is above 31 or the function above 7.
    #[must_use]
    pub fn new(domain: u32, bus: u8, device: u8, function: u8) -> Option<Self> {
        (device < 32 && function < 8).then_some(Self {
            domain,
            bus,
            device,
            function,
        })
    }

    /// Bus, device and function as one number, by which requests on the bus name their sender (PCI Express Base 6.0, section 2.2.4.2).
    #[must_use]
    pub fn routing_id(self) -> u16 {
        u16::from(self.bus) << 8 | u16::from(self.device) << 3 | u16::from(self.function)
    }

    /// The function of the same domain with this routing ID.
    #[must_use]
    pub fn with_routing_id(self, id: u16) -> Self {
        let [bus, rest] = id.to_be_bytes();
        Self {
            bus,
            device: rest >> 3,
            function: rest & 7,
            ..self
        }
    }

    /// The PCI domain (segment), 0 on most hosts.
    #[must_use]
    pub fn domain(self) -> u32 {
        self.domain
    }

    /// The bus number.
    #[must_use]
    pub fn bus(self) -> u8 {
        self.bus
    }

    /// The device number, 0 to 31.
    #[must_use]
    pub fn device(self) -> u8 {
        self.device
    }

    /// The function number, 0 to 7.
    #[must_use]
    pub fn function(self) -> u8 {
        self.function
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{:x}",
            self.domain, self.bus, self.device, self.function
        )
    }
}

impl FromStr for Bdf {
    type Err = ParseBdfError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason| ParseBdfError {
            text: text.to_owned(),
            reason,
        };
        let (place, function) = text
            .rsplit_once('.')
            .ok_or_else(|| fail("there is no '.FUNCTION' at its end"))?;
        let mut parts = place.rsplit(':');
        let device = parts
            .next()
            .ok_or_else(|| fail("there is no device number"))?;
        let bus = parts.next().ok_or_else(|| fail("there is no bus number"))?;
        let domain = parts.next();
        if parts.next().is_some() {
            return Err(fail("it has too many parts"));
        }
        let domain = match domain {
            Some(digits) => hex(digits, 4..=8)
                .ok_or_else(|| fail("the domain is not 4 to 8 hexadecimal digits"))?,
            None => 0,
        };
        let bus = hex(bus, 1..=2).ok_or_else(|| fail("the bus is not 00 to ff"))?;
        let device = hex(device, 1..=2)
            .filter(|d| *d < 32)
            .ok_or_else(|| fail("the device is not 00 to 1f"))?;
        let function = hex(function, 1..=1)
            .filter(|f| *f < 8)
            .ok_or_else(|| fail("the function is not 0 to 7"))?;
        // The digit counts and filters above keep the last three within a byte.
        Ok(Self {
            domain,
            bus: bus as u8,
            device: device as u8,
            function: function as u8,
        })
    }
}

/// The value of plain hexadecimal digits (no sign, no prefix), if there are as many as allowed.
fn hex(digits: &str, allowed: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let plain = allowed.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten()
}

impl serde::Serialize for Bdf {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Bdf {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_and_short_addresses_mean_the_same() {
        let full: Bdf = "0000:01:1f.7".parse().unwrap();
        assert_eq!(full, "01:1f.7".parse().unwrap());
        assert_eq!(full.to_string(), "0000:01:1f.7");
        assert_eq!("10000:e1:00.0".parse::<Bdf>().unwrap().domain(), 0x10000);
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "FUNCTION"),
            ("01:00", "FUNCTION"),
            ("00.0", "bus"),
            ("01:20.0", "device"),
            ("01:00.8", "function"),
            ("01:00.", "function"),
            ("100:00.0", "bus"),
            ("0:0000:01:00.0", "too many"),
            ("+1:00.0", "bus"),
            ("000:01:00.0", "domain"),
        ] {
            let error = text.parse::<Bdf>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
