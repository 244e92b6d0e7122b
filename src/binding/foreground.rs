//! The program in the foreground, and the signals that reach it through this process.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd::Pid;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use crate::sys::spawn_with_mask;

/// The signals that are the program's business. SIGTSTP and its like do to both what a shell expects; SIGKILL cannot be held.
const PASSED_ON: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
    Signal::SIGPWR,
];

/// What a program gets when `run` itself is killed, so that no one keeps a device that no one gives back.
const LAST_WORD: Signal = Signal::SIGTERM;

/// Signals that do not end this process: from now on they wait for the program, and from its end on they wait for ever.
#[derive(Debug)]
pub struct Foreground {
    before: SigSet,
    arrived: SignalFd,
}

impl Foreground {
    /// Holds signals from now on. Call it before the process has other threads.
    ///
    /// # Errors
    /// The kernel gave no file for them.
    pub fn hold_signals() -> nix::Result<Self> {
        let mut held: SigSet = PASSED_ON.into_iter().collect();
        held.add(Signal::SIGCHLD);
        let arrived = SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC)?;
        let before = held.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { before, arrived })
    }

    /// Runs a program to its end, and passes on to it the signals that come for this process. It has the mask from before.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, command: &mut Command) -> io::Result<ExitStatus> {
        let mut child = spawn_with_mask(command, self.before, LAST_WORD)?;
        // The kernel's numbers of processes are positive and below 2^22 (PID_MAX_LIMIT of linux/threads.h).
        let pid = Pid::from_raw(child.id() as i32);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            match self.arrived.read_signal() {
                Ok(Some(info)) => pass_on(&info, pid),
                Ok(None) | Err(Errno::EINTR) => {}
                // Without signals to pass on, what counts is left: not to end before the program.
                Err(_) => return child.wait(),
            }
        }
    }
}

/// Sends the program what is its own.
fn pass_on(info: &siginfo, program: Pid) {
    let signal = info
        .ssi_signo
        .try_into()
        .map(<Signal as TryFrom<i32>>::try_from);
    match signal {
        Ok(Ok(signal)) if is_for_program(signal, info.ssi_code) => {
            // It may have ended just now.
            let _ = kill(program, signal);
        }
        _ => {}
    }
}

/// Whether a signal to this process is news for the program. What the kernel sends for keys and for a new size of the window goes to
/// the whole process group of the terminal, so that the program has it; everything else came to this process alone.
fn is_for_program(signal: Signal, code: i32) -> bool {
    // What processes send has SI_USER, SI_TKILL or SI_QUEUE, none above 0; the kernel's own has SI_KERNEL (asm-generic/siginfo.h).
    let from_kernel = code > 0;
    match signal {
        Signal::SIGCHLD => false,
        Signal::SIGINT | Signal::SIGQUIT | Signal::SIGWINCH => !from_kernel,
        _ => true,
    }
}

/// The exit status that tells of a program's end, as shells do.
#[must_use]
pub fn status_of(ended: ExitStatus) -> u8 {
    let code = ended
        .code()
        .unwrap_or_else(|| 128 + ended.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc::{SI_KERNEL, SI_USER};

    #[test]
    fn keys_reach_the_program_once() {
        for (signal, code, expected) in [
            (Signal::SIGINT, SI_KERNEL, false),
            (Signal::SIGINT, SI_USER, true),
            (Signal::SIGQUIT, SI_KERNEL, false),
            (Signal::SIGWINCH, SI_KERNEL, false),
            (Signal::SIGTERM, SI_USER, true),
            // A timer set before this program was executed; a hang-up that only the leader of the session is told.
            (Signal::SIGALRM, SI_KERNEL, true),
            (Signal::SIGHUP, SI_KERNEL, true),
            (Signal::SIGCHLD, SI_USER, false),
        ] {
            assert_eq!(is_for_program(signal, code), expected, "{signal} {code}");
        }
    }

    #[test]
    fn the_status_tells_how_a_program_ended() {
        for (wait_status, expected) in [(0, 0), (42 << 8, 42), (15, 143), (9, 137), (0x86, 134)] {
            assert_eq!(status_of(ExitStatus::from_raw(wait_status)), expected);
        }
    }
}
