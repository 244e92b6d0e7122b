//! Pins memory as VFIO does, for no device: as a buffer of an io_uring (io_uring_register(2), IORING_REGISTER_BUFFERS), whose pages the
//! kernel pins for good by the same call (`pin_user_pages_fast` with FOLL_LONGTERM).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc::{self, c_long, iovec};

/// `struct io_uring_params` (linux/io_uring.h): flags and sizes, all 0 for the defaults.
#[repr(C, align(8))]
struct Parameters([u8; 120]);

/// linux/io_uring.h.
const REGISTER_BUFFERS: c_long = 0;
const UNREGISTER_BUFFERS: c_long = 1;

/// The most bytes of one buffer (`io_buffer_validate` in io_uring/rsrc.c).
const MOST: usize = 1 << 30;

/// Pins memory, one piece at a time.
#[derive(Debug)]
pub struct Pinner(OwnedFd);

impl Pinner {
    /// A pinner.
    ///
    /// # Errors
    /// The kernel has no io_uring, or does not let this process use it (sysctl kernel.io_uring_disabled).
    pub fn new() -> io::Result<Self> {
        let mut parameters = Parameters([0; 120]);
        let entries: c_long = 1;
        // SAFETY: the struct has the size of the kernel's, which writes no further; the file that it returns is nobody else's.
        unsafe {
            let fd = libc::syscall(libc::SYS_io_uring_setup, entries, &raw mut parameters.0);
            let fd = Errno::result(fd)?;
            Ok(Self(OwnedFd::from_raw_fd(fd as i32)))
        }
    }

    /// Pins this many bytes at `memory`, which are a process' own and writable.
    ///
    /// # Errors
    /// The kernel's error: ENOMEM over the limit of locked memory, EFAULT if it is not the process' memory, EBUSY if something is pinned.
    pub fn pin(&self, memory: NonNull<u8>, size: usize) -> io::Result<()> {
        let pieces: Vec<iovec> = (0..size)
            .step_by(MOST)
            .map(|offset| iovec {
                iov_base: memory.as_ptr().wrapping_add(offset).cast(),
                iov_len: MOST.min(size - offset),
            })
            .collect();
        // SAFETY: the kernel reads as many iovecs as there are; the memory they name it takes or refuses, and writes nothing to it.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.0.as_raw_fd(),
                REGISTER_BUFFERS,
                pieces.as_ptr(),
                pieces.len(),
            )
        };
        Ok(Errno::result(result).map(drop)?)
    }

    /// Lets what was pinned go.
    ///
    /// # Errors
    /// The kernel's error: ENXIO if nothing is pinned.
    pub fn unpin(&self) -> io::Result<()> {
        // SAFETY: this call takes no memory.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.0.as_raw_fd(),
                UNREGISTER_BUFFERS,
                std::ptr::null::<u8>(),
                0_usize,
            )
        };
        Ok(Errno::result(result).map(drop)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_pinned_once_and_let_go() {
        let Ok(pinner) = Pinner::new() else {
            eprintln!("not tested: this kernel has no io_uring for this process");
            return;
        };
        let mut memory = vec![0_u8; 16 << 10];
        let start = NonNull::new(memory.as_mut_ptr()).unwrap();
        pinner.pin(start, memory.len()).unwrap();
        let again = pinner.pin(start, memory.len()).unwrap_err();
        assert_eq!(again.raw_os_error(), Some(Errno::EBUSY as i32));
        pinner.unpin().unwrap();
        pinner.unpin().unwrap_err();
        pinner.pin(NonNull::dangling(), 4096).unwrap_err();
    }
}
