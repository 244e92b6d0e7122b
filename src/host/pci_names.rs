//! What PCI IDs are called: by the system's own list, else by the one built in.

use std::collections::{HashMap, HashSet};

use super::Host;
use crate::types::PciId;

/// Where distributions keep the list (Debian, Fedora and SUSE, older ones).
const LISTS: [&str; 3] = [
    "/usr/share/misc/pci.ids",
    "/usr/share/hwdata/pci.ids",
    "/usr/share/pci.ids",
];
/// The list has 1.6 MB in 2026.
const LIST_LIMIT: u64 = 32 << 20;

/// The names of the IDs that were asked for.
#[derive(Debug, Clone, Default)]
pub struct PciNames {
    vendors: HashMap<u16, String>,
    devices: HashMap<(u16, u16), String>,
    base_classes: HashMap<u8, String>,
    classes: HashMap<u16, String>,
}

impl Host {
    /// Looks up what these IDs are called: the system's list is read once, and only what is asked for is kept.
    pub fn pci_names(&self, ids: impl IntoIterator<Item = PciId>) -> PciNames {
        let wanted: HashSet<PciId> = ids.into_iter().collect();
        let list = LISTS
            .iter()
            .find_map(|path| self.read(path, LIST_LIMIT).ok())
            .unwrap_or_default();
        let mut names = PciNames::parse(&list, &wanted);
        names.add_built_in(&wanted);
        names
    }
}

impl PciNames {
    /// The vendor's name.
    #[must_use]
    pub fn vendor(&self, id: &PciId) -> Option<&str> {
        self.vendors.get(&id.vendor).map(String::as_str)
    }

    /// The device's name, without the vendor's.
    #[must_use]
    pub fn device(&self, id: &PciId) -> Option<&str> {
        self.devices
            .get(&(id.vendor, id.device))
            .map(String::as_str)
    }

    /// What kind of device the class code means, as `Ethernet controller`.
    #[must_use]
    pub fn class(&self, id: &PciId) -> Option<&str> {
        self.classes
            .get(&subclass(id))
            .or_else(|| self.base_classes.get(&base_class(id)))
            .map(String::as_str)
    }

    /// Reads the format of <https://pci-ids.ucw.cz>: `VVVV  vendor`, below it `<tab>DDDD  device`, `<tab><tab>` subsystems, and
    /// `C CC  class`, below it `<tab>SS  subclass`.
    fn parse(list: &[u8], wanted: &HashSet<PciId>) -> Self {
        let vendors: HashSet<u16> = wanted.iter().map(|id| id.vendor).collect();
        let devices: HashSet<(u16, u16)> = wanted.iter().map(|id| (id.vendor, id.device)).collect();
        let base_classes: HashSet<u8> = wanted.iter().map(base_class).collect();
        let classes: HashSet<u16> = wanted.iter().map(subclass).collect();

        enum Under {
            Vendor(u16),
            Class(u16),
            Nothing,
        }
        let mut under = Under::Nothing;
        let mut names = Self::default();
        for line in list.split(|byte| *byte == b'\n') {
            match line {
                [] | [b'#', ..] | [b'\t', b'\t', ..] => {}
                [b'\t', line @ ..] => match under {
                    Under::Vendor(vendor) => {
                        if let Some((device, name)) = entry(line, 4) {
                            if devices.contains(&(vendor, device)) {
                                names.devices.insert((vendor, device), text(name));
                            }
                        }
                    }
                    Under::Class(base) => {
                        if let Some((sub, name)) = entry(line, 2) {
                            if classes.contains(&(base << 8 | sub)) {
                                names.classes.insert(base << 8 | sub, text(name));
                            }
                        }
                    }
                    Under::Nothing => {}
                },
                [b'C', b' ', line @ ..] => {
                    under = Under::Nothing;
                    if let Some((base, name)) = entry(line, 2) {
                        under = Under::Class(base);
                        // Two digits.
                        let base = base as u8;
                        if base_classes.contains(&base) {
                            names.base_classes.insert(base, text(name));
                        }
                    }
                }
                _ => {
                    under = match entry(line, 4) {
                        Some((vendor, name)) if vendors.contains(&vendor) => {
                            names.vendors.insert(vendor, text(name));
                            Under::Vendor(vendor)
                        }
                        _ => Under::Nothing,
                    };
                }
            }
        }
        names
    }

    /// Fills the gaps from the list built in.
    fn add_built_in(&mut self, wanted: &HashSet<PciId>) {
        use pci_ids::FromId;
        for id in wanted {
            let Some(vendor) = pci_ids::Vendor::from_id(id.vendor) else {
                continue;
            };
            self.vendors
                .entry(id.vendor)
                .or_insert_with(|| vendor.name().to_owned());
            if let Some(device) = vendor.devices().find(|device| device.id() == id.device) {
                self.devices
                    .entry((id.vendor, id.device))
                    .or_insert_with(|| device.name().to_owned());
            }
        }
        for class in wanted.iter().map(subclass) {
            let [base, sub] = class.to_be_bytes();
            if let Some(known) = pci_ids::Class::from_id(base) {
                self.base_classes
                    .entry(base)
                    .or_insert_with(|| known.name().to_owned());
            }
            if let Some(known) = pci_ids::Subclass::from_cid_sid(base, sub) {
                self.classes
                    .entry(class)
                    .or_insert_with(|| known.name().to_owned());
            }
        }
    }
}

fn base_class(id: &PciId) -> u8 {
    subclass(id).to_be_bytes()[0]
}

/// Base class and subclass, without the programming interface.
fn subclass(id: &PciId) -> u16 {
    (id.class >> 8 & 0xffff) as u16
}

/// The number of hexadecimal digits at the start of a line, and the name after the two spaces.
fn entry(line: &[u8], digits: usize) -> Option<(u16, &[u8])> {
    let (number, rest) = line.split_at_checked(digits)?;
    let name = rest.strip_prefix(b"  ")?;
    let number = number.iter().try_fold(0, |number, digit| {
        char::from(*digit)
            .to_digit(16)
            .map(|digit| number << 4 | digit)
    })?;
    Some((u16::try_from(number).ok()?, name))
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const EDU: PciId = PciId {
        vendor: 0x1234,
        device: 0x11e8,
        class: 0x00_ff00,
    };
    const NIC: PciId = PciId {
        vendor: 0x8086,
        device: 0x10c9,
        class: 0x02_0000,
    };

    #[test]
    fn the_systems_own_list_comes_first_and_the_built_in_one_fills_its_gaps() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("usr/share/misc/pci.ids");
        fs::create_dir_all(list.parent().unwrap()).unwrap();
        fs::write(
            &list,
            b"# comment\n1234  Own name\n\t11e7  Other\n\t11e8  Teaching \xff device\n\t\t1af4 1100  Subsystem\nnonsense\n\t11e9  Lost\nC 02  Network\n\t00  Own class\n",
        )
        .unwrap();

        let names = Host::at(folder.path()).pci_names([EDU, NIC]);

        assert_eq!(names.vendor(&EDU), Some("Own name"));
        assert_eq!(names.device(&EDU), Some("Teaching \u{fffd} device"));
        assert_eq!(names.class(&NIC), Some("Own class"));
        assert_eq!(names.vendor(&NIC), Some("Intel Corporation"));
        assert_eq!(names.device(&NIC), Some("82576 Gigabit Network Connection"));
        assert_eq!(
            names.device(&PciId {
                device: 0x11e7,
                ..EDU
            }),
            None
        );
    }

    #[test]
    fn without_a_list_the_built_in_one_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let names = Host::at(folder.path()).pci_names([NIC]);
        assert_eq!(names.class(&NIC), Some("Ethernet controller"));
    }
}
