//! `bind DEVICE...`: devices to vfio-pci.

use super::Context;
use crate::binding::{self, BindOptions};
use crate::cli::{BindArgs, BindFlags};
use crate::report::{BindingReport, PlanReport};
use crate::types::ExitClass;

/// Binds the devices, or prints how.
///
/// # Errors
/// A name means no device, or the devices cannot be bound.
pub fn run(args: &BindArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let host = &context.host;
    let devices = binding::resolve_all(host, &args.devices)?;
    let options = options(&args.how);
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
        context.output.emit(&BindingReport::new(outcomes))?;
    }
    Ok(ExitClass::Done)
}

/// How to bind, from the flags that every command takes which binds.
pub fn options(flags: &BindFlags) -> BindOptions {
    BindOptions {
        driver: flags.driver.clone(),
        allow: flags.allow.clone(),
    }
}
