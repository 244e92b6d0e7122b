//! The commands that measure.

use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

use crate::types::{BackendChoice, DeviceName, Iova, Seconds, Size, Suite};

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "The device must be bound to VFIO (iommu-tool bind), and nothing else may have it open. Devices are left as they were: nothing mapped, \
                  reset where they can be.\n\n\
                  Without --suite: map, cold, dma and open, in under a minute. Times are medians with 95 % confidence intervals, by how much launches differ; \
                  samples are taken in blocks that take turns, and every one counts, outliers too."
)]
pub struct BenchArgs {
    /// The device to measure with; more than one for the suite devices, where they share an address space
    #[arg(value_name = "DEVICE", required = true)]
    pub devices: Vec<DeviceName>,

    /// What to measure; 'all' for everything
    #[arg(
        long,
        value_name = "SUITE,...",
        value_delimiter = ',',
        default_value = "map,cold,dma,open"
    )]
    pub suite: Vec<SuiteChoice>,

    /// The kernel interfaces to measure; auto measures all that work here
    #[arg(
        long,
        value_name = "BACKEND,...",
        value_delimiter = ',',
        default_value = "auto"
    )]
    pub backend: Vec<BackendChoice>,

    /// The sizes to map or to transfer, instead of those of each suite
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',')]
    pub sizes: Option<Vec<Size>>,

    /// The memory of a guest, as 24G: how long does it take to map, and where does the time go? Measured if it fits in memory, else
    /// extrapolated from what fits. Suite cold
    #[arg(long, value_name = "SIZE")]
    pub size: Option<Size>,

    /// The kinds of pages the memory is made of; base pages are scattered in RAM on purpose, except in the suite cold
    ///
    /// How many base pages happen to follow each other in RAM decides how long they take to map, by a factor of 4, and goes by what
    /// ran before.
    #[arg(
        long,
        value_name = "KIND,...",
        value_delimiter = ',',
        ignore_case = true,
        default_value = "4K,thp"
    )]
    pub pages: Vec<PagesChoice>,

    /// How many threads map at the same time, for the suite threads [default: 1, 2, 4, ... up to the number of processors]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<Vec<u32>>,

    /// Map at this IOVA, to see what its alignment costs; without it, aligned for the largest page. Suites map and cold
    #[arg(long, value_name = "IOVA")]
    pub iova: Option<Iova>,

    /// How many samples each row gets [default: as many as there is time for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub samples: Option<u32>,

    /// How long to measure in all, as 30s or 10m; what is slow may take longer
    #[arg(long, value_name = "TIME", conflicts_with = "samples")]
    pub duration: Option<Seconds>,

    /// Measure a bare loop of system calls in turn with this program's own path, to see what the program costs. Suite map
    #[arg(long)]
    pub raw: bool,

    /// With --json: every sample, not only the medians of blocks
    #[arg(long)]
    pub all_samples: bool,

    /// Also write a page with pictures of the times to this file, as HTML
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub html: Option<PathBuf>,

    /// Also write the figures to this file as CSV, a line for each row
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub csv: Option<PathBuf>,
}

/// A suite, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuiteChoice {
    /// One suite.
    One(Suite),
    /// Every suite.
    All,
}

impl SuiteChoice {
    const ALL: [Self; 9] = [
        Self::One(Suite::Map),
        Self::One(Suite::Cold),
        Self::One(Suite::Churn),
        Self::One(Suite::Threads),
        Self::One(Suite::Devices),
        Self::One(Suite::File),
        Self::One(Suite::Dma),
        Self::One(Suite::Open),
        Self::All,
    ];
}

impl ValueEnum for SuiteChoice {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        match self {
            Self::One(suite) => suite.to_possible_value(),
            Self::All => Some(clap::builder::PossibleValue::new("all").help("Every suite")),
        }
    }
}

/// The kinds of pages that memory can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PagesChoice {
    /// Pages of 4 KiB
    #[value(name = "4K")]
    Base,
    /// Transparent huge pages
    #[value(name = "thp")]
    Transparent,
    /// Explicit huge pages of 2 MiB (vm.nr_hugepages)
    #[value(name = "2M")]
    Huge2M,
    /// Explicit huge pages of 1 GiB
    #[value(name = "1G")]
    Huge1G,
}
