//! Which VFIO driver is to get a device.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// Which VFIO driver is to get a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverChoice {
    /// The variant of vfio-pci that the kernel has for the device, else vfio-pci itself.
    Auto,
    /// This one.
    Named(String),
}

impl FromStr for DriverChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            name => Self::Named(name.to_owned()),
        })
    }
}

impl fmt::Display for DriverChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Named(name) => f.write_str(name),
        }
    }
}
