//! Trace events of the kernel's IOMMU subsystem, in an instance of their own (Documentation/trace/ftrace.rst, "Instances").

use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::unistd::{Pid, gettid};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::root::errno;
use super::{Host, NotShown};

/// Where tracefs is mounted; the second place is for hosts that mount debugfs only.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A buffer of trace events below tracefs's `instances`, so that no other user of tracing is disturbed. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct TraceInstance {
    folder: PathBuf,
    events: &'static [&'static str],
}

impl TraceInstance {
    /// Starts to record these events of the group `iommu`: of all the host, or of one thread only.
    pub(super) fn start(
        host: &Host,
        events: &'static [&'static str],
        thread: Option<Pid>,
    ) -> Result<Self, NotShown> {
        let has_all = |tracefs: &&&str| {
            let mut paths = events
                .iter()
                .map(|event| format!("{tracefs}/events/iommu/{event}"));
            paths.all(|path| host.exists(path))
        };
        let tracefs = TRACEFS.iter().find(has_all).ok_or_else(|| missing(host))?;
        let name = format!("iommu-tool-{}", gettid());
        let instance = Self {
            folder: host.path(format!("{tracefs}/instances/{name}")),
            events,
        };
        instance
            .switch_on(thread)
            .map_err(|error| instance.denied(&error))?;
        Ok(instance)
    }

    fn switch_on(&self, thread: Option<Pid>) -> io::Result<()> {
        fs::create_dir(&self.folder)?;
        if let Some(thread) = thread {
            self.write("set_event_pid", &thread.to_string())?;
        }
        for event in self.events {
            self.write(&format!("events/iommu/{event}/enable"), "1")?;
        }
        self.write("tracing_on", "1")
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.folder.join(file), text)
    }

    fn denied(&self, error: &io::Error) -> NotShown {
        NotShown::Denied {
            path: self.folder.display().to_string(),
            errno: errno(error),
        }
    }

    /// What was recorded, a line for each event.
    pub(super) fn text(&self) -> Result<String, NotShown> {
        let trace = fs::read(self.folder.join("trace")).map_err(|error| self.denied(&error))?;
        Ok(String::from_utf8_lossy(&trace).into_owned())
    }

    /// Forgets what was recorded.
    pub(super) fn clear(&self) -> Result<(), NotShown> {
        // Opening the file to write it anew empties the buffer.
        self.write("trace", "").map_err(|error| self.denied(&error))
    }

    /// The file that gives each line once, and never waits for more.
    pub(super) fn pipe(&self) -> Result<File, NotShown> {
        OpenOptions::new()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open(self.folder.join("trace_pipe"))
            .map_err(|error| self.denied(&error))
    }
}

impl Drop for TraceInstance {
    fn drop(&mut self) {
        for event in self.events {
            let _ = self.write(&format!("events/iommu/{event}/enable"), "0");
        }
        // tracefs removes an instance with all its files.
        if let Err(error) = fs::remove_dir(&self.folder) {
            if error.kind() != io::ErrorKind::NotFound {
                log::warn!("cannot remove {}: {error}", self.folder.display());
            }
        }
    }
}

fn missing(host: &Host) -> NotShown {
    match fs::read_dir(host.path(TRACEFS[0])) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => NotShown::Denied {
            path: TRACEFS[0].to_owned(),
            errno: Errno::EACCES,
        },
        _ if host.names(TRACEFS[0]).is_empty() => NotShown::NoTracing,
        _ => NotShown::NotBuilt {
            option: "CONFIG_FTRACE with trace events of the IOMMU subsystem",
        },
    }
}
