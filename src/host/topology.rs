//! Which bridges lie between a device and the processor, and what else is below them.

use super::{Host, PciDevice};
use crate::types::Bdf;

impl Host {
    /// The bridges above a device, the nearest first; empty for a device on a root bus, or if sysfs does not say.
    #[must_use]
    pub fn bridges_above(&self, bdf: Bdf) -> Vec<Bdf> {
        let place = self.place(bdf).unwrap_or_default();
        let mut bridges: Vec<Bdf> = parts(&place).collect();
        if bridges.pop() != Some(bdf) {
            return Vec::new();
        }
        bridges.reverse();
        bridges
    }

    /// Of these devices, the others that a reset of the device's bus takes along: all that is below the bridge next to it.
    /// `None` if there is no such bridge, so that its bus cannot be reset.
    #[must_use]
    pub fn bus_companions(&self, bdf: Bdf, all: &[PciDevice]) -> Option<Vec<Bdf>> {
        let bridge = *self.bridges_above(bdf).first()?;
        let below = |other: &Bdf| {
            *other != bdf
                && self
                    .place(*other)
                    .is_some_and(|place| parts(&place).any(|part| part == bridge))
        };
        let others = all.iter().map(|device| device.bdf);
        Some(
            others
                .filter(|other| *other != bridge && below(other))
                .collect(),
        )
    }
}

/// The PCI devices on the way to a place such as `pci0000:00/0000:00:01.0/0000:01:00.0`.
fn parts(place: &str) -> impl Iterator<Item = Bdf> {
    place.split('/').filter_map(|part| part.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_way_up_and_what_shares_it() {
        let folder = tempfile::tempdir().unwrap();
        let devices = folder.path().join("sys/bus/pci/devices");
        fs::create_dir_all(&devices).unwrap();
        for place in [
            "0000:00:01.0",
            "0000:00:01.0/0000:01:00.0",
            "0000:00:01.0/0000:01:00.0/0000:02:00.0",
            "0000:00:01.0/0000:01:00.0/0000:02:00.0/0000:03:00.0",
            "0000:00:01.0/0000:01:00.0/0000:02:00.0/0000:03:00.1",
            "0000:00:02.0",
        ] {
            let real = folder.path().join("sys/devices/pci0000:00").join(place);
            fs::create_dir_all(&real).unwrap();
            fs::write(
                real.join("modalias"),
                "pci:v00008086d00001234sv00000000sd00000000bc02sc00i00\n",
            )
            .unwrap();
            let name = place.rsplit('/').next().unwrap();
            let target = format!("../../../devices/pci0000:00/{place}");
            symlink(target, devices.join(name)).unwrap();
        }
        let host = Host::at(folder.path());
        let bdf = |text: &str| text.parse::<Bdf>().unwrap();
        let all = host.pci_devices().unwrap();

        assert_eq!(
            host.bridges_above(bdf("03:00.0")),
            [bdf("02:00.0"), bdf("01:00.0"), bdf("00:01.0")]
        );
        assert_eq!(host.bridges_above(bdf("00:02.0")), []);
        assert_eq!(
            host.bus_companions(bdf("03:00.0"), &all),
            Some(vec![bdf("03:00.1")])
        );
        assert_eq!(
            host.bus_companions(bdf("01:00.0"), &all),
            Some(vec![bdf("02:00.0"), bdf("03:00.0"), bdf("03:00.1")])
        );
        assert_eq!(host.bus_companions(bdf("00:02.0"), &all), None);
    }
}
