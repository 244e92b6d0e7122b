//! The running kernel: its release, parameters, configuration, modules and lockdown.

use std::path::{Path, PathBuf};

use super::Host;

const CMDLINE_LIMIT: u64 = 64 << 10;
const CONFIG_LIMIT: u64 = 4 << 20;
const MODULE_LIST_LIMIT: u64 = 16 << 20;

/// Whether the kernel has a part that can be a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModuleState {
    /// Neither loaded nor found.
    Missing,
    /// On disk, to be loaded by modprobe.
    Loadable,
    /// Built into the kernel.
    BuiltIn,
    /// Loaded, or built in and visible in sysfs.
    Active,
}

/// How much the kernel keeps even root from changing it (Documentation/ABI: securityfs, `lockdown`; kernel_lockdown(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lockdown {
    /// Not at all.
    None,
    /// Nothing may change the running kernel.
    Integrity,
    /// Nor may anything read what it holds.
    Confidentiality,
}

/// An option on the kernel's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelOption {
    /// The option by itself, as `intel_iommu=sm_off`.
    pub text: String,
    /// The word that it is in, as `intel_iommu=on,sm_off`.
    pub word: String,
}

/// The parameters that the kernel splits at commas (`intel_iommu_setup` of drivers/iommu/intel/iommu.c, `parse_amd_iommu_options` of
/// drivers/iommu/amd/init.c, `iommu_setup` of arch/x86/kernel/pci-dma.c, `setup_irqremap` of drivers/iommu/irq_remapping.c, `pci_setup` of
/// drivers/pci/pci.c; within an item of `pci`, devices are split at semicolons).
const LISTS: [&str; 5] = ["intel_iommu", "amd_iommu", "iommu", "intremap", "pci"];

fn options_of(word: &str) -> Vec<KernelOption> {
    let option = |text: String| KernelOption {
        text,
        word: word.to_owned(),
    };
    match word.split_once('=') {
        Some((name, items)) if LISTS.contains(&name) => items
            .split(',')
            .map(|item| option(format!("{name}={item}")))
            .collect(),
        _ => vec![option(word.to_owned())],
    }
}

impl Host {
    /// The kernel's release, as `6.12.0-1-amd64`.
    #[must_use]
    pub fn kernel_release(&self) -> Option<String> {
        self.attribute("/proc/sys/kernel/osrelease")
            .filter(|release| !release.contains('/'))
    }

    /// Where the modules of the running kernel are.
    pub(super) fn modules_folder(&self) -> Option<PathBuf> {
        Some(Path::new("/lib/modules").join(self.kernel_release()?))
    }

    /// What the kernel takes from its command line, one option each: of the parameters that are lists for it, each item with the name of
    /// the parameter, so that `intel_iommu=on,sm_off` is `intel_iommu=on` and `intel_iommu=sm_off`.
    #[must_use]
    pub fn kernel_options(&self) -> Vec<KernelOption> {
        self.kernel_parameters()
            .iter()
            .flat_map(|word| options_of(word))
            .collect()
    }

    /// The words of the kernel's command line.
    #[must_use]
    pub fn kernel_parameters(&self) -> Vec<String> {
        self.text("/proc/cmdline", CMDLINE_LIMIT)
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }

    /// The value of an option in the configuration that the kernel was built with, as `y` for `CONFIG_IOMMUFD`; empty if it is
    /// not set. `None` if the configuration is not found; `/proc/config.gz` is not read.
    #[must_use]
    pub fn kernel_config(&self, option: &str) -> Option<String> {
        let release = self.kernel_release()?;
        let paths = [
            PathBuf::from(format!("/boot/config-{release}")),
            self.modules_folder()?.join("config"),
            PathBuf::from(format!("/usr/lib/kernel/config-{release}")),
        ];
        let values = paths.iter().find_map(|path| {
            self.pick_lines(path, CONFIG_LIMIT, |line| {
                let (name, value) = line.split_once('=')?;
                (name == option).then(|| value.to_owned())
            })
            .ok()
        })?;
        Some(values.into_iter().next().unwrap_or_default())
    }

    /// Whether the kernel has a module, told by `/sys/module` and the lists in `/lib/modules`; `None` if there are no such lists.
    #[must_use]
    pub fn module_state(&self, module: &str) -> Option<ModuleState> {
        if self.exists(format!("/sys/module/{module}")) {
            return Some(ModuleState::Active);
        }
        let folder = self.modules_folder()?;
        // Lines such as `kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/…`; files are named with either sign.
        let named = |line: &str| {
            let path = line.split(':').next()?;
            let file = Path::new(path).file_name()?.to_str()?;
            (file.split(".ko").next()?.replace('-', "_") == module).then_some(())
        };
        let listed = |list: &str| {
            self.pick_lines(folder.join(list), MODULE_LIST_LIMIT, named)
                .map(|found| !found.is_empty())
        };
        match (listed("modules.builtin"), listed("modules.dep")) {
            (Ok(true), _) => Some(ModuleState::BuiltIn),
            (_, Ok(true)) => Some(ModuleState::Loadable),
            (_, Ok(false)) => Some(ModuleState::Missing),
            (_, Err(_)) => None,
        }
    }

    /// The value of a module's parameter; `None` if the module is not there or hides it.
    #[must_use]
    pub fn module_parameter(&self, module: &str, parameter: &str) -> Option<String> {
        self.attribute(format!("/sys/module/{module}/parameters/{parameter}"))
    }

    /// Whether a module's parameter of the kind yes or no says yes.
    #[must_use]
    pub fn module_switch(&self, module: &str, parameter: &str) -> bool {
        self.module_parameter(module, parameter)
            .is_some_and(|value| value == "Y" || value == "1")
    }

    /// How far the kernel is locked down; `None` if it has no lockdown, or this user may not know.
    #[must_use]
    pub fn lockdown(&self) -> Option<Lockdown> {
        let text = self.attribute("/sys/kernel/security/lockdown")?;
        let (_, rest) = text.split_once('[')?;
        match rest.split_once(']')?.0 {
            "none" => Some(Lockdown::None),
            "integrity" => Some(Lockdown::Integrity),
            "confidentiality" => Some(Lockdown::Confidentiality),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::root::host_of_files as host;

    #[test]
    fn lists_are_split_as_the_kernel_does() {
        let found: Vec<String> = [
            "intel_iommu=on,igfx_off",
            "pci=realloc,disable_acs_redir=00:01.0;pci:8086:1234",
            "iommu=pt",
            "pcie_acs_override=downstream,multifunction",
            "quiet",
        ]
        .iter()
        .flat_map(|word| options_of(word))
        .map(|option| option.text)
        .collect();
        let expected = [
            "intel_iommu=on",
            "intel_iommu=igfx_off",
            "pci=realloc",
            "pci=disable_acs_redir=00:01.0;pci:8086:1234",
            "iommu=pt",
            "pcie_acs_override=downstream,multifunction",
            "quiet",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn modules_are_found_wherever_they_are() {
        let (_folder, host) = host(&[
            ("proc/sys/kernel/osrelease", "6.12.0\n"),
            (
                "sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
                "Y\n",
            ),
            (
                "lib/modules/6.12.0/modules.builtin",
                "kernel/drivers/iommu/iommufd/iommufd.ko\n",
            ),
            (
                "lib/modules/6.12.0/modules.dep",
                "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/pci/vfio-pci-core.ko.xz\n",
            ),
        ]);
        assert_eq!(host.module_state("vfio"), Some(ModuleState::Active));
        assert_eq!(host.module_state("iommufd"), Some(ModuleState::BuiltIn));
        assert_eq!(host.module_state("vfio_pci"), Some(ModuleState::Loadable));
        assert_eq!(
            host.module_state("vfio_pci_core"),
            Some(ModuleState::Missing)
        );
        assert!(host.module_switch("vfio", "enable_unsafe_noiommu_mode"));
        assert!(!host.module_switch("vfio", "other"));
    }

    #[test]
    fn the_configuration_is_found_or_not_known() {
        let (_folder, host) = host(&[
            ("proc/sys/kernel/osrelease", "6.12.0\n"),
            (
                "boot/config-6.12.0",
                "CONFIG_IOMMUFD=m\n# CONFIG_VFIO_DEVICE_CDEV is not set\n",
            ),
        ]);
        assert_eq!(host.kernel_config("CONFIG_IOMMUFD").as_deref(), Some("m"));
        assert_eq!(
            host.kernel_config("CONFIG_VFIO_DEVICE_CDEV").as_deref(),
            Some("")
        );
        let (_folder, host) = self::host(&[("proc/sys/kernel/osrelease", "../../etc\n")]);
        assert_eq!(host.module_state("vfio_pci"), None);
        assert_eq!(host.kernel_config("CONFIG_IOMMUFD"), None);
    }

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        for (text, expected) in [
            ("[none] integrity confidentiality\n", Some(Lockdown::None)),
            (
                "none [integrity] confidentiality\n",
                Some(Lockdown::Integrity),
            ),
            ("none integrity\n", None),
            ("]none[\n", None),
        ] {
            let (_folder, host) = host(&[("sys/kernel/security/lockdown", text)]);
            assert_eq!(host.lockdown(), expected, "{text}");
        }
    }
}
