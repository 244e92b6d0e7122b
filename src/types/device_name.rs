//! The ways in which a user names a device.

use std::fmt;
use std::str::FromStr;

use super::{Bdf, GroupId, ParseBdfError};

/// A device as the user named it; `host` finds out which devices that means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceName {
    /// A PCI address: `0000:01:00.0` or `01:00.0`.
    Bdf(Bdf),
    /// All devices of an IOMMU group: `group:12`.
    Group(GroupId),
    /// Vendor and device ID: `8086:10c9`.
    Id {
        /// Vendor ID.
        vendor: u16,
        /// Device ID.
        device: u16,
    },
    /// A network interface, block device or NVMe controller: `eth0`, `nvme0`, `nvme0n1`.
    Kernel(String),
}

/// Why a text names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDeviceNameError {
    /// It looks like a PCI address and is none.
    #[error(transparent)]
    Bdf(#[from] ParseBdfError),
    /// `group:` without a number.
    #[error("'{0}' is not a group: write it as group:12")]
    Group(String),
    /// It can be no name of the kernel's either.
    #[error(
        "'{0}' is not a device: give a PCI address (0000:01:00.0), group:N, vendor:device (8086:10c9), \
         a network interface (eth0) or a block device (nvme0)"
    )]
    Unknown(String),
}

impl FromStr for DeviceName {
    type Err = ParseDeviceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(number) = text.strip_prefix("group:") {
            let id = number
                .parse()
                .map_err(|_| ParseDeviceNameError::Group(text.to_owned()))?;
            return Ok(Self::Group(GroupId(id)));
        }
        if let Some((vendor, device)) = text.split_once(':') {
            if let (Some(vendor), Some(device)) = (id_digits(vendor), id_digits(device)) {
                return Ok(Self::Id { vendor, device });
            }
            return Ok(Self::Bdf(text.parse()?));
        }
        // Names of network interfaces and block devices: what dev_valid_name() of net/core/dev.c lets through, less ':'.
        let named = !text.is_empty()
            && text.len() < 32
            && text != "."
            && text != ".."
            && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        if named {
            Ok(Self::Kernel(text.to_owned()))
        } else {
            Err(ParseDeviceNameError::Unknown(text.to_owned()))
        }
    }
}

/// Exactly four hexadecimal digits.
fn id_digits(text: &str) -> Option<u16> {
    (text.len() == 4 && text.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| u16::from_str_radix(text, 16).ok())
        .flatten()
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bdf(bdf) => bdf.fmt(f),
            Self::Group(group) => write!(f, "group:{group}"),
            Self::Id { vendor, device } => write!(f, "{vendor:04x}:{device:04x}"),
            Self::Kernel(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_device_is_understood() {
        let name = |text: &str| text.parse::<DeviceName>().unwrap();
        assert_eq!(
            name("01:00.0"),
            DeviceName::Bdf("0000:01:00.0".parse().unwrap())
        );
        assert_eq!(name("group:7"), DeviceName::Group(GroupId(7)));
        assert_eq!(
            name("1234:11E8"),
            DeviceName::Id {
                vendor: 0x1234,
                device: 0x11e8
            }
        );
        assert_eq!(
            name("enp1s0f0np0"),
            DeviceName::Kernel("enp1s0f0np0".into())
        );
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in [
            "",
            "group:x",
            "group:-1",
            "1:2:3",
            "12345:11e8",
            "a/b",
            "..",
            "0000:zz:00.0",
        ] {
            assert!(text.parse::<DeviceName>().is_err(), "{text}");
        }
    }
}
