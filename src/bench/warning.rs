//! What can make figures say less than they seem to, and what to do about it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a reader of a record must know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "warning", rename_all = "kebab-case")]
pub enum Warning {
    /// Other work shared the processors: blocks of the same series differ much.
    NoisyHost {
        /// How far apart the middle half of the block medians is, as a part of the median: of the series in the middle.
        spread: f64,
        /// The load average of the last minute before the run.
        load: Option<f64>,
    },
    /// Processors change their clock.
    FrequencyScaling {
        /// The governor that is not `performance`.
        governor: String,
    },
    /// A look at the clock takes long, and every time holds one.
    SlowClock {
        /// What it takes, in nanoseconds.
        nanoseconds: f64,
        /// What the kernel told the time by before the run.
        source: Option<String>,
    },
    /// Ordinary memory is never made of huge pages.
    NoTransparentHugePages,
    /// Memory and device are at different sockets.
    OtherNode {
        /// The node of the processor that the run was on.
        processor: u32,
        /// The node of the device.
        device: u32,
    },
    /// A virtual machine: its memory, processors and IOMMU are somebody else's.
    VirtualMachine,
    /// A virtual IOMMU whose hypervisor is told of each new mapping, which costs much more than on metal.
    CachingMode,
    /// Too few blocks of samples to say how sure a median is.
    TooFewSamples {
        /// Series without an interval.
        series: usize,
    },
    /// A fit that does not explain what was measured.
    PoorFit {
        /// The relative error of the worst.
        error: f64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoisyHost { spread, load } => {
                write!(
                    f,
                    "this host was busy: equal blocks of samples differ by {:.0} %",
                    spread * 100.0
                )?;
                match load {
                    Some(load) => write!(f, " (load {load:.1} before the run)"),
                    None => Ok(()),
                }
            }
            Self::FrequencyScaling { governor } => write!(
                f,
                "processors change their clock (scaling governor '{governor}')"
            ),
            Self::SlowClock {
                nanoseconds,
                source,
            } => write!(
                f,
                "a look at the clock takes {nanoseconds:.0} ns, and every time holds one (clock source '{}')",
                source.as_deref().unwrap_or("unknown")
            ),
            Self::NoTransparentHugePages => {
                f.write_str("transparent huge pages are off, so ordinary memory maps page by page")
            }
            Self::OtherNode { processor, device } => write!(
                f,
                "the memory was at NUMA node {processor}, and the device is at node {device}"
            ),
            Self::VirtualMachine => f.write_str(
                "this is a virtual machine: ratios between rows mean something, times by themselves do not",
            ),
            Self::CachingMode => f.write_str(
                "the IOMMU is a virtual one in caching mode: the hypervisor is told of each map",
            ),
            Self::TooFewSamples { series } => {
                write!(f, "{series} series have too few blocks of samples for an interval")
            }
            Self::PoorFit { error } => write!(
                f,
                "a fit is off by {:.0} % in the median: times do not grow in a line",
                error * 100.0
            ),
        }
    }
}

impl Warning {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoisyHost { .. } => {
                "stop other work, or pin this to idle processors (taskset), and run it for longer (--duration)"
            }
            Self::FrequencyScaling { .. } => {
                "write 'performance' to /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor while you measure"
            }
            Self::SlowClock { .. } => {
                "dmesg says why the kernel gave up the TSC; tsc=nowatchdog on its command line keeps it, where it is known to be good"
            }
            Self::NoTransparentHugePages => {
                "write 'madvise' to /sys/kernel/mm/transparent_hugepage/enabled"
            }
            Self::OtherNode { .. } => {
                "run it at the device's node: numactl --cpunodebind=N --membind=N iommu-tool bench ..."
            }
            Self::VirtualMachine => {
                "compare rows with rows, and runs with runs of the same machine"
            }
            Self::CachingMode => {
                "expect maps to be cheaper on metal; QEMU turns it off with caching-mode=off"
            }
            Self::TooFewSamples { .. } => "give --samples or --duration a larger value",
            Self::PoorFit { .. } => {
                "trust the measured sizes, and give --sizes closer to those you need"
            }
        }
    }
}

/// A warning with its words, as a record holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warned {
    /// Which it is.
    #[serde(flatten)]
    pub warning: Warning,
    /// What it says.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl From<Warning> for Warned {
    fn from(warning: Warning) -> Self {
        Self {
            message: warning.to_string(),
            remedy: warning.remedy().to_owned(),
            warning,
        }
    }
}
