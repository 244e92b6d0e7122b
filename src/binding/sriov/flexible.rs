//! What an NVMe controller gives up for its virtual functions, noted before, and given back when they are gone: the drive would remember it
//! for good.

use super::steps::Facts;
use super::{Change, perform};
use crate::binding::nvme::{Virtualization, resets};
use crate::binding::{BindingError, Flexible, FunctionsEntry, Step};
use crate::host::{Host, PciDevice};
use crate::types::{Bdf, UseReason};

/// Asks the controller of a physical function; `None` if it needs no such management.
pub(super) fn ask(host: &Host, pf: Bdf) -> Result<Option<Virtualization>, BindingError> {
    Virtualization::of(host, pf).map_err(|(node, cause)| BindingError::Nvme {
        bdf: pf,
        node,
        cause,
    })
}

/// What the physical function is to get back once it has no virtual ones, if these steps take it away: what was noted first counts.
pub(super) fn to_note(
    facts: &Facts,
    planned: &[Step],
    noted: Option<&FunctionsEntry>,
) -> Option<Flexible> {
    let noted = noted.and_then(|entry| entry.flexible);
    noted.or_else(|| {
        resets(planned, facts.bdf)
            .then(|| facts.flexible())
            .flatten()
    })
}

/// The steps that give back what was noted; none if nothing is missing.
pub(super) fn steps_back(
    host: &Host,
    pf: Bdf,
    noted: Option<Flexible>,
) -> Result<Vec<Step>, BindingError> {
    let Some(noted) = noted else {
        return Ok(Vec::new());
    };
    let controller = ask(host, pf)?.ok_or(BindingError::NoController(pf))?;
    Ok(controller.steps_back(pf, noted))
}

/// Gives back what was noted, whatever signals come, unless the host uses the physical function by now.
pub(super) fn give_back(change: &Change<'_>, entry: &FunctionsEntry) -> Result<(), BindingError> {
    let Change { host, pf, .. } = *change;
    let uninterrupted = Change {
        signal: &|| None,
        ..*change
    };
    let give = || {
        let steps = steps_back(host, pf.bdf, entry.flexible)?;
        refuse_reset(host, pf, &steps, &entry.allowed)?;
        perform(&uninterrupted, &steps)?;
        verify(host, pf.bdf, entry.flexible.filter(|_| !steps.is_empty()))
    };
    give().map_err(|error| BindingError::NotGivenBack(pf.bdf, Box::new(error)))
}

fn verify(host: &Host, pf: Bdf, wanted: Option<Flexible>) -> Result<(), BindingError> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    let found = ask(host, pf)?
        .ok_or(BindingError::NoController(pf))?
        .flexible();
    if found == wanted {
        Ok(())
    } else {
        Err(BindingError::OtherFlexible { wanted, found })
    }
}

/// Refuses steps that reset a physical function which the host uses, but for the reasons that are allowed.
pub(super) fn refuse_reset(
    host: &Host,
    pf: &PciDevice,
    steps: &[Step],
    allow: &[UseReason],
) -> Result<(), BindingError> {
    if !resets(steps, pf.bdf) {
        return Ok(());
    }
    let mut uses = host.uses(pf);
    // Its virtual functions go through 0 anyway; whoever uses one is asked for by itself.
    let of_functions = [UseReason::Vfs, UseReason::Held];
    uses.retain(|one| !allow.contains(&one.reason) && !of_functions.contains(&one.reason));
    if uses.is_empty() {
        return Ok(());
    }
    Err(BindingError::ResetInUse { bdf: pf.bdf, uses })
}
