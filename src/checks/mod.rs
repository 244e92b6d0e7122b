//! The checks of `test`: each is a named item of one table, and proves one thing by what memory holds afterwards.
//!
//! What a device says about its own DMA is never believed: blocked transfers are reported as good by some devices.

mod agreement;
mod controls;
pub mod doctor;
mod isolation;
mod lane;
mod loopback;
mod mapping;
mod observer;
mod outcome;
mod pattern;
mod placement;
mod rig;
mod selection;
mod translation;
pub mod validate;

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod tests;

pub use controls::{Controls, Other};
pub use observer::{Observer, Signs, Translations, fault_lines};
pub use outcome::{Blocking, Conclusion, Finding, Outcome, Problem, Verdict};
pub use rig::{Equipment, Rig, Work};
pub use selection::{SelectionError, select};

use std::time::Instant;

use crate::engine::{EngineLimits, Reading};
use crate::types::Level;

/// One check.
pub struct Check {
    /// Its stable name, for scripts.
    pub id: &'static str,
    /// What it does, in a few words.
    pub title: &'static str,
    /// What is known when it passes.
    pub proves: &'static str,
    /// What it needs, and what the rest of the run needs of it.
    pub role: Role,
    /// The least thorough test that it is a part of.
    pub level: Level,
    run: fn(&mut Rig<'_>) -> Result<Finding, Problem>,
}

/// How a check stands to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Needs no DMA.
    WithoutDma,
    /// Makes the device do DMA, and must pass before any other check may.
    Gate,
    /// Makes the device do DMA.
    Dma,
    /// Makes the device do DMA, and is only for devices that keep any bytes that they read.
    KeepingDma,
    /// Is only for devices that echo numbers.
    Echo,
    /// Is only for devices with a clock that can be set.
    Clock,
}

/// All checks, in the order in which they run: what cannot do harm comes first.
pub static CHECKS: &[Check] = &[
    mapping::ROUND_TRIP,
    agreement::PAGES,
    translation::CANARY,
    loopback::ECHO,
    loopback::CLOCK,
    loopback::SIZES,
    loopback::ALIGNMENT,
    loopback::PAGE_CROSSING,
    loopback::PATTERNS,
    loopback::SCATTERED,
    loopback::SHARED_PAGE,
    loopback::LOW,
    loopback::ABOVE_4G,
    loopback::TOP,
    loopback::BESIDE_RESERVED,
    loopback::LAST_BYTE,
    loopback::HUGE_PAGES,
    loopback::MANY,
    agreement::DMA,
    isolation::NEIGHBOURS,
    isolation::UNMAPPED,
    isolation::REMAPPED,
    isolation::NEVER_MAPPED,
    isolation::PAST_END,
    isolation::READ_ONLY,
    isolation::OTHER_DEVICE,
    isolation::BUS_MASTER,
    isolation::RESET,
    loopback::SOAK,
];

/// What a run of the checks tells while it goes on.
pub enum Event<'e> {
    /// This check begins.
    Started(&'static Check),
    /// This one is done.
    Finished(&'e Outcome),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every check has its outcome.
    Complete,
    /// The user ended it; checks are missing.
    Interrupted,
}

/// Runs checks of the table in the order given, less those that the device is not of the kind for.
pub fn run(
    rig: &mut Rig<'_>,
    checks: &[&'static Check],
    mut tell: impl FnMut(Event<'_>),
) -> (Vec<Outcome>, End) {
    let mut outcomes = Vec::new();
    let limits = rig.engine_limits();
    let mut barrier = (limits.is_none()).then(|| "no engine drives this device".to_owned());
    for check in checks.iter().filter(|check| suits(check.role, limits)) {
        tell(Event::Started(check));
        let begin = Instant::now();
        let finding = match &barrier {
            Some(why) if check.role != Role::WithoutDma => Finding::skip(why.clone()),
            _ => match (check.run)(rig) {
                Ok(finding) => finding,
                Err(Problem::Interrupted) => return (outcomes, End::Interrupted),
                Err(problem) => {
                    // An engine that failed once may still be busy: nothing more is asked of it.
                    if matches!(problem, Problem::Engine(_) | Problem::Device(_)) {
                        barrier = Some(format!("not run: the engine failed in {}", check.id));
                    }
                    Finding::fail(problem.in_words())
                }
            },
        };
        if check.role == Role::Gate && finding.verdict != Verdict::Pass {
            barrier.get_or_insert_with(|| format!("not run: {} did not pass", check.id));
        }
        let Work {
            transfers,
            bytes,
            time,
        } = rig.take_work();
        let outcome = Outcome {
            id: check.id,
            finding,
            transfers,
            bytes,
            dma_seconds: time.as_secs_f64(),
            seconds: begin.elapsed().as_secs_f64(),
        };
        tell(Event::Finished(&outcome));
        outcomes.push(outcome);
    }
    (outcomes, End::Complete)
}

/// Whether a check is for devices of this kind.
fn suits(role: Role, limits: Option<EngineLimits>) -> bool {
    limits.is_none_or(|limits| match role {
        Role::WithoutDma | Role::Gate | Role::Dma => true,
        Role::KeepingDma => limits.reading == Reading::Kept,
        Role::Echo => limits.echoes,
        Role::Clock => limits.has_clock,
    })
}
