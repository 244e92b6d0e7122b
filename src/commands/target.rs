//! The devices that a command opens through VFIO.

use super::Failure;
use crate::host::{Host, PciDevice, is_vfio_driver};
use crate::types::{DeviceName, ExitClass, VfioNode};

/// A device that is ready to be opened.
pub struct Target {
    /// The device.
    pub device: PciDevice,
    /// How VFIO offers it.
    pub node: VfioNode,
}

/// All devices that the names mean, each on a VFIO driver; of a group, all but its bridges.
///
/// # Errors
/// A name means no device, there is no IOMMU, or a device is on another driver. Nothing was opened yet.
pub fn targets(host: &Host, names: &[DeviceName]) -> anyhow::Result<Vec<Target>> {
    let mut devices: Vec<PciDevice> = Vec::new();
    for name in names {
        let mut named = host.resolve(name)?;
        if named.len() > 1 {
            named.retain(|device| !device.is_bridge());
        }
        named.retain(|device| devices.iter().all(|known| known.bdf != device.bdf));
        devices.extend(named);
    }
    if !host.is_live() {
        return Err(Failure::new(
            ExitClass::Usage,
            "a captured host (--sysroot) can be looked at, but none of its devices can be opened",
        )
        .into());
    }
    host.require_iommu()?;
    devices
        .into_iter()
        .map(|device| Ok(target(host, device)?))
        .collect()
}

/// The one device that a name means, as for [`targets`].
pub fn target_of(host: &Host, name: &DeviceName) -> anyhow::Result<Target> {
    host.resolve_one(name)?;
    let mut targets = targets(host, std::slice::from_ref(name))?;
    Ok(targets.remove(0))
}

fn target(host: &Host, device: PciDevice) -> Result<Target, Failure> {
    let bdf = device.bdf;
    let reason = match device.driver.as_deref() {
        Some(driver) if is_vfio_driver(driver) => {
            let node = host.vfio_node(&device);
            return Ok(Target { device, node });
        }
        Some(driver) => format!("it is used by the kernel's driver {driver}"),
        None => "no driver has it".to_owned(),
    };
    Err(Failure::new(
        ExitClass::Refused,
        format!("cannot open {bdf} through VFIO: {reason}. Run 'iommu-tool bind {bdf}' first"),
    ))
}
