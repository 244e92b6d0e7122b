//! A child process that stands in for this one: it gets the terminal, the signals, and an end when this one is killed.

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::unistd::{getpid, getppid};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Starts a program with this signal mask. If this process is killed, the kernel sends the program `last_word`: but call this from
/// the main thread, as the kernel means the thread that started it (prctl(2), PR_SET_PDEATHSIG).
///
/// The program stays in this process's group, so that a terminal's signals reach both.
///
/// # Errors
/// No process could be made, or the program cannot be executed.
pub fn spawn_with_mask(
    command: &mut Command,
    mask: SigSet,
    last_word: Signal,
) -> io::Result<Child> {
    // Whoever started this process may have left SIGCHLD ignored: the kernel would then throw the program's status away.
    // SAFETY: SIG_DFL is no function that could be called at a bad moment.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let parent = getpid();
    let prepare = move || {
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
        set_pdeathsig(last_word)?;
        // The parent may have been killed before that.
        if getppid() == parent {
            Ok(())
        } else {
            Err(Errno::ESRCH.into())
        }
    };
    // SAFETY: between fork and exec the closure makes system calls only, and takes no memory and no lock.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_gets_the_mask() {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGUSR2);
        let mut command = Command::new("grep");
        command.args(["-q", "^SigBlk:.*0000000000000800$", "/proc/self/status"]);
        let mut child = spawn_with_mask(&mut command, mask, Signal::SIGTERM).unwrap();
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn what_cannot_be_executed_is_an_error() {
        let mut command = Command::new("/dev/null");
        let error = spawn_with_mask(&mut command, SigSet::empty(), Signal::SIGTERM).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    }
}
