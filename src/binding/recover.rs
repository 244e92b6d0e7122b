//! What interrupted commands left behind, put back.

use super::lock::Locks;
use super::signals::HeldSignals;
use super::sleep::explain_sleep;
use super::sriov::{plan_restore_functions, restore_functions, unfinished_functions};
use super::transaction::apply;
use super::unbind::change_back;
use super::{BindingError, Entry, Identity, Journal, Kernel, Phase, Step};
use crate::host::Host;
use crate::types::{Bdf, PciId};

/// A command that did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    /// `bind`.
    Bind,
    /// `unbind`.
    Unbind,
    /// `run`, while its program had the device.
    Run,
    /// A change of the number of virtual functions.
    Functions,
}

/// What became of what such a command left behind.
#[derive(Debug)]
pub enum Recovery {
    /// The device has the driver that it had before.
    Driver(Option<String>),
    /// The device has as many virtual functions as before.
    Functions(u16),
    /// The device is gone, and its driver with it: nothing is left to put back.
    Gone,
    /// Another device is at its address now, and is left alone.
    Replaced(PciId),
    /// It could not be put back, and is still remembered.
    NotDone(BindingError),
}

/// Something left behind, and what became of it.
#[derive(Debug)]
pub struct Recovered {
    /// The device.
    pub bdf: Bdf,
    /// The command; `None` if what is remembered cannot be read.
    pub interrupted: Option<Interrupted>,
    /// What became of it.
    pub recovery: Recovery,
}

/// Whether a command on a device was interrupted, so that no other may change it before [`recover`] has put it back.
///
/// A command that is at work looks the same until its lock is asked for.
#[must_use]
pub fn is_interrupted(host: &Host, bdf: Bdf) -> bool {
    interrupted(host).contains(&bdf)
}

/// The devices on which a command was interrupted, or is at work.
#[must_use]
pub fn interrupted(host: &Host) -> Vec<Bdf> {
    let journal = Journal::of(host);
    let drivers = journal.unfinished(host).into_iter();
    let functions = unfinished_functions(host)
        .into_iter()
        .map(|(physical, _)| physical);
    let mut devices: Vec<Bdf> = drivers
        .filter_map(|entry| entry.bdf())
        .chain(functions)
        .collect();
    devices.sort_unstable();
    devices.dedup();
    devices
}

/// Puts back what interrupted commands left behind, for these devices or for all. Who has a device open keeps it: that one is left as
/// it is. What fails for one device does not keep the others from being put back.
///
/// # Errors
/// The host is a captured one, or signals cannot be held back. What goes wrong with a device is told in its [`Recovery`].
pub fn recover(host: &Host, only: Option<&[Bdf]>) -> Result<Vec<Recovered>, BindingError> {
    let journal = Journal::of(host);
    let meant = |bdf: &Bdf| only.is_none_or(|only| only.contains(bdf));
    let entries = left(&journal, host, meant);
    let functions = unfinished_functions(host);
    let is_any = !entries.is_empty() || !functions.is_empty();
    if is_any && !host.is_live() {
        return Err(BindingError::Captured);
    }
    let _signals = HeldSignals::hold()?;
    let damaged = journal.damaged().into_iter();
    let mut recovered: Vec<Recovered> = damaged
        .filter(|(bdf, _)| meant(bdf))
        .map(|(bdf, error)| Recovered {
            bdf,
            interrupted: None,
            recovery: Recovery::NotDone(error),
        })
        .collect();
    for (bdf, entry) in entries {
        let recovery = put_back(host, &journal, bdf).unwrap_or_else(|error| {
            let error = explain_sleep(host, error);
            Some(Recovery::NotDone(error))
        });
        recovered.extend(recovery.map(|recovery| Recovered {
            bdf,
            interrupted: Some(command(&entry)),
            recovery,
        }));
    }
    for (bdf, _) in functions.into_iter().filter(|(bdf, _)| meant(bdf)) {
        let recovery = put_functions_back(host, &journal, bdf)
            .unwrap_or_else(|error| Some(Recovery::NotDone(error)));
        recovered.extend(recovery.map(|recovery| Recovered {
            bdf,
            interrupted: Some(Interrupted::Functions),
            recovery,
        }));
    }
    Ok(recovered)
}

/// The steps that [`recover`] would take.
///
/// # Errors
/// A device is held, or what is remembered cannot be read.
pub fn plan_recover(host: &Host, only: Option<&[Bdf]>) -> Result<Vec<Step>, BindingError> {
    let journal = Journal::of(host);
    let meant = |bdf: &Bdf| only.is_none_or(|only| only.contains(bdf));
    if let Some((_, error)) = journal.damaged().into_iter().find(|(bdf, _)| meant(bdf)) {
        return Err(error);
    }
    let core = Kernel(host);
    let mut steps = Vec::new();
    for (bdf, entry) in left(&journal, host, meant) {
        let Ok(device) = host.device(bdf) else {
            continue;
        };
        if entry.identity.is_same(&Identity::of(host, &device)) {
            steps.extend(change_back(host, &device, Some(entry))?.steps(&core));
        }
    }
    for (bdf, _) in unfinished_functions(host) {
        if let Some(device) = Some(bdf)
            .filter(meant)
            .and_then(|bdf| host.device(bdf).ok())
        {
            steps.extend(plan_restore_functions(host, &device)?);
        }
    }
    Ok(steps)
}

/// The devices that are meant, with what is remembered of them.
fn left(journal: &Journal, host: &Host, meant: impl Fn(&Bdf) -> bool) -> Vec<(Bdf, Entry)> {
    let entries = journal.unfinished(host).into_iter();
    let mut left: Vec<(Bdf, Entry)> = entries
        .filter_map(|entry| Some((entry.bdf()?, entry)))
        .filter(|(bdf, _)| meant(bdf))
        .collect();
    left.sort_unstable_by_key(|(bdf, _)| *bdf);
    left
}

fn command(entry: &Entry) -> Interrupted {
    match entry.phase {
        Phase::Binding => Interrupted::Bind,
        Phase::Unbinding => Interrupted::Unbind,
        Phase::Bound if entry.run.is_some() => Interrupted::Run,
        // Done, but not all that belong to it.
        Phase::Bound => Interrupted::Bind,
    }
}

/// Puts a device back; `None` if a command was at work, and has ended by itself.
fn put_back(host: &Host, journal: &Journal, bdf: Bdf) -> Result<Option<Recovery>, BindingError> {
    let Ok(device) = host.device(bdf) else {
        journal.set(bdf, None)?;
        return Ok(Some(Recovery::Gone));
    };
    let _locks = Locks::take(journal, std::slice::from_ref(&device))?;
    let is_left = |entry: &Entry| journal.unfinished(host).contains(entry);
    let Some(entry) = journal.entry(bdf)?.filter(is_left) else {
        return Ok(None);
    };
    if !entry.identity.is_same(&Identity::of(host, &device)) {
        journal.set(bdf, None)?;
        return Ok(Some(Recovery::Replaced(device.id)));
    }
    let change = change_back(host, &device, Some(entry))?;
    apply(&Kernel(host), journal, &[change], &|| None)?;
    Ok(Some(Recovery::Driver(host.driver(bdf))))
}

fn put_functions_back(
    host: &Host,
    journal: &Journal,
    bdf: Bdf,
) -> Result<Option<Recovery>, BindingError> {
    let Ok(device) = host.device(bdf) else {
        journal.set_functions(bdf, None)?;
        return Ok(Some(Recovery::Gone));
    };
    Ok(restore_functions(host, &device)?.map(Recovery::Functions))
}
