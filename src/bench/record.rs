//! The record of a run of `bench`: what was measured, how, and on which host. It is what `--json` prints and what is read back.

use serde::{Deserialize, Serialize};
use std::fmt;

use super::environment::Environment;
use super::statistics::{Interval, Ratio, Summary};
use super::warning::Warned;
use crate::types::{Backend, Iova, Suite};

/// The `kind` and the `schema_version` of the documents that [`Record::parse`] reads.
const KIND: &str = "bench";
const VERSION: u32 = 1;

/// The size that times per page and fits are counted in: the smallest page of IOMMUs, in bytes.
pub(super) const PAGE: u64 = 4096;

/// All that a run of `bench` found. Times are nanoseconds, sizes bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The unit of all times.
    pub unit: Unit,
    /// Whether everything that was asked for was measured; if not, it was interrupted.
    pub complete: bool,
    /// How it was measured.
    pub method: Method,
    /// Where it was measured.
    pub environment: Environment,
    /// What a reader must know about the figures, each with what to do.
    pub warnings: Vec<Warned>,
    /// What was to be measured and could not be.
    pub skipped: Vec<Skipped>,
    /// What was measured, by suite in the order of [`Suite`].
    pub series: Vec<Series>,
    /// Series beside each other.
    pub comparisons: Vec<Comparison>,
    /// How times grow with what is mapped.
    pub fits: Vec<Fit>,
    /// How long memory takes from nothing to mapped, and back.
    pub breakdowns: Vec<Breakdown>,
}

/// The unit of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Unit {
    /// Nanoseconds.
    #[default]
    #[serde(rename = "ns")]
    Nanoseconds,
}

/// How a run was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// When it began, in seconds since 1970.
    pub started: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How many processes measured, one after the other, each with address spaces, devices and memory of its own.
    pub launches: u32,
    /// Samples thrown away before each series in each launch, at most.
    pub warm_up: u32,
    /// Samples in a block, at most; blocks of all series take turns.
    pub block: u32,
    /// What reading the clock costs; each sample holds it once.
    pub clock: f64,
}

/// One measured thing: a call, or a step of several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What it is. No two series of a record have the same.
    #[serde(flatten)]
    pub key: Key,
    /// Where it was mapped, in the last launch.
    pub iova: Option<Iova>,
    /// How many contiguous pieces the memory had, in the last launch; `None` if the kernel does not tell.
    pub runs: Option<u64>,
    /// What the samples say.
    pub summary: Summary,
    /// The median divided by the number of base pages of 4 KiB.
    pub per_page: Option<f64>,
    /// Bytes a second at the median, for transfers.
    pub rate: Option<f64>,
    /// Its blocks in the order in which they were taken. Blocks of the same launch and round stand side by side in time.
    pub blocks: Vec<Block>,
    /// The times from the fastest to the slowest at evenly spaced ranks: of n, the i-th is what i/(n-1) of all samples do not exceed.
    /// At most 101, so that they are percentiles.
    pub distribution: Vec<u64>,
    /// Every sample, block by block, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<Vec<Vec<u64>>>,
}

/// What a series is about. What a suite does not vary has its plain value: 1 thread, 1 device, nothing else mapped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The suite it belongs to.
    pub suite: Suite,
    /// The kernel interface.
    pub backend: Backend,
    /// The bytes that are mapped at once, or moved by one transfer; `None` where nothing is.
    pub size: Option<u64>,
    /// The pages that the memory is made of: `4K`, `thp`, `2M`, `1G`.
    pub pages: Option<String>,
    /// By which way it is mapped.
    pub route: Route,
    /// How many threads map at the same time.
    pub threads: u32,
    /// How many devices are in the address space.
    pub devices: u32,
    /// How many other mappings are there.
    pub live: u64,
    /// The bytes that transfers go round in, in the suite `dma`.
    pub working_set: Option<u64>,
    /// Which step it is.
    pub phase: Phase,
}

/// By which way memory is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// By its address, through this program.
    Address,
    /// As a memfd, through this program.
    File,
    /// As `iommu-tool map` does it: prepared and mapped in the way that suits the host.
    Strategy,
    /// By its address, by a bare loop of system calls that shares no code with this program.
    Bare,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Address => "address",
            Self::File => "file",
            Self::Strategy => "strategy",
            Self::Bare => "bare",
        })
    }
}

/// A step that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The kernel puts pages behind memory and fills them with zeros.
    Fault,
    /// The kernel pins the pages, measured apart from the map that does it too.
    Pin,
    /// The kernel pins the pages and enters them in the IOMMU's table.
    Map,
    /// What is left of the map when its pinning is taken out: the kernel enters the pages in the IOMMU's table.
    Enter,
    /// From nothing to mapped memory, all together.
    Ready,
    /// The kernel takes them out again, and lets the pages go.
    Unmap,
    /// An address space is made.
    Space,
    /// The device is opened and attached to it.
    Attach,
    /// The device is reset.
    Reset,
    /// The device is closed, which resets it once more, and the address space goes.
    Close,
    /// The device reads memory.
    Load,
    /// The device writes memory.
    Store,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fault => "fault",
            Self::Pin => "pin",
            Self::Map => "map",
            Self::Enter => "enter",
            Self::Ready => "ready",
            Self::Unmap => "unmap",
            Self::Space => "space",
            Self::Attach => "attach",
            Self::Reset => "reset",
            Self::Close => "close",
            Self::Load => "load",
            Self::Store => "store",
        })
    }
}

/// Samples that were taken one right after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// In which launch, from 0.
    pub launch: u32,
    /// In which round of that launch, from 0.
    pub round: u32,
    /// How many samples.
    pub count: u32,
    /// Their median.
    pub median: u64,
}

/// One series against another of the same record.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The index of the series that is compared.
    pub of: usize,
    /// The index of the one that it is compared with.
    pub with: usize,
    /// What it takes, as a part of what the other takes.
    pub ratio: Ratio,
}

/// Stands for all kinds of pages in a [`Fit`].
pub const ANY_PAGES: &str = "any";

/// How a time grows: `base + page * pages + run * runs`, with base pages of 4 KiB and contiguous pieces of memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// The suite it was fitted in.
    pub suite: Suite,
    /// The kernel interface.
    pub backend: Backend,
    /// The pages that the memory is made of; [`ANY_PAGES`] for all kinds together.
    pub pages: String,
    /// By which way it is mapped.
    pub route: Route,
    /// The step.
    pub phase: Phase,
    /// The time of a call by itself.
    pub base: f64,
    /// The time of each page.
    pub page: f64,
    /// The time of each contiguous piece; `None` for one kind of pages, where pieces grow with the pages.
    pub run: Option<f64>,
    /// How far a measured time is from the fitted one, as a part of it: the median of all points.
    pub error: f64,
    /// How many points it was fitted to.
    pub points: usize,
}

/// How long memory of a size takes from nothing to mapped, and where the time goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// The kernel interface.
    pub backend: Backend,
    /// The pages that the memory is made of.
    pub pages: String,
    /// By which way it is mapped.
    pub route: Route,
    /// The bytes.
    pub size: u64,
    /// The largest size that was measured, where the times were extrapolated from smaller ones; `None` if this size was measured.
    pub extrapolated_from: Option<u64>,
    /// The steps in their order.
    pub parts: Vec<Part>,
}

/// A step of a [`Breakdown`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The step. `unmap` is what the end takes; the others are what the start takes.
    pub phase: Phase,
    /// What it takes.
    pub time: f64,
    /// Where the truth lies; `None` if there are too few samples to say.
    pub interval: Option<Interval>,
}

/// What was to be measured and could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The suite.
    pub suite: Suite,
    /// The kernel interface, if the reason is about one.
    pub backend: Option<Backend>,
    /// Why.
    pub reason: String,
}

/// Why a text is no record.
#[derive(Debug, thiserror::Error)]
pub enum ParseRecordError {
    /// Not JSON, or JSON of another form.
    #[error("it is not the JSON of 'iommu-tool bench --json'")]
    Malformed(#[from] serde_json::Error),
    /// A document of another command.
    #[error("it is the result of 'iommu-tool {0}', not of 'iommu-tool bench'")]
    OtherKind(String),
    /// Written by another version of the program.
    #[error("its schema_version is {0}, and this program reads {VERSION}")]
    OtherVersion(u32),
}

impl Record {
    /// Reads what `bench --json` printed.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, ParseRecordError> {
        #[derive(Deserialize)]
        struct Head {
            schema_version: u32,
            kind: String,
        }
        let head: Head = serde_json::from_str(text)?;
        if head.kind != KIND {
            return Err(ParseRecordError::OtherKind(head.kind));
        }
        if head.schema_version != VERSION {
            return Err(ParseRecordError::OtherVersion(head.schema_version));
        }
        Ok(serde_json::from_str(text)?)
    }
}
