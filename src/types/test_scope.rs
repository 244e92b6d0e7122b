//! How much `test` does.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

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
    pub soak: SoakTime,
}

/// How long something goes on, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SoakTime(u64);

impl Default for SoakTime {
    /// A minute.
    fn default() -> Self {
        Self(60)
    }
}

impl From<SoakTime> for Duration {
    fn from(time: SoakTime) -> Self {
        Self::from_secs(time.0)
    }
}

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no time; write 30s, 10m or 2h, at least 1s and at most 1000h")]
pub struct ParseSoakTimeError(String);

impl FromStr for SoakTime {
    type Err = ParseSoakTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, scale) = [("h", 3600), ("m", 60), ("s", 1), ("", 1)]
            .into_iter()
            .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))
            .unwrap_or((text, 1));
        // Not `parse` alone, which takes a sign.
        let number = digits.bytes().all(|digit| digit.is_ascii_digit());
        let seconds = number
            .then(|| digits.parse::<u64>().ok()?.checked_mul(scale))
            .flatten();
        seconds
            .filter(|seconds| (1..=3_600_000).contains(seconds))
            .map(Self)
            .ok_or_else(|| ParseSoakTimeError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("1", 1), ("30s", 30), ("10m", 600), ("2h", 7200)] {
            assert_eq!(text.parse(), Ok(SoakTime(seconds)));
        }
        for text in ["", "0", "s", "-1", "+1s", "1.5s", "1d", "1 s", "99999999h"] {
            let error = text.parse::<SoakTime>().unwrap_err().to_string();
            assert!(error.contains("is no time"), "{error}");
        }
    }

    #[test]
    fn levels_grow() {
        assert!(Level::Quick < Level::Full && Level::Full < Level::Soak);
    }
}
