//! `bind DEVICE...`: devices to vfio-pci.

use super::Context;
use crate::binding::{self, BindOptions, BindingError, Owner};
use crate::cli::{BindArgs, BindFlags};
use crate::host::{Host, HostError, PciDevice};
use crate::report::{BindingReport, PlanReport};
use crate::types::{DeviceName, ExitClass};

/// Binds the devices, or prints how.
///
/// # Errors
/// A name means no device, or the devices cannot be bound.
pub fn run(args: &BindArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let host = &context.host;
    let devices = devices(host, &args.devices, &args.how)?;
    let options = options(&args.how)?;
    if args.dry_run {
        let steps = binding::plan_bind(host, &devices, &options)?;
        if steps.is_empty() {
            log::warn!("there is nothing to do");
        }
        context.output.emit(&PlanReport::new(steps))?;
    } else {
        let outcomes = binding::bind(host, &devices, &options)?
            .into_iter()
            .map(|outcome| {
                let group = outcome.group.and_then(|group| host.group(group).ok());
                let blockers = group.map(|group| group.blockers()).unwrap_or_default();
                (outcome, blockers)
            });
        let mut report = BindingReport::new(outcomes);
        if let (Some(name), Some(owner)) = (&args.how.owner, options.owner) {
            report = report.given(name, owner, binding::closed_to(host, owner));
        }
        context.output.emit(&report)?;
    }
    Ok(ExitClass::Done)
}

/// The devices to bind.
///
/// # Errors
/// A name means no device, or several.
pub fn devices(
    host: &Host,
    names: &[DeviceName],
    flags: &BindFlags,
) -> Result<Vec<PciDevice>, HostError> {
    let named = binding::resolve_all(host, names)?;
    if flags.group {
        binding::with_groups(host, named)
    } else {
        Ok(named)
    }
}

/// How to bind, from the flags that every command takes which binds.
///
/// # Errors
/// There is no such owner.
pub fn options(flags: &BindFlags) -> Result<BindOptions, BindingError> {
    Ok(BindOptions {
        driver: flags.driver.clone(),
        owner: flags.owner.as_ref().map(Owner::find).transpose()?,
        run: None,
        allow: flags.allow.clone(),
    })
}
