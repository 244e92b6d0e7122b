//! Which kernel modules could drive a device: those for the host's own use, and those that hand it to user space.

use super::Host;
use super::pci::sysfs;
use crate::types::Bdf;

/// The list of a big distribution has 1.5 MB.
const ALIASES_LIMIT: u64 = 32 << 20;

/// Modules that say they know a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DriverModules {
    /// For the host's own use.
    pub host: Vec<String>,
    /// Variants of vfio-pci that know the device and can do more with it, such as live migration; the one that names the device
    /// most closely first.
    pub vfio: Vec<String>,
}

/// What the kernel's list of modules says of a VFIO driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VfioAlias {
    /// It is for this device, or for every one.
    ThisDevice,
    /// It is for other devices.
    OtherDevices,
    /// It is not listed as a VFIO driver for PCI devices.
    Unlisted,
}

/// A line of `modules.alias` that is about a PCI driver.
struct Alias<'l> {
    /// Whether it is a driver that hands its devices to user space (`PCI_DRIVER_OVERRIDE_DEVICE_VFIO` of linux/pci.h).
    is_vfio: bool,
    pattern: &'l str,
    module: &'l str,
}

impl<'l> Alias<'l> {
    fn parse(line: &'l str) -> Option<Self> {
        let mut words = line.strip_prefix("alias ")?.split(' ');
        let (bus, pattern) = words.next()?.split_once(':')?;
        let is_vfio = match bus {
            "vfio_pci" => true,
            "pci" => false,
            _ => return None,
        };
        Some(Self {
            is_vfio,
            pattern,
            module: words.next()?,
        })
    }

    /// How much it leaves open: the fewer of the device's numbers, the closer it names it.
    fn wildcards(&self) -> usize {
        self.pattern.matches('*').count()
    }
}

impl Host {
    /// The modules whose alias matches the device (`/lib/modules/RELEASE/modules.alias`). Drivers that are built into the kernel
    /// are not listed there.
    #[must_use]
    pub fn driver_modules(&self, bdf: Bdf) -> DriverModules {
        let mut found = DriverModules::default();
        let (Some(device), Some(modules)) = (self.pci_modalias(bdf), self.modules_folder()) else {
            return found;
        };
        let matching = self.pick_lines(modules.join("modules.alias"), ALIASES_LIMIT, |line| {
            let alias = Alias::parse(line)?;
            matches(alias.pattern, &device)
                .then(|| (alias.is_vfio, alias.wildcards(), alias.module.to_owned()))
        });
        let mut matching = matching.unwrap_or_default();
        // Stable: among equals the list's order counts, as for the kernel's tools. Those for the host keep it altogether.
        matching.sort_by_key(|(is_vfio, wildcards, _)| if *is_vfio { *wildcards } else { 0 });
        for (is_vfio, _, module) in matching {
            let list = if is_vfio {
                &mut found.vfio
            } else {
                &mut found.host
            };
            // vfio-pci itself matches every device.
            if module != "vfio_pci" && !list.contains(&module) {
                list.push(module);
            }
        }
        found
    }

    /// What `modules.alias` says of a module as a VFIO driver for a device; `None` if there is no such list.
    #[must_use]
    pub fn vfio_alias(&self, module: &str, bdf: Bdf) -> Option<VfioAlias> {
        let device = self.pci_modalias(bdf)?;
        let list = self.modules_folder()?.join("modules.alias");
        let its = self.pick_lines(list, ALIASES_LIMIT, |line| {
            let alias =
                Alias::parse(line).filter(|alias| alias.is_vfio && alias.module == module)?;
            Some(matches(alias.pattern, &device))
        });
        let its = its.ok()?;
        Some(match (its.contains(&true), its.is_empty()) {
            (true, _) => VfioAlias::ThisDevice,
            (false, false) => VfioAlias::OtherDevices,
            (false, true) => VfioAlias::Unlisted,
        })
    }

    /// What stands after `pci:` in the device's alias.
    fn pci_modalias(&self, bdf: Bdf) -> Option<String> {
        let modalias = self.attribute(sysfs(bdf).join("modalias"))?;
        modalias.strip_prefix("pci:").map(str::to_owned)
    }
}

/// Whether the text fits the pattern, in which `*` stands for anything. (The aliases of PCI use no other wildcard: scripts/mod/file2alias.c.)
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|start| text.strip_prefix(start)) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        open = true;
        if part.is_empty() {
            continue;
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        open = false;
    }
    open || rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::root::host_of_files;

    const MLX5_VF: &str = "pci:v000015B3d0000101Esv000015B3sd00000058bc02sc00i00\n";

    /// A host with one device and this list.
    fn host_with(modalias: &str, aliases: &str) -> (tempfile::TempDir, Host) {
        host_of_files(&[
            ("proc/sys/kernel/osrelease", "6.12.0-lab\n"),
            ("sys/bus/pci/devices/0000:01:00.0/modalias", modalias),
            ("lib/modules/6.12.0-lab/modules.alias", aliases),
        ])
    }

    fn bdf() -> Bdf {
        "01:00.0".parse().unwrap()
    }

    #[test]
    fn modules_are_found_by_alias() {
        let (_folder, host) = host_with(
            MLX5_VF,
            "# Aliases extracted from modules themselves.\n\
             alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core\n\
             alias pci:v000015B3d0000101Fsv*sd*bc*sc*i* other\n\
             alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n\
             alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n\
             alias pci:v*d*sv*sd*bc02sc00i* any_nic\n\
             alias of:N*T*Cfoo bar\nalias\nalias pci:\n",
        );
        let modules = host.driver_modules(bdf());
        assert_eq!(modules.host, ["mlx5_core", "any_nic"]);
        assert_eq!(modules.vfio, ["mlx5_vfio_pci"]);
    }

    #[test]
    fn the_variant_that_names_the_device_most_closely_comes_first() {
        let (_folder, host) = host_with(
            MLX5_VF,
            "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n\
             alias vfio_pci:v000015B3d*sv*sd*bc*sc*i* any_of_the_vendor\n\
             alias vfio_pci:v000015B3d0000101Esv000015B3sd00000058bc*sc*i* this_card\n\
             alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n\
             alias vfio_pci:v000015B3d0000101Esv000015B3sd00000059bc*sc*i* another_card\n",
        );
        assert_eq!(
            host.driver_modules(bdf()).vfio,
            ["this_card", "mlx5_vfio_pci", "any_of_the_vendor"]
        );
    }

    #[test]
    fn a_vfio_driver_is_for_this_device_for_others_or_none() {
        let (_folder, host) = host_with(
            MLX5_VF,
            "alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n\
             alias vfio_pci:v000019E5d0000A251sv*sd*bc*sc*i* hisi_acc_vfio_pci\n\
             alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n\
             alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core\n",
        );
        for (module, expected) in [
            ("vfio_pci", VfioAlias::ThisDevice),
            ("mlx5_vfio_pci", VfioAlias::ThisDevice),
            ("hisi_acc_vfio_pci", VfioAlias::OtherDevices),
            ("mlx5_core", VfioAlias::Unlisted),
        ] {
            assert_eq!(host.vfio_alias(module, bdf()), Some(expected), "{module}");
        }
        let (_folder, without_list) =
            host_of_files(&[("sys/bus/pci/devices/0000:01:00.0/modalias", MLX5_VF)]);
        assert_eq!(without_list.vfio_alias("vfio_pci", bdf()), None);
    }

    #[test]
    fn patterns_match_as_a_whole() {
        for (pattern, text, expected) in [
            ("v1d*", "v1d2", true),
            ("v1d2", "v1d2", true),
            ("v1d2", "v1d23", false),
            ("v1*i*", "v1d2i3", true),
            ("v1*i4", "v1d2i3", false),
            ("", "", true),
            ("", "v", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
