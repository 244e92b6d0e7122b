//! What the user's names for devices mean on this host.

use super::{Host, HostError, PciDevice};
use crate::types::DeviceName;

impl Host {
    /// The devices that a name means: one, or all of a `group:N` but its bridges, which nobody can have.
    ///
    /// # Errors
    /// No device has the name, or several have it.
    pub fn resolve(&self, name: &DeviceName) -> Result<Vec<PciDevice>, HostError> {
        let candidates = match name {
            DeviceName::Bdf(bdf) => return Ok(vec![self.device(*bdf)?]),
            DeviceName::Group(id) => {
                let mut devices = self.group(*id)?.devices;
                if devices.iter().any(|device| !device.is_bridge()) {
                    devices.retain(|device| !device.is_bridge());
                }
                return if devices.is_empty() {
                    Err(HostError::NoSuchGroup(*id))
                } else {
                    Ok(devices)
                };
            }
            DeviceName::Id { vendor, device } => self
                .pci_devices()?
                .iter()
                .filter(|found| (found.id.vendor, found.id.device) == (*vendor, *device))
                .map(|found| found.bdf)
                .collect(),
            DeviceName::Kernel(kernel_name) => self.kernel_names().find(kernel_name),
        };
        match (candidates.as_slice(), name) {
            ([bdf], _) => Ok(vec![self.device(*bdf)?]),
            ([], DeviceName::Kernel(kernel_name)) if self.has_kernel_name(kernel_name) => {
                Err(HostError::NotPci(name.clone()))
            }
            ([], _) => Err(HostError::NoSuchDevice(name.clone())),
            _ => Err(HostError::Ambiguous {
                name: name.clone(),
                candidates,
            }),
        }
    }
}
