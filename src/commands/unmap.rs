//! `unmap DEVICE`: take mappings out.

use super::{Context, holder};
use crate::cli::UnmapArgs;
use crate::report::UnmapReport;
use crate::session::protocol::{Answer, Request, Selection};
use crate::types::ExitClass;

/// Takes out whole mappings; a holder that was started for them ends with the last.
///
/// # Errors
/// What is asked for is not mapped, or only a part of a mapping; then nothing changed. All is unmapped, but the devices are not free yet.
pub fn run(args: &UnmapArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let (device, client) = holder::find(&context.host, &args.device)?;
    let selection = match (args.iova, args.size, &args.name) {
        (Some(iova), None, _) => Selection::At(iova),
        (Some(iova), Some(size), _) => Selection::Within {
            iova,
            size: size.bytes(),
        },
        (None, _, Some(name)) => Selection::Name(name.clone()),
        (None, _, None) => Selection::All,
    };
    let Some(mut client) = client else {
        if selection == Selection::All {
            context.output.emit(&UnmapReport::nothing(device.bdf))?;
            return Ok(ExitClass::Done);
        }
        return Err(holder::nothing_mapped(device.bdf).into());
    };
    let Answer::Unmapped { count, bytes, left } = client.ask(Request::Unmap(selection), None)?
    else {
        return Err(client.strange().into());
    };
    let ended = match left {
        0 => client.wait_for_end(),
        _ => Ok(()),
    };
    let report = UnmapReport::new(device.bdf, count, bytes, left);
    context.output.emit(&report)?;
    ended?;
    Ok(ExitClass::Done)
}
