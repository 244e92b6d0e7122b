//! Virtual functions, and whether a device is fit to be handed out.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::types::{DeviceName, FunctionCount, Level, Seconds, UseReason};

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

    /// Take away functions, and reset an NVMe drive where that is needed, although they are in use for this reason; a refusal names its
    /// reasons. May be given several times
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

/// Arguments of `validate`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Of a physical function without virtual ones, these are made, each is bound to vfio-pci and checked through both kernel interfaces, all \
                  work at once, and in the end there are none again. Virtual functions that are there already are checked as they are; one that is in use \
                  fails, and the others go on. Several devices, or one without SR-IOV, are bound, checked and given back. Ctrl-C leaves the host as it was; \
                  after a kill, 'iommu-tool recover' does. Refused are: another --vfs than there are virtual functions; a physical function on a VFIO \
                  driver; a device by itself that is in use; a file for --write-expect that is there.\n\n\
                  The file of --expect is TOML: schema_version = 1, and for each device a section [[device]] with match, its address or vendor:device. \
                  What else stands there is checked: id, subsystem, model, firmware, numa_node, isolated (true: each function has an IOMMU group of its \
                  own); speed (GT/s), width, max_speed, max_width in [device.link], each the least; total, wanted in [device.functions]; unit, mode \
                  (direct, strict, lazy) in [device.iommu]; map_ns, unmap_ns, max_ratio_to_stored, max_ratio_to_first in [device.latency]. \
                  --write-expect writes one with comments.\n\n\
                  With --json: 'verdict' is fit, unfit, incomplete or interrupted, and 'says' the same in a sentence; 'functions' are the virtual functions, \
                  'map_latencies' what mapping cost for each; 'checks' has each check in its order, with 'id' (see --list), 'device' and 'backend' where it \
                  is about one, 'verdict' (pass, warn, fail, skip), 'optional', 'detail', 'evidence', 'remedy', 'kernel_log' and 'seconds'. A skip whose \
                  'optional' is true is what the text calls N/A: what it is about is not there, and the verdict does without it. 'passed', 'warned' and \
                  'failed' count checks, 'skipped' the skips that leave the verdict open, 'absent' those that are N/A.\n\n\
                  Exit status:\n  \
                  0  fit, also with warnings\n  \
                  1  a check failed, the run was interrupted ('verdict' in JSON), or a file was not written\n  \
                  2  usage: bad flag, bad file, no such device, more virtual functions than there can be\n  \
                  3  refused, nothing was checked: the message says what is in the way\n  \
                  4  incomplete: something that matters could not be checked, or this host has no IOMMU"
)]
pub struct ValidateArgs {
    /// A physical function, or devices
    #[arg(value_name = "DEVICE", required_unless_present = "list")]
    pub devices: Vec<DeviceName>,

    /// How many virtual functions to make; max is the default, 0 checks the physical function itself as a plain device
    #[arg(long, value_name = "COUNT")]
    pub vfs: Option<FunctionCount>,

    /// How thorough to be: quick has every proof that each device is held back; full also has all of them work at once, times mapping,
    /// makes the virtual functions anew several times, and visits special places of the IOVA space; soak goes on with random loops
    #[arg(long, value_name = "LEVEL", default_value = "full")]
    pub level: Level,

    /// How long the random loops, and the load of all devices, of --level soak go on: 30s, 10m, 2h [default: 1m]
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Seconds>,

    /// Do without DMA where no engine drives the device: then what can be checked decides
    #[arg(long)]
    pub allow_no_dma: bool,

    /// How long one check may take: 30s, 10m
    #[arg(long, value_name = "TIME", default_value = "2m")]
    pub limit: Seconds,

    /// Hold the devices against this file too: their models, firmware, links, virtual functions, groups, NUMA nodes, IOMMUs and times. What the
    /// file does not say is not checked. It says how many virtual functions to make, too, unless --vfs does
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub expect: Option<PathBuf>,

    /// Write such a file from these devices, if they are found fit. A file that is there is not written over
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "expect")]
    pub write_expect: Option<PathBuf>,

    /// Write the results as JUnit XML too, for continuous integration
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub junit: Option<PathBuf>,

    /// Write them as metrics too, for the textfile collector of Prometheus' node exporter
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub prometheus: Option<PathBuf>,

    /// Write them as a page to read too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub html: Option<PathBuf>,

    /// List the checks and what each proves, and change nothing
    #[arg(long, conflicts_with = "devices")]
    pub list: bool,
}
