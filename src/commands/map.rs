//! `map DEVICE`: map memory, and keep it mapped.

use std::fs::{File, OpenOptions};

use super::holder::not_opened;
use super::target::target_of;
use super::{Context, Failure};
use crate::cli::{MapArgs, MapPages, MapProtection};
use crate::iommu::base_page;
use crate::report::MapReport;
use crate::session::find_or_start;
use crate::session::protocol::{Answer, FileSource, MapRequest, Pages, Request};
use crate::types::{ExitClass, Protection};

/// Maps through the device's holder, which is started if there is none.
///
/// # Errors
/// The device cannot be had, or the memory not be mapped; then nothing is left behind.
pub fn run(args: &MapArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let target = target_of(&context.host, &args.device)?;
    let (request, file) = request(args)?;
    // What is wrong with the numbers is said before a process is started.
    request.check(base_page())?;
    let mut client = find_or_start(&target.node, args.backend)?;
    match client.ask(Request::Map(request), file.as_ref()) {
        Ok(Answer::Mapped(mapping)) => {
            if let Some(way) = &mapping.way {
                log::info!("{} pages, mapped {way}", mapping.pages);
            }
            let report = MapReport::new(target.device.bdf, mapping, client.hello());
            context.output.emit(&report)?;
            Ok(ExitClass::Done)
        }
        Ok(_) => Err(client.strange().into()),
        Err(error) => {
            // A holder that has nothing else ends: then the device is as it was when this returns.
            if let Err(not_yet) = client.wait_for_end() {
                log::warn!("{not_yet}");
            }
            Err(error.into())
        }
    }
}

fn request(args: &MapArgs) -> anyhow::Result<(MapRequest, Option<File>)> {
    let protection = match args.protection {
        MapProtection::ReadWrite => Protection::ReadWrite,
        MapProtection::Read => Protection::Read,
    };
    let offset = args.offset.unwrap_or(0);
    let mut size = args.size.map(|size| size.bytes());
    let mut opened = None;
    if let Some(path) = &args.file {
        let writable = protection == Protection::ReadWrite && !args.private;
        let access = if writable { "read and write" } else { "read" };
        let file = OpenOptions::new()
            .read(true)
            .write(writable)
            .open(path)
            .map_err(|error| not_opened(path, access, &error))?;
        let found = file
            .metadata()
            .map_err(|error| not_opened(path, access, &error))?;
        if !found.is_file() {
            let message = format!("{} is not a file: only files can be mapped", path.display());
            return Err(Failure::new(ExitClass::Usage, message).into());
        }
        let length = found.len();
        let rest = length.checked_sub(offset).filter(|rest| *rest > 0);
        let rest = rest.ok_or_else(|| {
            let message = format!(
                "{} ends at {length:#x}: nothing to map from {offset:#x} on",
                path.display()
            );
            Failure::new(ExitClass::Usage, message)
        })?;
        size.get_or_insert(rest);
        opened = Some(file);
    }
    let file = args.file.as_ref().map(|path| FileSource {
        path: std::path::absolute(path)
            .unwrap_or_else(|_| path.clone())
            .to_string_lossy()
            .into_owned(),
        offset,
        private: args.private,
    });
    let request = MapRequest {
        size: size.expect("a size or a file is required"),
        iova: args.iova,
        pages: match args.page_size {
            MapPages::Auto => Pages::Auto,
            MapPages::Base => Pages::Base,
            MapPages::Transparent => Pages::Transparent,
            MapPages::Huge2M => Pages::Huge2M,
            MapPages::Huge1G => Pages::Huge1G,
        },
        threads: args.threads,
        protection,
        name: args.name.clone(),
        file,
    };
    Ok((request, opened))
}
