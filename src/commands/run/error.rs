//! Why `run` could not do its part, with the exit statuses of env(1).

use std::io;

use crate::binding::BindingError;
use crate::types::{Bdf, ExitStatus};

/// Why `run` could not do its part.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such program.
    #[error("'{program}' was not found; nothing was changed")]
    NotFound {
        /// The program, as the user named it.
        program: String,
    },
    /// There is a file of that name, and it is no program.
    #[error(
        "'{program}' cannot be executed: it is no program, or this user may not run it; nothing was changed"
    )]
    NotExecutable {
        /// The program.
        program: String,
    },
    /// The devices could not be bound.
    #[error("'{program}' was not run")]
    NotRun {
        /// The program.
        program: String,
        /// Why.
        #[source]
        cause: anyhow::Error,
    },
    /// The program was found, and the kernel did not start it.
    #[error("'{program}' was not started; the devices are back on their drivers")]
    NotStarted {
        /// The program.
        program: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Not all devices were given back.
    #[error(
        "'{program}' {ended}, and not all devices are back on their drivers: once the cause is gone, 'iommu-tool recover {}' gives them back",
        list(left)
    )]
    NotRestored {
        /// The program.
        program: String,
        /// How it ended.
        ended: String,
        /// The devices that are still on VFIO, or gone.
        left: Vec<Bdf>,
        /// Why, for the first of them.
        #[source]
        cause: Box<BindingError>,
    },
}

impl RunError {
    /// The exit status that this error leads to.
    #[must_use]
    pub fn status(&self) -> ExitStatus {
        match self {
            Self::NotFound { .. } => ExitStatus::NOT_FOUND,
            // Of a script, the interpreter may be missing.
            Self::NotStarted { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                ExitStatus::NOT_FOUND
            }
            Self::NotExecutable { .. } | Self::NotStarted { .. } => ExitStatus::NOT_EXECUTABLE,
            Self::NotRun { .. } | Self::NotRestored { .. } => ExitStatus::OWN_FAILURE,
        }
    }
}

fn list(devices: &[Bdf]) -> String {
    let devices: Vec<String> = devices.iter().map(ToString::to_string).collect();
    devices.join(" ")
}
