//! eventfds, as things to poll.

use std::os::fd::{AsRawFd, BorrowedFd};

use vmm_sys_util::eventfd::EventFd;

/// The descriptor of an eventfd.
pub fn event_fd(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the eventfd owns its descriptor, and keeps it open for as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}
