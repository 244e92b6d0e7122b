//! File descriptors that travel over a Unix socket (unix(7), SCM_RIGHTS).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The most descriptors in one message (SCM_MAX_FD of net/scm.h), so that there is room for all that can come.
const MOST: usize = 253;

/// Sends bytes, and a descriptor with them; returns how many bytes went.
pub fn send(socket: &UnixStream, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> nix::Result<usize> {
    let files: Vec<RawFd> = file.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&files)];
    let control = if files.is_empty() { &[][..] } else { &rights };
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
}

/// Receives bytes, and the descriptors that came with them; 0 bytes at the end.
///
/// # Errors
/// The kernel's; EMFILE if there were descriptors that this process has no number left for. The bytes are lost too then.
pub fn receive(socket: &UnixStream, into: &mut [u8]) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut slices = [IoSliceMut::new(into)];
    let mut control = nix::cmsg_space!([RawFd; MOST]);
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    // There is room for all that can come, so what is missing was left out for want of numbers (`scm_detach_fds` of net/core/scm.c).
    let received = message.cmsgs().map_err(|_| Errno::EMFILE)?;
    let mut files = Vec::new();
    for received in received {
        if let ControlMessageOwned::ScmRights(descriptors) = received {
            // SAFETY: the kernel just made these descriptors for this process, and nothing else knows them.
            let owned = |descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) };
            files.extend(descriptors.into_iter().map(owned));
        }
    }
    Ok((message.bytes, files))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn a_descriptor_arrives_with_its_bytes() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (reader, writer) = UnixStream::pair().unwrap();
        assert_eq!(send(&ours, b"here", Some(writer.as_fd())), Ok(4));
        drop(writer);
        let mut bytes = [0; 16];
        let (length, mut files) = receive(&theirs, &mut bytes).unwrap();
        assert_eq!((&bytes[..length], files.len()), (&b"here"[..], 1));

        let arrived = UnixStream::from(files.remove(0));
        assert_eq!(send(&arrived, b"through it", None), Ok(10));
        drop(arrived);
        let mut text = String::new();
        File::from(OwnedFd::from(reader))
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "through it");
    }

    #[test]
    fn no_descriptor_is_left_open() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (reader, writer) = UnixStream::pair().unwrap();
        let many = [writer.as_raw_fd(); MOST];
        sendmsg::<()>(
            ours.as_raw_fd(),
            &[IoSlice::new(b"x")],
            &[ControlMessage::ScmRights(&many)],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        drop(writer);
        let (_, files) = receive(&theirs, &mut [0; 16]).unwrap();
        assert_eq!(files.len(), MOST);
        drop(files);
        // With every copy of the writer closed, the reader sees the end.
        assert_eq!((&reader).read(&mut [0; 1]).unwrap(), 0);
    }
}
