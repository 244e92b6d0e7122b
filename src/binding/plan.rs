//! From the driver a device has to the one it is to have: the steps, in order.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

use super::{NodeState, NvmeCommand, Owner};
use crate::types::{Bdf, GroupId};

/// Which driver has a device, and which alone may have it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverState {
    /// The driver that it is bound to.
    pub driver: Option<String>,
    /// Its `driver_override`; `None` if unset.
    pub driver_override: Option<String>,
}

/// What a change is to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// Exactly this state.
    State(DriverState),
    /// No override, and whichever driver the kernel finds for the device, perhaps none.
    Natural,
}

/// One change to the host. Prints as the shell command that does the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write `value` and a newline to a file of sysfs.
    Write {
        /// The file.
        path: PathBuf,
        /// The text; empty unsets a `driver_override`.
        value: String,
    },
    /// Load the module of this driver.
    LoadModule(String),
    /// Give the nodes through which user space reaches the device, once they are there, to this owner.
    GiveNodes {
        /// The device.
        bdf: Bdf,
        /// Its group, if it is known before the device is bound.
        group: Option<GroupId>,
        /// Whose they are to be.
        to: Owner,
    },
    /// Make a node whose it was, if it is still there.
    RestoreNode(NodeState),
    /// Have an NVMe controller manage one of its virtual functions.
    Nvme(NvmeCommand),
}

impl Step {
    pub(super) fn write(path: impl Into<PathBuf>, value: impl fmt::Display) -> Self {
        Self::Write {
            path: path.into(),
            value: value.to_string(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { path, value } if value.is_empty() => {
                write!(f, "echo > {}", shell_word(&path.to_string_lossy()))
            }
            Self::Write { path, value } => write!(
                f,
                "echo {} > {}",
                shell_word(value),
                shell_word(&path.to_string_lossy())
            ),
            Self::LoadModule(name) => write!(f, "modprobe {}", shell_word(name)),
            Self::GiveNodes { bdf, group, to } => {
                let own = format!("/dev/vfio/devices/$(ls /sys/bus/pci/devices/{bdf}/vfio-dev)");
                let nodes = match group {
                    Some(group) => format!("/dev/vfio/{group} {own}"),
                    None => own,
                };
                write!(
                    f,
                    "chown {} {nodes}; chmod {} {nodes}",
                    to.chown_word(),
                    to.chmod_word()
                )
            }
            Self::RestoreNode(node) => {
                let path = node.path.to_string_lossy();
                let path = shell_word(&path);
                write!(
                    f,
                    "test ! -e {path} || {{ chown {}:{} {path}; chmod {:o} {path}; }}",
                    node.uid, node.gid, node.mode
                )
            }
            Self::Nvme(command) => command.fmt(f),
        }
    }
}

/// A text as one word of a shell command.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-+,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The steps from `now` to `goal`; none if there is nothing to do.
///
/// `driver_override` names the new driver before the device leaves the old one, so that no other driver can take it in
/// between, and a driver that would not match by itself does.
#[must_use]
pub fn plan(
    bdf: Bdf,
    now: &DriverState,
    goal: &Goal,
    is_loaded: impl Fn(&str) -> bool,
) -> Vec<Step> {
    let unbind =
        |driver: &String| Step::write(format!("/sys/bus/pci/drivers/{driver}/unbind"), bdf);
    let wanted = match goal {
        Goal::State(wanted) => wanted,
        Goal::Natural => {
            let mut steps =
                Vec::from_iter(override_step(bdf, now.driver_override.as_deref(), None));
            steps.extend(now.driver.as_ref().map(unbind));
            steps.push(Step::write("/sys/bus/pci/drivers_probe", bdf));
            return steps;
        }
    };
    let mut steps = Vec::new();
    let mut driver_override = now.driver_override.as_deref();
    if now.driver != wanted.driver {
        if let Some(driver) = &wanted.driver {
            if !is_loaded(driver) {
                steps.push(Step::LoadModule(driver.clone()));
            }
            steps.extend(override_step(bdf, driver_override, Some(driver)));
            driver_override = Some(driver);
        }
        steps.extend(now.driver.as_ref().map(unbind));
        if let Some(driver) = &wanted.driver {
            steps.push(Step::write(
                format!("/sys/bus/pci/drivers/{driver}/bind"),
                bdf,
            ));
        }
    }
    steps.extend(override_step(
        bdf,
        driver_override,
        wanted.driver_override.as_deref(),
    ));
    steps
}

/// Unset is written as an empty line: the `(null)` that an unset one reads as would be taken for a driver's name.
fn override_step(bdf: Bdf, now: Option<&str>, wanted: Option<&str>) -> Option<Step> {
    (now != wanted).then(|| {
        Step::write(
            format!("/sys/bus/pci/devices/{bdf}/driver_override"),
            wanted.unwrap_or_default(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(driver: Option<&str>, driver_override: Option<&str>) -> DriverState {
        DriverState {
            driver: driver.map(str::to_owned),
            driver_override: driver_override.map(str::to_owned),
        }
    }

    fn shell(now: &DriverState, goal: &Goal) -> Vec<String> {
        let bdf = "01:00.0".parse().unwrap();
        plan(bdf, now, goal, |driver| driver != "missing")
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    const OVERRIDE: &str = "/sys/bus/pci/devices/0000:01:00.0/driver_override";

    #[test]
    fn there_and_back() {
        let native = state(Some("nvme"), None);
        let bound = state(Some("vfio-pci"), Some("vfio-pci"));
        assert_eq!(
            shell(&native, &Goal::State(bound.clone())),
            [
                &format!("echo vfio-pci > {OVERRIDE}"),
                "echo 0000:01:00.0 > /sys/bus/pci/drivers/nvme/unbind",
                "echo 0000:01:00.0 > /sys/bus/pci/drivers/vfio-pci/bind",
            ]
        );
        assert_eq!(
            shell(&bound, &Goal::State(native.clone())),
            [
                &format!("echo nvme > {OVERRIDE}"),
                "echo 0000:01:00.0 > /sys/bus/pci/drivers/vfio-pci/unbind",
                "echo 0000:01:00.0 > /sys/bus/pci/drivers/nvme/bind",
                &format!("echo > {OVERRIDE}"),
            ]
        );
        assert_eq!(shell(&native, &Goal::State(native.clone())), [""; 0]);
    }

    #[test]
    fn a_device_without_a_driver_gets_none_back() {
        let bound = state(Some("vfio-pci"), Some("vfio-pci"));
        assert_eq!(
            shell(&bound, &Goal::State(state(None, None))),
            [
                "echo 0000:01:00.0 > /sys/bus/pci/drivers/vfio-pci/unbind",
                &format!("echo > {OVERRIDE}"),
            ]
        );
    }

    #[test]
    fn a_missing_driver_is_loaded_and_without_a_memory_the_kernel_decides() {
        let steps = shell(
            &state(None, None),
            &Goal::State(state(Some("missing"), None)),
        );
        assert_eq!(steps[0], "modprobe missing");
        assert_eq!(
            shell(&state(Some("vfio-pci"), Some("vfio-pci")), &Goal::Natural),
            [
                &format!("echo > {OVERRIDE}"),
                "echo 0000:01:00.0 > /sys/bus/pci/drivers/vfio-pci/unbind",
                "echo 0000:01:00.0 > /sys/bus/pci/drivers_probe",
            ]
        );
    }

    #[test]
    fn nodes_change_hands_as_shell_does_it() {
        let bdf = "01:00.0".parse().unwrap();
        let to = |gid| Owner { uid: 1000, gid };
        let give = |group, to| Step::GiveNodes { bdf, group, to }.to_string();
        let own = "/dev/vfio/devices/$(ls /sys/bus/pci/devices/0000:01:00.0/vfio-dev)";
        assert_eq!(
            give(Some(GroupId(7)), to(None)),
            format!("chown 1000 /dev/vfio/7 {own}; chmod u+rw /dev/vfio/7 {own}")
        );
        assert_eq!(
            give(None, to(Some(36))),
            format!("chown 1000:36 {own}; chmod ug+rw {own}")
        );
        let node = NodeState {
            path: "/dev/vfio/7".into(),
            uid: 0,
            gid: 36,
            mode: 0o660,
        };
        assert_eq!(
            Step::RestoreNode(node).to_string(),
            "test ! -e /dev/vfio/7 || { chown 0:36 /dev/vfio/7; chmod 660 /dev/vfio/7; }"
        );
    }

    #[test]
    fn odd_names_stay_one_shell_word() {
        assert_eq!(
            Step::LoadModule("a b'c".into()).to_string(),
            r"modprobe 'a b'\''c'"
        );
    }
}
