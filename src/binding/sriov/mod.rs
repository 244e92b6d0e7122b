//! Virtual functions: made, removed, and put back to the number that there was.

mod flexible;
mod refusal;
mod steps;
mod temporary;
mod token;
mod usable;

#[cfg(test)]
mod tests;

use nix::errno::Errno;
use nix::sys::signal::Signal;

pub use temporary::{
    TemporaryFunctions, plan_restore_functions, restore_functions, unfinished_functions,
};
pub use token::{new_token, node_to_open};

use super::bind::may_write;
use super::lock::Locks;
use super::signals::HeldSignals;
use super::{
    BindingError, DriverCore, Flexible, FunctionsEntry, FunctionsPhase, Identity, Journal, Kernel,
    Step, StepError,
};
use crate::host::{Host, KernelLog, KernelRecord, PciDevice, Sriov, is_vfio_driver};
use crate::types::{Bdf, UseReason};
use steps::{Facts, autoprobe, steps};
use usable::wait_until_usable;

/// What there is of virtual functions, and what became of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualFunctions {
    /// The physical function.
    pub physical: Bdf,
    /// The most that it can have.
    pub total: u16,
    /// How many there were.
    pub before: u16,
    /// Those that there are, in order.
    pub functions: Vec<PciDevice>,
    /// What whoever opens one must show (a UUID), where the physical function is on a VFIO driver and this program made them.
    pub token: Option<String>,
    /// What is still missing before they can be used, in words.
    pub notes: Vec<String>,
}

/// How many virtual functions there are to be, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionsWanted {
    /// How many; 0 removes them.
    pub count: u16,
    /// Whether the host's own drivers may take them.
    pub autoprobe: bool,
    /// What whoever opens one must show, if the physical function was told to ask for it.
    pub token: Option<String>,
    /// The reasons for which those in use are taken all the same.
    pub allow: Vec<UseReason>,
}

/// The virtual functions of a physical one, as they are.
///
/// # Errors
/// The device can have none.
pub fn functions(host: &Host, pf: &PciDevice) -> Result<VirtualFunctions, BindingError> {
    let sriov = sriov_of(host, pf)?;
    found(host, pf, sriov.count(), Vec::new())
}

/// Makes as many virtual functions as wanted, or removes them, and waits until they can be used. Another number is reached
/// through 0, as the kernel demands.
///
/// # Errors
/// The device can have none or not so many, one is in use, the kernel or the device refused; there are then as many as before, or the
/// error says how many.
pub fn set_functions(
    host: &Host,
    pf: &PciDevice,
    wanted: &FunctionsWanted,
) -> Result<VirtualFunctions, BindingError> {
    let journal = Journal::of(host);
    let before = check(host, &journal, pf, wanted)?.count();
    if before == wanted.count && owed(host, &journal, pf, wanted)?.is_none() {
        return functions(host, pf);
    }
    if !host.is_live() {
        return Err(BindingError::Captured);
    }
    let (_locks, signals) = begin(host, &journal, pf)?;
    let sriov = check(host, &journal, pf, wanted)?;
    let old_token = token_of(host, pf)?;
    let mut entry = entry(host, &journal, pf, &sriov, wanted)?;
    entry.token.clone_from(&wanted.token);
    if let Ok(back) = steps_back(host, pf, wanted, &entry) {
        flexible::refuse_reset(host, pf, &back, &wanted.allow)?;
    }
    let parts = Change {
        host,
        core: &Kernel(host),
        journal: &journal,
        pf,
        signal: &|| signals.arrived(),
    };
    change(&parts, wanted, &entry)?;
    if let Some(token) = old_token {
        token::forget(&journal, &sriov.functions, &token)?;
    }
    // From here on this is how it was before.
    entry.before = wanted.count;
    settle(&parts, &entry)?;
    let notes = wait_until_usable(host, pf, wanted)?;
    let made = found(host, pf, before, notes)?;
    if let Some(flexible) = entry.flexible.filter(|_| wanted.count > 0) {
        log::warn!(
            "{0} had {flexible}, and its virtual functions have them now; 'iommu-tool vfs {0} 0' gives them back. Do that before the host is \
             restarted: the drive remembers, but this program does not",
            pf.bdf
        );
    }
    Ok(made)
}

/// The steps that [`set_functions`] would take.
///
/// # Errors
/// The same refusals as of [`set_functions`].
pub fn plan_functions(
    host: &Host,
    pf: &PciDevice,
    wanted: &FunctionsWanted,
) -> Result<Vec<Step>, BindingError> {
    let journal = Journal::of(host);
    let sriov = check(host, &journal, pf, wanted)?;
    let entry = entry(host, &journal, pf, &sriov, wanted)?;
    let mut planned = steps(&Facts::of(host, pf, &sriov, wanted.count)?, wanted)?;
    planned.extend(steps_back(host, pf, wanted, &entry)?);
    flexible::refuse_reset(host, pf, &planned, &wanted.allow)?;
    Ok(planned)
}

/// What is given back when the last virtual function is gone.
fn steps_back(
    host: &Host,
    pf: &PciDevice,
    wanted: &FunctionsWanted,
    entry: &FunctionsEntry,
) -> Result<Vec<Step>, BindingError> {
    flexible::steps_back(host, pf.bdf, entry.flexible.filter(|_| wanted.count == 0))
}

/// What the physical function has still to get back, where there are no virtual ones and none are wanted: somebody else removed them.
fn owed(
    host: &Host,
    journal: &Journal,
    pf: &PciDevice,
    wanted: &FunctionsWanted,
) -> Result<Option<Flexible>, BindingError> {
    let entry = remembered(host, journal, pf)?;
    let owed = entry.and_then(|entry| entry.flexible);
    Ok(owed.filter(|_| wanted.count == 0))
}

/// What the journal says of a physical function's virtual ones: the token, and the number to be restored.
pub(super) fn remembered(
    host: &Host,
    journal: &Journal,
    pf: &PciDevice,
) -> Result<Option<FunctionsEntry>, BindingError> {
    let entry = journal.functions(pf.bdf)?;
    Ok(entry.filter(|entry| entry.identity.is_same(&Identity::of(host, pf))))
}

/// What is to be noted before the number becomes what is wanted; refuses a reset of a physical function that is in use.
fn entry(
    host: &Host,
    journal: &Journal,
    pf: &PciDevice,
    sriov: &Sriov,
    wanted: &FunctionsWanted,
) -> Result<FunctionsEntry, BindingError> {
    let noted = remembered(host, journal, pf)?;
    let facts = Facts::of(host, pf, sriov, wanted.count)?;
    let planned = steps(&facts, wanted)?;
    flexible::refuse_reset(host, pf, &planned, &wanted.allow)?;
    let identity = Identity::of(host, pf);
    let mut entry = FunctionsEntry::new(pf.bdf, identity, sriov.count(), sriov.autoprobe);
    entry.flexible = flexible::to_note(&facts, &planned, noted.as_ref());
    entry.allowed.clone_from(&wanted.allow);
    Ok(entry)
}

/// Takes the locks of all that is changed, and holds signals back.
fn begin(
    host: &Host,
    journal: &Journal,
    pf: &PciDevice,
) -> Result<(Locks, HeldSignals), BindingError> {
    may_write(&pf.sysfs().join("sriov_numvfs"))?;
    let mut devices = vec![pf.clone()];
    let functions = host.sriov(pf.bdf).into_iter().flat_map(|s| s.functions);
    devices.extend(functions.filter_map(|bdf| host.device(bdf).ok()));
    let locks = Locks::take(journal, &devices)?;
    Ok((locks, HeldSignals::hold()?))
}

/// Refuses what cannot be done, or would take a device away from someone.
fn check(
    host: &Host,
    journal: &Journal,
    pf: &PciDevice,
    wanted: &FunctionsWanted,
) -> Result<Sriov, BindingError> {
    let sriov = sriov_of(host, pf)?;
    let bdf = pf.bdf;
    let entry = remembered(host, journal, pf)?;
    if entry.is_some_and(|entry| entry.phase != FunctionsPhase::Kept) {
        return Err(BindingError::UnfinishedFunctions(bdf));
    }
    if wanted.count > sriov.total {
        return Err(BindingError::TooManyFunctions {
            bdf,
            wanted: wanted.count,
            total: sriov.total,
        });
    }
    if wanted.count == sriov.count() {
        return Ok(sriov);
    }
    if pf.driver.is_none() {
        return Err(BindingError::NoDriverForFunctions(bdf));
    }
    refuse_in_use(host, &sriov, &wanted.allow)?;
    Ok(sriov)
}

fn refuse_in_use(host: &Host, sriov: &Sriov, allow: &[UseReason]) -> Result<(), BindingError> {
    for bdf in &sriov.functions {
        let Ok(device) = host.device(*bdf) else {
            continue;
        };
        let holders = host.holders(&host.vfio_nodes(&device));
        if !holders.is_empty() {
            return Err(BindingError::Held { bdf: *bdf, holders });
        }
        let mut uses = host.uses(&device);
        uses.retain(|one| !allow.contains(&one.reason));
        if !uses.is_empty() {
            return Err(BindingError::InUse(vec![(*bdf, uses)]));
        }
    }
    Ok(())
}

fn sriov_of(host: &Host, pf: &PciDevice) -> Result<Sriov, BindingError> {
    host.sriov(pf.bdf)
        .ok_or_else(|| BindingError::NoVirtualFunctions {
            bdf: pf.bdf,
            physical: host.physical_function(pf.bdf),
        })
}

/// What a change of the number needs.
struct Change<'c> {
    host: &'c Host,
    core: &'c dyn DriverCore,
    journal: &'c Journal,
    pf: &'c PciDevice,
    signal: &'c dyn Fn() -> Option<Signal>,
}

/// Changes the number; if a step fails, or a signal comes, it is put back. The journal says so meanwhile, and what comes after is the
/// caller's to note.
fn change(
    change: &Change<'_>,
    wanted: &FunctionsWanted,
    entry: &FunctionsEntry,
) -> Result<(), BindingError> {
    let Change {
        host, journal, pf, ..
    } = *change;
    let sriov = sriov_of(host, pf)?;
    let planned = steps(&Facts::of(host, pf, &sriov, wanted.count)?, wanted)?;
    journal.set_functions(pf.bdf, Some(entry))?;
    let done = perform(change, &planned).and_then(|()| verify(host, pf, wanted.count));
    let Err(cause) = done else {
        return forget(change, &sriov);
    };
    if matches!(
        cause,
        BindingError::Step {
            cause: StepError::Sleeping,
            ..
        }
    ) {
        return Err(BindingError::FunctionsNotChanged {
            bdf: pf.bdf,
            cause: Box::new(cause),
            now: None,
        });
    }
    let back = put_back(change, entry).and_then(|count| {
        forget(change, &sriov)?;
        settle(change, entry)?;
        Ok(count)
    });
    Err(BindingError::FunctionsNotChanged {
        bdf: pf.bdf,
        cause: Box::new(cause),
        now: Some(back.map_err(|error| error.to_string())),
    })
}

/// Makes the number what the entry says that it was, and the switch for drivers too. Returns the number.
fn put_back(change: &Change<'_>, entry: &FunctionsEntry) -> Result<u16, BindingError> {
    let Change { host, pf, .. } = *change;
    let uninterrupted = Change {
        signal: &|| None,
        ..*change
    };
    let before = sriov_of(host, pf)?;
    if let Some(on) = entry
        .autoprobe
        .filter(|_| before.autoprobe != entry.autoprobe)
    {
        perform(&uninterrupted, &[autoprobe(pf.bdf, on)])?;
    }
    let wanted = FunctionsWanted {
        count: entry.before,
        autoprobe: entry.autoprobe.unwrap_or(true),
        token: None,
        allow: Vec::new(),
    };
    let facts = Facts::of(host, pf, &sriov_of(host, pf)?, entry.before)?;
    perform(&uninterrupted, &steps(&facts, &wanted)?)?;
    forget(change, &before)?;
    verify(host, pf, entry.before)?;
    Ok(entry.before)
}

/// There are as many functions as the entry says: what it has noted is given back if there are none, and what of it has to be remembered
/// as long as there are some is kept.
fn settle(change: &Change<'_>, entry: &FunctionsEntry) -> Result<(), BindingError> {
    let Change {
        host, journal, pf, ..
    } = *change;
    if entry.before == 0 && entry.flexible.is_some() {
        journal.set_functions(pf.bdf, Some(entry))?;
        flexible::give_back(change, entry)?;
    }
    let is_needed = entry.before > 0 && (entry.token.is_some() || entry.flexible.is_some());
    let kept = is_needed.then(|| entry.in_phase(FunctionsPhase::Kept));
    journal.set_functions(pf.bdf, kept.as_ref())?;
    match kept.and_then(|kept| kept.token) {
        Some(token) => token::keep(journal, &sriov_of(host, pf)?.functions, &token),
        None => Ok(()),
    }
}

/// Forgets what the journal says of those functions that were removed, made anew ones included: they are new devices.
fn forget(change: &Change<'_>, before: &Sriov) -> Result<(), BindingError> {
    let functions = before.functions.iter();
    functions
        .filter(|bdf| {
            change
                .host
                .driver(**bdf)
                .is_none_or(|driver| !is_vfio_driver(&driver))
        })
        .try_for_each(|bdf| change.journal.set(*bdf, None))
}

fn perform(change: &Change<'_>, steps: &[Step]) -> Result<(), BindingError> {
    for step in steps {
        if let Some(signal) = (change.signal)() {
            return Err(BindingError::Interrupted(signal));
        }
        let mut log = KernelLog::from_now().ok();
        if let Err(cause) = change.core.perform(step) {
            let records = log.as_mut().and_then(|log| log.new_records().ok());
            let said = records.unwrap_or_default();
            return Err(explain(change, step, cause, &said));
        }
    }
    Ok(())
}

/// Making virtual functions fails for reasons that the errno alone does not tell.
fn explain(
    change: &Change<'_>,
    step: &Step,
    cause: StepError,
    said: &[KernelRecord],
) -> BindingError {
    let errno = match (step, &cause) {
        (Step::Write { path, .. }, StepError::Refused(errno))
            if path.ends_with("sriov_numvfs") && !matches!(errno, Errno::EACCES | Errno::EPERM) =>
        {
            *errno
        }
        _ => {
            return BindingError::Step {
                step: step.clone(),
                cause,
            };
        }
    };
    let bdf = change.pf.bdf.to_string();
    let log = said
        .iter()
        .map(|record| record.message.clone())
        .filter(|line| line.contains(&bdf))
        .collect();
    BindingError::FunctionsRefused {
        step: step.clone(),
        errno,
        cause: refusal::likely_cause(change.host, change.pf, errno),
        log,
    }
}

/// All virtual functions are there, and say what they are.
fn verify(host: &Host, pf: &PciDevice, wanted: u16) -> Result<(), BindingError> {
    let sriov = sriov_of(host, pf)?;
    let answering = sriov
        .functions
        .iter()
        .filter(|bdf| host.device(**bdf).is_ok())
        .count();
    if sriov.count() == wanted && answering == usize::from(wanted) {
        return Ok(());
    }
    Err(BindingError::OtherNumber {
        bdf: pf.bdf,
        wanted,
        found: sriov.count(),
    })
}

fn found(
    host: &Host,
    pf: &PciDevice,
    before: u16,
    notes: Vec<String>,
) -> Result<VirtualFunctions, BindingError> {
    let sriov = sriov_of(host, pf)?;
    let token = token_of(host, pf)?;
    Ok(VirtualFunctions {
        physical: pf.bdf,
        total: sriov.total,
        before,
        functions: sriov
            .functions
            .iter()
            .map(|bdf| host.device(*bdf))
            .collect::<Result<_, _>>()?,
        token,
        notes,
    })
}

/// What whoever opens a virtual function of this device must show, if this program made them and told the device so.
fn token_of(host: &Host, pf: &PciDevice) -> Result<Option<String>, BindingError> {
    if !pf.driver.as_deref().is_some_and(is_vfio_driver) {
        return Ok(None);
    }
    let entry = remembered(host, &Journal::of(host), pf)?;
    Ok(entry.and_then(|entry| entry.token))
}

/// What whoever opens this device must show; `None` if it needs nothing.
///
/// # Errors
/// The journal cannot be read.
pub fn token_for(host: &Host, device: &PciDevice) -> Result<Option<String>, BindingError> {
    match host.physical_function(device.bdf) {
        Some(physical) => token_of(host, &host.device(physical)?),
        None => Ok(None),
    }
}
