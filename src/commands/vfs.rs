//! `vfs PF [COUNT]`: virtual functions, shown, made or removed.

use anyhow::Context as _;

use super::Context;
use crate::binding::{self, FunctionsWanted};
use crate::cli::VfsArgs;
use crate::device::VfioDevice;
use crate::host::{Host, PciDevice, is_vfio_driver};
use crate::iommu;
use crate::report::{PlanReport, Progress, VfsReport};
use crate::types::{BackendChoice, ExitClass};

/// Shows the virtual functions, makes as many as wanted, or prints how.
///
/// # Errors
/// The name means no device or several; it can have no virtual functions or not so many; one is in use; the kernel refused.
pub fn run(args: &VfsArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let host = &context.host;
    let pf = binding::resolve_one(host, &args.physical)?;
    let there = binding::functions(host, &pf)?;
    let Some(count) = args.count else {
        context.output.emit(&VfsReport::new(there))?;
        return Ok(ExitClass::Done);
    };
    let mut wanted = FunctionsWanted {
        count: count.of(there.total),
        autoprobe: !args.no_autoprobe,
        token: None,
        allow: args.allow.clone(),
    };
    if args.dry_run {
        let steps = binding::plan_functions(host, &pf, &wanted)?;
        if steps.is_empty() {
            log::warn!("there is nothing to do");
        }
        context.output.emit(&PlanReport::new(steps))?;
        return Ok(ExitClass::Done);
    }
    let on_vfio = pf.driver.as_deref().is_some_and(is_vfio_driver);
    // The device is told only what will come true.
    if on_vfio
        && wanted.count > 0
        && !binding::plan_functions(host, &pf, &wanted)?.is_empty()
        && host.is_live()
    {
        wanted.token = Some(ask_for_token(host, &pf)?);
    }
    let progress = Progress::spinner(context.output.progress());
    progress.say(&format!("{} virtual functions", wanted.count));
    let made = binding::set_functions(host, &pf, &wanted)?;
    drop(progress);
    context.output.emit(&VfsReport::new(made))?;
    Ok(ExitClass::Done)
}

/// Tells a physical function that is with user space to ask for a token; returns it.
fn ask_for_token(host: &Host, pf: &PciDevice) -> anyhow::Result<String> {
    let doing = || format!("cannot open {} to give it a token", pf.bdf);
    let node = host.vfio_node(pf);
    let choice = iommu::choose(BackendChoice::Auto, &node).with_context(doing)?;
    let space = iommu::open(choice.backend).with_context(doing)?;
    let device = VfioDevice::open(&space, &node).with_context(doing)?;
    let token = binding::new_token()?;
    device.set_function_token(&token).with_context(doing)?;
    Ok(token)
}
