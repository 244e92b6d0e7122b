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
    let clients = match &args.device {
        Some(name) => holder::find(&context.host, name)?.1.into_iter().collect(),
        None => Client::all()?,
    };
    let mut report = MapsReport::default();
    for mut client in clients {
        let mappings = client.mappings(Iova(0), |_| true)?;
        report.add(client.hello(), mappings);
    }
    context.output.emit(&report)?;
    Ok(ExitClass::Done)
}
