//! One file per command: its arguments become a plan, the plan is run, the result is printed.

mod bench;
mod bind;
mod capture;
mod compare;
mod completions;
mod dma;
mod doctor;
mod dump;
mod failure;
mod faults;
mod fill;
mod hand_over;
mod hold;
mod holder;
mod interrupt;
mod launch;
mod list;
mod map;
mod maps;
mod nearby;
mod output_file;
mod pages;
mod recover;
mod run;
mod show;
mod target;
mod test;
mod unbind;
mod unmap;
mod validate;
mod vfs;
mod walk;

pub use failure::{Failure, class_of, refusals_of, status_of};
pub use run::RunError;

use crate::cli::{Cli, Command};
use crate::host::Host;
use crate::report::Output;
use crate::types::ExitStatus;

/// What every command needs beside its own arguments.
#[derive(Debug)]
pub struct Context {
    /// The host to look at and to change.
    pub host: Host,
    /// Where results go.
    pub output: Output,
}

/// Runs the command that was asked for.
///
/// # Errors
/// Why it could not be done; [`status_of`] gives the exit status for it.
pub fn run(cli: &Cli, context: &Context) -> anyhow::Result<ExitStatus> {
    let class = match &cli.command {
        Command::List(args) => list::run(args, context),
        Command::Walk(args) => walk::run(args, context),
        Command::Faults(args) => faults::run(args, context),
        Command::Show(args) => show::run(args, context),
        Command::Doctor(args) => doctor::run(args, context),
        Command::Capture(args) => capture::run(args, context),
        Command::Bind(args) => bind::run(args, context),
        Command::Unbind(args) => unbind::run(args, context),
        Command::Vfs(args) => vfs::run(args, context),
        Command::Recover(args) => recover::run(args, context),
        Command::Run(args) => return Ok(run::run(args, context)?),
        Command::Hold(args) => hold::run(args, context),
        Command::Map(args) => map::run(args, context),
        Command::Unmap(args) => unmap::run(args, context),
        Command::Maps(args) => maps::run(args, context),
        Command::Dump(args) => dump::run(args, context),
        Command::Fill(args) => fill::run(args, context),
        Command::Dma(args) => dma::run(args, context),
        Command::Test(args) => test::run(args, context),
        Command::Validate(args) => validate::run(args, context),
        Command::Bench(args) => bench::run(args, context),
        Command::Compare(args) => compare::run(args, context),
        Command::Completions(args) => completions::run(args, context),
    };
    class.map(ExitStatus::from)
}
