//! What is remembered of virtual functions.

use serde::{Deserialize, Serialize};

use super::{Identity, VERSION};
use crate::binding::Flexible;
use crate::types::{Bdf, UseReason};

/// What is remembered of a physical function whose virtual ones were made, or are being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionsEntry {
    pub(super) version: u32,
    bdf: String,
    /// What the device is, so that another one at the same address is not taken for it.
    pub identity: Identity,
    /// How many there were.
    pub before: u16,
    /// Whether the host's own drivers took new ones.
    pub autoprobe: Option<bool>,
    /// How far the change got.
    pub phase: FunctionsPhase,
    /// What whoever opens one must show, where the physical function is on a VFIO driver (a UUID).
    pub token: Option<String>,
    /// What an NVMe controller kept of its flexible resources before virtual ones took some.
    #[serde(default)]
    pub flexible: Option<Flexible>,
    /// The reasons for which the physical function may be reset although it is in use.
    #[serde(default)]
    pub allowed: Vec<UseReason>,
}

/// How far a change of virtual functions got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FunctionsPhase {
    /// The change began and did not end.
    Changing,
    /// They are there for as long as a command runs.
    Temporary,
    /// They are there to stay.
    Kept,
}

impl FunctionsEntry {
    /// A new entry for a device whose virtual functions are about to be changed.
    #[must_use]
    pub fn new(bdf: Bdf, identity: Identity, before: u16, autoprobe: Option<bool>) -> Self {
        Self {
            version: VERSION,
            bdf: bdf.to_string(),
            identity,
            before,
            autoprobe,
            phase: FunctionsPhase::Changing,
            token: None,
            flexible: None,
            allowed: Vec::new(),
        }
    }

    /// The device's address.
    #[must_use]
    pub fn bdf(&self) -> Option<Bdf> {
        self.bdf.parse().ok()
    }

    /// The same entry in another phase.
    #[must_use]
    pub fn in_phase(&self, phase: FunctionsPhase) -> Self {
        Self {
            phase,
            ..self.clone()
        }
    }
}
