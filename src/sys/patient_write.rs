//! A write that may sleep in the kernel for as long as somebody likes, made so that the caller waits only until a deadline.

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, pipe2};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// All bytes were taken.
    Done,
    /// The kernel refused it.
    Failed(Errno),
    /// It still sleeps in the kernel. It cannot be taken back, and goes on after this process ends.
    Sleeping,
}

/// Writes `bytes` to `file` by one `write` of a child process, and waits for that until `patience` is over.
///
/// A thread would not do: a process does not end before all its threads have left the kernel. The child has no file open but
/// this one, so that nobody waits for it: not a pipe that reads this program's output, not a lock.
///
/// # Errors
/// No child could be made.
pub fn write_patiently(file: &File, bytes: &[u8], patience: Duration) -> nix::Result<WriteOutcome> {
    let deadline = Instant::now() + patience;
    let (ended, running) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the child calls nothing but `write_and_exit`, which is safe after a fork of a process with several threads.
    let child = match unsafe { fork() }? {
        ForkResult::Child => write_and_exit(file.as_raw_fd(), running.as_raw_fd(), bytes),
        ForkResult::Parent { child } => child,
    };
    drop(running);

    // The pipe's other end closes when the child ends.
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
        match poll(
            &mut [PollFd::new(ended.as_fd(), PollFlags::POLLIN)],
            timeout,
        ) {
            Ok(0) => return Ok(WriteOutcome::Sleeping),
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    loop {
        return match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, 0)) => Ok(WriteOutcome::Done),
            Ok(WaitStatus::Exited(_, errno)) => Ok(WriteOutcome::Failed(Errno::from_raw(errno))),
            Ok(_) => Ok(WriteOutcome::Failed(Errno::EINTR)),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(errno),
        };
    }
}

/// The child: keeps only the two files, writes once, and exits with the errno as its status (all are below 256).
///
/// Makes system calls only, which is all that is allowed after a fork of a process with several threads.
fn write_and_exit(file: RawFd, running: RawFd, bytes: &[u8]) -> ! {
    // SAFETY: plain system calls on numbers and on `bytes`, which is valid for its length. 0 and 1 are free to be replaced:
    // the standard library opens 0, 1 and 2 at start, so neither `file` nor `running` is among them.
    unsafe {
        libc::dup2(file, 0);
        libc::dup2(running, 1);
        libc::syscall(libc::SYS_close_range, 2, libc::c_uint::MAX, 0);
        let written = libc::write(0, bytes.as_ptr().cast(), bytes.len());
        let status = match usize::try_from(written) {
            Ok(length) if length == bytes.len() => 0,
            Ok(_) => libc::EIO,
            Err(_) => Errno::last_raw(),
        };
        libc::_exit(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Read;

    #[test]
    fn what_the_kernel_took_or_refused_is_told() {
        let write_to = |path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            write_patiently(&file, b"x", Duration::from_secs(60)).unwrap()
        };
        assert_eq!(write_to("/dev/null"), WriteOutcome::Done);
        assert_eq!(write_to("/dev/full"), WriteOutcome::Failed(Errno::ENOSPC));
    }

    #[test]
    fn a_write_that_sleeps_is_left_behind() {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let capacity = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_GETPIPE_SZ).unwrap();
        let bytes = vec![b'x'; usize::try_from(capacity).unwrap() + 1];
        let writer = File::from(writer);
        let outcome = write_patiently(&writer, &bytes, Duration::from_millis(10)).unwrap();
        assert_eq!(outcome, WriteOutcome::Sleeping);

        // Once somebody reads, the child goes on by itself, and was the last that had the pipe open.
        drop(writer);
        let mut read = Vec::new();
        File::from(reader).read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), bytes.len());
    }
}
