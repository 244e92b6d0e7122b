//! Signals that ask the program to end, held back while a change is under way.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::path::PathBuf;

use super::BindingError;

/// While this lives, SIGINT, SIGTERM and SIGHUP wait, and can be asked for.
#[derive(Debug)]
pub struct HeldSignals {
    before: SigSet,
    arrived: SignalFd,
}

impl HeldSignals {
    /// Holds the signals back from now on.
    ///
    /// # Errors
    /// The kernel gave no file for them.
    pub fn hold() -> Result<Self, BindingError> {
        Self::try_hold().map_err(|errno| BindingError::File {
            action: "hold back",
            path: PathBuf::from("signals"),
            errno,
        })
    }

    fn try_hold() -> nix::Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
            .into_iter()
            .collect();
        let arrived =
            SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let before = signals.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
        Ok(Self { before, arrived })
    }

    /// A signal that came since, if one did. Each is told once.
    pub fn arrived(&self) -> Option<Signal> {
        let info = self.arrived.read_signal().ok()??;
        Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // Cannot fail: the mask is one that the kernel gave.
        let _ = self.before.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_waits_until_asked_for() {
        let held = HeldSignals::hold().unwrap();
        assert_eq!(held.arrived(), None);
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        assert_eq!(held.arrived(), Some(Signal::SIGTERM));
        assert_eq!(held.arrived(), None);
    }
}
