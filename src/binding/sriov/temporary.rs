//! Virtual functions for as long as a command needs them, and what is left of them when it was killed.

use nix::sys::signal::Signal;

use super::steps::{Facts, steps};
use super::{
    Change, FunctionsWanted, VirtualFunctions, begin, change, check, entry, found, put_back,
    refuse_in_use, remembered, settle, sriov_of, steps_back, wait_until_usable,
};
use crate::binding::lock::Locks;
use crate::binding::signals::HeldSignals;
use crate::binding::{BindingError, FunctionsEntry, FunctionsPhase, Journal, Kernel, Step};
use crate::host::{Host, PciDevice};
use crate::types::Bdf;

/// Virtual functions that go away again. While this lives no other command changes the physical function; if the process dies, the journal
/// says how many there were.
#[derive(Debug)]
pub struct TemporaryFunctions<'h> {
    host: &'h Host,
    core: Kernel<'h>,
    journal: Journal,
    pf: PciDevice,
    entry: FunctionsEntry,
    _locks: Locks,
}

impl<'h> TemporaryFunctions<'h> {
    /// Locks the physical function and notes how many virtual ones it has; makes none yet. `most` is how many will be asked for.
    ///
    /// # Errors
    /// As for [`set_functions`](super::set_functions).
    pub fn begin(host: &'h Host, pf: &PciDevice, most: u16) -> Result<Self, BindingError> {
        let journal = Journal::of(host);
        check(host, &journal, pf, &wanted(most))?;
        if !host.is_live() {
            return Err(BindingError::Captured);
        }
        let (locks, _signals) = begin(host, &journal, pf)?;
        let sriov = check(host, &journal, pf, &wanted(most))?;
        let entry =
            entry(host, &journal, pf, &sriov, &wanted(most))?.in_phase(FunctionsPhase::Temporary);
        Ok(Self {
            host,
            core: Kernel(host),
            journal,
            pf: pf.clone(),
            entry,
            _locks: locks,
        })
    }

    /// Makes this many, through 0 if there are others, and keeps the host's own drivers away from them.
    ///
    /// # Errors
    /// As for [`set_functions`](super::set_functions).
    pub fn make(&self, count: u16) -> Result<VirtualFunctions, BindingError> {
        let wanted = wanted(count);
        let signals = HeldSignals::hold()?;
        change(&self.change(&|| signals.arrived()), &wanted, &self.entry)?;
        let notes = wait_until_usable(self.host, &self.pf, &wanted)?;
        found(self.host, &self.pf, self.entry.before, notes)
    }

    /// Puts the number and the switch for drivers back, whatever signals come. Returns the number.
    ///
    /// # Errors
    /// One is in use, or it could not be done; the journal still says what is to be restored.
    pub fn end(&self) -> Result<u16, BindingError> {
        let _signals = HeldSignals::hold()?;
        let sriov = sriov_of(self.host, &self.pf)?;
        // The kernel would wait for whoever holds one, and nobody else could change the device meanwhile.
        if sriov.count() != self.entry.before {
            refuse_in_use(self.host, &sriov, &[])?;
        }
        let change = self.change(&|| None);
        let restored = put_back(&change, &self.entry)?;
        settle(&change, &self.entry)?;
        Ok(restored)
    }

    fn change<'c>(&'c self, signal: &'c dyn Fn() -> Option<Signal>) -> Change<'c> {
        Change {
            host: self.host,
            core: &self.core,
            journal: &self.journal,
            pf: &self.pf,
            signal,
        }
    }
}

fn wanted(count: u16) -> FunctionsWanted {
    FunctionsWanted {
        count,
        autoprobe: false,
        token: None,
        allow: Vec::new(),
    }
}

/// The physical functions whose virtual ones an interrupted command left behind, each with the number that there was.
#[must_use]
pub fn unfinished_functions(host: &Host) -> Vec<(Bdf, u16)> {
    Journal::of(host)
        .all_functions()
        .into_iter()
        .filter(|entry| entry.phase != FunctionsPhase::Kept)
        .filter_map(|entry| Some((entry.bdf()?, entry.before)))
        .collect()
}

/// Puts the number of virtual functions back that an interrupted command found; `None` if there is nothing to put back.
///
/// # Errors
/// One is in use, another command is at work, the kernel or the device refused.
pub fn restore_functions(host: &Host, pf: &PciDevice) -> Result<Option<u16>, BindingError> {
    let journal = Journal::of(host);
    let unfinished = || -> Result<Option<FunctionsEntry>, BindingError> {
        let entry = remembered(host, &journal, pf)?;
        Ok(entry.filter(|entry| entry.phase != FunctionsPhase::Kept))
    };
    if unfinished()?.is_none() {
        return Ok(None);
    }
    if !host.is_live() {
        return Err(BindingError::Captured);
    }
    let (_locks, _signals) = begin(host, &journal, pf)?;
    let Some(entry) = unfinished()? else {
        return Ok(None);
    };
    let sriov = sriov_of(host, pf)?;
    if sriov.count() != entry.before {
        refuse_in_use(host, &sriov, &[])?;
    }
    let core = Kernel(host);
    let change = Change {
        host,
        core: &core,
        journal: &journal,
        pf,
        signal: &|| None,
    };
    let restored = put_back(&change, &entry)?;
    settle(&change, &entry)?;
    Ok(Some(restored))
}

/// The steps that [`restore_functions`] would take.
///
/// # Errors
/// One is in use, or what is remembered cannot be read.
pub fn plan_restore_functions(host: &Host, pf: &PciDevice) -> Result<Vec<Step>, BindingError> {
    let Some(entry) = remembered(host, &Journal::of(host), pf)? else {
        return Ok(Vec::new());
    };
    let sriov = sriov_of(host, pf)?;
    if sriov.count() != entry.before {
        refuse_in_use(host, &sriov, &[])?;
    }
    let wanted = FunctionsWanted {
        count: entry.before,
        autoprobe: entry.autoprobe.unwrap_or(true),
        token: None,
        allow: Vec::new(),
    };
    let mut planned = steps(&Facts::of(host, pf, &sriov, wanted.count)?, &wanted)?;
    planned.extend(steps_back(host, pf, &wanted, &entry)?);
    Ok(planned)
}
