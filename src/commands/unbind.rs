//! `unbind DEVICE...`: devices back to the drivers they had.

use std::collections::BTreeMap;

use super::Context;
use crate::binding::{self, BindingError};
use crate::cli::UnbindArgs;
use crate::report::{BindingReport, PlanReport};
use crate::types::ExitClass;

/// Gives the devices back, or prints how.
///
/// # Errors
/// A name means no device, or the devices cannot be given back.
pub fn run(args: &UnbindArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let host = &context.host;
    let mut devices = BTreeMap::new();
    for name in &args.devices {
        for device in binding::resolve_bound(host, name).map_err(BindingError::from)? {
            devices.insert(device.bdf, device);
        }
    }
    let devices: Vec<_> = devices.into_values().collect();
    if args.dry_run {
        let steps = binding::plan_unbind(host, &devices)?;
        context.output.emit(&PlanReport::new(steps))?;
    } else {
        let outcomes = binding::unbind(host, &devices)?;
        let with_nothing = outcomes.into_iter().map(|outcome| (outcome, Vec::new()));
        context.output.emit(&BindingReport::new(with_nothing))?;
    }
    Ok(ExitClass::Done)
}
