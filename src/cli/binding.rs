//! The command line of what changes which driver has a device.

use clap::Args;

use crate::types::{DeviceName, DriverChoice};

/// Arguments of `bind`.
#[derive(Debug, Args)]
#[command(
    after_help = "The driver is changed through driver_override, read back, and undone if a step fails. \
                  'iommu-tool unbind' restores what was there."
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
