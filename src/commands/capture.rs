//! `capture DIR`: what the commands that look read of this host, for a bug report.

use super::{Context, list};
use crate::checks::doctor::Ground;
use crate::cli::CaptureArgs;
use crate::host::Reach;
use crate::report::CaptureReport;
use crate::types::ExitClass;

/// Runs list, show and doctor on all devices, opening none, and writes what they read.
///
/// # Errors
/// Sysfs cannot be read, or the folder is not empty or cannot be written.
pub fn run(args: &CaptureArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let (host, recording) = context.host.recorded();
    list::report(&host, &[])?;
    if !host.has_iommu() {
        drop(host.missing_iommu());
    }
    let devices = host.pci_devices()?;
    let names = host.kernel_names();
    let usage = host.usage(&names);
    let mut hidden = 0;
    let ground = Ground::new(&host, devices.clone(), None, false);
    drop(ground.examine_host());
    for device in &devices {
        let profile = host.profile(device, &devices, &usage);
        hidden += usize::from(profile.reach < Reach::Conventional);
        drop(ground.examine_device(device, &usage));
    }
    let summary = context.host.write_capture(&recording, &args.folder)?;
    let report = CaptureReport::new(&args.folder, devices.len(), hidden, summary);
    context.output.emit(&report)?;
    Ok(ExitClass::Done)
}
