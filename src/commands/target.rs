//! The devices that a command opens through VFIO.

use super::Failure;
use crate::binding;
use crate::host::{Host, PciDevice, is_vfio_driver};
use crate::types::{DeviceName, ExitClass, VfioNode};

/// A device that is ready to be opened.
#[derive(Clone)]
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
    ready(host, binding::resolve_all(host, names)?)
}

/// The one device that a name means, as for [`targets`].
pub fn target_of(host: &Host, name: &DeviceName) -> anyhow::Result<Target> {
    let device = binding::resolve_one(host, name)?;
    Ok(ready(host, vec![device])?.remove(0))
}

fn ready(host: &Host, devices: Vec<PciDevice>) -> anyhow::Result<Vec<Target>> {
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
        .map(|device| target(host, device))
        .collect()
}

fn target(host: &Host, device: PciDevice) -> anyhow::Result<Target> {
    let bdf = device.bdf;
    let reason = match device.driver.as_deref() {
        Some(driver) if is_vfio_driver(driver) => {
            let node = binding::node_to_open(host, &device)?;
            return Ok(Target { device, node });
        }
        Some(driver) => format!("it is used by the kernel's driver {driver}"),
        None => "no driver has it".to_owned(),
    };
    let message =
        format!("cannot open {bdf} through VFIO: {reason}. Run 'iommu-tool bind {bdf}' first");
    Err(Failure::new(ExitClass::Refused, message).into())
}
