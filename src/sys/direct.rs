//! Calls into the kernel without the C library between.
//!
//! For what maps and unmaps: the C library's `ioctl` costs more than all else that the program does around such a call.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use rustix::ioctl::{self, Opcode, Updater};

/// Does the ioctl of this number, of which the argument is a struct.
///
/// # Safety
/// The struct is the ioctl's own, and what it says of memory is true.
#[inline]
pub unsafe fn call<const NUMBER: Opcode, T>(
    file: BorrowedFd<'_>,
    argument: &mut T,
) -> nix::Result<()> {
    // SAFETY: the caller answers for it.
    let result = unsafe { ioctl::ioctl(file, Updater::<NUMBER, T>::new(argument)) };
    result.map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}
