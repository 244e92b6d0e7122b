//! `dump DEVICE --iova A`: the bytes of mapped memory.

use anyhow::Context as _;
use std::io::{self, Write};

use super::{Context, holder};
use crate::cli::DumpArgs;
use crate::report::{BytesReport, HexDump};
use crate::session::Client;
use crate::session::protocol::{Answer, LARGEST_PIECE, Request};
use crate::types::{ExitClass, Iova};

/// Prints or saves the bytes.
///
/// # Errors
/// They are not all mapped, or cannot be written.
pub fn run(args: &DumpArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let (device, mut client) = holder::require(&context.host, &args.device)?;
    let size = match args.size {
        Some(size) => size,
        None => holder::to_the_end(&mut client, args.iova)?,
    };
    let pieces = Pieces {
        client: &mut client,
        iova: args.iova,
        left: size.bytes(),
    };
    let report = |data| BytesReport::new("dump", device.bdf, args.iova, size, data);
    match &args.output {
        Some(path) => {
            let mut out = holder::create(path)?;
            for piece in pieces {
                out.write_all(&piece?)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            out.flush()?;
            if path.as_os_str() != "-" {
                context.output.emit(&report(None))?;
            }
        }
        None if context.output.json() => {
            let data: anyhow::Result<Vec<_>> = pieces.collect();
            context.output.emit(&report(Some(data?.concat())))?;
        }
        None => {
            let mut dump = HexDump::new(io::BufWriter::new(io::stdout().lock()), args.iova);
            for piece in pieces {
                dump.write(&piece?)?;
            }
            dump.finish()?;
        }
    }
    Ok(ExitClass::Done)
}

/// The bytes of a range, in as many requests as it takes.
struct Pieces<'c> {
    client: &'c mut Client,
    iova: Iova,
    left: u64,
}

impl Iterator for Pieces<'_> {
    type Item = anyhow::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let size = LARGEST_PIECE.min(usize::try_from(self.left).unwrap_or(LARGEST_PIECE));
        if size == 0 {
            return None;
        }
        let request = Request::Read {
            iova: self.iova,
            size,
        };
        let piece = match self.client.ask(request, None) {
            Ok(Answer::Read { data }) => Ok(data.0),
            Ok(_) => Err(self.client.strange().into()),
            Err(error) => Err(error.into()),
        };
        self.left -= size as u64;
        match self.iova.checked_add(size as u64) {
            Some(next) => self.iova = next,
            None => self.left = 0,
        }
        Some(piece)
    }
}
