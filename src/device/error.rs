//! What can go wrong with an opened device.

use nix::errno::Errno;

use super::InterruptKind;
use crate::iommu::IommuError;
use crate::types::{Bdf, ExitClass};

/// Why a device could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// It could not be opened or attached.
    #[error(transparent)]
    Attach(#[from] IommuError),

    /// The kernel does not describe it.
    #[error("cannot read what VFIO knows of {bdf}: {errno}. The device may have been unplugged")]
    Describe {
        /// The device.
        bdf: Bdf,
        /// The kernel's error.
        errno: Errno,
    },

    /// It has no such region.
    #[error("{bdf} has no {region}")]
    NoRegion {
        /// The device.
        bdf: Bdf,
        /// The region.
        region: RegionName,
    },

    /// The kernel does not let this region be mapped.
    #[error(
        "{region} of {bdf} cannot be mapped: it is an I/O port range, or shares a page with something else"
    )]
    NotMappable {
        /// The device.
        bdf: Bdf,
        /// The region.
        region: RegionName,
    },

    /// An access to a region failed.
    #[error(
        "cannot {access} {region} of {bdf} at {offset:#x}: {errno}. The offset or size is wrong, memory access is off, or the device was unplugged"
    )]
    Access {
        /// The device.
        bdf: Bdf,
        /// "read", "write" or "map".
        access: &'static str,
        /// The region.
        region: RegionName,
        /// The offset in the region.
        offset: u64,
        /// The kernel's error.
        errno: Errno,
    },

    /// The device cannot be reset alone.
    #[error(
        "the kernel knows no way to reset {bdf} alone (no FLR, no power management reset, and its bus or slot is shared)"
    )]
    CannotReset {
        /// The device.
        bdf: Bdf,
    },

    /// The reset failed.
    #[error("cannot reset {bdf}: {errno}. {}", match errno {
        Errno::EAGAIN => "Another operation holds the device: try again",
        _ => "The device does not come back; the kernel log (dmesg) may say more",
    })]
    Reset {
        /// The device.
        bdf: Bdf,
        /// The kernel's error.
        errno: Errno,
    },

    /// It takes no token for its virtual functions.
    #[error("cannot give {bdf} a token for its virtual functions: {errno}. {}", match errno {
        Errno::ENOTTY => "It has no SR-IOV, or the kernel is older than 5.7",
        _ => "The kernel log (dmesg) may say more",
    })]
    Token {
        /// The device.
        bdf: Bdf,
        /// The kernel's error.
        errno: Errno,
    },

    /// The device has fewer interrupts.
    #[error("{bdf} has {available} {kind} interrupts, {wanted} are wanted")]
    TooFewInterrupts {
        /// The device.
        bdf: Bdf,
        /// The kind.
        kind: InterruptKind,
        /// How many it has.
        available: u32,
        /// How many were asked for.
        wanted: u32,
    },

    /// Interrupts could not be set up.
    #[error("cannot turn {switch} {kind} interrupts of {bdf}: {errno}. {}", match errno {
        Errno::EINVAL => "Interrupts of another kind may be on: turn them off first",
        Errno::ENOSPC | Errno::ENOMEM => "The host has no interrupt vectors left",
        _ => "The kernel log (dmesg) may say more",
    })]
    Interrupts {
        /// The device.
        bdf: Bdf,
        /// "on" or "off".
        switch: &'static str,
        /// The kind.
        kind: InterruptKind,
        /// The kernel's error.
        errno: Errno,
    },
}

/// A region by its VFIO index, printed as people call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionName(pub u32);

impl std::fmt::Display for RegionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            bar @ 0..=5 => write!(f, "BAR{bar}"),
            6 => f.write_str("ROM"),
            7 => f.write_str("configuration space"),
            8 => f.write_str("VGA region"),
            index => write!(f, "region {index}"),
        }
    }
}

impl DeviceError {
    /// What the exit status says of it.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::Attach(error) => error.class(),
            _ => ExitClass::Failed,
        }
    }
}
