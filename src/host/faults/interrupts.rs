//! How often IOMMUs interrupted the processor about faults (`/proc/interrupts`; Documentation/filesystems/proc.rst).
//!
//! A second observer beside the log: nothing limits its rate. One interrupt can tell of several faults.

use serde::Serialize;

use super::IommuKind;
use crate::host::Host;

const INTERRUPTS: &str = "/proc/interrupts";
/// A line has about 11 characters for each processor.
const INTERRUPTS_LIMIT: u64 = 16 << 20;

/// The interrupts of one IOMMU about faults, since the host started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultInterrupts {
    /// The kind of IOMMU.
    pub iommu: IommuKind,
    /// The interrupt's name: `dmar0`, `AMD-Vi0-Evt`.
    pub name: String,
    /// How many there were.
    pub count: u64,
}

impl Host {
    /// The counts of interrupts that IOMMUs raise for faults; empty where there are none, or where they serve other purposes too.
    #[must_use]
    pub fn fault_interrupts(&self) -> Vec<FaultInterrupts> {
        let text = self.read(INTERRUPTS, INTERRUPTS_LIMIT).unwrap_or_default();
        parse(&String::from_utf8_lossy(&text))
    }
}

/// A heading with a name for each processor; then `24:  18  0  DMAR-MSI  0-edge  dmar0`.
fn parse(text: &str) -> Vec<FaultInterrupts> {
    let mut lines = text.lines();
    let processors = lines
        .next()
        .map_or(0, |heading| heading.split_whitespace().count());
    lines
        .filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let name = rest.split_whitespace().last()?;
            let iommu = kind(name)?;
            let counts = rest.split_whitespace().take(processors);
            let count = counts.map_while(|count| count.parse::<u64>().ok()).sum();
            Some(FaultInterrupts {
                iommu,
                name: name.to_owned(),
                count,
            })
        })
        .collect()
}

/// The IOMMU that has a fault interrupt of this name: `dmar0` (not `dmar0-prq`, page requests), `AMD-Vi0-Evt` (on older kernels
/// `AMD-Vi`, for all its logs), `arm-smmu-v3-evtq`. virtio-iommu's interrupt serves all its queues.
fn kind(name: &str) -> Option<IommuKind> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if name.strip_prefix("dmar").is_some_and(is_number) {
        return Some(IommuKind::Vtd);
    }
    if name == "arm-smmu-v3-evtq" {
        return Some(IommuKind::SmmuV3);
    }
    let number = name.strip_prefix("AMD-Vi")?;
    (number.is_empty() || number.strip_suffix("-Evt").is_some_and(is_number))
        .then_some(IommuKind::AmdVi)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_processors_are_added() {
        let text = "            CPU0       CPU1       \n\
                     0:         76          0  IR-IO-APIC                  2-edge      timer\n\
                    24:         18          3  DMAR-MSI                    0-edge      dmar0\n\
                    25:          5          0  DMAR-MSI                    1-edge      dmar10-prq\n\
                    26:          7          0  IOMMU-MSI                 368-edge      AMD-Vi0-Evt\n\
                    27:          1          0  IOMMU-MSI                 376-edge      AMD-Vi0-PPR\n\
                    28:          9          0  GICv3 106 Edge      arm-smmu-v3-evtq\n\
                   NMI:          4          0  Non-maskable interrupts\n";
        let found: Vec<_> = parse(text)
            .into_iter()
            .map(|found| (found.iommu, found.name, found.count))
            .collect();
        assert_eq!(
            found,
            [
                (IommuKind::Vtd, "dmar0".to_owned(), 21),
                (IommuKind::AmdVi, "AMD-Vi0-Evt".to_owned(), 7),
                (IommuKind::SmmuV3, "arm-smmu-v3-evtq".to_owned(), 9),
            ]
        );
    }

    #[test]
    fn odd_files_break_nothing() {
        for text in [
            "",
            ":",
            "CPU0\n24:",
            "CPU0\n24: dmar0",
            "CPU0\n24: x dmar0",
            "\n\n",
        ] {
            assert!(parse(text).iter().all(|found| found.count == 0), "{text}");
        }
    }
}
