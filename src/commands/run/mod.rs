//! `run DEVICE... -- COMMAND`: devices on VFIO for as long as a command runs.

use std::os::unix::process::CommandExt;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

mod error;
mod program;

pub use error::RunError;

use super::Context;
use crate::binding::{self, BindOptions, BindingError, Foreground, Outcome, Process};
use crate::cli::RunArgs;
use crate::host::{Host, PciDevice};
use crate::report::PlanReport;
use crate::types::{Bdf, ExitClass, ExitStatus};

/// How long processes that the command left behind may take to close the devices.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Binds the devices, runs the command, gives the devices back, and passes on how the command ended.
///
/// # Errors
/// The command was not run, or the devices were not given back.
pub fn run(args: &RunArgs, context: &Context) -> Result<ExitStatus, RunError> {
    let host = &context.host;
    let (name, words) = args
        .command
        .split_first()
        .expect("the command line requires a command");
    let program = program::find(name)?;
    let shown = name.to_string_lossy();
    let not_run = |cause: anyhow::Error| RunError::NotRun {
        program: shown.to_string(),
        cause,
    };
    let (devices, options) = prepare(args, host).map_err(not_run)?;
    if args.dry_run {
        print_plan(args, &devices, &options, context).map_err(not_run)?;
        return Ok(ExitClass::Done.into());
    }

    let foreground = Foreground::hold_signals().map_err(|errno| not_run(errno.into()))?;
    let outcomes =
        binding::bind(host, &devices, &options).map_err(|error| not_run(error.into()))?;
    warn_of_blockers(host, &outcomes);
    let mut command = process::Command::new(program);
    command.arg0(name).args(words).envs(environment(&outcomes));
    let ended = foreground.run(&mut command);

    if let Err((left, cause)) = restore(host, &outcomes) {
        return Err(RunError::NotRestored {
            program: shown.to_string(),
            ended: match ended {
                Ok(status) => format!("ended ({status})"),
                Err(error) => format!("was not started ({error})"),
            },
            left,
            cause,
        });
    }
    match ended {
        Ok(status) => Ok(ExitStatus(binding::status_of(status))),
        Err(cause) => Err(RunError::NotStarted {
            program: shown.to_string(),
            cause,
        }),
    }
}

fn prepare(args: &RunArgs, host: &Host) -> anyhow::Result<(Vec<PciDevice>, BindOptions)> {
    let devices = super::bind::devices(host, &args.devices, &args.how)?;
    let options = BindOptions {
        run: Some(Process::own(host)),
        ..super::bind::options(&args.how)?
    };
    Ok((devices, options))
}

fn print_plan(
    args: &RunArgs,
    devices: &[PciDevice],
    options: &BindOptions,
    context: &Context,
) -> anyhow::Result<()> {
    let (before, after) = binding::plan_run(&context.host, devices, options)?;
    let plan = PlanReport::around(before, &args.command, after);
    Ok(context.output.emit(&plan)?)
}

fn warn_of_blockers(host: &Host, outcomes: &[Outcome]) {
    for outcome in outcomes {
        let group = outcome.group.and_then(|group| host.group(group).ok());
        for blocker in group.iter().flat_map(|group| group.blockers()) {
            log::warn!(
                "the group of {} cannot be opened while {} is on {}: --group takes it along",
                outcome.bdf,
                blocker.device,
                blocker.driver
            );
        }
    }
}

/// What the command is told about the devices.
fn environment(outcomes: &[Outcome]) -> [(&'static str, String); 3] {
    let list = |words: Vec<String>| words.join(",");
    let nodes = |of_device: bool| {
        let mut words: Vec<String> = Vec::new();
        for node in outcomes.iter().flat_map(|outcome| &outcome.nodes) {
            let word = node.display().to_string();
            if node.starts_with("/dev/vfio/devices") == of_device && !words.contains(&word) {
                words.push(word);
            }
        }
        words
    };
    let devices = outcomes.iter().map(|outcome| outcome.bdf.to_string());
    [
        ("IOMMU_TOOL_DEVICES", list(devices.collect())),
        ("IOMMU_TOOL_GROUP_NODES", list(nodes(false))),
        ("IOMMU_TOOL_DEVICE_NODES", list(nodes(true))),
    ]
}

/// Gives back what was bound, each device by itself, so that one which is held keeps no other. Returns those that are left, and why
/// the first is.
fn restore(host: &Host, outcomes: &[Outcome]) -> Result<(), (Vec<Bdf>, Box<BindingError>)> {
    let deadline = Instant::now() + PATIENCE;
    let mut left: Option<(Vec<Bdf>, Box<BindingError>)> = None;
    for outcome in outcomes.iter().rev().filter(|outcome| outcome.changed) {
        match (restore_one(host, outcome.bdf, deadline), &mut left) {
            (Ok(()), _) => {}
            (Err(error), None) => left = Some((vec![outcome.bdf], error.into())),
            (Err(error), Some((devices, _))) => {
                log::error!("{}: {error}", outcome.bdf);
                devices.push(outcome.bdf);
            }
        }
    }
    left.map_or(Ok(()), Err)
}

fn restore_one(host: &Host, bdf: Bdf, deadline: Instant) -> Result<(), BindingError> {
    let mut told = false;
    loop {
        let error = match binding::restore(host, &[host.device(bdf)?]) {
            Ok(_) => return Ok(()),
            Err(error @ BindingError::Held { .. }) if Instant::now() < deadline => error,
            Err(error) => return Err(error),
        };
        if !told {
            log::warn!("waiting {} seconds at most: {error}", PATIENCE.as_secs());
            told = true;
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_told_what_it_has() {
        let outcome = |bdf: &str, nodes: &[&str]| Outcome {
            bdf: bdf.parse().unwrap(),
            before: None,
            after: Some("vfio-pci".to_owned()),
            changed: true,
            group: None,
            nodes: nodes.iter().map(Into::into).collect(),
            given: None,
        };
        let told = environment(&[
            outcome("01:00.0", &["/dev/vfio/7", "/dev/vfio/devices/vfio0"]),
            outcome("01:00.1", &["/dev/vfio/7", "/dev/vfio/devices/vfio1"]),
        ]);
        assert_eq!(
            told.map(|(_, value)| value),
            [
                "0000:01:00.0,0000:01:00.1",
                "/dev/vfio/7",
                "/dev/vfio/devices/vfio0,/dev/vfio/devices/vfio1"
            ]
        );
    }
}
