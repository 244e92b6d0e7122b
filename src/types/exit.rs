//! What the process's exit status tells a script.

/// The kinds of outcome that a script can tell apart by the exit status.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum ExitClass {
    /// Done; every check passed.
    Done = 0,
    /// An operation or a check failed.
    Failed = 1,
    /// A bad flag, a bad address, no such device.
    Usage = 2,
    /// Refused for safety, or held by someone else.
    Refused = 3,
    /// No verdict: what matters was skipped, or this host cannot do it.
    NoVerdict = 4,
}

/// The exit status of the process: that of an [`ExitClass`], but for a command that passes on another program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus(pub u8);

impl ExitStatus {
    /// A command that runs another program failed itself (env(1)).
    pub const OWN_FAILURE: Self = Self(125);
    /// The program was found and cannot be executed.
    pub const NOT_EXECUTABLE: Self = Self(126);
    /// The program was not found.
    pub const NOT_FOUND: Self = Self(127);
}

impl From<ExitClass> for ExitStatus {
    fn from(class: ExitClass) -> Self {
        Self(class as u8)
    }
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.0)
    }
}
