//! Whether devices are fit to be handed out.

mod files;
mod text;

pub use files::{validate_junit, validate_metrics, validate_page};

use serde::Serialize;
use std::io::{self, Write};

use super::checks::since;
use super::{Report, Style};
use crate::checks::doctor::Health;
use crate::checks::validate::{Checked, FUNCTION_ENGINE, Fitness, Judged, MapLatency, listed};
use crate::types::{Backend, Bdf, ExitClass, Level};

/// The most devices that are named in one line.
const SHOWN: usize = 8;

/// A device that was named.
#[derive(Debug, Clone, Serialize)]
pub struct ValidatedDevice {
    /// Its address.
    pub bdf: Bdf,
    /// Vendor and device ID, as `8086:10c9`.
    pub id: String,
    /// Its name in the list of PCI IDs.
    pub name: Option<String>,
    /// The driver that it has.
    pub driver: Option<String>,
    /// The engine that makes it do DMA.
    pub engine: Option<&'static str>,
}

/// What came of a validation.
#[derive(Debug)]
pub struct Validated {
    /// The devices that were named.
    pub devices: Vec<ValidatedDevice>,
    /// How thorough it was.
    pub level: Level,
    /// Whether virtual functions were checked rather than the devices themselves.
    pub functions: bool,
    /// What mapping costs for each.
    pub latencies: Vec<MapLatency>,
    /// Each check, in the order in which they ran.
    pub checks: Vec<Checked>,
    /// Whether the user ended it.
    pub interrupted: bool,
    /// How long it took.
    pub seconds: f64,
}

/// The result of `validate`.
#[derive(Debug, Serialize)]
pub struct ValidateReport {
    verdict: Fitness,
    /// The verdict in a sentence.
    says: String,
    level: Level,
    devices: Vec<ValidatedDevice>,
    /// The virtual functions that were checked; empty where the devices themselves were.
    functions: Vec<Bdf>,
    backends: Vec<Backend>,
    passed: usize,
    warned: usize,
    failed: usize,
    /// Not done, and missed for a verdict.
    skipped: usize,
    /// Not done, as what they are about is not there.
    absent: usize,
    seconds: f64,
    map_latencies: Vec<MapLatency>,
    checks: Vec<Checked>,
}

impl ValidateReport {
    /// From what was found.
    #[must_use]
    pub fn new(validated: Validated) -> Self {
        let Validated {
            devices,
            level,
            functions,
            latencies,
            checks,
            interrupted,
            seconds,
        } = validated;
        let count = |health, optional| {
            let is = |check: &&Checked| {
                check.judged.verdict == health && check.judged.optional == optional
            };
            checks.iter().filter(is).count()
        };
        let is_function = |bdf: &Bdf| functions && devices.iter().all(|device| device.bdf != *bdf);
        let mut report = Self {
            verdict: Fitness::of(&checks, interrupted),
            says: String::new(),
            level,
            functions: each(
                checks
                    .iter()
                    .filter_map(|check| check.device)
                    .filter(is_function),
            ),
            backends: each(
                checks
                    .iter()
                    .filter(|check| check.judged.verdict != Health::Skip)
                    .filter_map(|check| check.backend),
            ),
            passed: count(Health::Pass, false),
            warned: count(Health::Warn, false),
            failed: count(Health::Fail, false),
            skipped: count(Health::Skip, false),
            absent: count(Health::Skip, true),
            seconds,
            map_latencies: latencies,
            devices,
            checks,
        };
        report.says = report.sentence();
        report
    }

    /// The exit status that it leads to.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        self.verdict.class()
    }

    fn subject(&self) -> String {
        let names: Vec<String> = self.devices.iter().map(|d| d.bdf.to_string()).collect();
        match self.functions.len() {
            0 => names.join(", "),
            1 => format!("{} with 1 virtual function", names.join(", ")),
            count => format!("{} with {count} virtual functions", names.join(", ")),
        }
    }

    fn sentence(&self) -> String {
        let subject = self.subject();
        match self.verdict {
            Fitness::Fit => {
                let backends: Vec<String> = self.backends.iter().map(Backend::to_string).collect();
                let without_dma = self.checks.iter().any(|check| {
                    check.id == FUNCTION_ENGINE.id && check.judged.verdict == Health::Skip
                });
                let known = if without_dma {
                    ", as far as can be known without DMA"
                } else {
                    ""
                };
                let passed = match self.warned {
                    0 => "every check passed".to_owned(),
                    1 => "no check failed, one warned".to_owned(),
                    count => format!("no check failed, {count} warned"),
                };
                let through = backends.join(" and ");
                format!("{subject} can be handed out{known}: {passed}, through {through}")
            }
            Fitness::Unfit => format!(
                "do not hand out {subject}: {}",
                self.first(Health::Fail).unwrap_or_default()
            ),
            Fitness::Incomplete => format!(
                "no verdict on {subject}: what could be checked passed, but not {}",
                self.first(Health::Skip)
                    .unwrap_or_else(|| "enough was checked".to_owned())
            ),
            Fitness::Interrupted => {
                format!("no verdict on {subject}: ended by a signal before all was checked")
            }
        }
    }

    /// The first of the checks that ended so and matter.
    fn first(&self, verdict: Health) -> Option<String> {
        let of = |check: &&Checked| check.judged.verdict == verdict && !check.judged.optional;
        let check = self.checks.iter().find(of)?;
        Some(format!("{}: {}", name(check), check.judged.detail))
    }
}

/// Each value once, in the order in which they come.
fn each<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

/// A check with what it is about: `function.open of 0000:02:10.0 through type1`.
fn name(check: &Checked) -> String {
    name_of_all(&[check])
}

/// The same for one check of several devices.
fn name_of_all(checks: &[&Checked]) -> String {
    let Some(first) = checks.first() else {
        return String::new();
    };
    let mut name = first.id.to_owned();
    let devices = each(checks.iter().filter_map(|check| check.device));
    let shown: Vec<String> = devices.iter().take(SHOWN).map(Bdf::to_string).collect();
    if !shown.is_empty() {
        name += &format!(" of {}", shown.join(", "));
    }
    if devices.len() > SHOWN {
        name += &format!(" and {} more", devices.len() - SHOWN);
    }
    let backends = each(checks.iter().filter_map(|check| check.backend));
    let backends: Vec<String> = backends.iter().map(Backend::to_string).collect();
    if !backends.is_empty() {
        name += &format!(" through {}", backends.join(" and "));
    }
    name
}

/// Those together that say the same of several devices or interfaces, but for the device's own name.
fn alike<'c>(checks: impl Iterator<Item = &'c Checked>) -> Vec<Vec<&'c Checked>> {
    let mut kinds: Vec<(Vec<String>, Vec<&Checked>)> = Vec::new();
    for check in checks {
        let own = check.device.map_or_else(String::new, |bdf| bdf.to_string());
        let Judged {
            detail, evidence, ..
        } = &check.judged;
        let words = [check.id, detail.as_str()].into_iter();
        let words = words
            .chain(evidence.iter().map(String::as_str))
            .chain(check.judged.remedy.as_deref());
        let says: Vec<String> = words
            .map(|text| match own.as_str() {
                "" => text.to_owned(),
                own => text.replace(own, ""),
            })
            .collect();
        match kinds.iter_mut().find(|(known, _)| *known == says) {
            Some((_, same)) => same.push(check),
            None => kinds.push((says, vec![check])),
        }
    }
    kinds.into_iter().map(|(_, same)| same).collect()
}

fn word(verdict: Fitness) -> &'static str {
    match verdict {
        Fitness::Fit => "FIT",
        Fitness::Unfit => "UNFIT",
        Fitness::Incomplete => "INCOMPLETE",
        Fitness::Interrupted => "INTERRUPTED",
    }
}

/// The checks that there are, for `validate --list`.
#[derive(Debug, Serialize)]
pub struct ValidateList {
    checks: Vec<ListedCheck>,
}

#[derive(Debug, Serialize)]
struct ListedCheck {
    id: &'static str,
    title: &'static str,
    proves: Option<&'static str>,
    level: Level,
}

impl ValidateList {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        let check = |check: crate::checks::validate::Listed| ListedCheck {
            id: check.id,
            title: check.title,
            proves: check.proves,
            level: check.from,
        };
        Self {
            checks: listed().into_iter().map(check).collect(),
        }
    }
}

impl Report for ValidateList {
    const KIND: &'static str = "validate-checks";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        for check in &self.checks {
            writeln!(out, "{}{}", style.heading(check.id), since(check.level))?;
            match check.proves {
                Some(proves) => {
                    writeln!(out, "    does    {}", check.title)?;
                    writeln!(out, "    proves  {proves}")?;
                }
                // The title is the statement.
                None => writeln!(out, "    checks  {}", check.title)?,
            }
        }
        Ok(())
    }
}
