//! Ctrl-C and a polite kill, as something to ask for: a command that holds a device ends its work in order.

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};

/// Keeps SIGINT and SIGTERM from killing the process, and remembers that they came.
pub struct Interrupt {
    signals: SignalFd,
    came: Cell<bool>,
}

impl Interrupt {
    /// From now on signals are kept. Threads that are started later keep them too; call it before there are any.
    ///
    /// # Errors
    /// The kernel gives no signalfd.
    pub fn keep() -> anyhow::Result<Self> {
        let mask = Self::mask();
        mask.thread_block().context("cannot keep signals")?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("cannot read signals")?;
        Ok(Self {
            signals,
            came: Cell::new(false),
        })
    }

    /// The signals that are kept.
    #[must_use]
    pub fn mask() -> SigSet {
        SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM])
    }

    /// Whether a signal has come since.
    pub fn came(&self) -> bool {
        if matches!(self.signals.read_signal(), Ok(Some(_))) {
            self.came.set(true);
        }
        self.came.get()
    }
}

impl AsFd for Interrupt {
    /// To poll: readable when a signal has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}
