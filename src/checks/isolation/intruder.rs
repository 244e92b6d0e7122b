//! A device that is sent where it must not get: what it can change there, what it can see, and who tells of it.

use std::ops::Range;

use super::super::lane::Lane;
use super::super::pattern::{Pattern, inverted};
use super::super::{Blocking, Finding, Problem, Rig};
use crate::engine::Reading;
use crate::types::Iova;

/// How many bytes are tried at an address.
const SIZE: usize = 256;

/// A device on its way to addresses that must be out of its reach.
///
/// Before the first and after the last attempt a loop through memory that it may reach must come back: without these, DMA that
/// does nothing at all would pass for DMA that is blocked.
pub(super) struct Intruder {
    payload: Vec<u8>,
    source: Lane,
    landing: Lane,
    holds_payload: bool,
    attempts: Vec<Iova>,
    complaints: Vec<String>,
    unseen: bool,
}

impl Intruder {
    /// Starts with a loop. The finding is that of a check which cannot go on.
    pub(super) fn new(rig: &mut Rig<'_>) -> Result<Result<Self, Finding>, Problem> {
        let size = rig.size_from(SIZE).min(rig.largest_transfer());
        Self::with_size(rig, size)
    }

    /// As [`Self::new`], with so many bytes at an address, which the engine can transfer.
    pub(super) fn with_size(
        rig: &mut Rig<'_>,
        size: usize,
    ) -> Result<Result<Self, Finding>, Problem> {
        let (source, landing) = Lane::pair(rig, &[0], &[0])?;
        let wanted = Pattern::Counter.bytes(size, rig.next_turn());
        let payload = rig.payload(&wanted);
        source.write(&payload);
        let mut intruder = Self {
            payload,
            source,
            landing,
            holds_payload: false,
            attempts: Vec::new(),
            complaints: Vec::new(),
            unseen: false,
        };
        if !intruder.loops(rig)? {
            return Ok(Err(Finding::fail(
                "a loop through mapped memory did not come back, so DMA that is blocked afterwards would prove nothing",
            )));
        }
        rig.observer.mark_faults();
        Ok(Ok(intruder))
    }

    fn loops(&mut self, rig: &mut Rig<'_>) -> Result<bool, Problem> {
        self.landing.write(&inverted(&self.payload));
        let read = rig.load(self.source.iova(0), self.size())?;
        rig.store(self.landing.iova(0), self.size())?;
        self.holds_payload = true;
        Ok(read && self.landing.read(self.size()) == self.payload)
    }

    /// How many bytes are tried at an address.
    pub(super) fn size(&self) -> usize {
        self.payload.len()
    }

    /// What the device writes.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What memory that the device must not change is to hold: each byte differs from what the device writes.
    pub(super) fn untouched(&self) -> Vec<u8> {
        inverted(&self.payload)
    }

    /// What memory that the device must not see is to hold, so that the device shows whether it did.
    pub(super) fn secret(&self, rig: &Rig<'_>) -> Vec<u8> {
        match rig.limits().reading {
            // A blocked read gives zeros, ones or what the device held before: the secret has no such byte.
            Reading::Kept => inverted(&self.payload),
            // It recognises nothing but its own.
            Reading::Compared | Reading::Never => self.payload.clone(),
        }
    }

    /// Has the device hold what it is to write.
    pub(super) fn hold_payload(&mut self, rig: &mut Rig<'_>) -> Result<(), Problem> {
        if !self.holds_payload {
            rig.load(self.source.iova(0), self.size())?;
            self.holds_payload = true;
        }
        Ok(())
    }

    /// The device writes to this address. Whether that had an effect, memory shows.
    pub(super) fn write(&mut self, rig: &mut Rig<'_>, iova: Iova) -> Result<(), Problem> {
        self.hold_payload(rig)?;
        let stored = attempt(rig.store(iova, self.size()))?;
        self.note(iova, "write", stored.err());
        Ok(())
    }

    /// The device reads at this address. The bytes that it got there, as far as they are those of the secret; `None` if it cannot
    /// show that.
    pub(super) fn read(
        &mut self,
        rig: &mut Rig<'_>,
        iova: Iova,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let loaded = self.load(rig, iova)?;
        self.show(rig, loaded)
    }

    /// The first half of [`Self::read`]: the device reads. Whether it says that it found its own bytes; `None` if it was not asked.
    pub(super) fn load(&mut self, rig: &mut Rig<'_>, iova: Iova) -> Result<Option<bool>, Problem> {
        if !self.own_bytes_show(rig, 0..self.size()) {
            self.unseen = true;
            return Ok(None);
        }
        let loaded = attempt(rig.load(iova, self.size()))?;
        self.holds_payload = false;
        let found = loaded == Ok(true);
        self.note(iova, "read", loaded.err());
        Ok(Some(found))
    }

    /// The second half of [`Self::read`]: the device shows what it got.
    pub(super) fn show(
        &mut self,
        rig: &mut Rig<'_>,
        loaded: Option<bool>,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let Some(found) = loaded else { return Ok(None) };
        Ok(Some(match rig.limits().reading {
            Reading::Kept => {
                self.landing.write(&self.payload);
                rig.store(self.landing.iova(0), self.size())?;
                self.landing.read(self.size())
            }
            _ if found => self.payload.clone(),
            _ => self.untouched(),
        }))
    }

    /// How many bytes of the secret the device gets at this address; 0 if it cannot show that.
    pub(super) fn steal(&mut self, rig: &mut Rig<'_>, iova: Iova) -> Result<usize, Problem> {
        let secret = self.secret(rig);
        let got = self.read(rig, iova)?.unwrap_or_default();
        Ok(got.iter().zip(&secret).filter(|(a, b)| a == b).count())
    }

    /// Whether the device shows that it was kept from this part of the secret. One that compares cannot where its own bytes are
    /// those that a blocked read gives: zeros or ones.
    pub(super) fn own_bytes_show(&self, rig: &Rig<'_>, part: Range<usize>) -> bool {
        match rig.limits().reading {
            Reading::Kept => true,
            Reading::Compared => self.payload[part]
                .iter()
                .any(|byte| !matches!(byte, 0 | 0xff)),
            Reading::Never => false,
        }
    }

    /// Lets the device get over transfers that it could not do: what it was told then can spoil the one that follows. QEMU's igb, whose
    /// virtual functions read empty descriptors while they are off the bus, drops the next frame.
    pub(super) fn recover(&mut self, rig: &mut Rig<'_>) -> Result<(), Problem> {
        // Whether this one comes back does not matter: the next has to.
        attempt(self.loops(rig)).map(drop)
    }

    /// Notes that a part of what the check is to prove cannot be seen with this device.
    pub(super) fn cannot_see(&mut self) {
        self.unseen = true;
    }

    fn note(&mut self, iova: Iova, what: &str, complaint: Option<String>) {
        self.attempts.push(iova);
        self.complaints.extend(
            complaint
                .map(|complaint| format!("the engine about the {what} at {iova}: {complaint}")),
        );
    }

    /// Ends with a loop. All attempts came to nothing, as `what` says.
    pub(super) fn blocked(mut self, rig: &mut Rig<'_>, what: String) -> Result<Finding, Problem> {
        let signs = rig.observer.signs_since_mark();
        let finding = self.no_effect(rig, what)?;
        if finding.verdict != super::super::Verdict::Pass {
            return Ok(finding);
        }
        Ok(finding
            .classed(signs.class(rig.device(), &self.attempts))
            .with_evidence(signs.evidence())
            .with_evidence(std::mem::take(&mut self.complaints)))
    }

    /// As [`Self::blocked`], where it is not for the IOMMU to block.
    pub(super) fn no_effect(
        &mut self,
        rig: &mut Rig<'_>,
        what: String,
    ) -> Result<Finding, Problem> {
        if !self.loops(rig)? {
            return Ok(Finding::fail(format!(
                "{what}; but then a loop through mapped memory did not come back: the device's DMA does not work any more, so this proves nothing"
            ))
            .with_evidence(std::mem::take(&mut self.complaints)));
        }
        let unseen = if self.unseen {
            ". Only writes were tried: this device cannot show what it reads there"
        } else {
            ""
        };
        Ok(Finding::pass(format!("{what}{unseen}")))
    }
}

/// DMA that had to be stopped, and was not.
pub(super) fn not_blocked(what: String) -> Finding {
    Finding::fail(what).classed(Blocking::NotBlocked)
}

/// Lets the engine complain, in words, about a transfer that may be blocked: only memory counts.
pub(in crate::checks) fn attempt<T>(
    result: Result<T, Problem>,
) -> Result<Result<T, String>, Problem> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(problem @ Problem::Engine(_)) => Ok(Err(problem.in_words())),
        Err(other) => Err(other),
    }
}
