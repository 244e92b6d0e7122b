//! `unbind DEVICE...`: devices back to the drivers they had.

use super::Context;
use crate::binding;
use crate::cli::UnbindArgs;
use crate::report::{BindingReport, PlanReport};
use crate::types::ExitClass;

/// Gives the devices back, or prints how.
///
/// # Errors
/// A name means no device, or the devices cannot be given back.
pub fn run(args: &UnbindArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let host = &context.host;
    let devices = binding::resolve_all(host, &args.devices)?;
    if args.dry_run {
        let steps = binding::plan_unbind(host, &devices)?;
        if steps.is_empty() {
            log::warn!("there is nothing to do");
        }
        context.output.emit(&PlanReport::new(steps))?;
    } else {
        let outcomes = binding::unbind(host, &devices)?;
        let with_nothing = outcomes.into_iter().map(|outcome| (outcome, Vec::new()));
        context.output.emit(&BindingReport::new(with_nothing))?;
    }
    Ok(ExitClass::Done)
}
