//! Why the host was not changed as asked.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::fmt;
use std::path::PathBuf;

use super::refusal::{in_use, reset_in_use};
use super::{DriverState, Flexible, Goal, Step, StepError};
use crate::host::{Holder, HostError, Use};
use crate::sys::nvme::AdminError;
use crate::types::{Bdf, ExitClass};

/// Why the host was not changed as asked.
#[derive(Debug, thiserror::Error)]
pub enum BindingError {
    /// Something could not be learned of the host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The host is one captured in a folder.
    #[error("a captured host cannot be changed: --dry-run shows what would be done")]
    Captured,
    /// The device is a bridge.
    #[error(
        "{0} is a bridge: VFIO takes only the devices behind it, and they need it on the driver it has"
    )]
    Bridge(Bdf),
    /// The host itself uses these devices; of each, what uses it and was not allowed.
    #[error("{}", in_use(.0))]
    InUse(Vec<(Bdf, Vec<Use>)>),
    /// User space has the device open.
    #[error("{bdf} is held by {}; end that first", list(holders))]
    Held {
        /// The device.
        bdf: Bdf,
        /// Who holds it.
        holders: Vec<Holder>,
    },
    /// The driver that was asked for cannot be the device's.
    #[error("{driver} cannot take {bdf}: {reason}; --driver auto finds the right one")]
    UnfitDriver {
        /// The driver.
        driver: String,
        /// The device.
        bdf: Bdf,
        /// Why.
        reason: &'static str,
    },
    /// There is no such user or group.
    #[error("there is no {kind} '{name}'; a number works for one that this host has no name for")]
    NoSuchOwner {
        /// User or group.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A `run` has bound the device, and its program has not ended.
    #[error(
        "'iommu-tool run' (process {pid}) has {bdf} until its program ends; end that and it gives the device back"
    )]
    Running {
        /// The device.
        bdf: Bdf,
        /// The `run`.
        pid: u32,
    },
    /// `run` would have to change a device that is on a VFIO driver already.
    #[error(
        "{bdf} is on {driver} already, and run takes such a device as it is: leave --driver and --owner away, or 'iommu-tool unbind {bdf}' first"
    )]
    BoundBefore {
        /// The device.
        bdf: Bdf,
        /// Its driver.
        driver: String,
    },
    /// An earlier command on this device did not end.
    #[error(
        "an earlier command on {0} was interrupted: 'iommu-tool recover {0}' puts the device back as it was"
    )]
    Unfinished(Bdf),
    /// Another command works on the same group.
    #[error("another command ({holder}) works on this group and does not end; it holds {}", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The other process, if it could be told.
        holder: String,
    },
    /// A file of the host may not be written by this user.
    #[error("may not write {}: {errno}; run this as root", path.display())]
    MayNotWrite {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// A file of the journal could not be used.
    #[error("cannot {action} {}: {errno}{}", path.display(), root_hint(*errno))]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// What is remembered of a device cannot be read.
    #[error(
        "what is remembered of {bdf} in {} is damaged, or written by another version of this program: look at it; after you remove it, 'iommu-tool unbind {bdf}' lets the kernel choose the driver",
        path.display()
    )]
    DamagedJournal {
        /// The file.
        path: PathBuf,
        /// The device.
        bdf: Bdf,
    },
    /// A signal asked the program to end.
    #[error("interrupted by {0}")]
    Interrupted(Signal),
    /// A step failed.
    #[error("'{step}' failed: {cause}{}", hint(step, cause))]
    Step {
        /// The step.
        step: Step,
        /// Why.
        cause: StepError,
    },
    /// All steps succeeded, and yet the device is not where it should be.
    #[error(
        "the kernel took every step, but the device is {}, not {}",
        state(found),
        goal(wanted)
    )]
    NotTaken {
        /// What was to be reached.
        wanted: Goal,
        /// What was found.
        found: DriverState,
    },
    /// The driver of a device was not changed.
    #[error("the driver of {bdf} was not changed{undo}")]
    NotDone {
        /// The device.
        bdf: Bdf,
        /// Why.
        #[source]
        cause: Box<BindingError>,
        /// What was undone.
        undo: Undo,
    },
    /// The device can have no virtual functions.
    #[error("{bdf} has no virtual functions to offer: {}", match physical {
        Some(physical) => format!("it is one itself, of {physical}"),
        None => "it has no SR-IOV capability, or it is turned off in the device's or the host's firmware".to_owned(),
    })]
    NoVirtualFunctions {
        /// The device.
        bdf: Bdf,
        /// The physical function that it belongs to.
        physical: Option<Bdf>,
    },
    /// It can have fewer.
    #[error("{bdf} can have {total} virtual functions, not {wanted}")]
    TooManyFunctions {
        /// The device.
        bdf: Bdf,
        /// How many were asked for.
        wanted: u16,
        /// The most that it can have.
        total: u16,
    },
    /// Nobody makes them.
    #[error(
        "{0} has no driver, and it is the driver that makes virtual functions: let the kernel find it one (echo {0} > /sys/bus/pci/drivers_probe), or bind it"
    )]
    NoDriverForFunctions(Bdf),
    /// An earlier command that changed virtual functions did not end.
    #[error(
        "an earlier command that made or removed virtual functions of {0} was interrupted: 'iommu-tool recover' puts them back"
    )]
    UnfinishedFunctions(Bdf),
    /// What is remembered of virtual functions cannot be read.
    #[error(
        "what is remembered of the virtual functions of {bdf} in {} is damaged, or written by another version of this program: look at it; after you remove it, 'iommu-tool vfs {bdf} 0' removes them",
        path.display()
    )]
    DamagedFunctions {
        /// The file.
        path: PathBuf,
        /// The device.
        bdf: Bdf,
    },
    /// The kernel makes no virtual functions.
    #[error("'{step}' failed: {errno}; {cause}{}", quoted(log))]
    FunctionsRefused {
        /// The step.
        step: Step,
        /// What the kernel said.
        errno: Errno,
        /// The likely cause, and what to do.
        cause: String,
        /// What it logged meanwhile.
        log: Vec<String>,
    },
    /// All steps succeeded, and yet there is another number of virtual functions.
    #[error(
        "the kernel took every step, but {bdf} has {found} virtual functions that answer, not {wanted}"
    )]
    OtherNumber {
        /// The device.
        bdf: Bdf,
        /// How many were asked for.
        wanted: u16,
        /// How many there are.
        found: u16,
    },
    /// The number of virtual functions was not changed.
    #[error("the virtual functions of {bdf} were not changed{}", match now {
        Some(Ok(number)) => format!("; it has {number} as before"),
        Some(Err(reason)) => format!("; they could not be put back ({reason}), 'iommu-tool recover' tries it again"),
        None => "; the kernel still works on it, 'iommu-tool recover' does the rest".to_owned(),
    })]
    FunctionsNotChanged {
        /// The device.
        bdf: Bdf,
        /// Why.
        #[source]
        cause: Box<BindingError>,
        /// How many there are, or why they could not be put back; `None` if the kernel still works on it.
        now: Option<Result<u16, String>>,
    },
    /// The controller of a physical function does not say how its virtual ones are put into use.
    #[error("cannot ask {} how the virtual functions of {bdf} are put into use: {cause}", node.display())]
    Nvme {
        /// The device.
        bdf: Bdf,
        /// Its controller's node.
        node: PathBuf,
        /// Why.
        cause: AdminError,
    },
    /// A controller has not enough to give.
    #[error(
        "{bdf} has NVMe queues and interrupts to give away for {most} virtual functions, not for {wanted}"
    )]
    NvmeShortage {
        /// The device.
        bdf: Bdf,
        /// How many were asked for.
        wanted: u16,
        /// How many there is enough for.
        most: u16,
    },
    /// The host uses the physical function, which would be reset.
    #[error("{}", reset_in_use(*bdf, uses))]
    ResetInUse {
        /// The device.
        bdf: Bdf,
        /// What uses it and was not allowed.
        uses: Vec<Use>,
    },
    /// The virtual functions are as they were, but the physical one has not got its resources back.
    #[error(
        "{0} has as many virtual functions as wanted, but has not got back the NVMe queues and interrupts that it had; 'iommu-tool recover {0}' tries it again"
    )]
    NotGivenBack(Bdf, #[source] Box<BindingError>),
    /// The controller took every command, and yet it does not have what it had.
    #[error("the controller took every command, but has {found} and not {wanted}")]
    OtherFlexible {
        /// What it had.
        wanted: Flexible,
        /// What it has.
        found: Flexible,
    },
    /// Nobody can ask the controller.
    #[error(
        "the kernel's nvme driver does not have {0}: 'iommu-tool unbind {0}' first, if it is with user space"
    )]
    NoController(Bdf),
    /// A driver has not ended what this program had it do.
    #[error(
        "{} is still {does} on {bdf}; dmesg may say what it waits for; when it has ended, 'iommu-tool recover {bdf}' does the rest, and if it never does, only a restart of the host helps",
        driver.as_ref().map_or_else(|| "a driver".to_owned(), |driver| format!("the driver {driver}"))
    )]
    DriverAtWork {
        /// The device.
        bdf: Bdf,
        /// The driver, if it is known.
        driver: Option<String>,
        /// Starting or stopping.
        does: &'static str,
    },
    /// The kernel lets nobody at the device.
    #[error(
        "the kernel is at work on {0} and lets nobody else change it: a driver is still starting or stopping there, or a process of another container has it open and vfio-pci waits for that one; dmesg may say which; try this again when it has ended, and if it never does, only a restart of the host helps"
    )]
    Busy(Bdf),
    /// The kernel waits until the holders of the device let go.
    #[error(
        "the kernel takes the device back as soon as its holder lets go: {}; then 'iommu-tool recover {bdf}' does the rest",
        if holders.is_empty() { "no process with the device open was found, look for one in other containers".to_owned() } else { list(holders) }
    )]
    Waiting {
        /// The device.
        bdf: Bdf,
        /// Who holds it.
        holders: Vec<Holder>,
    },
}

impl BindingError {
    /// Whether a signal ended what was under way.
    #[must_use]
    pub fn is_interruption(&self) -> bool {
        match self {
            Self::Interrupted(_) => true,
            Self::NotDone { cause, .. } | Self::FunctionsNotChanged { cause, .. } => {
                cause.is_interruption()
            }
            _ => false,
        }
    }

    /// The exit status that this error leads to.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::Host(error) => error.class(),
            Self::Captured
            | Self::UnfitDriver { .. }
            | Self::NoSuchOwner { .. }
            | Self::NoVirtualFunctions { .. }
            | Self::TooManyFunctions { .. } => ExitClass::Usage,
            Self::Bridge(_)
            | Self::InUse(_)
            | Self::Held { .. }
            | Self::Running { .. }
            | Self::BoundBefore { .. }
            | Self::Unfinished(_)
            | Self::UnfinishedFunctions(_)
            | Self::Locked { .. }
            | Self::ResetInUse { .. }
            | Self::Busy(_)
            | Self::Waiting { .. } => ExitClass::Refused,
            Self::NotDone { cause, .. }
            | Self::FunctionsNotChanged { cause, .. }
            | Self::NotGivenBack(_, cause) => cause.class(),
            Self::MayNotWrite { .. }
            | Self::File { .. }
            | Self::DamagedJournal { .. }
            | Self::DamagedFunctions { .. }
            | Self::NoDriverForFunctions(_)
            | Self::FunctionsRefused { .. }
            | Self::OtherNumber { .. }
            | Self::Nvme { .. }
            | Self::NvmeShortage { .. }
            | Self::Interrupted(_)
            | Self::OtherFlexible { .. }
            | Self::NoController(_)
            | Self::DriverAtWork { .. }
            | Self::Step { .. }
            | Self::NotTaken { .. } => ExitClass::Failed,
        }
    }
}

/// What was undone after a failure, and what could not be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undo {
    /// Devices that are as they were, each with its driver.
    pub back: Vec<(Bdf, Option<String>)>,
    /// Devices that are not, each with the reason.
    pub left: Vec<(Bdf, String)>,
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bdf, driver) in &self.back {
            match driver {
                Some(driver) => write!(f, "; {bdf} is on {driver} as before")?,
                None => write!(f, "; {bdf} has no driver, as before")?,
            }
        }
        for (bdf, reason) in &self.left {
            write!(
                f,
                "; {bdf} could not be put back ({reason}), 'iommu-tool recover {bdf}' tries it again"
            )?;
        }
        Ok(())
    }
}

fn list(holders: &[Holder]) -> String {
    let holders: Vec<String> = holders.iter().map(ToString::to_string).collect();
    holders.join(", ")
}

fn state(state: &DriverState) -> String {
    let driver = match &state.driver {
        Some(driver) => format!("on {driver}"),
        None => "without a driver".to_owned(),
    };
    match &state.driver_override {
        Some(name) => format!("{driver} with driver_override {name}"),
        None => format!("{driver} with no driver_override"),
    }
}

fn goal(goal: &Goal) -> String {
    match goal {
        Goal::State(wanted) => state(wanted),
        Goal::Natural => "away from VFIO".to_owned(),
    }
}

/// Lines of the kernel log, after a message.
fn quoted(log: &[String]) -> String {
    log.iter()
        .map(|line| format!("; the kernel logged: {line}"))
        .collect()
}

fn root_hint(errno: Errno) -> &'static str {
    match errno {
        Errno::EACCES | Errno::EPERM => "; run this as root",
        _ => "",
    }
}

/// The likely cause of a failed step, and what to do.
fn hint(step: &Step, cause: &StepError) -> &'static str {
    let path = match step {
        Step::Write { path, .. } => path,
        Step::LoadModule(_) => return "; is this module there for the running kernel?",
        Step::Nvme(_) => return "; the drive's manual may say why",
        Step::GiveNodes { .. } | Step::RestoreNode(_) => return "",
    };
    let is_bind = path.ends_with("bind");
    let is_vfio = path.to_string_lossy().contains("vfio");
    match cause {
        StepError::Refused(Errno::EINVAL) if is_bind && is_vfio => {
            "; vfio-pci takes no bridge, no device on its denylist (vfio-pci.disable_denylist=1 lifts that) and none without an IOMMU: dmesg says which"
        }
        StepError::Refused(Errno::EBUSY) if is_bind => {
            "; the device has a driver already, or user space holds its IOMMU group"
        }
        StepError::Refused(Errno::ENODEV) if is_bind => {
            "; the driver does not want this device, or the device vanished: dmesg may say more"
        }
        StepError::Refused(Errno::ENOENT) if is_bind => "; the driver is not loaded",
        StepError::Refused(Errno::EACCES | Errno::EPERM) => "; run this as root",
        _ => "",
    }
}
