//! Host programs that the set-up runs, and the signals that end the lab.

use super::progress;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// The error with which everything ends after SIGINT, SIGTERM or SIGHUP, once [`stop_on_signals`] was called.
#[derive(Debug)]
pub struct Stopped(pub i32);

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "stopped by signal {}", self.0)
    }
}

impl std::error::Error for Stopped {}

/// Lets SIGINT, SIGTERM and SIGHUP end the lab by an error, so that QEMU and temporary folders go too.
pub fn stop_on_signals() -> Result<()> {
    extern "C" fn remember(signal: i32, _: *mut nix::libc::siginfo_t, _: *mut nix::libc::c_void) {
        SIGNAL.store(signal, Ordering::Relaxed);
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        vmm_sys_util::signal::register_signal_handler(signal as i32, remember)
            .map_err(std::io::Error::from)
            .with_context(|| format!("cannot handle {signal}"))?;
    }
    Ok(())
}

/// Fails with [`Stopped`] once a signal has come.
pub fn check_stopped() -> Result<()> {
    match SIGNAL.load(Ordering::Relaxed) {
        0 => Ok(()),
        signal => bail!(Stopped(signal)),
    }
}

/// Runs a host program to its end and returns its stdout. A signal to the lab ends the program too.
///
/// # Errors
/// The program cannot be started, or fails: then with the end of what it printed.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    check_stopped()?;
    let program = Path::new(command.get_program());
    let name = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let (started, mut told) = (Instant::now(), 0);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if let Err(stopped) = check_stopped() {
            // SIGTERM rather than SIGKILL, so that make ends its children.
            kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
            child.wait()?;
            return Err(stopped);
        }
        let minutes = started.elapsed().as_secs() / 30;
        if minutes > told {
            progress!("still running {name} ({} s)", minutes * 30);
            told = minutes;
        }
        sleep(Duration::from_millis(10));
    };
    check_stopped()?;
    let stdout = read_again(&mut stdout)?;
    if status.success() {
        return Ok(stdout);
    }
    let mut printed = stdout;
    printed.extend(read_again(&mut stderr)?);
    bail!("{name} failed ({status}):\n{}", last_lines(&printed, 20))
}

fn read_again(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last lines of a log, indented, for an error message.
pub fn last_lines(log: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(log).replace('\r', "");
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(count)..];
    last.iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
