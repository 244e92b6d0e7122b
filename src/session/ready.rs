//! How a holder says that it is ready, or why it will never be.

use std::env;
use std::fs;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::{Failure, Folder, SessionError};

/// The most bytes of a report.
const LARGEST_REPORT: usize = 16 << 10;

/// The variable that says where a service manager listens (sd_notify(3)).
pub(super) const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// What a holder says to the command that started it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartReport {
    /// It can be asked.
    Ready,
    /// Another holder was faster.
    Taken,
    /// It could not have the devices.
    Failed(Failure),
}

/// Sends a report to the command that waits at this path. It may be gone, which is no concern of the holder.
pub fn report(to: &Path, report: &StartReport) {
    let text = serde_json::to_vec(report).expect("reports have no maps with other keys");
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(&text, to));
    if let Err(error) = sent {
        log::info!(
            "nobody waits at {}: {}",
            to.display(),
            super::error::errno_of(&error)
        );
    }
}

/// Whether a service manager wants to know when this process is ready.
pub(super) fn is_service() -> bool {
    env::var_os(NOTIFY_SOCKET).is_some()
}

/// Tells the service manager, if one wants to know (sd_notify(3)): `READY=1`, `STOPPING=1`.
pub(super) fn notify(state: &str) {
    let Some(path) = env::var_os(NOTIFY_SOCKET) else {
        return;
    };
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&path),
    };
    let told = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = told {
        log::warn!(
            "cannot tell the service manager '{state}' at {}: {}",
            Path::new(&path).display(),
            super::error::errno_of(&error)
        );
    }
}

/// Where the report of a holder is waited for.
pub(super) struct Waiting {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Waiting {
    pub(super) fn new(folder: &Folder) -> Result<Self, SessionError> {
        folder.prepare()?;
        let path = folder
            .path()
            .join(format!("start-{}.sock", std::process::id()));
        let failed = |error| SessionError::path("listen at", &path, &error);
        // A process with this number may have been killed while it waited.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        let socket = UnixDatagram::bind(&path).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Self { socket, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the report; `None` if the process that was to send it, or see to it, ended without.
    pub(super) fn report(
        &self,
        process: &mut Child,
        its_end: &ChildStdout,
    ) -> Result<Option<StartReport>, SessionError> {
        let failed = |errno| SessionError::Process {
            action: "wait for the process that holds the mapping",
            errno,
        };
        loop {
            let mut fds = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(its_end.as_fd(), PollFlags::empty()),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(failed(errno)),
            }
            let ended = fds[1].revents().is_some_and(|ready| !ready.is_empty());
            let mut text = vec![0; LARGEST_REPORT];
            match self.socket.recv(&mut text) {
                Ok(length) => return Ok(serde_json::from_slice(&text[..length]).ok()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed(super::error::errno_of(&error))),
            }
            if ended {
                let _ = process.wait();
                return Ok(None);
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // It is in the way of no one but a process of the same number, which removes it.
        let _ = fs::remove_file(&self.path);
    }
}
