//! `dma DEVICE read|write`: the device itself reads or writes mapped memory.

use anyhow::Context as _;
use std::thread;
use std::time::Duration;

use super::holder::Given;
use super::{Context, Failure, holder};
use crate::checks::fault_lines;
use crate::cli::{Direction, DmaArgs};
use crate::host::KernelLog;
use crate::report::{DmaReport, DmaVerdict, HexDump, print};
use crate::session::Bytes;
use crate::session::protocol::{Answer, LARGEST_PIECE, Request, Transfer};
use crate::types::ExitClass;

/// The most bytes of one command: they are kept in memory, and a device may be slow.
const MOST: u64 = 1 << 30;

/// How long the kernel may take to log a fault; 30 ms were always enough.
const FAULT_LOG_DELAY: Duration = Duration::from_millis(100);

/// Has the device transfer, and judges by memory what became of it.
///
/// # Errors
/// Nothing holds the device, no engine drives it, or the engine failed.
pub fn run(args: &DmaArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let bytes = match args.direction {
        Direction::Read => None,
        Direction::Write => Some(bytes_to_write(args)?),
    };
    let size = match (&bytes, args.size) {
        (Some(bytes), _) => bytes.len() as u64,
        (None, Some(size)) => size.bytes(),
        (None, None) => unreachable!("the size of a read is required"),
    };
    if size > MOST {
        return Err(Failure::new(
            ExitClass::Usage,
            format!("{size} bytes are more than the {MOST} of one command"),
        )
        .into());
    }
    let (device, mut client) = holder::require(&context.host, &args.device)?;
    let log = KernelLog::from_now();

    let mut report = DmaReport::new(device.bdf, bytes.is_some(), args.iova, size);
    let mut done = 0;
    while done < size && report.goes_on() {
        let length = LARGEST_PIECE.min(usize::try_from(size - done).unwrap_or(LARGEST_PIECE));
        let iova = args.iova.checked_add(done).ok_or_else(|| {
            let message = format!(
                "{size} bytes from {} run past the last 64-bit address",
                args.iova
            );
            Failure::new(ExitClass::Usage, message)
        })?;
        let transfer = match &bytes {
            None => Transfer::Read { size: length },
            Some(bytes) => Transfer::Write {
                data: Bytes(bytes[done as usize..][..length].to_vec()),
            },
        };
        let request = Request::Dma {
            device: device.bdf,
            iova,
            transfer,
        };
        match client.ask(request, None)? {
            Answer::Transferred(transferred) => report.add(transferred),
            _ => return Err(client.strange().into()),
        }
        done += length as u64;
    }
    if report.verdict() != DmaVerdict::Arrived {
        thread::sleep(FAULT_LOG_DELAY);
        let lines = log
            .and_then(|mut log| log.new_records())
            .map(|records| fault_lines(records.into_iter().map(|record| record.message).collect()));
        report.note_faults(lines.map_err(|error| error.to_string()));
    }
    show(args, context, &report)?;
    Ok(match report.verdict() {
        DmaVerdict::Arrived => ExitClass::Done,
        _ => ExitClass::Failed,
    })
}

fn bytes_to_write(args: &DmaArgs) -> anyhow::Result<Vec<u8>> {
    let mut given = Given::new(args.data.as_deref(), args.input.as_deref())?;
    let size = match (args.size, given.pattern_length()) {
        (Some(size), _) => size.bytes(),
        (None, Some(length)) => length as u64,
        (None, None) => MOST,
    };
    let bytes = given.next(0, usize::try_from(size.min(MOST + 1))?)?;
    let missing = args
        .size
        .is_some_and(|size| bytes.len() as u64 != size.bytes());
    if bytes.is_empty() || missing {
        let message = format!("there are only {} bytes to write", bytes.len());
        return Err(Failure::new(ExitClass::Usage, message).into());
    }
    Ok(bytes)
}

/// Prints the report, and what was read where it is to go.
fn show(args: &DmaArgs, context: &Context, report: &DmaReport) -> anyhow::Result<()> {
    let data = report.data().filter(|_| args.direction == Direction::Read);
    match (&args.output, data) {
        (Some(path), Some(data)) if path.as_os_str() == "-" => print(|out| out.write_all(data))?,
        (Some(path), Some(data)) => {
            let mut out = holder::create(path)?;
            out.write_all(data)
                .and_then(|()| out.flush())
                .with_context(|| format!("cannot write {}", path.display()))?;
            context.output.emit(report)?;
        }
        (None, Some(data)) if !context.output.json() => print(|out| {
            let mut dump = HexDump::new(out, args.iova);
            dump.write(data)?;
            dump.finish()
        })?,
        _ => context.output.emit(report)?,
    }
    Ok(())
}
