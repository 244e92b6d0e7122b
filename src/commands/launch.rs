//! A launch of `bench`, as a process of its own.

use anyhow::{Context as _, anyhow};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use super::Context;
use super::interrupt::Interrupt;
use crate::bench::{self, Job, Launched, Step};
use crate::report::{Progress, row_name};
use crate::sys::spawn_with_mask;
use crate::types::ExitClass;

/// In the environment of a process that is to measure a launch: no option, as it is for nobody else.
const ASKED_FOR: &str = "IOMMU_TOOL_LAUNCH";

/// Whether this process is to measure a launch.
pub fn is_asked_for() -> bool {
    std::env::var_os(ASKED_FOR).is_some()
}

/// Measures the launch that standard input describes, and prints what it found for the process that asked for it.
///
/// # Errors
/// There is no such description.
pub fn measure(context: &Context) -> anyhow::Result<ExitClass> {
    let job: Job = serde_json::from_reader(io::stdin().lock())
        .with_context(|| format!("with {ASKED_FOR} set, 'bench' takes a plan on standard input"))?;
    let interrupt = Interrupt::keep()?;
    let progress = Progress::bar(context.output.progress());
    let mut watch = |step: Step<'_>| {
        progress.say(&row_name(&step.row.key));
        progress.set(step.done);
        if interrupt.came() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let launched = bench::launch(job, &mut watch);
    drop(progress);
    // As an error of writing: whoever asked for it may be gone.
    serde_json::to_writer(io::stdout().lock(), &launched).map_err(io::Error::from)?;
    Ok(ExitClass::Done)
}

/// Has a new process of this program measure a launch, and passes an interrupt on to it.
pub fn in_process(job: &Job, interrupt: &Interrupt) -> Launched {
    let attempt = || -> anyhow::Result<Launched> {
        let mut child = start(job).context("cannot start a process to measure")?;
        let answer = talk(&mut child, job, interrupt);
        // Nobody else waits for it, whatever became of the talk.
        let status = child.wait()?;
        serde_json::from_slice(&answer?)
            .map_err(|_| anyhow!("the process that measures ended too early: {status}"))
    };
    attempt().unwrap_or_else(|error| Launched::failed(ExitClass::Failed, format!("{error:#}")))
}

/// It says as much on standard error as this one, and ends with it.
fn start(job: &Job) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.env(ASKED_FOR, job.launch.to_string());
    command.arg("bench");
    command.args(job.plan.devices.iter().map(|one| one.node.bdf.to_string()));
    command.args(match log::max_level() {
        log::LevelFilter::Off | log::LevelFilter::Error => Some("--quiet"),
        log::LevelFilter::Warn => None,
        log::LevelFilter::Info => Some("-v"),
        log::LevelFilter::Debug => Some("-vv"),
        log::LevelFilter::Trace => Some("-vvv"),
    });
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    spawn_with_mask(&mut command, Interrupt::mask(), Signal::SIGTERM)
}

/// Tells it what to measure, and reads what it found.
fn talk(child: &mut Child, job: &Job, interrupt: &Interrupt) -> anyhow::Result<Vec<u8>> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (mut stdin, mut stdout) = stdin.zip(stdout).context("there are no pipes to it")?;
    stdin.write_all(&serde_json::to_vec(job)?)?;
    drop(stdin);
    let id = Pid::from_raw(i32::try_from(child.id())?);
    let mut answer = Vec::new();
    let mut part = [0; 1 << 16];
    let mut told = false;
    loop {
        if interrupt.came() && !told {
            kill(id, Signal::SIGINT)?;
            told = true;
        }
        let mut sources = [stdout.as_fd(), interrupt.as_fd()]
            .map(|source| PollFd::new(source, PollFlags::POLLIN));
        poll(&mut sources, PollTimeout::NONE)?;
        if sources[0].any().unwrap_or(false) {
            match stdout.read(&mut part)? {
                0 => return Ok(answer),
                count => answer.extend_from_slice(&part[..count]),
            }
        }
    }
}
