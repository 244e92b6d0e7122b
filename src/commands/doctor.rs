//! `doctor [DEVICE...]`: is this host ready to hand devices to user space?

use super::Context;
use crate::binding;
use crate::checks::doctor::Ground;
use crate::cli::DoctorArgs;
use crate::report::DoctorReport;
use crate::types::ExitClass;

/// Runs the checks of the host, and of each device that was named.
///
/// # Errors
/// A name means no device, or sysfs cannot be read.
pub fn run(args: &DoctorArgs, context: &Context) -> anyhow::Result<ExitClass> {
    super::recover::warn_of_interrupted(context, None);
    let host = &context.host;
    let named = binding::resolve_all(host, &args.devices)?;
    let ground = Ground::new(host, host.pci_devices()?, args.memory, !args.no_open);
    let mut examined = ground.examine_host();
    let names = host.kernel_names();
    let usage = host.usage(&names);
    for device in &named {
        examined.extend(ground.examine_device(device, &usage));
    }
    let report = DoctorReport::new(examined, args.memory, args.strict);
    context.output.emit(&report)?;
    Ok(if report.ready() {
        ExitClass::Done
    } else {
        ExitClass::Failed
    })
}
