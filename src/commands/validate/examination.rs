//! The checks while they run: what was found, how long it may take, whether the user wants the end.

use std::cell::{Cell, RefCell};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::binding::BindingError;
use crate::checks::doctor::Health;
use crate::checks::validate::{Checked, Item, Judged};
use crate::commands::interrupt::Interrupt;
use crate::host::{Host, KernelLog};
use crate::report::Progress;
use crate::types::{Backend, Bdf};

/// The most lines of the kernel log that are quoted for a check.
const QUOTED: usize = 12;

/// A validation while it runs.
pub struct Examination<'c> {
    pub host: &'c Host,
    pub progress: Progress,
    /// How long a check may take.
    pub limit: Duration,
    interrupt: &'c Interrupt,
    interrupted: Cell<bool>,
    checked: RefCell<Vec<Checked>>,
}

impl<'c> Examination<'c> {
    pub fn new(
        host: &'c Host,
        interrupt: &'c Interrupt,
        progress: Progress,
        limit: Duration,
    ) -> Self {
        Self {
            host,
            progress,
            limit,
            interrupt,
            interrupted: Cell::new(false),
            checked: RefCell::default(),
        }
    }

    /// Whether the user wants the end.
    pub fn is_interrupted(&self) -> bool {
        if self.interrupt.came() {
            self.interrupted.set(true);
        }
        self.interrupted.get()
    }

    /// Notes that a signal ended what was under way, if that is why it failed.
    pub fn note_signal(&self, error: &BindingError) {
        if error.is_interruption() {
            self.interrupted.set(true);
        }
    }

    /// Runs a check, unless the user wants the end. Returns whether it passed, or works all the same.
    pub fn judge(
        &self,
        item: Item,
        device: Option<Bdf>,
        backend: Option<Backend>,
        check: impl FnOnce() -> Judged,
    ) -> bool {
        self.judge_within(self.limit, item, device, backend, check)
    }

    /// As [`Self::judge`], with a time limit of its own.
    pub fn judge_within(
        &self,
        limit: Duration,
        item: Item,
        device: Option<Bdf>,
        backend: Option<Backend>,
        check: impl FnOnce() -> Judged,
    ) -> bool {
        if self.is_interrupted() {
            return false;
        }
        self.say(item.id, device, backend);
        let watch = Watch::begin();
        let mut judged = self.watched(limit, item, device, check);
        // A check that a signal cut short says nothing about the device.
        if self.is_interrupted() && judged.verdict == Health::Fail {
            return false;
        }
        let took = watch.begin.elapsed();
        if took > limit && judged.verdict != Health::Fail {
            judged = Judged::fail(
                format!(
                    "it took {:.1} s, more than the {} s that are allowed: {}",
                    took.as_secs_f64(),
                    limit.as_secs(),
                    judged.detail
                ),
                "look at the kernel log for what took so long; --limit allows more",
            );
        }
        let passed = matches!(judged.verdict, Health::Pass | Health::Warn);
        self.add(watch.end(item.id, device, backend, judged));
        passed
    }

    /// Runs a check, and says so when it takes too long: what sleeps in the kernel cannot be ended, but the user can be told.
    fn watched(
        &self,
        limit: Duration,
        item: Item,
        device: Option<Bdf>,
        check: impl FnOnce() -> Judged,
    ) -> Judged {
        let (done, is_done) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                if is_done.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                    let of = device.map_or_else(String::new, |bdf| format!(" of {bdf}"));
                    log::warn!(
                        "{}{of} takes more than {} s, and is waited for: /proc/{}/stack says where in the kernel",
                        item.id,
                        limit.as_secs(),
                        std::process::id()
                    );
                }
            });
            let judged = check();
            drop(done);
            judged
        })
    }

    /// Says what is done now.
    pub fn say(&self, id: &str, device: Option<Bdf>, backend: Option<Backend>) {
        let device = device.map_or_else(String::new, |bdf| format!("{bdf} "));
        let backend = backend.map_or_else(String::new, |backend| format!("{backend} "));
        let text = format!("{device}{backend}{id}");
        log::info!("{text}");
        self.progress.say(&text);
    }

    /// Adds what was found elsewhere.
    pub fn add(&self, checked: Checked) {
        self.checked.borrow_mut().push(checked);
    }

    /// Adds what has just been found, also when the user wants the end.
    pub fn add_now(&self, item: Item, device: Option<Bdf>, judged: Judged) {
        self.add(Watch::begin().end(item.id, device, None, judged));
    }

    /// All that was found.
    pub fn end(self) -> (Vec<Checked>, bool) {
        let interrupted = self.is_interrupted();
        (self.checked.into_inner(), interrupted)
    }
}

/// The time and the kernel log from the beginning of a check on.
pub struct Watch {
    begin: Instant,
    log: Option<KernelLog>,
}

impl Watch {
    pub fn begin() -> Self {
        Self {
            begin: Instant::now(),
            log: KernelLog::from_now().ok(),
        }
    }

    /// The check is over.
    pub fn end(
        mut self,
        id: &'static str,
        device: Option<Bdf>,
        backend: Option<Backend>,
        judged: Judged,
    ) -> Checked {
        let kernel_log = match judged.verdict {
            Health::Fail | Health::Warn => self.lines(),
            Health::Pass | Health::Skip => Vec::new(),
        };
        Checked {
            id,
            device,
            backend,
            judged,
            kernel_log,
            seconds: self.begin.elapsed().as_secs_f64(),
        }
    }

    /// One of several checks that were done together.
    pub fn part(&self, id: &'static str, device: Option<Bdf>, judged: Judged) -> Checked {
        Checked {
            id,
            device,
            backend: None,
            judged,
            kernel_log: Vec::new(),
            seconds: 0.0,
        }
    }

    fn lines(&mut self) -> Vec<String> {
        let records = self.log.as_mut().and_then(|log| log.new_records().ok());
        let mut lines: Vec<String> = records
            .unwrap_or_default()
            .into_iter()
            .map(|record| record.message)
            .collect();
        lines.dedup();
        let more = lines.len().saturating_sub(QUOTED);
        lines.drain(..more);
        if more > 0 {
            lines.insert(0, format!("({more} lines before these)"));
        }
        lines
    }
}
