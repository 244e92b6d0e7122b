//! Whether the host has an IOMMU that is on, and if not, why and how to turn it on.

use super::group::GROUPS;
use super::{Host, HostError};
use crate::types::GroupId;

/// Where each IOMMU that a driver has taken charge of shows up (Documentation/ABI/testing/sysfs-class-iommu).
const UNITS: &str = "/sys/class/iommu";
const TABLES: &str = "/sys/firmware/acpi/tables";
const CPUINFO_LIMIT: u64 = 64 << 10;

/// Why the host has no IOMMU that is on, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this host has no IOMMU that is on: {reason}. {remedy}")]
pub struct MissingIommu {
    /// What was found.
    pub reason: String,
    /// How to turn it on.
    pub remedy: String,
    /// The change of the kernel's command line that would do, if one would.
    pub parameter: Option<ParameterChange>,
}

/// A change of the kernel's command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterChange {
    /// This word is missing.
    Add(&'static str),
    /// This word must go.
    Remove(&'static str),
}

/// The firmware's tables that describe IOMMUs: name, what they describe, the kernel option for it.
const DESCRIPTIONS: [(&str, &str, &str); 4] = [
    ("DMAR", "an Intel IOMMU (VT-d)", "CONFIG_INTEL_IOMMU"),
    ("IVRS", "an AMD IOMMU (AMD-Vi)", "CONFIG_AMD_IOMMU"),
    ("VIOT", "a virtio-iommu", "CONFIG_VIRTIO_IOMMU"),
    ("IORT", "what may be an Arm SMMU", "CONFIG_ARM_SMMU_V3"),
];

impl Host {
    /// Whether an IOMMU is on: a driver has taken charge of one, or there are groups that VFIO did not make up.
    #[must_use]
    pub fn has_iommu(&self) -> bool {
        !self.names(UNITS).is_empty()
            || self
                .names(GROUPS)
                .iter()
                .filter_map(|name| name.parse().ok().map(GroupId))
                .any(|id| !self.is_noiommu(id))
    }

    /// Succeeds if an IOMMU is on.
    ///
    /// # Errors
    /// [`HostError::NoIommu`] with the reason and the remedy.
    pub fn require_iommu(&self) -> Result<(), HostError> {
        if self.has_iommu() {
            Ok(())
        } else {
            Err(self.missing_iommu().into())
        }
    }

    /// Why there is no IOMMU, told by the firmware's tables, the kernel's command line and the processor.
    #[must_use]
    pub fn missing_iommu(&self) -> MissingIommu {
        let table = |name: &str| self.exists(format!("{TABLES}/{name}"));
        let options = self.kernel_options();
        let has = |text: &str| options.iter().any(|option| option.text == text);
        let off = ["iommu=off", "intel_iommu=off", "amd_iommu=off"]
            .into_iter()
            .find(|word| has(word));

        let mut parameter = None;
        let (reason, remedy) = if let Some(word) = off {
            parameter = Some(ParameterChange::Remove(word));
            (
                format!("the kernel was started with {word}"),
                format!("Take {word} off the kernel command line and restart"),
            )
        } else if table("DMAR") && !has("intel_iommu=on") {
            parameter = Some(ParameterChange::Add("intel_iommu=on"));
            (
                "the firmware describes an Intel IOMMU (VT-d), and the kernel does not use it"
                    .into(),
                "Add intel_iommu=on to the kernel command line and restart".into(),
            )
        } else if let Some((name, unit, option)) =
            DESCRIPTIONS.into_iter().find(|(name, ..)| table(name))
        {
            (
                format!(
                    "the firmware describes {unit} in its {name} table, and no driver took charge of it"
                ),
                format!(
                    "Look for what the kernel says about it (dmesg | grep -i -e iommu -e {name}), and whether the kernel was built with {option}"
                ),
            )
        } else {
            self.without_tables()
        };
        MissingIommu {
            reason,
            remedy,
            parameter,
        }
    }

    /// The firmware's tables that describe IOMMUs, each with what it describes.
    #[must_use]
    pub fn iommu_tables(&self) -> Vec<(&'static str, &'static str)> {
        DESCRIPTIONS
            .into_iter()
            .filter(|(name, ..)| self.exists(format!("{TABLES}/{name}")))
            .map(|(name, unit, _)| (name, unit))
            .collect()
    }

    /// Whether the firmware describes the machine by a device tree, as on many Arm machines.
    #[must_use]
    pub fn has_device_tree(&self) -> bool {
        self.exists("/sys/firmware/devicetree/base")
    }

    /// Whether this is a virtual machine, as far as the processor says so (x86).
    #[must_use]
    pub fn is_virtual_machine(&self) -> bool {
        runs_under_hypervisor(&self.text("/proc/cpuinfo", CPUINFO_LIMIT))
    }

    /// The firmware says nothing: what to do depends on the machine.
    fn without_tables(&self) -> (String, String) {
        let cpuinfo = self.text("/proc/cpuinfo", CPUINFO_LIMIT);
        if runs_under_hypervisor(&cpuinfo) {
            return (
                "this is a virtual machine without a virtual IOMMU".into(),
                "Give it one; with QEMU: -machine q35,kernel-irqchip=split -device intel-iommu,intremap=on".into(),
            );
        }
        let remedy = if cpuinfo.contains("GenuineIntel") {
            "Turn on VT-d (Intel Virtualization Technology for Directed I/O) in the firmware's set-up, add intel_iommu=on to the kernel command line and restart"
        } else if cpuinfo.contains("AuthenticAMD") || cpuinfo.contains("HygonGenuine") {
            "Turn on IOMMU (AMD-Vi) in the firmware's set-up and restart"
        } else {
            "Turn on the IOMMU (VT-d, AMD-Vi or SMMU) in the firmware's set-up, if this machine has one, and restart"
        };
        ("the firmware describes none".into(), remedy.into())
    }
}

fn runs_under_hypervisor(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|line| line.split_whitespace().any(|flag| flag == "hypervisor"))
}

#[cfg(test)]
mod tests {
    use crate::host::root::host_of_files as host;

    const DMAR: (&str, &str) = ("sys/firmware/acpi/tables/DMAR", "");

    #[test]
    fn the_remedy_fits_the_reason() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[DMAR, ("proc/cmdline", "quiet")], "Add intel_iommu=on"),
            (
                &[DMAR, ("proc/cmdline", "intel_iommu=off")],
                "Take intel_iommu=off off",
            ),
            (
                &[DMAR, ("proc/cmdline", "intel_iommu=igfx_off,off")],
                "Take intel_iommu=off off",
            ),
            (
                &[DMAR, ("proc/cmdline", "intel_iommu=on")],
                "CONFIG_INTEL_IOMMU",
            ),
            (
                &[DMAR, ("proc/cmdline", "intel_iommu=on,sm_on")],
                "CONFIG_INTEL_IOMMU",
            ),
            (&[("sys/firmware/acpi/tables/IVRS", "")], "CONFIG_AMD_IOMMU"),
            (
                &[("sys/firmware/acpi/tables/VIOT", "")],
                "CONFIG_VIRTIO_IOMMU",
            ),
            (
                &[("sys/firmware/acpi/tables/IORT", "")],
                "CONFIG_ARM_SMMU_V3",
            ),
            (
                &[("proc/cpuinfo", "vendor_id : GenuineIntel\nflags : fpu vmx")],
                "Turn on VT-d",
            ),
            (
                &[("proc/cpuinfo", "vendor_id : AuthenticAMD\nflags : fpu svm")],
                "AMD-Vi",
            ),
            (
                &[(
                    "proc/cpuinfo",
                    "vendor_id : GenuineIntel\nflags : fpu hypervisor",
                )],
                "-device intel-iommu",
            ),
            (&[], "if this machine has one"),
        ];
        for (files, remedy) in cases {
            let (_folder, host) = host(files);
            let missing = host.require_iommu().unwrap_err().to_string();
            assert!(missing.contains(remedy), "{files:?}: {missing}");
        }
    }

    #[test]
    fn groups_that_vfio_made_up_are_no_iommu() {
        let made_up = ("sys/kernel/iommu_groups/0/name", "vfio-noiommu\n");
        let (_folder, host) = host(&[made_up]);
        assert!(!host.has_iommu());
        assert_eq!(host.groups(), []);
    }

    #[test]
    fn a_unit_or_a_group_is_an_iommu() {
        for path in [
            "sys/class/iommu/dmar0/uevent",
            "sys/kernel/iommu_groups/0/type",
        ] {
            let (_folder, host) = host(&[(path, "")]);
            assert!(host.has_iommu(), "{path}");
        }
    }
}
