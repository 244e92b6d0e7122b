//! Takes samples from several configurations in turn.
//!
//! A host changes while it is measured: clocks ramp, caches fill, neighbours come and go. So no configuration is measured
//! from start to end before the next one: each gets a short block of samples, round after round, and slow changes touch
//! all of them alike. (Measured one after the other, two equal configurations differ by 1 to 5 %; in blocks of 25 by 0.3 %.)

use std::ops::ControlFlow;
use std::time::Duration;

/// The first samples of a configuration that are thrown away: they run up to 400 times slower than the rest.
const WARM_UP: usize = 20;

/// Samples taken from one configuration before it is the next one's turn.
const BLOCK: usize = 25;

/// One map and unmap, timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// What the map took.
    pub map: Duration,
    /// What the unmap took.
    pub unmap: Duration,
}

/// What can be measured.
pub trait Subject {
    /// Why a sample could not be taken.
    type Error;

    /// Does it once.
    ///
    /// # Errors
    /// Why it could not be done.
    fn sample(&mut self) -> Result<Sample, Self::Error>;
}

/// The samples of one configuration, in the order in which they were taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples {
    /// Time of each map in nanoseconds.
    pub map_ns: Vec<u64>,
    /// Time of each unmap in nanoseconds.
    pub unmap_ns: Vec<u64>,
}

impl Samples {
    fn add(&mut self, sample: Sample) {
        self.map_ns.push(nanoseconds(sample.map));
        self.unmap_ns.push(nanoseconds(sample.unmap));
    }

    /// The number of samples.
    #[must_use]
    pub fn count(&self) -> usize {
        self.map_ns.len()
    }

    /// What all maps and unmaps took together.
    fn busy(&self) -> Duration {
        Duration::from_nanos(self.map_ns.iter().chain(&self.unmap_ns).sum())
    }
}

/// Saturates after 584 years.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How many samples a configuration gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// This many.
    Exactly(usize),
    /// `most`, or as many as this time holds, but at least `least`.
    Within {
        /// Not more samples than this.
        most: usize,
        /// Not fewer samples than this, however long they take.
        least: usize,
        /// The sum of the samples' own times after which there are enough.
        time: Duration,
    },
}

impl Amount {
    /// The part of this amount that is reached after `done` of `all` equal parts.
    #[must_use]
    pub fn part(self, done: usize, all: usize) -> Self {
        let share = |whole: usize| (whole * done).div_ceil(all);
        match self {
            Self::Exactly(count) => Self::Exactly(share(count)),
            Self::Within { most, least, time } => Self::Within {
                most: share(most),
                least: share(least),
                time: Duration::from_secs_f64(time.as_secs_f64() * done as f64 / all as f64),
            },
        }
    }

    /// How much of it a record holds, from 0 to 1.
    #[must_use]
    pub fn reached(self, record: &Samples) -> f64 {
        let of = |whole: usize| record.count() as f64 / whole as f64;
        let reached = match self {
            Self::Exactly(count) => of(count),
            Self::Within { most, least, time } => {
                let by_time = record.busy().as_secs_f64() / time.as_secs_f64();
                of(most).max(by_time.min(of(least)))
            }
        };
        reached.min(1.0)
    }

    /// How many samples the next block has.
    fn next_block(self, record: &Samples) -> usize {
        let most = match self {
            Self::Exactly(count) => count,
            Self::Within { most, .. } => most,
        };
        BLOCK.min(most.saturating_sub(record.count()))
    }
}

/// Warms each subject up, then samples all in turn until each record holds `amount`.
///
/// `records` has one entry for each subject and may hold samples of an earlier call already. After each block
/// `after_block` sees whose block it was and the records, and may end the run early.
///
/// # Errors
/// The first error of a subject; the records keep what was taken until then.
pub fn fill<S: Subject>(
    subjects: &mut [S],
    records: &mut [Samples],
    amount: Amount,
    mut after_block: impl FnMut(usize, &[Samples]) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, S::Error> {
    assert_eq!(subjects.len(), records.len());
    for subject in subjects.iter_mut() {
        for _ in 0..WARM_UP {
            subject.sample()?;
        }
    }
    loop {
        let mut took_any = false;
        for (at, subject) in subjects.iter_mut().enumerate() {
            if amount.reached(&records[at]) >= 1.0 {
                continue;
            }
            took_any = true;
            for _ in 0..amount.next_block(&records[at]) {
                records[at].add(subject.sample()?);
            }
            if after_block(at, records).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if !took_any {
            return Ok(ControlFlow::Continue(()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A subject with a clock of its own: each sample takes one nanosecond more than the one before.
    struct Clockwork<'l> {
        name: char,
        taken: u64,
        unit: Duration,
        fails_at: Option<u64>,
        log: &'l RefCell<String>,
    }

    impl<'l> Clockwork<'l> {
        fn new(name: char, log: &'l RefCell<String>) -> Self {
            Self {
                name,
                taken: 0,
                unit: Duration::from_nanos(1),
                fails_at: None,
                log,
            }
        }
    }

    impl Subject for Clockwork<'_> {
        type Error = String;

        fn sample(&mut self) -> Result<Sample, String> {
            self.taken += 1;
            self.log.borrow_mut().push(self.name);
            if self.fails_at == Some(self.taken) {
                return Err(format!("sample {}", self.taken));
            }
            let time = self.unit * u32::try_from(self.taken).unwrap();
            Ok(Sample {
                map: time,
                unmap: time * 2,
            })
        }
    }

    fn go_on(_: usize, _: &[Samples]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn warm_up_is_not_recorded_and_every_other_sample_is() {
        let log = RefCell::default();
        let mut records = [Samples::default()];

        let end = fill(
            &mut [Clockwork::new('a', &log)],
            &mut records,
            Amount::Exactly(60),
            go_on,
        );

        assert_eq!(end, Ok(ControlFlow::Continue(())));
        assert_eq!(records[0].map_ns, (21..=80).collect::<Vec<u64>>());
        assert_eq!(
            records[0].unmap_ns,
            (21..=80).map(|n| n * 2).collect::<Vec<u64>>()
        );
    }

    #[test]
    fn configurations_take_turns_in_blocks() {
        let log = RefCell::default();
        let mut subjects = [Clockwork::new('a', &log), Clockwork::new('b', &log)];

        let end = fill(
            &mut subjects,
            &mut [Samples::default(), Samples::default()],
            Amount::Exactly(30),
            go_on,
        );

        assert_eq!(end, Ok(ControlFlow::Continue(())));

        let blocks = ["a", "b"].map(|name| name.repeat(WARM_UP)).concat()
            + &[("a", 25), ("b", 25), ("a", 5), ("b", 5)]
                .map(|(name, count)| name.repeat(count))
                .concat();
        assert_eq!(*log.borrow(), blocks);
    }

    #[test]
    fn a_slow_configuration_ends_with_its_time_and_a_quick_one_with_its_count() {
        let log = RefCell::default();
        let mut slow = Clockwork::new('s', &log);
        slow.unit = Duration::from_millis(1);
        let mut records = [Samples::default(), Samples::default()];
        let amount = Amount::Within {
            most: 1000,
            least: 50,
            time: Duration::from_millis(200),
        };

        let end = fill(
            &mut [slow, Clockwork::new('q', &log)],
            &mut records,
            amount,
            go_on,
        );

        assert_eq!(end, Ok(ControlFlow::Continue(())));
        assert_eq!(records.each_ref().map(Samples::count), [50, 1000]);
    }

    #[test]
    fn an_early_end_keeps_what_was_measured() {
        let log = RefCell::default();
        let mut records = [Samples::default()];
        let stop_at_50 = |_: usize, records: &[Samples]| match records[0].count() {
            50.. => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };

        let end = fill(
            &mut [Clockwork::new('a', &log)],
            &mut records,
            Amount::Exactly(1000),
            stop_at_50,
        );

        assert_eq!((end, records[0].count()), (Ok(ControlFlow::Break(())), 50));
    }

    #[test]
    fn an_error_ends_the_run_and_keeps_what_was_measured() {
        let log = RefCell::default();
        let mut subject = Clockwork::new('a', &log);
        subject.fails_at = Some(31);
        let mut records = [Samples::default()];

        let end = fill(&mut [subject], &mut records, Amount::Exactly(1000), go_on);

        assert_eq!((end, records[0].count()), (Err("sample 31".into()), 10));
    }

    #[test]
    fn parts_of_an_amount_add_up() {
        let parts = |count| [1, 2, 3].map(|done| Amount::Exactly(count).part(done, 3));
        assert_eq!(parts(1000), [334, 667, 1000].map(Amount::Exactly));
    }
}
