//! `tests/lab/run`: boots a guest with a virtual IOMMU and runs a command in it.

#[path = "mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
mod lab;

use anyhow::{Context, Result};
use clap::Parser;
use lab::{Guest, Options, Stopped};
use std::process::ExitCode;

/// Exit status for the lab's own failures, as env(1) has it.
const LAB_FAILED: u8 = 125;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(LAB_FAILED)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(&options) {
        Ok(status) => ExitCode::from(status),
        Err(error) => match error.downcast_ref::<Stopped>() {
            Some(Stopped(signal)) => ExitCode::from(128 + *signal as u8),
            None => {
                eprintln!("lab: {error:#}");
                ExitCode::from(LAB_FAILED)
            }
        },
    }
}

fn run(options: &Options) -> Result<u8> {
    lab::stop_on_signals()?;
    let binary = lab::binary()?;
    if options.shell {
        lab::open_shell(&options.machine, &binary)?;
        return Ok(0);
    }
    let script = script(options)?;
    let mut guest = Guest::boot(&options.machine, &binary)?;
    let status = guest.run_streaming(
        &script,
        options.timeout,
        &mut std::io::stdout(),
        &mut std::io::stderr(),
    )?;
    Ok(status as u8)
}

/// The command as a shell's script, each word quoted.
fn script(options: &Options) -> Result<String> {
    if options.command.is_empty() {
        return Ok("demo".into());
    }
    let quoted = options.command.iter().map(|word| {
        let word = word.to_str().context("the command is not UTF-8")?;
        Ok(format!("'{}'", word.replace('\'', r"'\''")))
    });
    Ok(quoted.collect::<Result<Vec<_>>>()?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_guests_shell_as_they_are() {
        let options = Options::parse_from(["lab", "--", "sh", "-c", "echo 'a b' $HOME"]);
        assert_eq!(
            script(&options).unwrap(),
            r"'sh' '-c' 'echo '\''a b'\'' $HOME'"
        );
        assert_eq!(script(&Options::parse_from(["lab"])).unwrap(), "demo");
    }
}
