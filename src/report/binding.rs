//! Drivers of devices that were changed, or would be.

use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use super::{Report, Style};
use crate::binding::{NodeState, Outcome, Owner, Step, shell_word};
use crate::host::Blocker;
use crate::types::{Bdf, GroupId, OwnerName};

/// What `bind` or `unbind` did.
#[derive(Debug, Serialize)]
pub struct BindingReport {
    devices: Vec<Device>,
    /// The owner that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Given>,
}

/// An owner, and what else he needs.
#[derive(Debug, Serialize)]
struct Given {
    name: String,
    uid: u32,
    gid: Option<u32>,
    /// Nodes that are not the devices' own, and that he may not open.
    closed: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    path: PathBuf,
    uid: u32,
    gid: u32,
    /// In octal, as chmod(1) takes it.
    mode: String,
}

impl From<NodeState> for Node {
    fn from(node: NodeState) -> Self {
        Self {
            path: node.path,
            uid: node.uid,
            gid: node.gid,
            mode: format!("{:04o}", node.mode),
        }
    }
}

#[derive(Debug, Serialize)]
struct Device {
    bdf: Bdf,
    changed: bool,
    driver_before: Option<String>,
    driver: Option<String>,
    group: Option<GroupId>,
    nodes: Vec<PathBuf>,
    /// To whom its nodes are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    given: Option<Owner>,
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
            given: outcome.given,
            blockers,
        };
        Self {
            devices: outcomes.into_iter().map(device).collect(),
            owner: None,
        }
    }

    /// Adds to whom the devices' nodes were given, and which other nodes he may not open.
    #[must_use]
    pub fn given(self, name: &OwnerName, owner: Owner, closed: Vec<NodeState>) -> Self {
        Self {
            owner: Some(Given {
                name: name.to_string(),
                uid: owner.uid,
                gid: owner.gid,
                closed: closed.into_iter().map(Node::from).collect(),
            }),
            ..self
        }
    }
}

impl Given {
    fn text(&self, out: &mut dyn Write, style: Style, devices: &[Device]) -> io::Result<()> {
        writeln!(
            out,
            "the nodes are {}'s until unbind; what is mapped through them counts against a limit on locked memory (ulimit -l):",
            self.name
        )?;
        let names: Vec<_> = devices
            .iter()
            .map(|device| device.bdf.to_string())
            .collect();
        writeln!(
            out,
            "  'iommu-tool doctor {}', run by that user, says whether it is enough",
            names.join(" ")
        )?;
        for node in &self.closed {
            let backend = if node.path.ends_with("iommu") {
                "iommufd"
            } else {
                "type1"
            };
            writeln!(
                out,
                "  {}: that user may not open {} (user {}, group {}, mode {}), which the backend {backend} needs",
                style.caution("closed"),
                node.path.display(),
                node.uid,
                node.gid,
                node.mode
            )?;
            writeln!(
                out,
                "    to open it to a group: chgrp GROUP {node}; chmod g+rw {node} (a rule of udev keeps it so){other}",
                node = node.path.display(),
                other = match (backend, self.closed.len()) {
                    ("iommufd", 1) => "; the backend type1 does without it",
                    _ => "",
                }
            )?;
        }
        Ok(())
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
            } else if device.driver == device.driver_before && device.given.is_some() {
                write!(out, "is {now} as before, its nodes have a new owner")?;
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
                    "  {}: the group cannot be opened while {} is on {}; bind it too, or all with --group",
                    style.caution("not viable"),
                    blocker.device,
                    blocker.driver
                )?;
            }
        }
        self.owner
            .iter()
            .try_for_each(|given| given.text(out, style, &self.devices))
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
    GiveNodes {
        bdf: Bdf,
        uid: u32,
        gid: Option<u32>,
        shell: String,
    },
    RestoreNode {
        #[serde(flatten)]
        node: Node,
        shell: String,
    },
    Run {
        command: Vec<String>,
        shell: String,
    },
}

impl PlannedStep {
    fn new(step: Step) -> Self {
        let shell = step.to_string();
        match step {
            Step::Write { path, value } => Self::Write { path, value, shell },
            Step::LoadModule(module) => Self::LoadModule { module, shell },
            Step::Nvme(command) => Self::Nvme {
                node: command.node,
                controller: command.controller,
                shell,
            },
            Step::GiveNodes { bdf, to, .. } => Self::GiveNodes {
                bdf,
                uid: to.uid,
                gid: to.gid,
                shell,
            },
            Step::RestoreNode(node) => Self::RestoreNode {
                node: node.into(),
                shell,
            },
        }
    }

    fn shell(&self) -> &str {
        match self {
            Self::Write { shell, .. }
            | Self::LoadModule { shell, .. }
            | Self::Nvme { shell, .. }
            | Self::GiveNodes { shell, .. }
            | Self::RestoreNode { shell, .. }
            | Self::Run { shell, .. } => shell,
        }
    }
}

impl PlanReport {
    /// From the steps, in order.
    #[must_use]
    pub fn new(steps: Vec<Step>) -> Self {
        Self {
            steps: steps.into_iter().map(PlannedStep::new).collect(),
        }
    }

    /// The steps before a command is run, and those after it.
    #[must_use]
    pub fn around(before: Vec<Step>, command: &[OsString], after: Vec<Step>) -> Self {
        let words: Vec<String> = command
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let shell: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
        let run = PlannedStep::Run {
            command: words,
            shell: shell.join(" "),
        };
        let before = before.into_iter().map(PlannedStep::new);
        let after = after.into_iter().map(PlannedStep::new);
        Self {
            steps: before.chain([run]).chain(after).collect(),
        }
    }
}

impl Report for PlanReport {
    const KIND: &'static str = "plan";

    fn text(&self, out: &mut dyn Write, _style: Style) -> io::Result<()> {
        self.steps
            .iter()
            .try_for_each(|step| writeln!(out, "{}", step.shell()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_open_a_node_is_told_how_to_be_given_it() {
        let node = |path: &str| NodeState {
            path: path.into(),
            uid: 0,
            gid: 0,
            mode: 0o660,
        };
        let text = |closed| {
            let owner = Owner {
                uid: 1000,
                gid: None,
            };
            let report = BindingReport::new([]).given(&"user".parse().unwrap(), owner, closed);
            let mut out = Vec::new();
            report.text(&mut out, Style::new(false)).unwrap();
            String::from_utf8(out).unwrap()
        };
        let one = text(vec![node("/dev/iommu")]);
        let remedy = "    to open it to a group: chgrp GROUP /dev/iommu; chmod g+rw /dev/iommu \
                      (a rule of udev keeps it so); the backend type1 does without it\n";
        assert!(one.ends_with(remedy), "{one}");
        let both = text(vec![node("/dev/vfio/vfio"), node("/dev/iommu")]);
        assert!(both.contains("chgrp GROUP /dev/vfio/vfio"), "{both}");
        assert!(!both.contains("does without it"), "{both}");
    }
}
