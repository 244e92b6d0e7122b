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

impl From<ExitClass> for std::process::ExitCode {
    fn from(class: ExitClass) -> Self {
        Self::from(class as u8)
    }
}
