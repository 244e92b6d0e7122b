//! The command-line program: parse, run, print the result or the error, exit.

use clap::Parser;
use iommu_tool::cli::{Cli, ColorChoice, Command, GlobalArgs};
use iommu_tool::commands::{self, Context, Failure, refusals_of, status_of};
use iommu_tool::host::Host;
use iommu_tool::report::{ErrorReport, Output};
use iommu_tool::types::{ExitClass, ExitStatus};
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(&cli),
        Err(error) => usage(&error),
    }
}

fn run(cli: &Cli) -> ExitCode {
    start_logging(cli);
    let output = output(&cli.global);
    let host = cli
        .global
        .sysroot
        .as_deref()
        .map_or_else(Host::live, Host::at);
    let context = Context { host, output };
    let status = commands::run(cli, &context).unwrap_or_else(|error| fail(&error, output));
    status.into()
}

/// Prints what is wrong with the command line, or the help that was asked for. As nothing is parsed, `--json` is looked for.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing is left to do if the output is gone.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitStatus::from(ExitClass::Done).into();
    }
    let text = error.to_string();
    // Whoever scripts `run` can tell its own failures from those of the command.
    let status = if text.contains("Usage: iommu-tool run ") {
        ExitStatus::OWN_FAILURE
    } else {
        ExitClass::Usage.into()
    };
    let mut words = std::env::args_os().take_while(|word| word != "--");
    if words.any(|word| word == "--json") {
        let ends = ["\n\nUsage:", "\n\nFor more information"];
        let end = ends.iter().filter_map(|end| text.find(end)).min();
        let message = text[..end.unwrap_or(text.len())].trim_start_matches("error: ");
        let failure = Failure::new(ExitClass::Usage, message);
        let chain = std::iter::once(&failure as &dyn std::error::Error);
        let report = ErrorReport::new(chain, status);
        let _ = Output::new(true, None, false).emit(&report);
    }
    status.into()
}

/// Messages of the program and its libraries go to standard error; `-v` and `-q` say how many. A process that stays writes a log.
fn start_logging(cli: &Cli) {
    let stays = u8::from(matches!(cli.command, Command::Hold(_)));
    let (ours, theirs) = match (cli.global.quiet, cli.global.verbose + stays) {
        (true, _) => (log::LevelFilter::Error, log::LevelFilter::Off),
        (_, 0) => (log::LevelFilter::Warn, log::LevelFilter::Off),
        (_, 1) => (log::LevelFilter::Info, log::LevelFilter::Error),
        (_, 2) => (log::LevelFilter::Debug, log::LevelFilter::Debug),
        _ => (log::LevelFilter::Trace, log::LevelFilter::Trace),
    };
    env_logger::Builder::new()
        .filter_level(theirs)
        .filter_module("iommu_tool", ours)
        .format(|out, record| writeln!(out, "iommu-tool: {}", record.args()))
        .init();
}

fn output(global: &GlobalArgs) -> Output {
    let color = match global.color {
        ColorChoice::Auto => None,
        ColorChoice::Always => Some(true),
        ColorChoice::Never => Some(false),
    };
    Output::new(global.json, color, global.quiet)
}

/// Prints the error and its causes. Where what was printed piece by piece is wanted no more, as by `head`, that is no error; what a command finds
/// as a whole has its exit status all the same ([`iommu_tool::report::print()`]).
fn fail(error: &anyhow::Error, output: Output) -> ExitStatus {
    // Standard output's own error: what other layers write to, as a socket, they name in errors of theirs.
    let printing: Option<&io::Error> = error.downcast_ref();
    if printing.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitClass::Done.into();
    }
    let status = status_of(error);
    let report = ErrorReport::new(error.chain(), status).with_reasons(refusals_of(error));
    // The exit status says all the same if nobody reads it.
    let _ = write!(io::stderr(), "{report}");
    if output.json() {
        let _ = output.emit(&report);
    }
    status
}
