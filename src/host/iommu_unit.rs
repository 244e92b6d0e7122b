//! The IOMMU that translates for a device, and what it can do (Documentation/ABI/testing/sysfs-class-iommu*).

use super::Host;
use super::pci::sysfs;
use crate::types::{Bdf, Iova, PageSizes};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

const KIB_4: u64 = 1 << 12;
const MIB_2: u64 = 1 << 21;
const GIB_1: u64 = 1 << 30;

/// An IOMMU, as far as its driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IommuUnit {
    /// Its name, as `dmar0`, `ivhd0`, `smmu3.0x0000000009050000`.
    pub name: String,
    /// What it is.
    pub kind: IommuKind,
    /// The architecture version, as the driver writes it.
    pub version: Option<String>,
    /// The bits of an IOVA.
    pub address_width: Option<u8>,
    /// The pages it can map.
    pub page_sizes: Option<PageSizes>,
    /// The levels that its page tables can have.
    pub levels: Vec<u8>,
    /// What else it can do.
    pub features: Vec<&'static str>,
}

/// Whose architecture an IOMMU follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IommuKind {
    /// Intel VT-d.
    Vtd,
    /// AMD-Vi.
    AmdVi,
    /// Arm SMMU version 3.
    SmmuV3,
    /// Arm SMMU version 1 or 2.
    Smmu,
    /// virtio-iommu.
    Virtio,
    /// Another one.
    Other,
}

impl IommuKind {
    /// In words.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Vtd => "Intel VT-d",
            Self::AmdVi => "AMD-Vi",
            Self::SmmuV3 => "Arm SMMUv3",
            Self::Smmu => "Arm SMMU",
            Self::Virtio => "virtio-iommu",
            Self::Other => "IOMMU",
        }
    }

    fn from_name(name: &str) -> Self {
        [
            ("dmar", Self::Vtd),
            ("ivhd", Self::AmdVi),
            ("smmu3", Self::SmmuV3),
            ("smmu", Self::Smmu),
            ("virtio", Self::Virtio),
        ]
        .into_iter()
        .find_map(|(start, kind)| name.starts_with(start).then_some(kind))
        .unwrap_or(Self::Other)
    }
}

impl fmt::Display for IommuKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.in_words())
    }
}

/// Capabilities of VT-d that bear on assigned devices (VT-d 4.1, sections 11.4.2 and 11.4.3), by their bits.
const INTEL_CAPABILITIES: [(u32, &str); 2] = [(7, "caching mode"), (59, "posted interrupts")];
const INTEL_EXTENDED: [(u32, &str); 10] = [
    (2, "device TLBs (ATS)"),
    (3, "interrupt remapping"),
    (6, "pass-through"),
    (7, "snoop control"),
    (26, "nested translation"),
    (29, "page requests (PRI)"),
    (40, "PASID"),
    (43, "scalable mode"),
    (45, "dirty tracking"),
    (47, "first-stage translation"),
];

/// Extended features of AMD-Vi (AMD I/O Virtualization 3.10, MMIO offset 0030h), by their bits.
const AMD_FEATURES: [(u32, &str); 6] = [
    (1, "page requests (PRI)"),
    (2, "x2APIC interrupt remapping"),
    (4, "guest translation (PASID)"),
    (6, "invalidate all"),
    (7, "posted interrupts"),
    (52, "dirty tracking"),
];

impl Host {
    /// The names of all IOMMUs that a driver has taken charge of.
    #[must_use]
    pub fn iommu_units(&self) -> Vec<String> {
        self.names("/sys/class/iommu")
    }

    /// The IOMMU that translates for a device; `None` if none does, or the driver does not say.
    #[must_use]
    pub fn iommu_unit(&self, bdf: Bdf) -> Option<IommuUnit> {
        let link = self.link(sysfs(bdf).join("iommu"))?;
        let name = link.file_name()?.to_string_lossy().into_owned();
        let mut unit = self.describe_unit(name);
        if is_virtio(&link) {
            unit.kind = IommuKind::Virtio;
        }
        Some(unit)
    }

    /// Whether a device is translated for by the IOMMU that the kernel's log calls so: the device behind the unit, on whose path the unit is.
    #[must_use]
    pub fn is_translated_by(&self, bdf: Bdf, name: &str) -> bool {
        let link = self.link(sysfs(bdf).join("iommu"));
        link.is_some_and(|link| link.iter().any(|part| part == name))
    }

    /// The IOMMUs of which this program does not know how the kernel's log words their faults.
    #[must_use]
    pub fn unread_iommus(&self) -> Vec<String> {
        let mut units = self.iommu_units();
        units.retain(|name| self.describe_unit(name.clone()).kind == IommuKind::Other);
        units
    }

    /// What an IOMMU says about itself.
    #[must_use]
    pub fn describe_unit(&self, name: String) -> IommuUnit {
        let folder = format!("/sys/class/iommu/{name}");
        let kind = match self.link(&folder) {
            Some(link) if is_virtio(&link) => IommuKind::Virtio,
            _ => IommuKind::from_name(&name),
        };
        let hexadecimal =
            |file: &str| u64::from_str_radix(&self.attribute(format!("{folder}/{file}"))?, 16).ok();
        let mut unit = IommuUnit {
            name,
            kind,
            version: None,
            address_width: None,
            page_sizes: None,
            levels: Vec::new(),
            features: Vec::new(),
        };
        match kind {
            IommuKind::Vtd => {
                unit.version = self.attribute(format!("{folder}/intel-iommu/version"));
                if let Some(capabilities) = hexadecimal("intel-iommu/cap") {
                    unit.add_intel(capabilities);
                }
                if let Some(extended) = hexadecimal("intel-iommu/ecap") {
                    unit.features.extend(set(extended, &INTEL_EXTENDED));
                }
            }
            IommuKind::AmdVi => {
                // Newer kernels append a second register after a colon.
                let features = self
                    .attribute(format!("{folder}/amd-iommu/features"))
                    .and_then(|text| u64::from_str_radix(text.split(':').next()?, 16).ok());
                if let Some(features) = features {
                    unit.add_amd(features);
                }
            }
            _ => {}
        }
        unit
    }
}

impl IommuUnit {
    /// Whether a write to this address is an interrupt, which no page table translates (VT-d 3.14; AMD 48882, section 2.1.4).
    #[must_use]
    pub fn sends_interrupts(&self, iova: Iova) -> bool {
        let is_x86 = matches!(self.kind, IommuKind::Vtd | IommuKind::AmdVi);
        is_x86 && (0xfee0_0000..=0xfeef_ffff).contains(&iova.0)
    }

    /// Whether it can do something of its lists of features.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.features.contains(&feature)
    }

    fn add_intel(&mut self, capabilities: u64) {
        self.address_width = Some((capabilities >> 16 & 0x3f) as u8 + 1);
        // SAGAW: bit 1 is 3 levels (39 bits), bit 2 is 4 (48), bit 3 is 5 (57).
        self.levels = (1..4)
            .filter(|bit| capabilities >> 8 & 1 << bit != 0)
            .map(|bit| bit + 2)
            .collect();
        // SLLPS: bit 34 is 2 MiB, bit 35 is 1 GiB; 4 KiB always.
        let mut sizes = KIB_4;
        sizes |= if capabilities & 1 << 34 != 0 {
            MIB_2
        } else {
            0
        };
        sizes |= if capabilities & 1 << 35 != 0 {
            GIB_1
        } else {
            0
        };
        self.page_sizes = Some(PageSizes(sizes));
        self.features.extend(set(capabilities, &INTEL_CAPABILITIES));
    }

    fn add_amd(&mut self, features: u64) {
        // HATS, bits 11:10: the host's page tables have 4, 5 or 6 levels of 9 bits each.
        let most = 4 + (features >> 10 & 3).min(2) as u8;
        self.levels = (4..=most).collect();
        self.address_width = Some((12 + 9 * most).min(64));
        // The host page tables map any power of two from 4 KiB; these are what Linux and processors use.
        self.page_sizes = Some(PageSizes(KIB_4 | MIB_2 | GIB_1));
        self.features.extend(set(features, &AMD_FEATURES));
    }
}

/// virtio-iommu's unit is named after the PCI function that it is, so only the path tells.
fn is_virtio(unit: &Path) -> bool {
    unit.iter()
        .any(|part| part.to_string_lossy().starts_with("virtio"))
}

fn set(register: u64, names: &[(u32, &'static str)]) -> Vec<&'static str> {
    names
        .iter()
        .filter(|(bit, _)| register >> bit & 1 != 0)
        .map(|(_, name)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn unit(name: &str, files: &[(&str, &str)]) -> IommuUnit {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("sys/bus/pci/devices/0000:01:00.0");
        fs::create_dir_all(&device).unwrap();
        symlink(format!("../../virtual/iommu/{name}"), device.join("iommu")).unwrap();
        for (path, text) in files {
            let path = folder.path().join("sys/class/iommu").join(name).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Host::at(folder.path())
            .iommu_unit("01:00.0".parse().unwrap())
            .unwrap()
    }

    #[test]
    fn intel_registers_are_decoded() {
        let skylake = unit(
            "dmar3",
            &[
                ("intel-iommu/cap", "8d2078c106f0466\n"),
                ("intel-iommu/ecap", "f020df\n"),
                ("intel-iommu/version", "1:0\n"),
            ],
        );
        assert_eq!(skylake.kind, IommuKind::Vtd);
        assert_eq!(skylake.address_width, Some(48));
        assert_eq!(skylake.levels, [4]);
        assert_eq!(skylake.page_sizes, Some(PageSizes(KIB_4 | MIB_2 | GIB_1)));
        assert!(skylake.has("interrupt remapping") && skylake.has("posted interrupts"));
        assert!(!skylake.has("scalable mode"));

        let client = unit("dmar0", &[("intel-iommu/cap", "1c0000c40660462\n")]);
        assert_eq!((client.address_width, client.levels), (Some(39), vec![4]));
    }

    #[test]
    fn amd_features_are_decoded() {
        for text in ["58f77ef22294ade\n", "58f77ef22294ade:0\n"] {
            let zen = unit("ivhd0", &[("amd-iommu/features", text)]);
            assert_eq!((zen.kind, zen.address_width), (IommuKind::AmdVi, Some(64)));
            assert!(zen.has("guest translation (PASID)"), "{:?}", zen.features);
        }
    }

    #[test]
    fn what_a_driver_does_not_tell_stays_open() {
        for (name, kind) in [
            ("smmu3.0x0000000009050000", IommuKind::SmmuV3),
            ("virtio0", IommuKind::Virtio),
            ("s390-iommu.1", IommuKind::Other),
        ] {
            let unit = unit(name, &[]);
            assert_eq!((unit.kind, unit.address_width), (kind, None));
        }
        assert_eq!(
            unit("dmar0", &[("intel-iommu/cap", "zz\n")]).address_width,
            None
        );
    }
}
