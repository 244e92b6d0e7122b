//! To whom nodes are to be given, as the user writes it.

use std::fmt;
use std::str::FromStr;

/// `USER[:GROUP]`, each a name or a number; whether there are such is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerName {
    /// The user.
    pub user: String,
    /// The group; without one, the group is left as it is.
    pub group: Option<String>,
}

/// Why a text is no `USER[:GROUP]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write USER or USER:GROUP, each a name or a number")]
pub struct ParseOwnerNameError;

impl FromStr for OwnerName {
    type Err = ParseOwnerNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let good = |name: &str| !name.is_empty() && !name.contains([':', '/', '\0', ' ']);
        if !good(user) || !group.is_none_or(good) {
            return Err(ParseOwnerNameError);
        }
        Ok(Self {
            user: user.to_owned(),
            group: group.map(str::to_owned),
        })
    }
}

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            Some(group) => write!(f, "{}:{group}", self.user),
            None => f.write_str(&self.user),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_perhaps_a_group() {
        for text in ["alice", "alice:kvm", "1000", "1000:36"] {
            assert_eq!(text.parse::<OwnerName>().unwrap().to_string(), text);
        }
        for text in ["", ":", ":kvm", "alice:", "a:b:c", "a b", "../x"] {
            assert_eq!(
                text.parse::<OwnerName>(),
                Err(ParseOwnerNameError),
                "{text}"
            );
        }
    }
}
