//! What can go wrong between a command and a holder.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use crate::device::DeviceError;
use crate::engine::EngineError;
use crate::iommu::{IommuError, IovaError};
use crate::types::{ExitClass, GroupId};

/// An error as it crosses the socket: its words, its causes, and the exit status that it leads to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Failure {
    /// What the exit status says of it.
    pub class: ExitClass,
    /// What went wrong.
    pub message: String,
    /// Why.
    #[serde(default, rename = "cause")]
    pub source: Option<Box<Failure>>,
}

impl Failure {
    /// An error of this class.
    pub fn new(class: ExitClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            source: None,
        }
    }

    /// An error that the user's request led to, as a bad address.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitClass::Usage, message)
    }

    /// From any error and its causes.
    #[must_use]
    pub fn from_chain(class: ExitClass, error: &(dyn Error + 'static)) -> Self {
        Self {
            class,
            message: error.to_string(),
            source: error
                .source()
                .map(|cause| Box::new(Self::from_chain(class, cause))),
        }
    }
}

impl From<IovaError> for Failure {
    fn from(error: IovaError) -> Self {
        Self::from_chain(error.class(), &error)
    }
}

impl From<IommuError> for Failure {
    fn from(error: IommuError) -> Self {
        Self::from_chain(error.class(), &error)
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        Self::from_chain(error.class(), &error)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::from_chain(error.class(), &error)
    }
}

/// Why a command and a holder did not come together.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The holder said so.
    #[error(transparent)]
    Holder(#[from] Failure),
    /// There is no folder where an ordinary user's sockets can be.
    #[error(
        "there is no folder for the holder's socket: XDG_RUNTIME_DIR is not set, and {} does not exist. \
         Set XDG_RUNTIME_DIR to a folder that only this user may write to", .0.display()
    )]
    NoFolder(PathBuf),
    /// A folder or socket is not as it must be.
    #[error("{} cannot be used: {what}", path.display())]
    Unsafe {
        /// The folder or socket.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// Something could not be done with a folder or socket.
    #[error("cannot {action} {}: {errno}", path.display())]
    Path {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// Another process holds the group.
    #[error(
        "IOMMU group {group} is held by process {pid} already: 'iommu-tool maps' shows what it maps"
    )]
    Held {
        /// The group.
        group: GroupId,
        /// The holder.
        pid: u32,
    },
    /// A holder of another user.
    #[error(
        "IOMMU group {group} is held by a process of {owner}: only that user and root may ask it. \
         Ask as that user ({} is its socket)", socket.display()
    )]
    HeldByOther {
        /// The group.
        group: GroupId,
        /// Whose it is.
        owner: String,
        /// Its socket.
        socket: PathBuf,
    },
    /// The holder could not be talked to.
    #[error("the process that holds IOMMU group {group} {what}")]
    Connection {
        /// The group.
        group: GroupId,
        /// What happened, and what to do.
        what: String,
    },
    /// The holder ended before it took this connection.
    #[error("the process that holds IOMMU group {0} just ended: try again")]
    Ended(GroupId),
    /// A holder could not be started.
    #[error("cannot start a process to hold the mapping: {what}")]
    Start {
        /// Why.
        what: String,
    },
    /// Something the process itself needs could not be had.
    #[error("cannot {action}: {errno}")]
    Process {
        /// What was attempted.
        action: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

impl SessionError {
    /// Something that could not be done with a folder or socket.
    pub(super) fn path(action: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::Path {
            action,
            path: path.to_owned(),
            errno: errno_of(error),
        }
    }

    /// What the exit status says of it.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::Holder(failure) => failure.class,
            Self::Held { .. } | Self::HeldByOther { .. } | Self::Unsafe { .. } => {
                ExitClass::Refused
            }
            _ => ExitClass::Failed,
        }
    }
}

/// The kernel's error in an error of the standard library; 0 if it did not come from the kernel.
pub(super) fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}
