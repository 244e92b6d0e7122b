//! `fill DEVICE --iova A`: set the bytes of mapped memory.

use super::holder::Given;
use super::{Context, Failure, holder};
use crate::cli::FillArgs;
use crate::report::BytesReport;
use crate::session::Bytes;
use crate::session::protocol::{Answer, LARGEST_PIECE, Request};
use crate::types::{ExitClass, Size};

/// Writes the bytes.
///
/// # Errors
/// There is no room for them where they are to go, or they cannot be read.
pub fn run(args: &FillArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let mut given = Given::new(args.data.as_deref(), args.input.as_deref())?;
    let (device, mut client) = holder::require(&context.host, &args.device)?;
    let room = match args.size {
        Some(size) => size,
        None => holder::to_the_end(&mut client, args.iova)?,
    };
    let mut written = 0;
    while written < room.bytes() {
        let most = usize::try_from(room.bytes() - written).unwrap_or(LARGEST_PIECE);
        let bytes = given.next(written, most.min(LARGEST_PIECE))?;
        if bytes.is_empty() {
            break;
        }
        let iova = args.iova.checked_add(written).ok_or_else(|| {
            let message = format!(
                "{room} bytes from {} run past the last 64-bit address",
                args.iova
            );
            Failure::new(ExitClass::Usage, message)
        })?;
        written += bytes.len() as u64;
        let data = Bytes(bytes);
        match client.ask(Request::Write { iova, data }, None)? {
            Answer::Written => {}
            _ => return Err(client.strange().into()),
        }
    }
    if args.size.is_none()
        && !given.next(written, 1)?.is_empty()
        && given.pattern_length().is_none()
    {
        let message = format!(
            "the input is longer than the {room} to the end of the mapping; that much was written"
        );
        return Err(Failure::new(ExitClass::Failed, message).into());
    }
    let size =
        Size::new(written).ok_or_else(|| Failure::new(ExitClass::Usage, "the input is empty"))?;
    let report = BytesReport::new("fill", device.bdf, args.iova, size, None);
    context.output.emit(&report)?;
    Ok(ExitClass::Done)
}
