//! The command line: definitions only, no effects. The man pages and the completions are generated from here.

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::any::TypeId;
use std::path::PathBuf;

mod binding;
mod comparison;
mod mapping;
mod measuring;
mod validation;

pub use binding::{BindArgs, BindFlags, RecoverArgs, RunArgs, UnbindArgs};
pub use comparison::CompareArgs;
pub use mapping::{
    Direction, DmaArgs, DumpArgs, FillArgs, HoldArgs, MapArgs, MapPages, MapProtection, MapsArgs,
    UnmapArgs,
};
pub use measuring::{BenchArgs, PagesChoice, SuiteChoice};
pub use validation::{ValidateArgs, VfsArgs};

use crate::types::{BackendChoice, DeviceName, Iova, Level, Seconds, Size, UserOfDevices};

/// Bind PCI devices to VFIO, map memory through the IOMMU, prove by DMA what a device reaches, and measure what mapping costs.
#[derive(Debug, Parser)]
#[command(
    name = "iommu-tool",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    mut_subcommands = explain_devices,
    after_help = "A DEVICE is a PCI address (0000:01:00.0 or 01:00.0), group:N, vendor:device (8086:10c9), \
                  a network interface (eth0) or a block device or NVMe controller (nvme0).",
    after_long_help = "A DEVICE is one of:\n  \
                       0000:01:00.0, 01:00.0   a PCI address, full or short\n  \
                       group:12                all devices of an IOMMU group\n  \
                       8086:10c9               vendor and device ID\n  \
                       eth0                    a network interface\n  \
                       nvme0, nvme0n1          an NVMe controller or a block device\n\n\
                       Vendor and device IDs must mean one device; if there are several, the error lists them.\n\n\
                       A binding, a mapping and virtual functions last until the next restart of the host.\n\n\
                       Exit status:\n  \
                       0        done; every check passed, also with warnings\n  \
                       1        an operation or a check failed\n  \
                       2        usage: bad flag, bad address, no such device\n  \
                       3        refused for safety, or held by someone else\n  \
                       4        no verdict: what matters was skipped, or this host cannot do it (no IOMMU, no engine)\n  \
                       125-127  of 'run' alone, which else has the status of its COMMAND"
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: GlobalArgs,

    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// Adds to the help of a command that takes devices by which names.
fn explain_devices(command: clap::Command) -> clap::Command {
    let device = command
        .get_arguments()
        .find(|argument| argument.get_value_parser().type_id() == TypeId::of::<DeviceName>());
    let Some([name]) = device.and_then(clap::Arg::get_value_names) else {
        return command;
    };
    let mut help = format!(
        "{name}: a PCI address, group:N, vendor:device, a network interface or a block device; see 'iommu-tool --help'."
    );
    if let Some(more) = command.get_after_help() {
        help += &format!("\n\n{more}");
    }
    command.after_help(help)
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct GlobalArgs {
    /// Print one JSON document on standard output instead of text
    #[arg(long, global = true)]
    pub json: bool,

    /// Say more on standard error: what was chosen and why; twice for each kernel call
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Say nothing on standard error but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// When to use colours; NO_COLOR in the environment turns them off for auto
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,

    /// Read the host from this folder instead of /, to look at a captured host
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub sysroot: Option<PathBuf>,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show IOMMU groups, their devices and drivers, and what keeps a group from being assigned
    List(ListArgs),
    /// Show everything about one device: group, isolation, regions, interrupts, resets, SR-IOV, what the IOMMU allows
    Show(ShowArgs),
    /// Check whether this host, and the devices named, are ready for VFIO, and say what to do about it
    Doctor(DoctorArgs),
    /// Write what list, show and doctor read of this host to a folder, to send with a bug report
    Capture(CaptureArgs),
    /// Hand a device to VFIO, and remember the driver it had
    Bind(BindArgs),
    /// Give a device back to the driver it had before bind
    Unbind(UnbindArgs),
    /// Make or remove the virtual functions of a device with SR-IOV
    Vfs(VfsArgs),
    /// Put back what interrupted commands left behind
    Recover(RecoverArgs),
    /// Bind devices, run a command with them, and give them back whatever happens
    Run(RunArgs),
    /// Own an address space and the devices in it, in the foreground, for a service manager
    Hold(HoldArgs),
    /// Map memory for a device, and keep it mapped
    Map(MapArgs),
    /// Take mappings out
    Unmap(UnmapArgs),
    /// Show what is mapped now, and by whom
    ///
    /// Other programs that hold devices through VFIO are named; what these have mapped, they do not say.
    Maps(MapsArgs),
    /// Print the bytes of mapped memory
    Dump(DumpArgs),
    /// Set the bytes of mapped memory
    Fill(FillArgs),
    /// Have the device itself read or write mapped memory
    Dma(DmaArgs),
    /// Prove by DMA that a device reaches the memory mapped for it, and nothing else
    Test(TestArgs),
    /// Check whether a device, or a physical function with its virtual ones, is fit to be handed out
    Validate(ValidateArgs),
    /// Measure how long mapping and unmapping memory takes
    Bench(BenchArgs),
    /// Show what became slower or faster from one run of bench to another
    Compare(CompareArgs),
    /// Show how the IOMMU translates an address of a device, step by step
    Walk(WalkArgs),
    /// Show what devices tried and an IOMMU blocked
    Faults(FaultsArgs),
    /// Print the completion script for a shell
    Completions(CompletionsArgs),
}

/// Arguments of `list`.
#[derive(Debug, Args)]
#[command(
    after_help = "How the host's own drivers are translated in a group; VFIO replaces that:\n  \
                  DMA-FQ    lazily: what is unmapped is out of reach a moment later\n  \
                  DMA       strictly: what is unmapped is out of reach at once\n  \
                  identity  not at all: their devices reach all memory\n\n\
                  Whether user space can have the group:\n  \
                  viable            no driver of the host has a device of it\n  \
                  viable, on VFIO   the same, and a device of it is bound to VFIO\n  \
                  used by the host  its only device is on a driver of the host; bind takes it, unless it is 'in use'\n  \
                  not viable        the devices named are on drivers of the host; bind --group takes all along\n  \
                  only bridges      there is nothing to hand out"
)]
pub struct ListArgs {
    /// Only the groups of these devices
    #[arg(value_name = "DEVICE")]
    pub devices: Vec<DeviceName>,

    /// Show which bridges the devices are below
    #[arg(long)]
    pub tree: bool,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
#[command(
    after_help = "Capabilities are visible to root only. A device that is bound to VFIO, and that no one has open, is opened for a \
                  moment to see what the kernel allows; --no-open leaves it alone."
)]
pub struct ShowArgs {
    /// The device to show
    #[arg(value_name = "DEVICE")]
    pub device: DeviceName,

    /// Do not open the device
    #[arg(long)]
    pub no_open: bool,

    /// Print only what another program is given to take the device, which must be bound: arguments, or XML
    #[arg(long = "for", value_name = "PROGRAM")]
    pub to: Option<UserOfDevices>,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Looks only, with one exception: a device that is bound to VFIO, and that no one has open, is opened, attached, mapped for \
                  and closed; --no-open leaves it alone.\n\n\
                  Exit status:\n  \
                  0  no check failed; some may have warned or been skipped\n  \
                  1  a check failed, or, with --strict, warned"
)]
pub struct DoctorArgs {
    /// Devices to check too
    #[arg(value_name = "DEVICE")]
    pub devices: Vec<DeviceName>,

    /// How much memory is to be mapped for devices, as 24G: will it fit, in which pages, in how many mappings?
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,

    /// Count warnings as failures
    #[arg(long)]
    pub strict: bool,

    /// Do not open any device
    #[arg(long)]
    pub no_open: bool,
}

/// Arguments of `capture`.
#[derive(Debug, Args)]
#[command(
    after_help = "Any command that only looks runs on the folder: iommu-tool --sysroot DIR list. Run capture as root, or the capabilities of \
                  devices are missing. Left out: serial numbers, MAC and IP addresses, kernel parameters that do not concern IOMMUs, \
                  processes that do not hold a device. Look through the folder before you send it."
)]
pub struct CaptureArgs {
    /// The folder to write; it must be new or empty
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

/// Arguments of `test`.
#[derive(Debug, Args)]
#[command(
    after_help = "The device must be bound to vfio-pci (iommu-tool bind). Harmless checks run first; on a host whose \
                  IOMMU does not translate, the run stops before the device could overwrite anything.\n\n\
                  Exit status:\n  \
                  0  every check passed\n  \
                  1  a check failed, or the run was interrupted\n  \
                  3  the device is not bound, or someone else has it\n  \
                  4  a check that matters was skipped, or there is no engine for the device"
)]
pub struct TestArgs {
    /// The devices to test
    #[arg(value_name = "DEVICE", required_unless_present = "list")]
    pub devices: Vec<DeviceName>,

    /// The kernel interface to use
    #[arg(long, value_name = "BACKEND", default_value = "auto")]
    pub backend: BackendChoice,

    /// Place the test's mappings at this IOVA or above
    #[arg(long, value_name = "IOVA")]
    pub iova: Option<Iova>,

    /// Start the random contents from this number, as an earlier run printed it
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// How thorough to be: quick has every proof that the device is held back; full also visits special places of the IOVA space, huge
    /// pages and many mappings; soak goes on with random loops
    #[arg(long, value_name = "LEVEL", default_value = "quick")]
    pub level: Level,

    /// Run only these checks, or families of them (loopback), and the check that shows that they do no harm
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Leave these checks, or families of them, out
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    pub skip: Vec<String>,

    /// How long the random loops of --level soak go on: 30s, 10m, 2h [default: 1m]
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Seconds>,

    /// Let the engine write up to 128 KiB of a drive's blocks, and put back what they held at the end, also after Ctrl-C. A run that is
    /// killed cannot; the blocks are named when it begins
    #[arg(long, conflicts_with = "in_holder")]
    pub destructive: bool,

    /// Also write the results to this file as JUnit XML, for a continuous integration system
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["list", "in_holder"])]
    pub junit: Option<PathBuf>,

    /// Test a device that is held (iommu-tool map, iommu-tool hold) in the process that holds it
    #[arg(long, conflicts_with_all = ["list", "iova", "backend"])]
    pub in_holder: bool,

    /// List the checks and what each proves, and test nothing
    #[arg(long, conflicts_with = "devices")]
    pub list: bool,
}

/// Arguments of `walk`.
#[derive(Debug, Args)]
#[command(
    after_help = "First the tables that lead from the device to its page table, then the page table level by level. Kernels \
                  with CONFIG_INTEL_IOMMU_DEBUGFS show all of it for VT-d; others show less, and the output says what. \
                  With --map the device must be bound to vfio-pci (iommu-tool bind) and free: memory is mapped, shown from \
                  the IOMMU's and from the CPU's side, and unmapped; trace events tell of it on any kernel that has them. \
                  Where 'iommu-tool map' holds memory at the address, its side is shown too, and whether both agree.\n\n\
                  Exit status:\n  \
                  1  nothing is mapped there, or other memory than the CPU has\n  \
                  4  nothing on this host says what is mapped"
)]
pub struct WalkArgs {
    /// The device
    #[arg(value_name = "DEVICE")]
    pub device: DeviceName,

    /// The address, as the device puts it on the bus
    #[arg(value_name = "IOVA", required_unless_present = "all")]
    pub iova: Option<Iova>,

    /// Print all ranges that are mapped, with their page sizes
    #[arg(long)]
    pub all: bool,

    /// Explain each bit of each entry
    #[arg(long)]
    pub bits: bool,

    /// Map this much fresh memory at the page of IOVA first, and unmap it afterwards
    #[arg(long, value_name = "SIZE", requires = "iova")]
    pub map: Option<Size>,

    /// The kind of pages the mapped memory is made of
    #[arg(
        long,
        value_name = "KIND",
        default_value = "4K",
        ignore_case = true,
        requires = "map"
    )]
    pub pages: PagesChoice,

    /// Map pages that do not follow each other in memory, each by itself
    #[arg(long, requires = "map")]
    pub scatter: bool,

    /// Then map other memory at the same IOVA, and show how the translation changes
    #[arg(long, requires = "map")]
    pub remap: bool,

    /// The kernel interface to map with
    #[arg(long, value_name = "BACKEND", default_value = "auto", requires = "map")]
    pub backend: BackendChoice,

    /// Compare with what this process has at --va
    #[arg(long, value_name = "PID", requires_all = ["va", "iova"], conflicts_with = "map")]
    pub pid: Option<u32>,

    /// A virtual address of the process, in hexadecimal
    #[arg(long, value_name = "ADDRESS", requires = "pid")]
    pub va: Option<Iova>,
}

/// Arguments of `faults`.
#[derive(Debug, Args)]
#[command(
    after_help = "Faults are read from the kernel's log (VT-d, AMD-Vi, SMMUv3, virtio-iommu), which needs root on most hosts, and with \
                  --follow from trace events too, for those that the log leaves out (AMD-Vi, SMMU). \
                  The kernel limits how many it logs; where IOMMUs count interrupts of their own for faults, the output \
                  says how many faults the log leaves out."
)]
pub struct FaultsArgs {
    /// Go on, and print each fault as it comes; with --json one document a line
    #[arg(short, long)]
    pub follow: bool,

    /// Say what is mapped next to each address now by the page tables too, where the kernel shows them (VT-d's, in debugfs); what
    /// 'iommu-tool map' holds is always told
    #[arg(long)]
    pub nearby: bool,

    /// Only the faults of this device
    #[arg(short, long, value_name = "DEVICE")]
    pub device: Option<DeviceName>,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn command(line: &str) -> Command {
        Cli::try_parse_from(line.split(' ')).unwrap().command
    }

    #[test]
    fn kinds_of_pages_are_written_in_any_case() {
        for kinds in ["4K,THP,2M,1G", "4k,thp,2m,1g"] {
            match command(&format!("iommu-tool bench nvme0 --pages {kinds}")) {
                Command::Bench(args) => assert_eq!(args.pages, PagesChoice::value_variants()),
                other => panic!("{other:?}"),
            }
        }
        for kind in ["2M", "2m"] {
            match command(&format!("iommu-tool walk nvme0 0 --map 2M --pages {kind}")) {
                Command::Walk(args) => assert_eq!(args.pages, PagesChoice::Huge2M),
                other => panic!("{other:?}"),
            }
            match command(&format!(
                "iommu-tool map nvme0 --size 2M --page-size {kind}"
            )) {
                Command::Map(args) => assert_eq!(args.page_size, MapPages::Huge2M),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_limit_of_a_check_is_a_time() {
        for (limit, seconds) in [("", 120), (" --limit 90", 90), (" --limit 10m", 600)] {
            match command(&format!("iommu-tool validate eth0{limit}")) {
                Command::Validate(args) => {
                    assert_eq!(Duration::from(args.limit), Duration::from_secs(seconds));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn every_command_that_takes_a_device_says_what_that_is() {
        let program = <Cli as clap::CommandFactory>::command();
        for command in program.get_subcommands() {
            let named = |argument: &clap::Arg| {
                let names = argument.get_value_names().unwrap_or_default();
                names
                    .iter()
                    .any(|name| ["DEVICE", "PF"].contains(&name.as_str()))
            };
            let help = command.get_after_help().map(ToString::to_string);
            assert_eq!(
                help.is_some_and(|help| help.contains(": a PCI address, group:N")),
                command.get_arguments().any(named),
                "{}",
                command.get_name()
            );
        }
    }
}
