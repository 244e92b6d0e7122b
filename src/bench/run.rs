//! Runs a plan, and makes the record of it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::BenchError;
use super::analysis;
use super::environment::{Environment, MeasuredSpace};
use super::launch::{End, Job, Launched, ToldAct};
use super::plan::{LAUNCHES, Plan, Row};
use super::record::{Method, Record, Skipped, Unit};
use super::sampler::{BLOCK, Samples, WARM_UP};
use super::space::Opened;
use super::statistics::median;
use super::suites::{Memory, SuiteEntry, entry};
use crate::types::{Backend, Size, Suite};

/// What came of a run.
pub struct Outcome {
    /// What was measured, all or until the end came.
    pub record: Record,
    /// Why it ended early, if it was not told to.
    pub error: Option<BenchError>,
}

/// A suite with a backend, and what is measured of it.
pub(super) struct Act {
    pub(super) entry: &'static SuiteEntry,
    pub(super) backend: Backend,
    pub(super) rows: Vec<Row>,
    pub(super) samples: Vec<Samples>,
}

impl Act {
    /// Nothing of it is measured yet.
    pub(super) fn new(suite: Suite, backend: Backend, rows: Vec<Row>) -> Self {
        let samples = rows.iter().map(|row| Samples::new(row.steps.len()));
        Self {
            samples: samples.collect(),
            entry: entry(suite),
            backend,
            rows,
        }
    }

    fn told(&self) -> ToldAct {
        ToldAct {
            suite: self.entry.suite,
            backend: self.backend,
            rows: self.rows.clone(),
        }
    }
}

/// Measures all of the plan; `measure` has a launch measured, by a process of its own.
///
/// What does not fit the limits of the host is refused before anything is measured.
///
/// # Errors
/// Nothing was measured: the device cannot be opened, or memory cannot be had or mapped.
pub fn run(
    plan: &Plan,
    mut environment: Environment,
    measure: &mut dyn FnMut(&Job) -> Launched,
) -> Result<Outcome, BenchError> {
    let started = SystemTime::now().duration_since(UNIX_EPOCH);
    let begin = Instant::now();
    for backend in &plan.backends {
        environment.spaces.push(measured_space(plan, *backend)?);
    }
    let (mut acts, skipped) = acts(plan)?;
    for act in &acts {
        check(plan, act.entry.suite, (act.entry.memory)(&act.rows))?;
        check_places(plan, act.backend, &act.rows)?;
    }
    let mut end = End::Complete;
    let mut clocks = Vec::new();
    for launch in 0..LAUNCHES {
        let launched = measure(&Job {
            plan: plan.clone(),
            acts: acts.iter().map(Act::told).collect(),
            launch,
        });
        let all = acts.iter_mut().flat_map(|act| &mut act.samples);
        for (samples, more) in all.zip(launched.samples) {
            samples.append(more);
        }
        clocks.extend(launched.clock);
        end = launched.end;
        if end != End::Complete {
            break;
        }
    }
    let method = Method {
        started: started.map_or(0, |since| since.as_secs()),
        seconds: begin.elapsed().as_secs_f64(),
        launches: LAUNCHES,
        warm_up: WARM_UP as u32,
        block: BLOCK as u32,
        // It differs between processes, as everything does.
        clock: median(clocks).unwrap_or_default(),
    };
    let series = acts
        .iter()
        .flat_map(|act| analysis::series(act, plan.keep_samples))
        .collect();
    let mut record = Record {
        unit: Unit::Nanoseconds,
        complete: end == End::Complete,
        method,
        environment,
        warnings: Vec::new(),
        skipped,
        series,
        comparisons: Vec::new(),
        fits: Vec::new(),
        breakdowns: Vec::new(),
    };
    analysis::conclude(&mut record, plan, &acts);
    let error = match end {
        End::Failed { class, reason } => Some(BenchError::Launch { class, reason }),
        End::Complete | End::Interrupted => None,
    };
    Ok(Outcome { record, error })
}

fn measured_space(plan: &Plan, backend: Backend) -> Result<MeasuredSpace, BenchError> {
    let opened = Opened::open(&plan.devices[0].node, backend)?;
    let space = &opened.room.space;
    let room: u128 = space.iova_ranges()?.iter().map(|range| range.size()).sum();
    Ok(MeasuredSpace {
        backend,
        page_sizes: space.page_sizes()?.iter().collect(),
        room: u64::try_from(room).unwrap_or(u64::MAX),
        entries: space.entries_left()?,
    })
}

/// What is to be measured, in order, and what cannot be.
fn acts(plan: &Plan) -> Result<(Vec<Act>, Vec<Skipped>), BenchError> {
    let (mut acts, mut skipped) = (Vec::new(), Vec::new());
    for suite in &plan.suites {
        for backend in &plan.backends {
            let entry = entry(*suite);
            let rows = (entry.rows)(plan, *backend)?;
            skipped.extend(rows.missing.into_iter().map(|reason| Skipped {
                suite: *suite,
                backend: Some(*backend),
                reason,
            }));
            let rows = rows.rows;
            if rows.is_empty() {
                continue;
            }
            acts.push(Act::new(*suite, *backend, rows));
        }
    }
    Ok((acts, skipped))
}

/// Memory that is not there would be taken from other processes, by force in the end.
fn check(plan: &Plan, suite: Suite, needed: Memory) -> Result<(), BenchError> {
    let size = |bytes: u64| Size::new(bytes.max(1)).expect("at least 1");
    for (page, bytes) in &needed.pages {
        let (available, what) = match page {
            None => (plan.available, "memory".to_owned()),
            Some(page) => {
                let free = plan.reserved.iter().find(|(known, _)| known == page);
                let free = free.map_or(0, |(_, free)| *free);
                (Some(free), format!("reserved pages of {page}"))
            }
        };
        match available {
            Some(available) if *bytes > available => {
                return Err(BenchError::Memory {
                    suite,
                    needed: size(*bytes),
                    available: available >> 20,
                    what,
                });
            }
            _ => {}
        }
    }
    match plan.lockable {
        Some(lockable) if needed.locked > lockable => Err(BenchError::Locked {
            suite,
            needed: size(needed.locked),
            lockable: size(lockable),
        }),
        _ => Ok(()),
    }
}

/// Each size must have room by itself, where the user wants it.
fn check_places(plan: &Plan, backend: Backend, rows: &[Row]) -> Result<(), BenchError> {
    let sizes = rows.iter().filter_map(|row| row.shape);
    if let Some(size) = sizes.map(|shape| shape.size).max() {
        let mut opened = Opened::open(&plan.devices[0].node, backend)?;
        opened.room.place_at(plan.iova, size)?;
    }
    Ok(())
}
