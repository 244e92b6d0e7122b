//! How much `test` does.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;

use super::Seconds;

/// How thorough a test is. Each level does all that those before it do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Every proof that the device is held back, and loops of all kinds
    #[default]
    Quick,
    /// Also loops in special places and through special mappings
    Full,
    /// Also random loops until the time is over
    Soak,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quick => "quick",
            Self::Full => "full",
            Self::Soak => "soak",
        })
    }
}

/// Which checks `test` runs, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestScope {
    /// How thorough.
    pub level: Level,
    /// Names of the only checks to run; empty for all of the level.
    pub only: Vec<String>,
    /// Names of checks to leave out.
    pub skip: Vec<String>,
    /// Whether data that the device stores may be changed, and put back.
    pub destructive: bool,
    /// How long random loops go on.
    pub soak: Seconds,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_grow() {
        assert!(Level::Quick < Level::Full && Level::Full < Level::Soak);
    }
}
