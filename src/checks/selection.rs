//! Which checks of the table a run has.

use super::{CHECKS, Check, Role};
use crate::types::{ExitClass, TestScope};

/// Why checks cannot be selected as asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// A name that no check has.
    #[error(
        "no check is called '{name}'. Did you mean {suggestion}? 'iommu-tool test --list' names all"
    )]
    Unknown {
        /// The name.
        name: String,
        /// The name of a check that is most like it.
        suggestion: &'static str,
    },
    /// A gate was to be left out.
    #[error("{gate} cannot be left out: it shows that the checks after it do no harm on this host")]
    Gate {
        /// The check's name.
        gate: &'static str,
    },
    /// Nothing is left.
    #[error("no check is left to run: each that --only names is left out by --skip or --level")]
    Nothing,
}

impl SelectionError {
    /// What the exit status says of it.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        ExitClass::Usage
    }
}

/// The checks of a scope, in the order of the table.
///
/// A name is that of a check, which then runs whatever the level, or of a whole family: `loopback`. Where one check makes the device do
/// DMA, the gate is among them.
///
/// # Errors
/// A name is unknown, or nothing safe is left.
pub fn select(scope: &TestScope) -> Result<Vec<&'static Check>, SelectionError> {
    scope.only.iter().chain(&scope.skip).try_for_each(known)?;
    let named = |names: &[String], check: &Check| names.iter().any(|name| name == check.id);
    let family = |names: &[String], check: &Check| {
        let of_check = check.id.split('.').next();
        names.iter().any(|name| Some(name.as_str()) == of_check)
    };
    let wanted = |check: &&Check| {
        let of_level = check.level <= scope.level;
        let asked_for = named(&scope.only, check)
            || (scope.only.is_empty() || family(&scope.only, check)) && of_level;
        asked_for && !named(&scope.skip, check) && !family(&scope.skip, check)
    };
    let is_gate = |check: &Check| check.role == Role::Gate;
    if let Some(gate) = CHECKS
        .iter()
        .find(|check| is_gate(check) && named(&scope.skip, check))
    {
        return Err(SelectionError::Gate { gate: gate.id });
    }
    let wanted: Vec<&Check> = CHECKS.iter().filter(wanted).collect();
    if wanted.is_empty() {
        return Err(SelectionError::Nothing);
    }
    let with_dma = wanted.iter().any(|check| check.role != Role::WithoutDma);
    let ids: Vec<&str> = wanted.iter().map(|check| check.id).collect();
    let runs = |check: &&Check| ids.contains(&check.id) || with_dma && is_gate(check);
    Ok(CHECKS.iter().filter(runs).collect())
}

fn known(name: &String) -> Result<(), SelectionError> {
    let is_it = |check: &Check| {
        let family = check.id.split('.').next();
        check.id == name || family == Some(name.as_str())
    };
    if CHECKS.iter().any(is_it) {
        return Ok(());
    }
    let closest = CHECKS.iter().min_by_key(|check| {
        let last = check.id.split('.').next_back().unwrap_or_default();
        distance(check.id, name).min(distance(last, name))
    });
    Err(SelectionError::Unknown {
        name: name.clone(),
        suggestion: closest.map_or("", |check| check.id),
    })
}

/// How many letters must be changed, put in or taken out to make one of the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (taken, a) in from.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], taken + 1);
        for (at, b) in to.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Level;

    fn ids(
        level: Level,
        only: &[&str],
        skip: &[&str],
    ) -> Result<Vec<&'static str>, SelectionError> {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let scope = TestScope {
            level,
            only: names(only),
            skip: names(skip),
            ..TestScope::default()
        };
        Ok(select(&scope)?.iter().map(|check| check.id).collect())
    }

    #[test]
    fn each_level_has_all_of_the_one_before() {
        let quick = ids(Level::Quick, &[], &[]).unwrap();
        let full = ids(Level::Full, &[], &[]).unwrap();
        let soak = ids(Level::Soak, &[], &[]).unwrap();
        assert!(quick.len() < full.len() && full.len() < soak.len());
        assert_eq!(soak.len(), CHECKS.len());
        assert!(quick.iter().all(|id| full.contains(id)));
        let isolation = CHECKS
            .iter()
            .filter(|check| check.id.starts_with("isolation."));
        assert!(isolation.into_iter().all(|check| quick.contains(&check.id)));
    }

    #[test]
    fn what_does_dma_never_runs_without_the_gate() {
        assert_eq!(
            ids(Level::Quick, &["loopback.soak"], &[]).unwrap(),
            ["translation.canary", "loopback.soak"]
        );
        assert_eq!(
            ids(Level::Quick, &["mapping.round-trip"], &[]).unwrap(),
            ["mapping.round-trip"]
        );
        for skip in ["translation.canary", "translation"] {
            let left = ids(Level::Quick, &["loopback.sizes"], &[skip]);
            let kept = left
                .as_ref()
                .is_ok_and(|ids| ids.contains(&"translation.canary"));
            assert!(
                kept || left
                    == Err(SelectionError::Gate {
                        gate: "translation.canary"
                    })
            );
        }
    }

    #[test]
    fn families_and_single_checks_are_picked_and_left_out() {
        let picked = ids(Level::Quick, &["mapping", "loopback.sizes"], &[]).unwrap();
        assert_eq!(
            picked,
            ["mapping.round-trip", "translation.canary", "loopback.sizes"]
        );
        let left = ids(Level::Full, &[], &["isolation", "loopback.sizes"]).unwrap();
        assert!(!left.contains(&"loopback.sizes") && left.contains(&"loopback.patterns"));
        assert!(!left.iter().any(|id| id.starts_with("isolation.")));
        assert_eq!(
            ids(Level::Quick, &["mapping"], &["mapping.round-trip"]),
            Err(SelectionError::Nothing)
        );
    }

    #[test]
    fn a_name_that_is_wrong_is_refused_with_one_that_is_right() {
        for (wrong, right) in [
            ("loopback.size", "loopback.sizes"),
            ("canary", "translation.canary"),
            ("isolation.unmaped", "isolation.unmapped"),
        ] {
            let error = ids(Level::Quick, &[], &[wrong]).unwrap_err();
            assert!(
                matches!(error, SelectionError::Unknown { suggestion, .. } if suggestion == right)
            );
        }
    }
}
