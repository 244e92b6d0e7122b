//! Drivers of devices that were changed, or would be.

use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;

use super::{Report, Style};
use crate::binding::{Outcome, Step};
use crate::host::Blocker;
use crate::types::{Bdf, GroupId};

/// What `bind` or `unbind` did.
#[derive(Debug, Serialize)]
pub struct BindingReport {
    devices: Vec<Device>,
}

#[derive(Debug, Serialize)]
struct Device {
    bdf: Bdf,
    changed: bool,
    driver_before: Option<String>,
    driver: Option<String>,
    group: Option<GroupId>,
    nodes: Vec<PathBuf>,
    /// Devices of the group that keep user space from opening it.
    blockers: Vec<Blocker>,
}

impl BindingReport {
    /// From each outcome, and what still blocks its group.
    pub fn new(outcomes: impl IntoIterator<Item = (Outcome, Vec<Blocker>)>) -> Self {
        let device = |(outcome, blockers): (Outcome, Vec<Blocker>)| Device {
            bdf: outcome.bdf,
            changed: outcome.changed,
            driver_before: outcome.before,
            driver: outcome.after,
            group: outcome.group,
            nodes: outcome.nodes,
            blockers,
        };
        Self {
            devices: outcomes.into_iter().map(device).collect(),
        }
    }
}

impl Report for BindingReport {
    const KIND: &'static str = "binding";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        for device in &self.devices {
            let name = |driver: &Option<String>| match driver {
                Some(driver) => format!("on {driver}"),
                None => "without a driver".to_owned(),
            };
            write!(out, "{} ", device.bdf)?;
            let now = name(&device.driver);
            if !device.changed {
                write!(out, "is {now} already, nothing changed")?;
            } else if device.driver == device.driver_before {
                write!(out, "is {now} as before, its driver_override is restored")?;
            } else {
                let before = name(&device.driver_before);
                write!(out, "is {} now, it was {before}", style.good(&now))?;
            }
            if !device.nodes.is_empty() {
                if let Some(group) = device.group {
                    write!(out, "; group {group}")?;
                }
                for node in &device.nodes {
                    write!(out, ", {}", node.display())?;
                }
            }
            writeln!(out)?;
            for blocker in &device.blockers {
                writeln!(
                    out,
                    "  {}: the group cannot be opened while {} is on {}; bind it too",
                    style.caution("not viable"),
                    blocker.device,
                    blocker.driver
                )?;
            }
        }
        Ok(())
    }
}

/// What `--dry-run` would do: as text, shell commands.
#[derive(Debug, Serialize)]
pub struct PlanReport {
    steps: Vec<PlannedStep>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "action")]
enum PlannedStep {
    /// A newline follows the value.
    Write {
        path: PathBuf,
        value: String,
        shell: String,
    },
    LoadModule {
        module: String,
        shell: String,
    },
    /// A command for an NVMe controller.
    Nvme {
        node: PathBuf,
        controller: u16,
        shell: String,
    },
}

impl PlanReport {
    /// From the steps, in order.
    #[must_use]
    pub fn new(steps: Vec<Step>) -> Self {
        let planned = |step: Step| {
            let shell = step.to_string();
            match step {
                Step::Write { path, value } => PlannedStep::Write { path, value, shell },
                Step::LoadModule(module) => PlannedStep::LoadModule { module, shell },
                Step::Nvme(command) => PlannedStep::Nvme {
                    node: command.node,
                    controller: command.controller,
                    shell,
                },
            }
        };
        Self {
            steps: steps.into_iter().map(planned).collect(),
        }
    }
}

impl Report for PlanReport {
    const KIND: &'static str = "plan";

    fn text(&self, out: &mut dyn Write, _style: Style) -> io::Result<()> {
        self.steps.iter().try_for_each(|step| match step {
            PlannedStep::Write { shell, .. }
            | PlannedStep::LoadModule { shell, .. }
            | PlannedStep::Nvme { shell, .. } => writeln!(out, "{shell}"),
        })
    }
}
