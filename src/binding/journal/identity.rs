//! What a device is, so that another one at the same address is not taken for it.

use serde::{Deserialize, Serialize};

use crate::host::{Host, PciDevice};

/// What a device is, wherever it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    vendor: u16,
    device: u16,
    subsystem_vendor: Option<u16>,
    subsystem_device: Option<u16>,
    place: Option<String>,
    /// Its serial number, where it has one and this user may read it.
    #[serde(default)]
    serial: Option<u64>,
}

impl Identity {
    /// What a device is now.
    #[must_use]
    pub fn of(host: &Host, device: &PciDevice) -> Self {
        Self {
            vendor: device.id.vendor,
            device: device.id.device,
            subsystem_vendor: device.subsystem.map(|id| id.vendor),
            subsystem_device: device.subsystem.map(|id| id.device),
            place: host.place(device.bdf),
            serial: host.config_space(device.bdf).device_serial(),
        }
    }

    /// Whether both are the same device: all that is known of both is the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let one_serial = self.serial.or(other.serial) == other.serial.or(self.serial);
        let without_serial = |identity: &Self| Self {
            serial: None,
            ..identity.clone()
        };
        one_serial && without_serial(self) == without_serial(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_from_another_of_its_kind_by_its_serial_number() {
        let with = |serial| Identity {
            serial,
            ..Identity::default()
        };
        assert!(with(Some(1)).is_same(&with(Some(1))));
        assert!(!with(Some(1)).is_same(&with(Some(2))));
        // Who may not read it, as an ordinary user, knows less.
        assert!(with(Some(1)).is_same(&with(None)) && with(None).is_same(&with(Some(1))));
        let elsewhere = Identity {
            place: Some("pci0000:00/0000:01:00.0".into()),
            ..with(Some(1))
        };
        assert!(!elsewhere.is_same(&with(Some(1))));
    }
}
