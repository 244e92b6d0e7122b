//! The command line of what changes which driver has a device.

use clap::Args;

use crate::types::{DeviceName, DriverChoice, UseReason};

/// Arguments of `bind`.
#[derive(Debug, Args)]
#[command(
    after_help = "The driver is changed through driver_override, read back, and undone if a step fails. \
                  'iommu-tool unbind' restores what was there. A device that the host uses is refused (exit status 3) with \
                  each reason by name; --allow lifts the reasons it names, and no others. What no --allow lifts: a bridge \
                  (pci-bridge), a device or virtual function that user space holds (held), another command at work on it \
                  (locked), one that was interrupted (unfinished). With --json the refusal has its reasons as a list."
)]
pub struct BindArgs {
    /// The devices to bind
    #[arg(value_name = "DEVICE", required = true)]
    pub devices: Vec<DeviceName>,

    /// How they are bound.
    #[command(flatten)]
    pub how: BindFlags,

    /// Print each write to sysfs as a shell command, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// How devices are bound, for every command that binds.
#[derive(Debug, Clone, Args)]
pub struct BindFlags {
    /// The VFIO driver: auto is the variant of vfio-pci that this kernel has for the device (modules.alias), else vfio-pci
    /// [default: vfio-pci, or the VFIO driver that the device is on already]
    #[arg(long, value_name = "auto|NAME")]
    pub driver: Option<DriverChoice>,

    /// Take a device that is in use for this reason all the same; a refusal names its reasons. May be given several times
    #[arg(long, value_name = "REASON,...", value_delimiter = ',')]
    pub allow: Vec<UseReason>,
}

/// Arguments of `unbind`.
#[derive(Debug, Args)]
#[command(
    after_help = "A name that went away with the driver (eth0, nvme0) still works: it was remembered by bind."
)]
pub struct UnbindArgs {
    /// The devices to give back
    #[arg(value_name = "DEVICE", required = true)]
    pub devices: Vec<DeviceName>,

    /// Print each write to sysfs as a shell command, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}
