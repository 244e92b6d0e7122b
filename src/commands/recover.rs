//! `recover [DEVICE...]`: what interrupted commands left behind, put back.

use super::Context;
use crate::binding::{self, Recovered, Recovery};
use crate::cli::RecoverArgs;
use crate::report::{PlanReport, RecoverReport};
use crate::types::{Bdf, ExitClass};

/// Puts things back, or prints how.
///
/// # Errors
/// A name means no device, or nothing could be tried. What fails for one device is part of the report.
pub fn run(args: &RecoverArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let host = &context.host;
    let named: Vec<Bdf> = binding::resolve_all(host, &args.devices)?
        .iter()
        .map(|device| device.bdf)
        .collect();
    let only = (!named.is_empty()).then_some(named.as_slice());
    if args.dry_run {
        let steps = binding::plan_recover(host, only)?;
        if steps.is_empty() {
            log::warn!("there is nothing to do");
        }
        context.output.emit(&PlanReport::new(steps))?;
        return Ok(ExitClass::Done);
    }
    let recovered = binding::recover(host, only)?;
    let class = recovered.iter().map(class).max();
    context.output.emit(&RecoverReport::new(recovered))?;
    Ok(class.unwrap_or(ExitClass::Done))
}

fn class(recovered: &Recovered) -> ExitClass {
    match &recovered.recovery {
        Recovery::NotDone(error) => error.class(),
        _ => ExitClass::Done,
    }
}

/// Says on standard error which devices, or whether this one, an interrupted command left behind.
pub fn warn_of_interrupted(context: &Context, only: Option<Bdf>) {
    let devices = binding::interrupted(&context.host);
    for bdf in devices
        .iter()
        .filter(|bdf| only.is_none_or(|only| only == **bdf))
    {
        log::warn!(
            "a command on {bdf} was interrupted, or is at work: 'iommu-tool recover' puts the device back as it was"
        );
    }
}
