//! How the kernel can reset a device (Documentation/ABI/testing/sysfs-bus-pci, `reset_method`).

use super::Host;
use super::pci::sysfs;
use crate::types::Bdf;

/// A way to reset a function (`pci_reset_fn_methods` of drivers/pci/pci.c).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetMethod(String);

impl ResetMethod {
    /// The kernel's name, as `flr`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether it may reset other functions too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0 == "bus" || self.0 == "cxl_bus"
    }

    /// In words.
    #[must_use]
    pub fn in_words(&self) -> &'static str {
        match self.0.as_str() {
            "device_specific" => "a way of this device's own",
            "acpi" => "by the firmware (ACPI _RST)",
            "flr" => "function-level reset",
            "af_flr" => "function-level reset of conventional PCI",
            "pm" => "by power state: D3hot and back, which loses less than a full reset",
            "bus" => "of the whole bus: everything below the same bridge",
            "cxl_bus" => "of the whole CXL bus: everything below the same port",
            _ => "not known to this program",
        }
    }
}

impl Host {
    /// The ways to reset a function, in the order in which the kernel tries them. `None` where sysfs does not say: the function
    /// cannot be reset, or the kernel is older than 5.15.
    #[must_use]
    pub fn reset_methods(&self, bdf: Bdf) -> Option<Vec<ResetMethod>> {
        let methods = self.attribute(sysfs(bdf).join("reset_method"))?;
        Some(
            methods
                .split_whitespace()
                .map(|name| ResetMethod(name.to_owned()))
                .collect(),
        )
    }

    /// Whether the kernel can reset a function at all.
    #[must_use]
    pub fn can_reset(&self, bdf: Bdf) -> bool {
        self.exists(sysfs(bdf).join("reset"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn methods_keep_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("sys/bus/pci/devices/0000:01:00.0");
        fs::create_dir_all(&device).unwrap();
        let (host, bdf) = (Host::at(folder.path()), "01:00.0".parse().unwrap());
        assert_eq!(host.reset_methods(bdf), None);
        assert!(!host.can_reset(bdf));
        fs::write(device.join("reset_method"), "flr bus\n").unwrap();
        fs::write(device.join("reset"), "").unwrap();
        let methods = host.reset_methods(bdf).unwrap();
        let names: Vec<_> = methods.iter().map(|m| (m.name(), m.is_shared())).collect();
        assert_eq!(names, [("flr", false), ("bus", true)]);
        assert!(host.can_reset(bdf));
    }
}
