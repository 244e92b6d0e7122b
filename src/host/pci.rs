//! PCI devices as sysfs shows them (Documentation/ABI/testing/sysfs-bus-pci).

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use super::root::errno;
use super::{Host, HostError, IommuGroup};
use crate::types::{Bdf, DeviceName, GroupId, PciId};

/// Where sysfs lists PCI devices.
const DEVICES: &str = "/sys/bus/pci/devices";

/// The card or board a PCI function is part of (PCI Local Bus 3.0, section 6.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubsystemId {
    /// Subsystem vendor ID.
    pub vendor: u16,
    /// Subsystem ID.
    pub device: u16,
}

/// A PCI function and its place in the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciDevice {
    /// Its address.
    pub bdf: Bdf,
    /// What it is.
    pub id: PciId,
    /// What card it is part of; `None` for bridges and for devices that do not say.
    pub subsystem: Option<SubsystemId>,
    /// Revision ID, chosen by the vendor.
    pub revision: u8,
    /// The driver that it is bound to.
    pub driver: Option<String>,
    /// Its IOMMU group; `None` without an IOMMU, and on some kernels until a driver has probed it.
    pub group: Option<GroupId>,
    /// The NUMA node it is nearest to; `None` where the firmware does not say.
    pub numa_node: Option<u32>,
}

impl PciDevice {
    /// Whether it leads to another bus: PCI-to-PCI (also semi-transparent) and CardBus bridges.
    ///
    /// Told by the class code (PCI Code and ID Assignment, section 1.7): reading the header type would wake a sleeping device.
    #[must_use]
    pub fn is_bridge(&self) -> bool {
        matches!(self.id.class >> 8, 0x0604 | 0x0607 | 0x0609)
    }

    /// Its folder in sysfs.
    #[must_use]
    pub fn sysfs(&self) -> PathBuf {
        sysfs(self.bdf)
    }
}

/// The folder of a device in sysfs.
pub(super) fn sysfs(bdf: Bdf) -> PathBuf {
    PathBuf::from(format!("{DEVICES}/{bdf}"))
}

impl Host {
    /// All PCI devices, by address. A device that vanishes meanwhile, or does not say what it is, is left out.
    ///
    /// # Errors
    /// No sysfs, or its list of devices cannot be read. No PCI at all is an empty list.
    pub fn pci_devices(&self) -> Result<Vec<PciDevice>, HostError> {
        let addresses = self.addresses()?;
        Ok(addresses
            .into_iter()
            .filter_map(|bdf| self.device(bdf).ok())
            .collect())
    }

    /// The PCI devices that are in none of these groups, by address.
    ///
    /// # Errors
    /// As for [`Host::pci_devices`].
    pub fn devices_outside(&self, groups: &[IommuGroup]) -> Result<Vec<PciDevice>, HostError> {
        let inside: HashSet<Bdf> = groups
            .iter()
            .flat_map(|group| &group.devices)
            .map(|device| device.bdf)
            .collect();
        let addresses = self.addresses()?;
        Ok(addresses
            .into_iter()
            .filter(|bdf| !inside.contains(bdf))
            .filter_map(|bdf| self.device(bdf).ok())
            .collect())
    }

    pub(super) fn addresses(&self) -> Result<Vec<Bdf>, HostError> {
        let entries = match self.entries(DEVICES) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return if self.path("/sys").is_dir() {
                    Ok(Vec::new())
                } else {
                    Err(HostError::NoSysfs(self.path("/sys")))
                };
            }
            Err(error) => {
                return Err(HostError::Read {
                    path: PathBuf::from(DEVICES),
                    errno: errno(&error),
                });
            }
        };
        let mut addresses: Vec<Bdf> = entries
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        addresses.sort_unstable();
        Ok(addresses)
    }

    /// The device at an address.
    ///
    /// # Errors
    /// There is none, or it does not say what it is.
    pub fn device(&self, bdf: Bdf) -> Result<PciDevice, HostError> {
        let group = self
            .link_name(sysfs(bdf).join("iommu_group"))
            .and_then(|number| number.parse().ok())
            .map(GroupId);
        self.device_in(bdf, group)
    }

    /// The device at an address, of which the group is known.
    pub(super) fn device_in(
        &self,
        bdf: Bdf,
        group: Option<GroupId>,
    ) -> Result<PciDevice, HostError> {
        let folder = sysfs(bdf);
        let Some((id, subsystem)) = self
            .attribute(folder.join("modalias"))
            .and_then(|alias| parse_modalias(&alias))
        else {
            return Err(if self.exists(&folder) {
                HostError::Unidentified(bdf)
            } else {
                HostError::NoSuchDevice(DeviceName::Bdf(bdf))
            });
        };
        Ok(PciDevice {
            bdf,
            id,
            subsystem,
            revision: self
                .hex_attribute(folder.join("revision"))
                .and_then(|revision| u8::try_from(revision).ok())
                .unwrap_or(0),
            driver: self.driver(bdf),
            group,
            numa_node: self
                .attribute(folder.join("numa_node"))
                .and_then(|node| node.parse().ok()),
        })
    }

    /// The driver that the device is bound to now.
    #[must_use]
    pub fn driver(&self, bdf: Bdf) -> Option<String> {
        self.link_name(sysfs(bdf).join("driver"))
    }

    /// The driver that alone may bind the device, if one is set.
    ///
    /// The kernel takes the device's lock for this read, so it waits while a driver is being bound or unbound:
    /// ask only for devices that are about to be changed.
    #[must_use]
    pub fn driver_override(&self, bdf: Bdf) -> Option<String> {
        self.attribute(sysfs(bdf).join("driver_override"))
            .and_then(|text| driver_override_of(&text))
    }

    /// Whether a PCI driver of this name is loaded.
    #[must_use]
    pub fn has_driver(&self, driver: &str) -> bool {
        self.exists(format!("/sys/bus/pci/drivers/{driver}"))
    }

    /// The device's place in the hierarchy of buses, as `pci0000:00/0000:00:01.0/0000:01:00.0`; what stays the same when
    /// bus numbers are given out anew, but for those inside. `None` if sysfs does not say.
    #[must_use]
    pub fn place(&self, bdf: Bdf) -> Option<String> {
        let target = self.link(sysfs(bdf))?;
        let text = target.to_str()?;
        let (_, place) = text.split_once("devices/")?;
        Some(place.to_owned())
    }
}

/// What `modalias` says in one read: `pci:v00008086d000010C9sv00008086sd0000A03Cbc02sc00i00` (`pci_uevent` of
/// drivers/pci/pci-driver.c). It saves five reads a device.
fn parse_modalias(alias: &str) -> Option<(PciId, Option<SubsystemId>)> {
    let mut rest = alias.strip_prefix("pci:")?;
    let mut field = |key: &str, digits: usize| {
        let value = rest.strip_prefix(key)?.get(..digits)?;
        rest = &rest[key.len() + digits..];
        u32::from_str_radix(value, 16).ok()
    };
    let vendor = u16::try_from(field("v", 8)?).ok()?;
    let device = u16::try_from(field("d", 8)?).ok()?;
    let subsystem = SubsystemId {
        vendor: u16::try_from(field("sv", 8)?).ok()?,
        device: u16::try_from(field("sd", 8)?).ok()?,
    };
    let class = field("bc", 2)? << 16 | field("sc", 2)? << 8 | field("i", 2)?;
    let id = PciId {
        vendor,
        device,
        class,
    };
    let said = subsystem.vendor != 0 && subsystem.vendor != 0xffff;
    Some((id, said.then_some(subsystem)))
}

/// What the text of a `driver_override` means: unset reads as `(null)`.
#[must_use]
pub fn driver_override_of(text: &str) -> Option<String> {
    let name = text.trim();
    (!name.is_empty() && name != "(null)").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn modalias_says_what_a_device_is() {
        let (id, subsystem) =
            parse_modalias("pci:v00008086d000010C9sv00008086sd0000A03Cbc02sc00i00").unwrap();
        assert_eq!(
            (id.vendor, id.device, id.class),
            (0x8086, 0x10c9, 0x02_0000)
        );
        assert_eq!(subsystem.unwrap().device, 0xa03c);
        let (bridge, none) =
            parse_modalias("pci:v00001B36d0000000Csv00000000sd00000000bc06sc04i00").unwrap();
        assert_eq!((bridge.class, none), (0x06_0400, None));
    }

    #[test]
    fn a_damaged_modalias_is_refused() {
        for alias in [
            "",
            "pci:",
            "usb:v1D6Bp0002",
            "pci:v00008086d000010C9sv00008086sd0000A03Cbc02sc00",
            "pci:v00018086d000010C9sv00008086sd0000A03Cbc02sc00i00",
            "pci:v0000808é000010C9sv00008086sd0000A03Cbc02sc00i00",
        ] {
            assert_eq!(parse_modalias(alias), None, "{alias}");
        }
    }

    /// A device in a fresh host, with these attributes.
    fn host_with(folder: &Path, attributes: &[(&str, &[u8])]) -> Host {
        let device = folder.join("sys/bus/pci/devices/0000:01:00.0");
        fs::create_dir_all(&device).unwrap();
        for (name, value) in attributes {
            fs::write(device.join(name), value).unwrap();
        }
        Host::at(folder)
    }

    const EDU: &[u8] = b"pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00\n";

    #[test]
    fn what_is_missing_or_odd_counts_as_not_said() {
        let folder = tempfile::tempdir().unwrap();
        let host = host_with(
            folder.path(),
            &[
                ("modalias", EDU),
                ("revision", b"0x1000\n"),
                ("numa_node", b"-1\n"),
                ("driver_override", b"(null)\n"),
            ],
        );
        let bdf = "01:00.0".parse().unwrap();
        let device = host.device(bdf).unwrap();
        assert_eq!((device.revision, device.numa_node), (0, None));
        assert_eq!((device.driver, device.group), (None, None));
        assert_eq!(host.driver_override(bdf), None);
    }

    #[test]
    fn a_device_that_does_not_say_what_it_is_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let host = host_with(folder.path(), &[("modalias", b"\xff\xff\xff")]);
        let error = host.device("01:00.0".parse().unwrap()).unwrap_err();
        assert!(matches!(error, HostError::Unidentified(_)), "{error}");
        assert_eq!(host.pci_devices().unwrap(), []);
    }

    #[test]
    fn a_folder_without_sysfs_is_no_host_and_a_host_may_lack_pci() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        assert!(matches!(host.pci_devices(), Err(HostError::NoSysfs(_))));
        fs::create_dir(folder.path().join("sys")).unwrap();
        assert_eq!(host.pci_devices().unwrap(), []);
    }
}
