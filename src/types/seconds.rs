//! How long something goes on.

use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::time::Duration;

/// How long something goes on, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(u64);

impl Default for Seconds {
    /// What a soak takes where nothing is said: a minute.
    fn default() -> Self {
        Self(60)
    }
}

impl From<Seconds> for Duration {
    fn from(time: Seconds) -> Self {
        Self::from_secs(time.0)
    }
}

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no time; write 30s, 10m or 2h, at least 1s and at most 1000h")]
pub struct ParseSecondsError(String);

impl FromStr for Seconds {
    type Err = ParseSecondsError;

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
            .ok_or_else(|| ParseSecondsError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("1", 1), ("30s", 30), ("10m", 600), ("2h", 7200)] {
            assert_eq!(text.parse(), Ok(Seconds(seconds)));
        }
        for text in ["", "0", "s", "-1", "+1s", "1.5s", "1d", "1 s", "99999999h"] {
            let error = text.parse::<Seconds>().unwrap_err().to_string();
            assert!(error.contains("is no time"), "{error}");
        }
    }
}
