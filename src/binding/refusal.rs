//! Why a change was refused, each reason by a stable name.

use serde::Serialize;

use super::BindingError;
use crate::host::Use;
use crate::types::{Bdf, UseReason};

/// One reason why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The device, where it is about one.
    pub device: Option<Bdf>,
    /// The reason's stable name.
    pub name: &'static str,
    /// What was found.
    pub evidence: String,
    /// What ends it, where that is known.
    pub remedy: Option<String>,
    /// Whether `bind --allow NAME` overrides it.
    pub may_be_allowed: bool,
}

impl BindingError {
    /// The reasons, if this is a refusal; else none.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refusal> {
        let plain = |device: Option<Bdf>, name| {
            vec![Refusal {
                device,
                name,
                evidence: self.to_string(),
                remedy: None,
                may_be_allowed: false,
            }]
        };
        match self {
            Self::InUse(devices) => devices
                .iter()
                .flat_map(|(bdf, uses)| uses.iter().map(|one| Refusal::of_use(*bdf, one)))
                .collect(),
            Self::ResetInUse { bdf, uses } => {
                let refusal = |one| Refusal::of_use(*bdf, one);
                uses.iter().map(refusal).collect()
            }
            Self::Held { bdf, holders } | Self::Waiting { bdf, holders } => holders
                .iter()
                .map(|holder| Refusal {
                    device: Some(*bdf),
                    name: UseReason::Held.name(),
                    evidence: format!("{bdf} is held by {holder}"),
                    remedy: Some(format!("end process {}", holder.pid)),
                    may_be_allowed: false,
                })
                .collect(),
            Self::Bridge(bdf) => plain(Some(*bdf), "pci-bridge"),
            Self::Running { bdf, .. } => plain(Some(*bdf), "running"),
            Self::BoundBefore { bdf, .. } => plain(Some(*bdf), "bound-before"),
            Self::Unfinished(bdf) | Self::UnfinishedFunctions(bdf) => {
                plain(Some(*bdf), "unfinished")
            }
            Self::Locked { .. } => plain(None, "locked"),
            Self::Busy(bdf) => plain(Some(*bdf), "busy"),
            Self::NotDone { cause, .. }
            | Self::FunctionsNotChanged { cause, .. }
            | Self::NotGivenBack(_, cause) => cause.refusals(),
            _ => Vec::new(),
        }
    }
}

impl Refusal {
    fn of_use(bdf: Bdf, one: &Use) -> Self {
        Self {
            device: Some(bdf),
            name: one.reason.name(),
            evidence: one.evidence.clone(),
            remedy: Some(one.remedy.clone()),
            may_be_allowed: one.reason.may_be_allowed(),
        }
    }
}

/// What uses devices, a line each, and how to take them all the same.
pub(super) fn in_use(devices: &[(Bdf, Vec<Use>)]) -> String {
    let mut text = String::new();
    let mut reasons: Vec<UseReason> = Vec::new();
    for (bdf, uses) in devices {
        text += &format!("{bdf} is in use:\n{}", lines(uses));
        reasons.extend(uses.iter().map(|one| one.reason));
    }
    text += &match reasons.iter().find(|reason| !reason.may_be_allowed()) {
        None => format!("to take it all the same, add --allow {}", names(reasons)),
        Some(held) => {
            format!("no --allow lifts '{held}': the kernel would wait until the process lets go")
        }
    };
    text
}

/// What uses a physical function that would be reset, and how to have it reset all the same.
pub(super) fn reset_in_use(bdf: Bdf, uses: &[Use]) -> String {
    format!(
        "{bdf} is in use, and its NVMe queues and interrupts change hands only by a reset of it:\n{}'iommu-tool vfs' does it all the same with \
         --allow {}; what is under way on the drive waits then, and is lost if the reset fails",
        lines(uses),
        names(uses.iter().map(|one| one.reason).collect())
    )
}

fn lines(uses: &[Use]) -> String {
    let line = |one: &Use| {
        let (reason, evidence, advice) = (one.reason, &one.evidence, Use::advice([one]));
        format!("  {reason}: {evidence}; to end it: {advice}\n")
    };
    uses.iter().map(line).collect()
}

/// The names of the reasons, as `--allow` takes them.
fn names(mut reasons: Vec<UseReason>) -> String {
    reasons.sort_unstable();
    reasons.dedup();
    let names: Vec<&str> = reasons.iter().map(|reason| reason.name()).collect();
    names.join(",")
}
