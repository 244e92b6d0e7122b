//! The committed table of checks that must pass.

use super::lab::{Iommu, Kernel};
use iommu_tool::checks::{CHECKS, Check};
use iommu_tool::types::Level;
use serde_json::Value;

/// One line of the table: what must pass where.
#[derive(Debug, Clone)]
pub struct Requirement {
    pub kernel: Kernel,
    pub iommu: Iommu,
    pub backend: String,
    pub engine: String,
    pub checks: Vec<String>,
}

/// The table.
///
/// # Panics
/// A line of it cannot be read.
pub fn table() -> Vec<Requirement> {
    include_str!("required.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(requirement)
        .collect()
}

fn requirement(line: &str) -> Requirement {
    let mut words = line.split_whitespace();
    let mut word = || {
        words
            .next()
            .unwrap_or_else(|| panic!("required.txt: the line '{line}' is too short"))
    };
    let kernel = word().parse().unwrap_or_else(|never| match never {});
    let iommu = clap::ValueEnum::from_str(word(), false)
        .unwrap_or_else(|error| panic!("required.txt: {error}"));
    let (backend, engine) = (word().to_owned(), word().to_owned());
    Requirement {
        kernel,
        iommu,
        backend,
        engine,
        checks: words.map(str::to_owned).collect(),
    }
}

impl Requirement {
    /// The level that has all checks of the line.
    pub fn level(&self) -> Level {
        let named = |check: &&Check| self.checks.iter().any(|id| id == check.id);
        let levels = CHECKS.iter().filter(named).map(|check| check.level);
        levels.max().unwrap_or_default()
    }

    /// What is missing in the result of `test --json` for one device.
    pub fn unmet(&self, device: &Value) -> Vec<String> {
        let mut unmet = Vec::new();
        for (field, expected) in [("backend", &self.backend), ("engine", &self.engine)] {
            if device[field] != expected.as_str() {
                unmet.push(format!("{field} is {}, not {expected}", device[field]));
            }
        }
        let outcomes = device["checks"].as_array().map_or(&[][..], Vec::as_slice);
        for id in &self.checks {
            match outcomes.iter().find(|outcome| outcome["id"] == id.as_str()) {
                None => unmet.push(format!("{id} was not run")),
                Some(outcome) if outcome["verdict"] != "pass" => {
                    unmet.push(format!("{id}: {outcome}"))
                }
                Some(_) => {}
            }
        }
        unmet
    }
}
