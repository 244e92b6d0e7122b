//! What is remembered of a device whose driver was changed.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::{Identity, VERSION};
use crate::binding::{DriverState, NodeState, Owner, Process};
use crate::host::{Host, PciDevice};
use crate::types::Bdf;

/// What is remembered of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub(super) version: u32,
    bdf: String,
    /// What the device is, so that another one at the same address is not taken for it.
    pub identity: Identity,
    /// The kernel's names of what it provided before: `eth0`, `nvme0`.
    pub kernel_names: Vec<String>,
    /// The driver and override it had before; `None` if it was found on VFIO and nothing is known.
    pub before: Option<DriverState>,
    /// The driver that it was, or is to be, bound to.
    pub bound_to: String,
    /// How far the change got.
    pub phase: Phase,
    /// The nodes that user space may have it open by, noted before it is given back.
    pub nodes: Vec<PathBuf>,
    /// The addresses of all devices that the last change was made to at once, this one included.
    #[serde(default)]
    pub(super) together: Vec<String>,
    /// To whom its nodes were given.
    #[serde(default)]
    pub given: Option<Owner>,
    /// The nodes that were there before they were given away, and whose they were.
    #[serde(default)]
    pub nodes_before: Vec<NodeState>,
    /// The `run` that bound it, and gives it back.
    #[serde(default)]
    pub run: Option<Process>,
}

/// How far a change got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Binding began and did not end.
    Binding,
    /// The device is bound.
    Bound,
    /// Giving it back began and did not end.
    Unbinding,
}

impl Entry {
    /// A new entry for a device that is about to be bound.
    #[must_use]
    pub fn new(
        host: &Host,
        device: &PciDevice,
        before: Option<DriverState>,
        bound_to: &str,
    ) -> Self {
        Self {
            version: VERSION,
            bdf: device.bdf.to_string(),
            identity: Identity::of(host, device),
            kernel_names: host
                .kernel_names()
                .of(device.bdf)
                .map(|name| name.name.clone())
                .collect(),
            before,
            bound_to: bound_to.to_owned(),
            phase: Phase::Binding,
            nodes: Vec::new(),
            together: Vec::new(),
            given: None,
            nodes_before: Vec::new(),
            run: None,
        }
    }

    /// The entry when the device's nodes, of which these are there, go to an owner.
    #[must_use]
    pub fn giving_to(&self, owner: Owner, there: Vec<NodeState>) -> Self {
        Self {
            given: Some(owner),
            // Given away once more: whose they were at first is what counts.
            nodes_before: match self.given {
                Some(_) => self.nodes_before.clone(),
                None => there,
            },
            ..self.clone()
        }
    }

    /// The device's address.
    #[must_use]
    pub fn bdf(&self) -> Option<Bdf> {
        self.bdf.parse().ok()
    }

    /// The entry while the device is given back, with the nodes that user space may have it open by.
    #[must_use]
    pub fn unbinding(&self, nodes: Vec<PathBuf>) -> Self {
        Self {
            nodes,
            ..self.in_phase(Phase::Unbinding)
        }
    }

    /// The entry while the device is bound to yet another driver.
    #[must_use]
    pub fn binding_to(&self, driver: &str) -> Self {
        Self {
            bound_to: driver.to_owned(),
            ..self.in_phase(Phase::Binding)
        }
    }

    /// The same entry in another phase.
    #[must_use]
    pub fn in_phase(&self, phase: Phase) -> Self {
        Self {
            phase,
            ..self.clone()
        }
    }

    /// The same entry of a change that is made to these devices at once.
    #[must_use]
    pub fn together_with(&self, devices: &[Bdf]) -> Self {
        Self {
            together: devices.iter().map(ToString::to_string).collect(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
impl Entry {
    /// An entry for tests.
    pub(in crate::binding) fn example(bdf: Bdf, before: Option<DriverState>, phase: Phase) -> Self {
        Self {
            version: VERSION,
            bdf: bdf.to_string(),
            identity: Identity::default(),
            kernel_names: vec!["nvme0".into()],
            before,
            bound_to: "vfio-pci".into(),
            phase,
            nodes: vec![],
            together: vec![],
            given: None,
            nodes_before: vec![],
            run: None,
        }
    }
}
