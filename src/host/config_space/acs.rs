//! Access Control Services: whether a bridge keeps the devices below it from reaching each other past the IOMMU (section 6.12).

use std::fmt;

use super::ConfigSpace;

const ID: u16 = 0x0d;
const CAPABILITY: usize = 0x04;
const CONTROL: usize = 0x06;

/// A set of access control services, bits as in the capability register (section 7.7.11.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AcsFlags(u16);

/// The access control services of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acs {
    /// Those that the hardware has.
    pub supported: AcsFlags,
    /// Those that are on.
    pub enabled: AcsFlags,
}

impl AcsFlags {
    /// What the kernel asks for before it gives devices groups of their own: Source Validation, Request and Completion Redirect,
    /// Upstream Forwarding (`REQ_ACS_FLAGS` of drivers/iommu/iommu.c).
    pub const ISOLATION: Self = Self(0x01 | 0x04 | 0x08 | 0x10);

    /// Egress Control, the one service whose absence cannot mean that it is always on.
    const EGRESS_CONTROL: Self = Self(0x20);

    /// The names and bits of the services: Source Validation, Translation Blocking, Request Redirect, Completion Redirect,
    /// Upstream Forwarding, Egress Control, Direct Translated.
    const NAMES: [(&'static str, u16); 7] = [
        ("SV", 0x01),
        ("TB", 0x02),
        ("RR", 0x04),
        ("CR", 0x08),
        ("UF", 0x10),
        ("EC", 0x20),
        ("DT", 0x40),
    ];

    /// The short names of those in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(_, bit)| self.0 & bit != 0)
            .map(|(name, _)| name)
    }

    /// Those in this set and not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for AcsFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names().collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(" "))
    }
}

impl Acs {
    /// What is missing for isolation. Services that the hardware lacks count as always on, as the specification demands of them
    /// (`pci_acs_flags_enabled` of drivers/pci/pci.c).
    #[must_use]
    pub fn missing(self) -> AcsFlags {
        let controllable = AcsFlags(self.supported.0 | AcsFlags::EGRESS_CONTROL.0);
        AcsFlags(AcsFlags::ISOLATION.0 & controllable.0).without(self.enabled)
    }
}

impl ConfigSpace {
    /// The access control services, if the function has that capability.
    #[must_use]
    pub fn acs(&self) -> Option<Acs> {
        let at = self.extended_capability(ID)?;
        Some(Acs {
            supported: AcsFlags(self.word(at + CAPABILITY)? & 0x7f),
            enabled: AcsFlags(self.word(at + CONTROL)? & 0x7f),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::space;

    #[test]
    fn what_is_off_is_missing_and_what_cannot_be_turned_off_is_not() {
        let acs = |body: &[u8]| space(4096, &[], &[(0x0d, 0x100, body)]).acs().unwrap();
        let on = acs(&[0x5f, 0, 0x1d, 0]);
        assert_eq!(on.supported.to_string(), "SV TB RR CR UF DT");
        assert_eq!(on.enabled.to_string(), "SV RR CR UF");
        assert!(on.missing().is_empty());
        assert_eq!(acs(&[0x5f, 0, 0x01, 0]).missing().to_string(), "RR CR UF");
        assert!(acs(&[0x01, 0, 0x01, 0]).missing().is_empty());
        assert_eq!(acs(&[0, 0, 0, 0]).enabled.to_string(), "none");
    }
}
