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
    /// Variants of vfio-pci that know the device and can do more with it, such as live migration.
    pub vfio: Vec<String>,
}

impl Host {
    /// The modules whose alias matches the device (`/lib/modules/RELEASE/modules.alias`). Drivers that are built into the kernel
    /// are not listed there.
    #[must_use]
    pub fn driver_modules(&self, bdf: Bdf) -> DriverModules {
        let mut found = DriverModules::default();
        let (Some(modalias), Some(modules)) = (
            self.attribute(sysfs(bdf).join("modalias")),
            self.modules_folder(),
        ) else {
            return found;
        };
        let Some(device) = modalias.strip_prefix("pci:") else {
            return found;
        };
        let matching = self.pick_lines(modules.join("modules.alias"), ALIASES_LIMIT, |line| {
            let mut words = line.strip_prefix("alias ")?.split(' ');
            let (bus, pattern) = words.next()?.split_once(':')?;
            let module = words.next()?;
            let is_vfio = match bus {
                "vfio_pci" => true,
                "pci" => false,
                _ => return None,
            };
            matches(pattern, device).then(|| (is_vfio, module.to_owned()))
        });
        for (is_vfio, module) in matching.unwrap_or_default() {
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
    use std::fs;

    #[test]
    fn modules_are_found_by_alias() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/sys/kernel/osrelease", "6.12.0-lab\n");
        write(
            "sys/bus/pci/devices/0000:01:00.0/modalias",
            "pci:v000015B3d0000101Esv000015B3sd00000058bc02sc00i00\n",
        );
        write(
            "lib/modules/6.12.0-lab/modules.alias",
            "# Aliases extracted from modules themselves.\n\
             alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core\n\
             alias pci:v000015B3d0000101Fsv*sd*bc*sc*i* other\n\
             alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n\
             alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n\
             alias pci:v*d*sv*sd*bc02sc00i* any_nic\n\
             alias of:N*T*Cfoo bar\nalias\nalias pci:\n",
        );
        let modules = Host::at(folder.path()).driver_modules("01:00.0".parse().unwrap());
        assert_eq!(modules.host, ["mlx5_core", "any_nic"]);
        assert_eq!(modules.vfio, ["mlx5_vfio_pci"]);
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
