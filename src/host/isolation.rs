//! What keeps a device's DMA from reaching other devices past the IOMMU: access control services on its way to the processor.

use super::config_space::{Acs, AcsFlags, PortType, Reach};
use super::{Host, PciDevice};
use crate::types::Bdf;

/// A function on the way from a device to the processor, the device itself the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsolationStep {
    /// The function.
    pub bdf: Bdf,
    /// What it is; `None` for conventional PCI, and where capabilities are hidden.
    pub port: Option<PortType>,
    /// Its access control services.
    pub acs: Option<Acs>,
    /// What it means.
    pub effect: Effect,
}

/// What a function on the way does for isolation, by the kernel's own rules (`pci_acs_enabled` of drivers/pci/pci.c), less the list of
/// chips that it knows to isolate without saying so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It sends all requests up to the IOMMU.
    Isolates,
    /// It has nothing to keep apart: a device with one function, the upper side of a switch.
    NothingToIsolate,
    /// It may pass requests on to other devices: these services are not on.
    Open(AcsFlags),
    /// It may pass requests on to other devices: it has no access control services.
    WithoutAcs,
    /// It is on or leads to a conventional bus, where all devices see each other's requests.
    SharedBus,
    /// This user may not see its capabilities.
    Hidden,
}

impl Effect {
    /// Whether requests can get past the IOMMU here; `None` if it cannot be told.
    #[must_use]
    pub fn is_open(self) -> Option<bool> {
        match self {
            Self::Isolates | Self::NothingToIsolate => Some(false),
            Self::Open(_) | Self::WithoutAcs | Self::SharedBus => Some(true),
            Self::Hidden => None,
        }
    }
}

impl Host {
    /// The functions on the way from a device to the processor, and what each does for isolation. For a virtual function the way
    /// begins at the bridge above it.
    #[must_use]
    pub fn isolation(&self, device: &PciDevice) -> Vec<IsolationStep> {
        let is_virtual = self.physical_function(device.bdf).is_some();
        let own = (!is_virtual).then_some(device.bdf);
        let bridges = self.bridges_above(device.bdf).into_iter();
        own.into_iter()
            .map(|bdf| self.isolation_step(bdf, device.is_bridge()))
            .chain(bridges.map(|bdf| self.isolation_step(bdf, true)))
            .collect()
    }

    fn isolation_step(&self, bdf: Bdf, is_bridge: bool) -> IsolationStep {
        let space = self.config_space(bdf);
        let (port, acs) = (space.express().map(|express| express.port), space.acs());
        let effect = match (space.reach(), port) {
            (Reach::Nothing | Reach::Header, _) => Effect::Hidden,
            (_, Some(PortType::PciBridge | PortType::ReverseBridge)) => Effect::SharedBus,
            (_, None) if is_bridge || !self.bridges_above(bdf).is_empty() => Effect::SharedBus,
            (_, None) if !space.is_multifunction() => Effect::NothingToIsolate,
            (_, None) => Effect::WithoutAcs,
            (_, Some(PortType::EventCollector)) => Effect::WithoutAcs,
            (reach, Some(port)) => {
                let leads_down = matches!(port, PortType::RootPort | PortType::DownstreamPort);
                match acs {
                    _ if !leads_down && !space.is_multifunction() => Effect::NothingToIsolate,
                    _ if reach < Reach::Whole => Effect::Hidden,
                    None => Effect::WithoutAcs,
                    Some(acs) if acs.missing().is_empty() => Effect::Isolates,
                    Some(acs) => Effect::Open(acs.missing()),
                }
            }
        };
        IsolationStep {
            bdf,
            port,
            acs,
            effect,
        }
    }
}
