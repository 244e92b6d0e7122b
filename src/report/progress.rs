//! What goes on, drawn on standard error while it lasts.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// One line of progress; gone when it is dropped.
pub struct Progress(ProgressBar);

/// The whole of a progress from 0 to 1, in steps.
const STEPS: u64 = 1000;

impl Progress {
    /// A line that turns while something of unknown length goes on. With `shown` false nothing is drawn.
    #[must_use]
    pub fn spinner(shown: bool) -> Self {
        let progress = Self::new(None, shown, "{spinner} {msg} ({elapsed})");
        if shown {
            progress.0.enable_steady_tick(Duration::from_millis(100));
        }
        progress
    }

    /// A bar that fills. It is drawn only when it is told something: a thread of its own would disturb what is measured.
    #[must_use]
    pub fn bar(shown: bool) -> Self {
        Self::new(
            Some(STEPS),
            shown,
            "{bar:30} {percent:>3} % {msg} ({eta} left)",
        )
    }

    fn new(steps: Option<u64>, shown: bool, template: &str) -> Self {
        let target = if shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style =
            ProgressStyle::with_template(template).expect("the templates of this file are valid");
        Self(ProgressBar::with_draw_target(steps, target).with_style(style))
    }

    /// Says what is being done now.
    pub fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// How much is done, from 0 to 1.
    pub fn set(&self, done: f64) {
        self.0.set_position((done * STEPS as f64) as u64);
    }

    /// Takes the line away while `print` writes to the terminal.
    pub fn around<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
