//! What a plan acts on: the kernel's driver core, reached through sysfs.

use nix::errno::Errno;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{DriverState, Step, nodes};
use crate::host::Host;
use crate::sys::nvme::AdminError;
use crate::sys::{WriteOutcome, write_patiently};
use crate::types::Bdf;

/// How long a write to sysfs may take. Binding a network card takes seconds; vfio-pci asks the user of a device every 10 s
/// to give it back (`vfio_unregister_group_dev` of drivers/vfio/vfio_main.c), so that after this nobody will.
const PATIENCE: Duration = Duration::from_secs(15);

/// The same for a write that makes virtual functions: drivers set up each in turn, some firmware in a second or more for each.
const VF_PATIENCE: Duration = Duration::from_secs(300);

/// The kernel's driver core, or what stands for it in a test.
pub trait DriverCore {
    /// Which driver has the device now.
    fn state(&self, bdf: Bdf) -> DriverState;

    /// Whether the driver can be bound to.
    fn is_loaded(&self, driver: &str) -> bool;

    /// Makes one change.
    ///
    /// # Errors
    /// The change was not made; or, for [`StepError::Sleeping`], will be made later.
    fn perform(&self, step: &Step) -> Result<(), StepError>;
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The kernel refused it.
    #[error("{0}")]
    Refused(Errno),
    /// The write waits in the kernel, for somebody to let go of the device.
    #[error("the kernel did not finish it in time (it waits for somebody, and goes on by itself)")]
    Sleeping,
    /// The nodes of the device could not be given away.
    #[error("{0}")]
    Nodes(String),
    /// The module could not be loaded.
    #[error("the module was not loaded: {0}")]
    Module(String),
    /// An NVMe controller refused a command.
    #[error("{0}")]
    Nvme(AdminError),
}

/// The kernel that this program runs on.
#[derive(Debug, Clone, Copy)]
pub struct Kernel<'h>(pub &'h Host);

impl DriverCore for Kernel<'_> {
    fn state(&self, bdf: Bdf) -> DriverState {
        DriverState {
            driver: self.0.driver(bdf),
            driver_override: self.0.driver_override(bdf),
        }
    }

    fn is_loaded(&self, driver: &str) -> bool {
        self.0.has_driver(driver)
    }

    fn perform(&self, step: &Step) -> Result<(), StepError> {
        log::info!("{step}");
        match step {
            Step::Write { path, value } => {
                let file = OpenOptions::new()
                    .write(true)
                    .open(self.0.path(path))
                    .map_err(|error| {
                        StepError::Refused(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
                    })?;
                match write_patiently(&file, format!("{value}\n").as_bytes(), patience(path)) {
                    Ok(WriteOutcome::Done) => Ok(()),
                    Ok(WriteOutcome::Failed(errno)) | Err(errno) => Err(StepError::Refused(errno)),
                    Ok(WriteOutcome::Sleeping) => Err(StepError::Sleeping),
                }
            }
            Step::LoadModule(name) => load_module(name),
            Step::GiveNodes { bdf, to, .. } => nodes::give(self.0, *bdf, *to),
            Step::RestoreNode(node) => node.restore(self.0),
            Step::Nvme(command) => command.send().map_err(StepError::Nvme),
        }
    }
}

fn patience(path: &Path) -> Duration {
    if path.ends_with("sriov_numvfs") {
        VF_PATIENCE
    } else {
        PATIENCE
    }
}

fn load_module(name: &str) -> Result<(), StepError> {
    let output = Command::new("modprobe")
        .args(["--", name])
        .output()
        .map_err(|error| StepError::Module(format!("cannot run modprobe: {error}")))?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(StepError::Module(format!(
            "modprobe ended with {}: {}",
            output.status,
            said.trim()
        )))
    }
}
