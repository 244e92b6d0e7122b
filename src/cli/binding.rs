//! The command line of what changes which driver has a device.

use clap::{Args, ValueHint};
use std::ffi::OsString;

use crate::types::{DeviceName, DriverChoice, OwnerName, UseReason};

/// Arguments of `bind`.
#[derive(Debug, Args)]
#[command(
    after_help = "The driver is changed through driver_override, read back, and undone if a step fails. \
                  'iommu-tool unbind' restores what was there. A device that the host uses is refused (exit status 3) with \
                  each reason by name; --allow lifts the reasons it names, and no others. What no --allow lifts: a bridge \
                  (pci-bridge), a device or virtual function that user space holds (held), another command at work on it \
                  (locked, running), one that was interrupted (unfinished). With --json the refusal has its reasons as a list."
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
    /// Take along what else of the devices' IOMMU groups has to move: all of it or none
    #[arg(long)]
    pub group: bool,

    /// The VFIO driver: auto is the variant of vfio-pci that this kernel has for the device (modules.alias), else vfio-pci
    /// [default: vfio-pci, or the VFIO driver that the device is on already]
    #[arg(long, value_name = "auto|NAME")]
    pub driver: Option<DriverChoice>,

    /// Give the devices' nodes in /dev/vfio to this user, by name or number, until they are given back; with :GROUP to a
    /// group too
    #[arg(long, value_name = "USER[:GROUP]", value_hint = ValueHint::Username)]
    pub owner: Option<OwnerName>,

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

/// Arguments of `recover`.
#[derive(Debug, Args)]
#[command(
    after_help = "A command that is killed (SIGKILL), or a host that runs out of power in the middle, leaves devices half bound. Nothing is put back \
                  behind your back: bind, unbind, run and vfs refuse such a device and name this command. Who still has a device open \
                  keeps it: that one is left as it is, and named (exit status 3).\n\n\
                  A binding, a mapping and virtual functions last until the next restart of the host, which leaves nothing to recover."
)]
pub struct RecoverArgs {
    /// Only these devices
    #[arg(value_name = "DEVICE")]
    pub devices: Vec<DeviceName>,

    /// Print each write to sysfs as a shell command, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(
    override_usage = "iommu-tool run [OPTIONS] <DEVICE>... -- <COMMAND>...",
    after_help = "COMMAND has the terminal, standard input and output, and the signals that are sent to run. Whatever becomes of \
                  it, the drivers are restored then. If run itself is killed (SIGKILL), the kernel sends COMMAND a SIGTERM, and \
                  'iommu-tool recover' restores the drivers.\n\n\
                  A device that is on a VFIO driver already is left there.\n\n\
                  A process that COMMAND leaves behind, and that has a device open, has 10 seconds to close it.\n\n\
                  COMMAND's environment has\n  \
                  IOMMU_TOOL_DEVICES       the PCI addresses, as 0000:01:00.0,0000:02:00.0\n  \
                  IOMMU_TOOL_GROUP_NODES   the nodes of their IOMMU groups, as /dev/vfio/12\n  \
                  IOMMU_TOOL_DEVICE_NODES  their own nodes, as /dev/vfio/devices/vfio0; empty where the kernel makes none\n\n\
                  Exit status: that of COMMAND, 128 and the number of the signal that ended it, or\n  \
                  125  run itself failed: refused, interrupted, or the drivers are not all restored\n  \
                  126  COMMAND cannot be executed\n  \
                  127  COMMAND was not found; as before, nothing was changed"
)]
pub struct RunArgs {
    /// The devices to bind while COMMAND runs
    #[arg(value_name = "DEVICE", required = true)]
    pub devices: Vec<DeviceName>,

    /// How they are bound.
    #[command(flatten)]
    pub how: BindFlags,

    /// Print what would be done as shell commands, and do nothing
    #[arg(long)]
    pub dry_run: bool,

    /// The command to run, and its arguments, after --
    #[arg(last = true, value_name = "COMMAND", required = true, value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}
