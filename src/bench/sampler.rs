//! Takes samples from several subjects in turn.
//!
//! A host changes while it is measured: clocks ramp, caches fill, neighbours come and go. So no subject is measured from start to end before
//! the next one: each gets a short block of samples, round after round, and slow changes touch all of them alike. (Measured one after the
//! other, two equal subjects differ by 1 to 5 %; in short blocks by 0.3 %.) Each round begins with another subject, and every other
//! one goes backwards: what a subject leaves in the caches is no gift to always the same next one.

use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::BenchError;
use super::record::Block;
use super::statistics::block_median;
use crate::types::Iova;

/// The first samples of a subject that are thrown away, at most: they run up to 400 times slower than the rest.
pub const WARM_UP: usize = 20;

/// How long warming up may take, for subjects that are slow by nature.
const WARM_UP_TIME: Duration = Duration::from_millis(50);

/// Samples taken from one subject before it is the next one's turn, at most.
pub const BLOCK: usize = 100;

/// How long a block should not take: what is slow has shorter ones.
const BLOCK_TIME: Duration = Duration::from_millis(2);

/// What can be measured.
pub trait Subject {
    /// Does it once, and puts the nanoseconds that each of its steps took in `times`.
    ///
    /// # Errors
    /// Why it could not be done.
    fn sample(&mut self, times: &mut [u64]) -> Result<(), BenchError>;
}

/// The nanoseconds between two moments. Saturates after 584 years.
pub fn nanoseconds(from: Instant, to: Instant) -> u64 {
    u64::try_from((to - from).as_nanos()).unwrap_or(u64::MAX)
}

/// The samples of one subject, of all launches, in the order in which they were taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// For each step the time of each sample in nanoseconds.
    pub steps: Vec<Vec<u64>>,
    /// Which of them were taken together.
    blocks: Vec<Span>,
    /// Where it was mapped, in the last launch.
    pub iova: Option<Iova>,
    /// How many contiguous pieces the memory had, for each launch in which that was told.
    pub runs: Vec<(u32, u64)>,
}

/// The place of a block in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    launch: u32,
    round: u32,
    start: usize,
    count: usize,
}

impl Samples {
    /// No samples yet, of this many steps.
    #[must_use]
    pub fn new(steps: usize) -> Self {
        Self {
            steps: vec![Vec::new(); steps],
            ..Self::default()
        }
    }

    /// A block of the only step.
    #[cfg(test)]
    pub fn block_of(launch: u32, round: u32, times: &[u64]) -> Self {
        Self {
            steps: vec![times.to_vec()],
            blocks: vec![Span {
                launch,
                round,
                start: 0,
                count: times.len(),
            }],
            ..Self::default()
        }
    }

    /// Adds the samples of another launch, of as many steps.
    pub fn append(&mut self, other: Self) {
        let before = self.count();
        for (step, more) in self.steps.iter_mut().zip(other.steps) {
            step.extend(more);
        }
        self.blocks
            .extend(other.blocks.into_iter().map(|span| Span {
                start: before + span.start,
                ..span
            }));
        self.iova = other.iova.or(self.iova);
        self.runs.extend(other.runs);
    }

    /// The number of samples.
    #[must_use]
    pub fn count(&self) -> usize {
        self.steps.first().map_or(0, Vec::len)
    }

    /// The blocks of a step, with their medians.
    #[must_use]
    pub fn blocks(&self, step: usize) -> Vec<Block> {
        let block = |span: &Span| Block {
            launch: span.launch,
            round: span.round,
            count: u32::try_from(span.count).unwrap_or(u32::MAX),
            median: block_median(self.block(step, span)),
        };
        self.blocks.iter().map(block).collect()
    }

    /// Every sample of a step, block by block.
    #[must_use]
    pub fn by_block(&self, step: usize) -> Vec<Vec<u64>> {
        let samples = |span: &Span| self.block(step, span).to_vec();
        self.blocks.iter().map(samples).collect()
    }

    fn block(&self, step: usize, span: &Span) -> &[u64] {
        &self.steps[step][span.start..span.start + span.count]
    }

    /// Takes a block of samples.
    fn take(
        &mut self,
        subject: &mut dyn Subject,
        count: usize,
        (launch, round): (u32, u32),
    ) -> Result<(), BenchError> {
        let start = self.count();
        let mut times = vec![0; self.steps.len()];
        let taken = (0..count).try_for_each(|_| {
            subject.sample(&mut times)?;
            for (step, time) in self.steps.iter_mut().zip(&times) {
                step.push(*time);
            }
            Ok(())
        });
        let count = self.count() - start;
        if count > 0 {
            self.blocks.push(Span {
                launch,
                round,
                start,
                count,
            });
        }
        taken
    }
}

/// How many samples a subject gets in one launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// This many.
    Exactly(usize),
    /// As many as this time holds, but some at least and not too many.
    Within {
        /// The time, all that belongs to a sample included.
        time: Duration,
        /// Not fewer blocks than this, however long they take.
        blocks: usize,
        /// Not more samples than this.
        most: usize,
    },
}

/// How a subject is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// In blocks, after it was warmed up.
    Warm,
    /// One by one, as each sample is cold by nature.
    Cold,
}

/// A subject, and where its samples go.
pub struct Turn<'t> {
    /// What is measured.
    pub subject: Box<dyn Subject + 't>,
    /// Its samples.
    pub samples: &'t mut Samples,
    /// How it is sampled.
    pub pace: Pace,
}

/// How far a subject is in this launch.
struct Progress {
    block: usize,
    blocks: usize,
    taken: usize,
    spent: Duration,
}

impl Progress {
    /// How much of it is done, from 0 to 1.
    fn reached(&self, amount: Amount) -> f64 {
        // Nothing to take is taken.
        let of = |taken: usize, whole: usize| taken as f64 / whole.max(1) as f64;
        let reached = match amount {
            Amount::Exactly(0) => 1.0,
            Amount::Exactly(count) => of(self.taken, count),
            Amount::Within { time, blocks, most } => {
                let by_time = self.spent.as_secs_f64() / time.as_secs_f64();
                of(self.taken, most).max(by_time.min(of(self.blocks, blocks)))
            }
        };
        reached.min(1.0)
    }

    /// How many samples the next block has.
    fn next(&self, amount: Amount) -> usize {
        let (Amount::Exactly(most) | Amount::Within { most, .. }) = amount;
        self.block.min(most - self.taken)
    }
}

/// Warms each subject up, then samples all in turn until each got its amount.
///
/// After each block `watch` sees whose block it was and how much is done, from 0 to 1; it may end the launch early.
///
/// # Errors
/// The first error of a subject; what was taken until then is kept.
pub fn fill(
    turns: &mut [Turn<'_>],
    launch: u32,
    amount: Amount,
    watch: &mut dyn FnMut(usize, f64) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, BenchError> {
    let mut progress = Vec::new();
    for turn in turns.iter_mut() {
        progress.push(Progress {
            block: match turn.pace {
                Pace::Warm => warm_up(turn)?,
                Pace::Cold => 1,
            },
            blocks: 0,
            taken: 0,
            spent: Duration::ZERO,
        });
    }
    let count = turns.len();
    for round in 0.. {
        let mut took_any = false;
        for at in 0..count {
            let at = if round % 2 == 0 { at } else { count - 1 - at };
            let at = (at + round as usize / 2) % count;
            let (turn, own) = (&mut turns[at], &mut progress[at]);
            if own.reached(amount) >= 1.0 {
                continue;
            }
            took_any = true;
            let begin = Instant::now();
            let block = own.next(amount);
            turn.samples
                .take(&mut *turn.subject, block, (launch, round))?;
            own.spent += begin.elapsed();
            own.blocks += 1;
            own.taken += block;
            let reached: f64 = progress.iter().map(|one| one.reached(amount)).sum();
            if watch(at, reached / count as f64).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if !took_any {
            break;
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Throws the first samples away, and tells from them how many a block has.
fn warm_up(turn: &mut Turn<'_>) -> Result<usize, BenchError> {
    let mut times = vec![0; turn.samples.steps.len()];
    let mut quickest = Duration::MAX;
    let all = Instant::now();
    for _ in 0..WARM_UP {
        let begin = Instant::now();
        turn.subject.sample(&mut times)?;
        quickest = quickest.min(begin.elapsed());
        if all.elapsed() > WARM_UP_TIME {
            break;
        }
    }
    let fit = BLOCK_TIME.as_nanos() / quickest.as_nanos().max(1);
    Ok(usize::try_from(fit).unwrap_or(BLOCK).clamp(1, BLOCK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iommu::IommuError;
    use std::cell::RefCell;
    use std::thread::sleep;

    /// A subject whose first step takes one nanosecond more each time, as it says, and the second twice as long.
    struct Clockwork<'l> {
        name: char,
        taken: u64,
        sleep: Duration,
        fails_at: Option<u64>,
        log: &'l RefCell<String>,
    }

    impl<'l> Clockwork<'l> {
        fn new(name: char, log: &'l RefCell<String>) -> Self {
            Self {
                name,
                taken: 0,
                sleep: Duration::ZERO,
                fails_at: None,
                log,
            }
        }
    }

    impl Subject for Clockwork<'_> {
        fn sample(&mut self, times: &mut [u64]) -> Result<(), BenchError> {
            self.taken += 1;
            self.log.borrow_mut().push(self.name);
            if self.fails_at == Some(self.taken) {
                return Err(IommuError::NoType1.into());
            }
            sleep(self.sleep);
            times.copy_from_slice(&[self.taken, self.taken * 2]);
            Ok(())
        }
    }

    fn turn<'t>(subject: Clockwork<'t>, samples: &'t mut Samples) -> Turn<'t> {
        Turn {
            subject: Box::new(subject),
            samples,
            pace: Pace::Warm,
        }
    }

    fn go_on(_: usize, _: f64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn warm_up_is_not_recorded_and_every_other_sample_is() {
        let (log, mut samples) = (RefCell::default(), Samples::new(2));
        let mut turns = [turn(Clockwork::new('a', &log), &mut samples)];

        let end = fill(&mut turns, 0, Amount::Exactly(240), &mut go_on).unwrap();
        drop(turns);

        assert_eq!(end, ControlFlow::Continue(()));
        assert_eq!(samples.steps[0], (21..=260).collect::<Vec<u64>>());
        assert_eq!(
            samples.steps[1],
            (21..=260).map(|n| n * 2).collect::<Vec<u64>>()
        );
        let medians = samples
            .blocks(1)
            .iter()
            .map(|b| (b.round, b.count, b.median))
            .collect::<Vec<_>>();
        assert_eq!(medians, [(0, 100, 140), (1, 100, 340), (2, 40, 480)]);
        assert_eq!(samples.by_block(0).concat(), samples.steps[0]);
    }

    #[test]
    fn subjects_take_turns_in_blocks_and_each_is_first_in_its_round() {
        let log = RefCell::default();
        let mut samples = [Samples::new(2), Samples::new(2)];
        let [first, second] = &mut samples;
        let mut turns = [
            turn(Clockwork::new('a', &log), first),
            turn(Clockwork::new('b', &log), second),
        ];

        let _ = fill(&mut turns, 0, Amount::Exactly(120), &mut go_on).unwrap();
        drop(turns);

        let blocks = ["a", "b"].map(|name| name.repeat(WARM_UP)).concat()
            + &[("a", 100), ("b", 100), ("b", 20), ("a", 20)]
                .map(|(name, count)| name.repeat(count))
                .concat();
        assert_eq!(*log.borrow(), blocks);
    }

    #[test]
    fn what_is_slow_has_short_blocks_and_ends_with_its_time() {
        let log = RefCell::default();
        let mut samples = [Samples::new(2), Samples::new(2)];
        let [slow, quick] = &mut samples;
        let mut sleeper = Clockwork::new('s', &log);
        sleeper.sleep = Duration::from_millis(6);
        let mut turns = [turn(sleeper, slow), turn(Clockwork::new('q', &log), quick)];
        let amount = Amount::Within {
            time: Duration::from_millis(1),
            blocks: 4,
            most: 1000,
        };

        let _ = fill(&mut turns, 0, amount, &mut go_on).unwrap();
        drop(turns);

        let counts = samples.each_ref().map(Samples::count);
        assert_eq!(counts[0], 4);
        assert!(counts[1] >= 100, "{counts:?}");
    }

    #[test]
    fn what_is_cold_is_not_warmed_up_and_taken_one_by_one() {
        let (log, mut samples) = (RefCell::default(), Samples::new(2));
        let mut turn = turn(Clockwork::new('c', &log), &mut samples);
        turn.pace = Pace::Cold;

        let _ = fill(&mut [turn], 7, Amount::Exactly(3), &mut go_on).unwrap();

        let blocks = samples.blocks(0);
        let blocks: Vec<_> = blocks
            .iter()
            .map(|b| (b.launch, b.round, b.median))
            .collect();
        assert_eq!(blocks, [(7, 0, 1), (7, 1, 2), (7, 2, 3)]);
    }

    #[test]
    fn an_early_end_keeps_what_was_measured() {
        let (log, mut samples) = (RefCell::default(), Samples::new(2));
        let mut turns = [turn(Clockwork::new('a', &log), &mut samples)];
        let mut watch = |_: usize, done: f64| match done {
            0.15.. => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };

        let end = fill(&mut turns, 0, Amount::Exactly(1000), &mut watch).unwrap();
        drop(turns);

        assert_eq!((end, samples.count()), (ControlFlow::Break(()), 200));
    }

    #[test]
    fn an_error_ends_the_run_and_keeps_what_was_measured() {
        let (log, mut samples) = (RefCell::default(), Samples::new(2));
        let mut subject = Clockwork::new('a', &log);
        subject.fails_at = Some(31);
        let mut turns = [turn(subject, &mut samples)];

        let end = fill(&mut turns, 0, Amount::Exactly(1000), &mut go_on);
        drop(turns);

        assert!(matches!(end, Err(BenchError::Iommu(IommuError::NoType1))));
        assert_eq!((samples.count(), samples.blocks(0).len()), (10, 1));
    }

    #[test]
    fn launches_add_up() {
        let (log, mut samples) = (RefCell::default(), Samples::new(2));
        for launch in 0..2 {
            let mut own = Samples::new(2);
            let mut turns = [turn(Clockwork::new('a', &log), &mut own)];
            let _ = fill(&mut turns, launch, Amount::Exactly(10), &mut go_on).unwrap();
            drop(turns);
            samples.append(own);
        }
        let blocks = samples.blocks(0);
        let places: Vec<_> = blocks
            .iter()
            .map(|block| (block.launch, block.round))
            .collect();
        assert_eq!((places, samples.count()), (vec![(0, 0), (1, 0)], 20));
        let both = samples.by_block(0);
        assert_eq!(both[0], (21..=30).collect::<Vec<u64>>());
        assert_eq!(both[1], both[0]);
    }
}
