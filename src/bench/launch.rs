//! One launch of a plan, measured by a process of its own.

use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::BenchError;
use super::plan::{LAUNCHES, Plan, Row};
use super::run::Act;
use super::sampler::{Amount, Samples};
use super::suites::{Stage, SuiteEntry};
use crate::types::{Backend, ExitClass, Suite};

/// What a process is told to measure.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    /// The plan, as the first process made it.
    pub plan: Plan,
    /// What is to be measured by it. It is not found out again: what an engine turns out to be quick enough for, say, may differ.
    pub(super) acts: Vec<ToldAct>,
    /// Which launch of it, from 0.
    pub launch: u32,
}

/// A suite with a backend, and what is to be measured of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ToldAct {
    pub(super) suite: Suite,
    pub(super) backend: Backend,
    pub(super) rows: Vec<Row>,
}

/// What a launch found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Launched {
    /// The samples of each row of the plan.
    pub(super) samples: Vec<Samples>,
    /// What reading the clock takes in this process, in nanoseconds; `None` if it did not come to that.
    pub(super) clock: Option<f64>,
    /// How it ended.
    pub end: End,
}

/// How a launch ended. Samples that were taken before are kept in each case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// All was measured.
    Complete,
    /// It was told to end.
    Interrupted,
    /// Something failed.
    Failed {
        /// The exit status that this leads to.
        class: ExitClass,
        /// Why, in words.
        reason: String,
    },
}

impl Launched {
    /// Nothing came of it.
    #[must_use]
    pub fn failed(class: ExitClass, reason: String) -> Self {
        Self {
            samples: Vec::new(),
            clock: None,
            end: End::Failed { class, reason },
        }
    }
}

impl From<BenchError> for End {
    fn from(error: BenchError) -> Self {
        Self::Failed {
            class: error.class(),
            reason: error.chain(),
        }
    }
}

/// What is done at the moment, for the progress.
pub struct Step<'s> {
    /// What is measured.
    pub row: &'s Row,
    /// How much of the whole plan is done, from 0 to 1.
    pub done: f64,
}

/// The most samples of a series in one launch: from five of them the percentile 99.9 is shown.
const MOST: usize = 10_000;

/// Measures one launch; `watch` sees each step and may end it early.
#[must_use]
pub fn launch(job: Job, watch: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>) -> Launched {
    let Job { plan, acts, launch } = job;
    let acts = acts.into_iter();
    let mut acts: Vec<Act> = acts
        .map(|act| Act::new(act.suite, act.backend, act.rows))
        .collect();
    let end = match measure(&plan, launch, &mut acts, watch) {
        Ok(ControlFlow::Continue(())) => End::Complete,
        Ok(ControlFlow::Break(())) => End::Interrupted,
        Err(error) => error.into(),
    };
    Launched {
        samples: acts.into_iter().flat_map(|act| act.samples).collect(),
        clock: Some(clock()),
        end,
    }
}

fn measure(
    plan: &Plan,
    launch: u32,
    acts: &mut [Act],
    watch: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, BenchError> {
    let pace = Pace::of(plan, acts);
    let count = acts.len() as f64;
    for (at, act) in acts.iter_mut().enumerate() {
        let mut watch = |row: &Row, done: f64| {
            watch(Step {
                row,
                done: (f64::from(launch) + (at as f64 + done) / count) / f64::from(LAUNCHES),
            })
        };
        let mut stage = Stage {
            plan,
            backend: act.backend,
            rows: &act.rows,
            samples: &mut act.samples,
            launch,
            amount: pace.amount(act.entry, act.rows.len(), launch),
            watch: &mut watch,
        };
        if (act.entry.launch)(&mut stage)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// How many samples rows get.
enum Pace {
    /// This many in all launches.
    Exactly(usize),
    /// As many as there is time for: each suite's own, by this factor.
    Stretched(f64),
}

impl Pace {
    fn of(plan: &Plan, acts: &[Act]) -> Self {
        if let Some(samples) = plan.samples {
            return Self::Exactly(samples as usize);
        }
        let own: Duration = acts.iter().map(|act| act.entry.time).sum();
        match plan.duration {
            Some(wanted) if own > Duration::ZERO => {
                Self::Stretched(wanted.as_secs_f64() / own.as_secs_f64())
            }
            _ => Self::Stretched(1.0),
        }
    }

    /// What each of the rows of a suite gets in one launch.
    fn amount(&self, entry: &SuiteEntry, rows: usize, launch: u32) -> Amount {
        match self {
            Self::Exactly(count) => {
                let until = |launch: u32| (count * launch as usize).div_ceil(LAUNCHES as usize);
                Amount::Exactly(until(launch + 1) - until(launch))
            }
            Self::Stretched(factor) => {
                let share = factor / (rows * LAUNCHES as usize) as f64;
                Amount::Within {
                    time: entry.time.mul_f64(share),
                    blocks: entry.least,
                    most: MOST,
                }
            }
        }
    }
}

/// What reading the clock twice in a row takes, in nanoseconds: of batches, as one reading is shorter than the clock's steps, the quickest, as
/// whatever else the host did meanwhile is no cost of the clock.
fn clock() -> f64 {
    const READS: u32 = 100;
    let batch = |_| {
        let begin = Instant::now();
        for _ in 0..READS {
            std::hint::black_box(Instant::now());
        }
        begin.elapsed()
    };
    let quickest = (0..100).map(batch).min().unwrap_or_default();
    quickest.as_secs_f64() * 1e9 / f64::from(READS)
}
