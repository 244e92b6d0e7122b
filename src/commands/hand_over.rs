//! `show DEVICE --for PROGRAM`: what to give to another program so that it takes a device.

use super::{Context, Failure};
use crate::binding;
use crate::host::{Host, PciDevice, is_vfio_driver};
use crate::report::{HandOver, Handed};
use crate::types::{ExitClass, UserOfDevices};

/// Prints it.
///
/// # Errors
/// The device is not bound to a VFIO driver, or it asks for a token that the program cannot show.
pub fn run(device: &PciDevice, to: UserOfDevices, context: &Context) -> anyhow::Result<ExitClass> {
    let (host, bdf) = (&context.host, device.bdf);
    if !device.driver.as_deref().is_some_and(is_vfio_driver) {
        let message = format!(
            "{bdf} is {}, and can be handed to another program only once it is bound to VFIO. Run 'iommu-tool bind {bdf}' first",
            match &device.driver {
                Some(driver) => format!("with the host's driver {driver}"),
                None => "without a driver".to_owned(),
            }
        );
        return Err(Failure::new(ExitClass::Refused, message).into());
    }
    warn_of_holders(host, device);
    warn_of_group(host, device);
    let token = binding::token_for(host, device)?;
    if token.is_some() && !to.shows_tokens() {
        let message = format!(
            "{bdf} opens only with a token, as its physical function is with user space too, and that program cannot show one; QEMU and DPDK can"
        );
        return Err(Failure::new(ExitClass::Refused, message).into());
    }
    let handed = Handed {
        bdf,
        has_node: host.vfio_node(device).cdev.is_some(),
        token: token.as_deref(),
    };
    context.output.emit(&HandOver::new(to, handed))?;
    Ok(ExitClass::Done)
}

/// Only one program can have it.
fn warn_of_holders(host: &Host, device: &PciDevice) {
    for (bdf, holder) in host.vfio_holders([device]) {
        log::warn!("{bdf} will not open: it is held by {holder}; end that first");
    }
}

/// The rest of the group goes with the device.
fn warn_of_group(host: &Host, device: &PciDevice) {
    let Some(group) = device.group.and_then(|id| host.group(id).ok()) else {
        return;
    };
    for blocker in group.blockers() {
        log::warn!(
            "{} will not open: {} of its group is on {}; bind that too",
            device.bdf,
            blocker.device,
            blocker.driver
        );
    }
    let others: Vec<String> = group
        .devices
        .iter()
        .filter(|other| other.bdf != device.bdf && !other.is_bridge())
        .map(|other| other.bdf.to_string())
        .collect();
    if !others.is_empty() {
        log::warn!(
            "{} shares IOMMU group {} with {}: no other program can have those at the same time",
            device.bdf,
            group.id,
            others.join(", ")
        );
    }
}
