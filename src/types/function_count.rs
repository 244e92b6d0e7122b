//! How many virtual functions.

use std::fmt;
use std::str::FromStr;

/// How many virtual functions a physical one is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionCount {
    /// This many.
    Number(u16),
    /// As many as it can.
    Max,
}

/// Why a text is no such number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither a number from 0 to 65535 nor 'max'")]
pub struct ParseFunctionCountError(String);

impl FunctionCount {
    /// The number, of a physical function that can have `total`.
    #[must_use]
    pub fn of(self, total: u16) -> u16 {
        match self {
            Self::Number(number) => number,
            Self::Max => total,
        }
    }
}

impl FromStr for FunctionCount {
    type Err = ParseFunctionCountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "max" => Ok(Self::Max),
            _ => text
                .parse()
                .map(Self::Number)
                .map_err(|_| ParseFunctionCountError(text.to_owned())),
        }
    }
}

impl fmt::Display for FunctionCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Max => f.write_str("max"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_all_of_them() {
        assert_eq!("7".parse(), Ok(FunctionCount::Number(7)));
        assert_eq!("max".parse::<FunctionCount>().unwrap().of(64), 64);
        for text in ["", "-1", "65536", "many", "1.5"] {
            assert!(text.parse::<FunctionCount>().is_err(), "{text}");
        }
    }
}
