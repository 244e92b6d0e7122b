//! What a plan acts on: the kernel's driver core, reached through sysfs.

use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{BindingError, DriverState, Step, nodes};
use crate::host::{Host, driver_override_of, is_vfio_driver};
use crate::sys::PatientCall;
use crate::sys::nvme::AdminError;
use crate::types::Bdf;

/// How long a read or a write of sysfs may take that runs no driver's code, or only waits for whoever has a device open: vfio-pci asks its
/// user every 10 s to give it back (`vfio_unregister_group_dev` of drivers/vfio/vfio_main.c), so that after this nobody will.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a driver may take to start or stop, or to set up virtual functions: host adapters look for disks, network cards load their
/// firmware, some for a second or more for each function.
const DRIVER_PATIENCE: Duration = Duration::from_secs(300);

/// The kernel's driver core, or what stands for it in a test.
pub trait DriverCore {
    /// Which driver has the device now.
    ///
    /// # Errors
    /// A driver is starting or stopping there, and does not come to an end.
    fn state(&self, bdf: Bdf) -> Result<DriverState, BindingError>;

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
    /// The write sleeps in the kernel: a driver works, or waits for somebody to let go of the device.
    #[error("the kernel did not finish it in time, and goes on by itself")]
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
    fn state(&self, bdf: Bdf) -> Result<DriverState, BindingError> {
        Ok(DriverState {
            driver_override: self.driver_override(bdf)?,
            driver: self.0.driver(bdf),
        })
    }

    fn is_loaded(&self, driver: &str) -> bool {
        self.0.has_driver(driver)
    }

    fn perform(&self, step: &Step) -> Result<(), StepError> {
        log::info!("{step}");
        match step {
            Step::Write { path, value } => self.write(step, path, value),
            Step::LoadModule(name) => load_module(name),
            Step::GiveNodes { bdf, to, .. } => nodes::give(self.0, *bdf, *to),
            Step::RestoreNode(node) => node.restore(self.0),
            Step::Nvme(command) => command.send().map_err(StepError::Nvme),
        }
    }
}

impl Kernel<'_> {
    /// Reading it waits for the device's lock, and with that for a driver that starts or stops: a child does it.
    fn driver_override(&self, bdf: Bdf) -> Result<Option<String>, BindingError> {
        if !self.0.is_live() {
            return Ok(self.0.driver_override(bdf));
        }
        let Ok(file) = File::open(format!("/sys/bus/pci/devices/{bdf}/driver_override")) else {
            return Ok(None);
        };
        match PatientCall::read(&file).and_then(|mut call| call.wait(PATIENCE)) {
            Ok(Some(bytes)) => Ok(driver_override_of(&String::from_utf8_lossy(&bytes))),
            Ok(None) => Err(BindingError::Busy(bdf)),
            Err(_) => Ok(None),
        }
    }

    fn write(&self, step: &Step, path: &Path, value: &str) -> Result<(), StepError> {
        let refused = |error: io::Error| {
            StepError::Refused(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
        };
        let file = OpenOptions::new()
            .write(true)
            .open(self.0.path(path))
            .map_err(refused)?;
        let mut call = PatientCall::write(&file, format!("{value}\n").as_bytes())
            .map_err(StepError::Refused)?;
        let mut wait = |patience| match call.wait(patience) {
            Ok(written) => Ok(written.is_some()),
            Err(errno) => Err(StepError::Refused(errno)),
        };
        let mut done = wait(PATIENCE)?;
        if !done && runs_driver(path) {
            log::warn!(
                "the kernel still works on '{step}'; some drivers take minutes, this program waits up to {} s",
                DRIVER_PATIENCE.as_secs()
            );
            done = wait(DRIVER_PATIENCE.saturating_sub(PATIENCE))?;
        }
        if done {
            Ok(())
        } else {
            Err(StepError::Sleeping)
        }
    }
}

/// Whether a write runs code of a driver that may take minutes. A VFIO driver's `unbind` only waits for whoever has the device open.
fn runs_driver(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    match name.unwrap_or_default() {
        "unbind" => !unbinds_vfio(path),
        name => ["bind", "drivers_probe", "reset", "sriov_numvfs"].contains(&name),
    }
}

/// Whether a path of sysfs is the `unbind` of a VFIO driver.
pub(super) fn unbinds_vfio(path: &Path) -> bool {
    path.ends_with("unbind") && driver_in(path).is_some_and(is_vfio_driver)
}

/// The driver whose `bind` or `unbind` a path of sysfs is.
pub(super) fn driver_in(path: &Path) -> Option<&str> {
    let folder = path.strip_prefix("/sys/bus/pci/drivers").ok()?.parent()?;
    folder.to_str().filter(|driver| !driver.is_empty())
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
