//! A read or a write that may sleep in the kernel for as long as somebody likes, made so that the caller waits only as long as it wants.

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2, read};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// The most bytes of one read: a page, as sysfs gives.
const READ_LIMIT: usize = 4096;

/// A system call that a child process makes. If this is dropped before it has ended, it sleeps on in the kernel: it cannot be taken
/// back, and goes on after this process ends.
///
/// A thread would not do: a process does not end before all its threads have left the kernel. The child has no file open but
/// the one it uses, so that nobody waits for it: not a pipe that reads this program's output, not a lock.
#[derive(Debug)]
pub struct PatientCall {
    child: Pid,
    /// What the child says; the other end closes when it ends.
    said: OwnedFd,
    bytes: Vec<u8>,
}

/// What the child does.
#[derive(Clone, Copy)]
enum Call<'b> {
    Read,
    Write(&'b [u8]),
}

impl PatientCall {
    /// Begins to read once from `file`, at most 4096 bytes.
    ///
    /// # Errors
    /// No child could be made.
    pub fn read(file: &File) -> nix::Result<Self> {
        Self::begin(file, Call::Read)
    }

    /// Begins to write `bytes` to `file` at once.
    ///
    /// # Errors
    /// No child could be made.
    pub fn write(file: &File, bytes: &[u8]) -> nix::Result<Self> {
        Self::begin(file, Call::Write(bytes))
    }

    fn begin(file: &File, call: Call<'_>) -> nix::Result<Self> {
        let (said, says) = pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: the child calls nothing but `call_and_exit`, which is safe after a fork of a process with several threads.
        let child = match unsafe { fork() }? {
            ForkResult::Child => call_and_exit(file.as_raw_fd(), says.as_raw_fd(), call),
            ForkResult::Parent { child } => child,
        };
        Ok(Self {
            child,
            said,
            bytes: Vec::new(),
        })
    }

    /// Waits until the call has ended, and returns what was read; `None` if it still sleeps in the kernel after `patience`.
    ///
    /// # Errors
    /// The kernel refused the call, or took fewer bytes than there are (EIO).
    pub fn wait(&mut self, patience: Duration) -> nix::Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
            let mut files = [PollFd::new(self.said.as_fd(), PollFlags::POLLIN)];
            match poll(&mut files, timeout) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno),
            }
            let mut page = [0; READ_LIMIT];
            match read(&self.said, &mut page)? {
                0 => break,
                length => self.bytes.extend_from_slice(&page[..length]),
            }
        }
        let status = loop {
            match waitpid(self.child, None) {
                Err(Errno::EINTR) => {}
                status => break status?,
            }
        };
        match status {
            WaitStatus::Exited(_, 0) => Ok(Some(std::mem::take(&mut self.bytes))),
            WaitStatus::Exited(_, errno) => Err(Errno::from_raw(errno)),
            _ => Err(Errno::EINTR),
        }
    }
}

/// The child: keeps only the two files, makes its call once, and exits with the errno as its status (all are below 256).
///
/// Makes system calls only, which is all that is allowed after a fork of a process with several threads.
fn call_and_exit(file: RawFd, says: RawFd, call: Call<'_>) -> ! {
    let mut page = [0_u8; READ_LIMIT];
    // SAFETY: plain system calls on numbers, on `page`, and on the bytes to write, which are valid for their length. 0 and 1 are free
    // to be replaced: the standard library opens 0, 1 and 2 at start, so neither `file` nor `says` is among them.
    unsafe {
        libc::dup2(file, 0);
        libc::dup2(says, 1);
        libc::syscall(libc::SYS_close_range, 2, libc::c_uint::MAX, 0);
        let (done, wanted) = match call {
            Call::Write(bytes) => (
                libc::write(0, bytes.as_ptr().cast(), bytes.len()),
                bytes.len(),
            ),
            Call::Read => {
                let length = libc::read(0, page.as_mut_ptr().cast(), READ_LIMIT);
                let wanted = usize::try_from(length).unwrap_or(0);
                // A pipe takes a page at once.
                let done = if length > 0 {
                    libc::write(1, page.as_ptr().cast(), wanted)
                } else {
                    length
                };
                (done, wanted)
            }
        };
        let status = match usize::try_from(done) {
            Ok(length) if length == wanted => 0,
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

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_the_kernel_took_or_refused_is_told() {
        let write_to = |path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            PatientCall::write(&file, b"x").unwrap().wait(LONG)
        };
        assert_eq!(write_to("/dev/null"), Ok(Some(vec![])));
        assert_eq!(write_to("/dev/full"), Err(Errno::ENOSPC));
    }

    #[test]
    fn what_the_kernel_gave_is_read() {
        let read_from = |path| {
            let file = File::open(path).unwrap();
            PatientCall::read(&file).unwrap().wait(LONG)
        };
        assert_eq!(read_from("/dev/zero"), Ok(Some(vec![0; READ_LIMIT])));
        assert_eq!(read_from("/dev/null"), Ok(Some(vec![])));
        assert_eq!(read_from("/"), Err(Errno::EISDIR));
    }

    #[test]
    fn a_write_that_sleeps_is_waited_for_again_or_left_behind() {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let capacity = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_GETPIPE_SZ).unwrap();
        let bytes = vec![b'x'; usize::try_from(capacity).unwrap() + 1];
        let writer = File::from(writer);
        let mut call = PatientCall::write(&writer, &bytes).unwrap();
        assert_eq!(call.wait(Duration::from_millis(10)), Ok(None));

        // Once somebody reads, the child goes on by itself, and was the last that had the pipe open.
        drop(writer);
        let mut read = Vec::new();
        File::from(reader).read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), bytes.len());
        assert_eq!(call.wait(LONG), Ok(Some(vec![])));
    }

    #[test]
    fn a_read_that_sleeps_is_not_waited_for() {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut call = PatientCall::read(&File::from(reader)).unwrap();
        assert_eq!(call.wait(Duration::from_millis(10)), Ok(None));
        nix::unistd::write(&writer, b"at last").unwrap();
        assert_eq!(call.wait(LONG), Ok(Some(b"at last".to_vec())));
    }
}
