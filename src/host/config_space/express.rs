//! The PCI Express capability: what kind of port a function is, and whether it can be reset by itself (section 7.5.3).

use super::ConfigSpace;

pub(super) const ID: u8 = 0x10;
const FLAGS: usize = 0x02;
const DEVICE_CAPABILITIES: usize = 0x04;
const DEVICE_CAPABILITIES_FLR: u32 = 1 << 28;
const DEVICE_CONTROL_2: usize = 0x28;
const DEVICE_CONTROL_2_ARI: u16 = 1 << 5;
/// Advanced Features, by which conventional PCI devices have such a reset (Engineering Change Notice of 2006).
const ADVANCED_FEATURES_ID: u8 = 0x13;
const ADVANCED_FEATURES: usize = 0x03;
const ADVANCED_FEATURES_RESETS: u8 = 0x03;

/// What a function is in the PCI Express hierarchy (section 7.5.3.2, table 7-17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortType {
    /// A device at the end of a link.
    Endpoint,
    /// A device at the end of a link that still uses I/O ports or locks.
    LegacyEndpoint,
    /// A port of the processor or chipset.
    RootPort,
    /// The side of a switch towards the processor.
    UpstreamPort,
    /// A side of a switch towards devices.
    DownstreamPort,
    /// A bridge to conventional PCI.
    PciBridge,
    /// A bridge from conventional PCI.
    ReverseBridge,
    /// A device inside the processor or chipset.
    IntegratedEndpoint,
    /// Collects events of integrated endpoints.
    EventCollector,
    /// A value that the specification does not know.
    Unknown(u8),
}

/// The PCI Express capability of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Express {
    /// What it is.
    pub port: PortType,
    /// For a port that leads down: whether requests reach functions that are told by alternative routing IDs (section 6.13).
    pub forwards_ari: bool,
}

impl PortType {
    /// In words.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::LegacyEndpoint => "legacy endpoint",
            Self::RootPort => "root port",
            Self::UpstreamPort => "switch upstream port",
            Self::DownstreamPort => "switch downstream port",
            Self::PciBridge => "bridge to conventional PCI",
            Self::ReverseBridge => "bridge from conventional PCI",
            Self::IntegratedEndpoint => "integrated endpoint",
            Self::EventCollector => "root complex event collector",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl ConfigSpace {
    /// The PCI Express capability; `None` for conventional PCI.
    #[must_use]
    pub fn express(&self) -> Option<Express> {
        let at = self.capability(ID)?;
        let flags = self.word(at + FLAGS)?;
        let port = match (flags >> 4 & 0xf) as u8 {
            0x0 => PortType::Endpoint,
            0x1 => PortType::LegacyEndpoint,
            0x4 => PortType::RootPort,
            0x5 => PortType::UpstreamPort,
            0x6 => PortType::DownstreamPort,
            0x7 => PortType::PciBridge,
            0x8 => PortType::ReverseBridge,
            0x9 => PortType::IntegratedEndpoint,
            0xa => PortType::EventCollector,
            other => PortType::Unknown(other),
        };
        let control = self.word(at + DEVICE_CONTROL_2).unwrap_or(0);
        Some(Express {
            port,
            forwards_ari: control & DEVICE_CONTROL_2_ARI != 0,
        })
    }

    /// Whether the function can be reset alone, without others (section 6.6.2).
    #[must_use]
    pub fn has_function_level_reset(&self) -> bool {
        let express = self
            .capability(ID)
            .and_then(|at| self.dword(at + DEVICE_CAPABILITIES))
            .is_some_and(|capabilities| capabilities & DEVICE_CAPABILITIES_FLR != 0);
        let advanced = self
            .capability(ADVANCED_FEATURES_ID)
            .and_then(|at| self.byte(at + ADVANCED_FEATURES))
            .is_some_and(|features| {
                features & ADVANCED_FEATURES_RESETS == ADVANCED_FEATURES_RESETS
            });
        express || advanced
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::space;
    use super::*;

    #[test]
    fn ports_and_resets_are_told_apart() {
        let port = space(256, &[(ID, 0x40, &[0x62, 0x00, 0, 0, 0, 0x10])], &[]);
        assert_eq!(port.express().unwrap().port, PortType::DownstreamPort);
        assert!(port.has_function_level_reset());
        let old = space(256, &[(ADVANCED_FEATURES_ID, 0x40, &[6, 0x03])], &[]);
        assert_eq!(old.express(), None);
        assert!(old.has_function_level_reset());
        let none = space(256, &[(ID, 0x40, &[0x02, 0x00])], &[]);
        assert_eq!(none.express().unwrap().port, PortType::Endpoint);
        assert!(!none.has_function_level_reset());
    }
}
