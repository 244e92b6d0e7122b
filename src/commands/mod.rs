//! One file per command: its arguments become a plan, the plan is run, the result is printed.

mod bench;
mod bind;
mod completions;
mod failure;
mod faults;
mod interrupt;
mod list;
mod pages;
mod target;
mod test;
mod unbind;
mod walk;

pub use failure::{Failure, class_of};

use crate::cli::{Cli, Command};
use crate::host::Host;
use crate::report::Output;
use crate::types::ExitClass;

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
/// Why it could not be done; [`class_of`] gives the exit status for it.
pub fn run(cli: &Cli, context: &Context) -> anyhow::Result<ExitClass> {
    match &cli.command {
        Command::List(args) => list::run(args, context),
        Command::Walk(args) => walk::run(args, context),
        Command::Faults(args) => faults::run(args, context),
        Command::Bind(args) => bind::run(args, context),
        Command::Unbind(args) => unbind::run(args, context),
        Command::Test(args) => test::run(args, context),
        Command::Bench(args) => bench::run(args, context),
        Command::Completions(args) => completions::run(args, context),
    }
}
