//! The commands around mappings that outlive a command.

use clap::{ArgGroup, Args, ValueEnum, ValueHint};
use std::path::PathBuf;

use crate::types::{BackendChoice, DeviceName, Iova, Size};

/// Arguments of `hold`.
#[derive(Debug, Args)]
#[command(
    after_help = "The devices must be bound to vfio-pci (iommu-tool bind). The process runs in the foreground, tells a service manager \
                  when it is ready (Type=notify), and ends on SIGTERM, SIGINT and SIGHUP, or when the kernel wants its last device \
                  back: bus mastering off, reset, unmap, close. 'iommu-tool map' starts one by itself where there is none."
)]
pub struct HoldArgs {
    /// The devices to hold in one address space; if their group is held already, they join its holder
    #[arg(value_name = "DEVICE", required = true)]
    pub devices: Vec<DeviceName>,

    /// The kernel interface to use
    #[arg(long, value_name = "BACKEND", default_value = "auto")]
    pub backend: BackendChoice,

    /// End when the last mapping is taken out
    #[arg(long)]
    pub until_unmapped: bool,

    /// Leave the caller's session
    #[arg(long, hide = true)]
    pub detach: bool,

    /// Tell a command that waits at this socket how the start went
    #[arg(long, hide = true, value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    pub report_to: Option<PathBuf>,
}

/// Arguments of `map`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("memory").args(["size", "file"]).required(true).multiple(true),
    after_help = "The memory stays mapped until 'iommu-tool unmap', held by a process that is started where there is none \
                  (iommu-tool hold). A file is mapped shared, so that other processes see what the device writes: memfd, \
                  tmpfs (/dev/shm) and hugetlbfs files can be written by devices; files on a disk only read (--protection r) or \
                  copied (--private)."
)]
pub struct MapArgs {
    /// The device that is to reach the memory
    #[arg(value_name = "DEVICE")]
    pub device: DeviceName,

    /// How much memory, in whole pages; of a file, all from the offset on if it is not given
    #[arg(long, value_name = "SIZE")]
    pub size: Option<Size>,

    /// Map here; without it, at a free IOVA that suits the largest page
    #[arg(long, value_name = "IOVA")]
    pub iova: Option<Iova>,

    /// The pages of new memory; auto takes the largest that fit
    #[arg(
        long,
        value_name = "PAGES",
        default_value = "auto",
        ignore_case = true,
        conflicts_with = "file"
    )]
    pub page_size: MapPages,

    /// How many threads put pages behind new memory and map it [default: one for each processor]
    #[arg(long, value_name = "N", conflicts_with = "file", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,

    /// What the device may do: read, or read and write
    #[arg(long, value_name = "ACCESS", default_value = "rw")]
    pub protection: MapProtection,

    /// A name, to unmap it by
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Map this file instead of new memory
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// Where in the file to begin, in whole pages
    #[arg(long, value_name = "BYTES", requires = "file", value_parser = offset)]
    pub offset: Option<u64>,

    /// Map a copy of the file's bytes, not the file
    #[arg(long, requires = "file")]
    pub private: bool,

    /// The kernel interface to use, if a holder is started
    #[arg(long, value_name = "BACKEND", default_value = "auto")]
    pub backend: BackendChoice,
}

/// The pages of new memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MapPages {
    /// The largest that fit and are to be had
    Auto,
    /// Base pages
    #[value(name = "4K")]
    Base,
    /// Transparent huge pages
    #[value(name = "thp")]
    Transparent,
    /// Reserved huge pages of 2 MiB
    #[value(name = "2M")]
    Huge2M,
    /// Reserved huge pages of 1 GiB
    #[value(name = "1G")]
    Huge1G,
}

/// What devices may do with mapped memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MapProtection {
    /// Read and write
    #[value(name = "rw")]
    ReadWrite,
    /// Read
    #[value(name = "r")]
    Read,
}

/// Arguments of `unmap`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").args(["iova", "name", "all"]).required(true),
    after_help = "Mappings are taken out whole: asking for a part of one changes nothing."
)]
pub struct UnmapArgs {
    /// The device
    #[arg(value_name = "DEVICE")]
    pub device: DeviceName,

    /// The mapping that begins here; with --size, all mappings within the range
    #[arg(long, value_name = "IOVA")]
    pub iova: Option<Iova>,

    /// The size of the range
    #[arg(long, value_name = "SIZE", requires = "iova")]
    pub size: Option<Size>,

    /// The mapping with this name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// All mappings
    #[arg(long)]
    pub all: bool,
}

/// Arguments of `maps`.
#[derive(Debug, Args)]
pub struct MapsArgs {
    /// Only what the process has mapped that holds this device
    #[arg(value_name = "DEVICE")]
    pub device: Option<DeviceName>,
}

/// Arguments of `dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// The device
    #[arg(value_name = "DEVICE")]
    pub device: DeviceName,

    /// The first byte
    #[arg(long, value_name = "IOVA")]
    pub iova: Iova,

    /// How many bytes; without it, to the end of the mapping
    #[arg(long, value_name = "SIZE")]
    pub size: Option<Size>,

    /// Write the bytes to this file as they are; - is standard output
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// Arguments of `fill`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("bytes").args(["data", "input"]).required(true))]
pub struct FillArgs {
    /// The device
    #[arg(value_name = "DEVICE")]
    pub device: DeviceName,

    /// The first byte
    #[arg(long, value_name = "IOVA")]
    pub iova: Iova,

    /// How many bytes; without it, to the end of the mapping, or all of the input
    #[arg(long, value_name = "SIZE")]
    pub size: Option<Size>,

    /// Bytes as hexadecimal digits, repeated until the size is reached
    #[arg(long, value_name = "HEX")]
    pub data: Option<String>,

    /// Take the bytes from this file; - is standard input
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub input: Option<PathBuf>,
}

/// Arguments of `dma`.
#[derive(Debug, Args)]
#[command(
    after_help = "The device itself reads or writes, through its DMA engine. Whether the bytes arrived is known by comparing memory; \
                  if they did not, what the kernel logged about it is told. Run 'iommu-tool test' first: on a host whose \
                  IOMMU does not translate, DMA overwrites the memory of others.\n\n\
                  Exit status:\n  \
                  1  the bytes did not arrive"
)]
pub struct DmaArgs {
    /// The device, held by a process (iommu-tool map, iommu-tool hold)
    #[arg(value_name = "DEVICE")]
    pub device: DeviceName,

    /// What the device does
    #[arg(value_name = "DIRECTION")]
    pub direction: Direction,

    /// The first byte
    #[arg(long, value_name = "IOVA")]
    pub iova: Iova,

    /// How many bytes; for a write, all that are given if it is left away
    #[arg(long, value_name = "SIZE", required_if_eq("direction", "read"))]
    pub size: Option<Size>,

    /// The bytes to write as hexadecimal digits, repeated until the size is reached
    #[arg(long, value_name = "HEX", conflicts_with = "input")]
    pub data: Option<String>,

    /// Write the bytes of this file; - is standard input
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub input: Option<PathBuf>,

    /// Save what was read in this file as it is; - is standard output
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// What the device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// It reads memory
    Read,
    /// It writes memory
    Write,
}

/// A place in a file: like a size, but it may be 0.
fn offset(text: &str) -> Result<u64, crate::types::ParseSizeError> {
    match text {
        "0" => Ok(0),
        text => text.parse().map(Size::bytes),
    }
}
