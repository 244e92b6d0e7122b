//! What the user asks for: the command line of `tests/lab/run`, and the [`Machine`] it describes.

use clap::{Args, Parser, ValueEnum};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Boots a real Linux kernel in QEMU, with a virtual IOMMU and emulated PCI devices, and runs a command in it.
///
/// Without COMMAND it runs the demo: the program's main job from start to end. What is missing (QEMU, a kernel, busybox) is
/// downloaded as Debian packages and unpacked or built once in the user's cache folder; the system is not changed.
#[derive(Debug, Parser)]
#[command(name = "tests/lab/run", bin_name = "tests/lab/run", version = None, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Options {
    #[command(flatten)]
    pub machine: Machine,

    /// Open a shell in the guest, on this terminal (Ctrl-A X ends the guest)
    #[arg(long, conflicts_with_all = ["command", "timeout"])]
    pub shell: bool,

    /// End with an error if COMMAND takes longer than this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,

    /// The command and its arguments; `iommu-tool` and busybox's tools are on the PATH [default: the demo]
    #[arg(last = true)]
    pub command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Examples:
  tests/lab/run
  tests/lab/run --kernel lab --iommu intel-scalable -- iommu-tool list
  tests/lab/run --devices edu,igb -- sh -c 'iommu-tool bind 1234:11e8 && iommu-tool test 1234:11e8'

Exit status: that of COMMAND; 125 when the lab itself fails (set-up, QEMU, a kernel panic, a hang).
Cache folder: $XDG_CACHE_HOME/iommu-tool-lab, or ~/.cache/iommu-tool-lab. It may be deleted at any time.";

/// A guest: its kernel, its IOMMU, its devices. The default is what `tests/lab/run` boots without options.
#[derive(Debug, Clone, Args)]
pub struct Machine {
    /// `lab` (newest Linux, with iommufd; built here, once, in minutes), `distro` (Debian's, type1 only) or the PATH of
    /// a bzImage, whose modules are looked for beside it and in /lib/modules
    #[arg(long, value_name = "lab|distro|PATH", default_value = "distro")]
    pub kernel: Kernel,

    /// The virtual IOMMU
    #[arg(long, value_enum, default_value = "intel")]
    pub iommu: Iommu,

    /// The PCI devices; repeat a name for several of a kind
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "edu,nvme,igb"
    )]
    pub devices: Vec<DeviceKind>,

    /// Use root ports without ACS: what is behind one shares an IOMMU group, each virtual function with the others
    #[arg(long)]
    pub no_acs: bool,

    /// Memory of the guest, as QEMU's -m takes it
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    pub memory: String,

    /// Number of CPUs [default: 2, or 1 with --icount]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub smp: Option<u8>,

    /// More kernel parameters (may be repeated)
    #[arg(long, value_name = "PARAMETERS", allow_hyphen_values = true)]
    pub cmdline: Vec<String>,

    /// Let the guest's clock count instructions, one a nanosecond: repeatable figures, slow
    #[arg(long)]
    pub icount: bool,

    /// Put this program into the guest too, in /bin; it must be static (may be repeated)
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    pub add: Vec<PathBuf>,

    /// Put QEMU into the guest too, 70 MB, as a program that takes devices from there
    #[arg(long)]
    pub with_qemu: bool,

    /// One more argument for QEMU, as it is (may be repeated)
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub qemu: Vec<String>,

    /// Show what QEMU is started with, and the kernel's log
    #[arg(short, long)]
    pub verbose: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Options::parse_from(["lab"]).machine
    }
}

/// Where the guest's kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kernel {
    /// Built from Debian's newest kernel source with `kernel.config`: iommufd, debugfs, all built in.
    Lab,
    /// Debian's prebuilt kernel with modules: type1 only.
    Distro,
    /// The user's own bzImage.
    Path(PathBuf),
}

impl FromStr for Kernel {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "lab" => Kernel::Lab,
            "distro" => Kernel::Distro,
            path => Kernel::Path(path.into()),
        })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Kernel::Lab => f.write_str("lab"),
            Kernel::Distro => f.write_str("distro"),
            Kernel::Path(path) => path.display().fmt(f),
        }
    }
}

/// The virtual IOMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Iommu {
    /// VT-d with interrupt remapping
    Intel,
    /// VT-d in scalable mode
    IntelScalable,
    /// virtio-iommu, without interrupt remapping
    Virtio,
    /// AMD-Vi with interrupt remapping (QEMU 10.2 or newer)
    Amd,
    /// AMD-Vi that takes mappings and does not translate DMA (QEMU 10.2 or newer)
    AmdBroken,
    /// No IOMMU
    None,
}

impl fmt::Display for Iommu {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(value_name(self).as_str())
    }
}

/// A kind of PCI device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceKind {
    /// QEMU's device for teaching, with a simple DMA engine; on the root bus
    Edu,
    /// NVMe controller with an empty namespace, behind a root port of its own
    Nvme,
    /// Intel 82576 network card with SR-IOV, behind a root port of its own
    Igb,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(value_name(self).as_str())
    }
}

fn value_name(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|v| v.get_name().to_owned())
        .unwrap_or_default()
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => Err("expected a whole number of seconds, at least 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from([&["lab"], arguments].concat())
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let options = parse(&["--kernel", "lab", "--", "iommu-tool", "--kernel", "-v"]).unwrap();
        assert_eq!(options.machine.kernel, Kernel::Lab);
        assert!(!options.machine.verbose);
        assert_eq!(options.command, ["iommu-tool", "--kernel", "-v"]);
    }

    #[test]
    fn a_device_named_twice_comes_twice() {
        let options = parse(&["--devices", "edu,nvme,edu"]).unwrap();
        assert_eq!(
            options.machine.devices,
            [DeviceKind::Edu, DeviceKind::Nvme, DeviceKind::Edu]
        );
        assert!(parse(&["--devices", "edu,floppy"]).is_err());
    }

    #[test]
    fn arguments_for_qemu_and_the_kernel_may_begin_with_a_hyphen() {
        let options = parse(&["--qemu", "-S", "--cmdline", "-x"]).unwrap();
        assert_eq!(
            (options.machine.qemu, options.machine.cmdline),
            (vec!["-S".into()], vec!["-x".into()])
        );
    }

    #[test]
    fn a_timeout_of_zero_is_refused() {
        assert!(parse(&["--timeout", "0"]).is_err());
    }
}
