//! `maps [DEVICE]`: what is mapped now, and by whom.

use super::{Context, holder};
use crate::cli::MapsArgs;
use crate::report::MapsReport;
use crate::session::Client;
use crate::types::{ExitClass, Iova};

/// Prints all holders that this user may ask, or the one of a device.
///
/// # Errors
/// A holder cannot be asked.
pub fn run(args: &MapsArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let host = &context.host;
    let (devices, clients) = match &args.device {
        Some(name) => {
            let (device, client) = holder::find(host, name)?;
            (vec![device], client.into_iter().collect())
        }
        None => (host.pci_devices()?, Client::all()?),
    };
    let mut report = MapsReport::default();
    for mut client in clients {
        match client.mappings(Iova(0), |_| true) {
            Ok(mappings) => report.add(client.hello(), mappings),
            // What another user's process does is no reason to say nothing of the rest.
            Err(error) if args.device.is_none() && !client.is_own() => {
                log::warn!("passed over: {error}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    // One of this program that is no holder is about to start or to end, or tests: what that maps goes by itself.
    let mut others = host.vfio_holders(&devices);
    others.retain(|(_, process)| process.command != "iommu-tool");
    for (bdf, process) in others {
        report.add_other(bdf, process);
    }
    context.output.emit(&report)?;
    Ok(ExitClass::Done)
}
