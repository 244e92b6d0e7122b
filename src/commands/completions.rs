//! `completions SHELL`: the completion script of a shell.

use clap::CommandFactory;
use std::io;

use super::Context;
use crate::cli::{Cli, CompletionsArgs};
use crate::types::ExitClass;

/// Prints the completion script.
///
/// # Errors
/// What writing to standard output gave.
pub fn run(args: &CompletionsArgs, _context: &Context) -> anyhow::Result<ExitClass> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "iommu-tool", &mut script);
    io::Write::write_all(&mut io::stdout().lock(), &script)?;
    Ok(ExitClass::Done)
}
