//! `bind DEVICE...`: devices to vfio-pci.

use std::collections::BTreeMap;

use super::Context;
use crate::binding::{self, BindingError};
use crate::cli::BindArgs;
use crate::host::{Host, PciDevice};
use crate::report::{BindingReport, PlanReport};
use crate::types::{DeviceName, ExitClass};

/// Binds the devices, or prints how.
///
/// # Errors
/// A name means no device, or the devices cannot be bound.
pub fn run(args: &BindArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let host = &context.host;
    let devices = resolve(host, &args.devices)?;
    if args.dry_run {
        let steps = binding::plan_bind(host, &devices)?;
        context.output.emit(&PlanReport::new(steps))?;
    } else {
        let outcomes = binding::bind(host, &devices)?.into_iter().map(|outcome| {
            let group = outcome.group.and_then(|group| host.group(group).ok());
            let blockers = group.map(|group| group.blockers()).unwrap_or_default();
            (outcome, blockers)
        });
        context.output.emit(&BindingReport::new(outcomes))?;
    }
    Ok(ExitClass::Done)
}

/// The devices, each once. A group's bridges stay where they are.
fn resolve(host: &Host, names: &[DeviceName]) -> Result<Vec<PciDevice>, BindingError> {
    let mut devices = BTreeMap::new();
    for name in names {
        let is_group = matches!(name, DeviceName::Group(_));
        for device in host.resolve(name)? {
            if !(is_group && device.is_bridge()) {
                devices.insert(device.bdf, device);
            }
        }
    }
    Ok(devices.into_values().collect())
}
