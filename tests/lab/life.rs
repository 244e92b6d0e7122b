//! Signs of life: notices when a guest hangs or dies, and says what can be said about it.

use super::machine::{CONSOLE, MESSAGES};
use super::process::last_lines;
use anyhow::{Error, Result, anyhow};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// A guest that shows no sign of life for so long hangs. It says something every 2 s; a host under load may run it 20 times slower.
const SILENCE: Duration = Duration::from_secs(60);

/// What the kernel says when it panics.
const PANIC: &str = "Kernel panic";

/// When the guest was last heard of: by its init or on its console.
pub struct Life {
    folder: PathBuf,
    verbose: bool,
    heard: Instant,
    console_seen: usize,
}

impl Life {
    /// Watches the guest whose files are in `folder`; shows its console on stderr if `verbose`.
    pub fn new(folder: &Path, verbose: bool) -> Life {
        Life {
            folder: folder.to_owned(),
            verbose,
            heard: Instant::now(),
            console_seen: 0,
        }
    }

    /// Notes a sign of life.
    pub fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Looks at the console's log, and fails when the guest has been silent for too long.
    pub fn look(&mut self, what: &str) -> Result<()> {
        let length = fs::metadata(self.folder.join(CONSOLE)).map_or(0, |file| file.len() as usize);
        if length > self.console_seen {
            if self.verbose {
                let console = self.read(CONSOLE);
                std::io::stderr().write_all(&console[self.console_seen..length])?;
            }
            self.console_seen = length;
            self.heard();
        }
        if self.heard.elapsed() > SILENCE {
            let seconds = SILENCE.as_secs();
            return Err(self.failure(&format!(
                "the guest hangs: no sign of life for {seconds} s while {what}"
            )));
        }
        Ok(())
    }

    /// All that the kernel printed on its console.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&self.read(CONSOLE)).replace('\r', "")
    }

    /// Why QEMU is not there any more.
    pub fn ended(&self, status: ExitStatus, what: &str) -> Error {
        let console = self.console();
        let reason = if console.contains(PANIC) {
            "the guest's kernel panicked".to_owned()
        } else if console.is_empty() {
            format!("QEMU did not start the guest ({status})")
        } else {
            format!("the guest ended ({status})")
        };
        self.failure(&format!("{reason} while {what}"))
    }

    /// An error with the end of QEMU's messages and of the console. Of a panic it shows the beginning: its end is a call trace.
    pub fn failure(&self, reason: &str) -> Error {
        let mut text = reason.to_owned();
        let messages = self.read(MESSAGES);
        if !messages.is_empty() {
            text += &format!("\nQEMU says:\n{}", last_lines(&messages, 10));
        }
        let console = self.console();
        let lines: Vec<_> = console.lines().collect();
        let end = match lines.iter().position(|line| line.contains(PANIC)) {
            Some(panic) => lines.len().min(panic + 15),
            None => lines.len(),
        };
        if end > 0 {
            let shown = lines[..end].join("\n");
            text += &format!(
                "\nThe end of the console:\n{}",
                last_lines(shown.as_bytes(), 30)
            );
        }
        anyhow!(text)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.join(name)).unwrap_or_default()
    }
}
