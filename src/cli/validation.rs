//! Virtual functions, and whether a device is fit to be handed out.

use clap::Args;

use crate::types::{DeviceName, FunctionCount, UseReason};

/// Arguments of `vfs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Another number is reached through 0, as the kernel demands: all virtual functions are made anew. Refused while one of them is in \
                  use. Waits until they answer, their drivers have them, and the port has its link; virtual functions of an NVMe drive get an equal \
                  share of its queues and interrupts, and are set online. A physical function that is on vfio-pci is told to ask for a token, \
                  which the other commands show when they open a virtual function."
)]
pub struct VfsArgs {
    /// The physical function
    #[arg(value_name = "PF")]
    pub physical: DeviceName,

    /// How many virtual functions it is to have, or max; 0 removes them. Without it, they are shown
    #[arg(value_name = "COUNT")]
    pub count: Option<FunctionCount>,

    /// Keep the host's own drivers away from the new ones
    #[arg(long, requires = "count")]
    pub no_autoprobe: bool,

    /// Take away functions that are in use for this reason all the same; a refusal names its reasons. May be given several times
    #[arg(
        long,
        value_name = "REASON,...",
        value_delimiter = ',',
        requires = "count"
    )]
    pub allow: Vec<UseReason>,

    /// Print each write to sysfs as a shell command, and change nothing
    #[arg(long, requires = "count")]
    pub dry_run: bool,
}
