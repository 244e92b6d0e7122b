//! A running guest: boot it, run scripts in it, notice when it dies.

use super::life::Life;
use super::machine::{self, INITRAMFS, MESSAGES, PORTS};
use super::mark::{MarkedStream, random_mark};
use super::options::{Iommu, Machine};
use super::process::check_stopped;
use super::watched::Watched;
use super::{busybox, initramfs, kernel, progress, qemu, qemu::Qemu};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};
use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often the guest is looked at while nothing comes from it.
const TICK: Duration = Duration::from_millis(50);

/// What a script printed, and its exit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(
            f,
            "exit status {}\n--- stdout\n{}\n--- stderr\n{}",
            self.status, self.stdout, self.stderr
        )
    }
}

/// A guest that has booted. Dropping it ends it.
pub struct Guest {
    qemu: Watched,
    control: UnixStream,
    stdout: UnixStream,
    stderr: UnixStream,
    /// What came on `control` and is not a whole line yet.
    line: Vec<u8>,
    life: Life,
    /// Goes last, after QEMU.
    _folder: TempDir,
}

impl Guest {
    /// Sets up what the machine needs and boots it with `binary` in it, a static `iommu-tool`.
    ///
    /// # Errors
    /// Set-up fails, QEMU does not start, the kernel panics or hangs: the message has the end of QEMU's and the kernel's words.
    pub fn boot(machine: &Machine, binary: &Path) -> Result<Guest> {
        let prepared = Prepared::new(machine, binary)?;
        let folder = prepared.folder.path();
        let listen = |port| {
            UnixListener::bind(folder.join(port))
                .with_context(|| format!("cannot make a socket in {}", folder.display()))
        };
        let [control, stdout, stderr] = PORTS.map(listen);
        let listeners = [control?, stdout?, stderr?];
        let started = Instant::now();
        let mut command = prepared.qemu(machine, false)?;
        let messages = File::create(folder.join(MESSAGES))?;
        command
            .stdin(Stdio::null())
            .stdout(messages.try_clone()?)
            .stderr(messages)
            .process_group(0);
        let mut qemu = Watched::start(command, folder)?;
        let mut life = Life::new(folder, machine.verbose);
        let [control, stdout, stderr] =
            listeners.map(|listener| accept(&listener, &mut qemu, &mut life));
        let Prepared {
            folder,
            description,
            ..
        } = prepared;
        let mut guest = Guest {
            qemu,
            control: control?,
            stdout: stdout?,
            stderr: stderr?,
            line: Vec::new(),
            life,
            _folder: folder,
        };
        guest.wait_for("booting", None, |guest| {
            Ok(guest.control_lines()?.iter().any(|line| line == "alive"))
        })?;
        progress!(
            "booted in {:.1} s: {description}",
            started.elapsed().as_secs_f64()
        );
        Ok(guest)
    }

    /// Runs a script by the guest's shell, as root in an empty working folder, and returns what it printed.
    ///
    /// # Errors
    /// The guest dies or hangs. That the script fails is no error, but its status.
    pub fn run(&mut self, script: &str) -> Result<Output> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = self.run_streaming(script, None, &mut stdout, &mut stderr)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output {
            status,
            stdout: text(stdout),
            stderr: text(stderr),
        })
    }

    /// Runs a script like [`Guest::run`] but passes on what it prints as it comes, byte by byte as it is.
    ///
    /// # Errors
    /// As for `run`; also when the script takes longer than `limit`, or the output cannot be written.
    pub fn run_streaming(
        &mut self,
        script: &str,
        limit: Option<Duration>,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<i32> {
        let mark = random_mark();
        let digits: String = script.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.control
            .write_all(format!("{mark} {digits}\n").as_bytes())
            .context("the guest does not listen")?;
        let (mut out, mut err) = (MarkedStream::new(&mark), MarkedStream::new(&mark));
        let mut status = None;
        self.life.heard();
        self.wait_for("running the command", limit, |guest| {
            pass_on(&guest.stdout, &mut out, stdout)?;
            pass_on(&guest.stderr, &mut err, stderr)?;
            for line in guest.control_lines()? {
                if let Some(number) = line.strip_prefix("done ") {
                    status = Some(
                        number
                            .parse::<i32>()
                            .with_context(|| format!("the guest's init says {line:?}"))?,
                    );
                }
            }
            Ok(status.is_some() && out.ended() && err.ended())
        })?;
        status.context("the command ended without a status")
    }

    /// All that the kernel printed on its console.
    pub fn console(&self) -> String {
        self.life.console()
    }

    /// Calls `step` whenever something came from the guest, until it says that it is done, and watches meanwhile that the guest lives.
    fn wait_for(
        &mut self,
        what: &str,
        limit: Option<Duration>,
        mut step: impl FnMut(&mut Guest) -> Result<bool>,
    ) -> Result<()> {
        let started = Instant::now();
        loop {
            let streams = [&self.control, &self.stdout, &self.stderr];
            let mut ready = streams.map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN));
            // A signal interrupts it: that is seen below.
            let _ = poll(
                &mut ready,
                PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO),
            );
            let ended = self.qemu.ended()?;
            if step(self)? {
                return Ok(());
            }
            check_stopped()?;
            if let Some(status) = ended {
                return Err(self.life.ended(status, what));
            }
            self.life.look(what)?;
            if let Some(limit) = limit.filter(|limit| started.elapsed() > *limit) {
                return Err(self
                    .life
                    .failure(&format!("{what} took longer than {} s", limit.as_secs())));
            }
        }
    }

    /// The whole lines that came on `control`; each is a sign of life.
    fn control_lines(&mut self) -> Result<Vec<String>> {
        let bytes = available(&self.control)?;
        if !bytes.is_empty() {
            self.life.heard();
        }
        self.line.extend(bytes);
        let Some(end) = self.line.iter().rposition(|&byte| byte == b'\n') else {
            return Ok(Vec::new());
        };
        let rest = self.line.split_off(end + 1);
        let lines = std::mem::replace(&mut self.line, rest);
        Ok(String::from_utf8_lossy(&lines)
            .lines()
            .map(str::to_owned)
            .collect())
    }
}

/// Boots a guest whose console is this terminal, with a shell on it, and waits for its end.
pub fn open_shell(machine: &Machine, binary: &Path) -> Result<()> {
    let prepared = Prepared::new(machine, binary)?;
    progress!("booting {}", prepared.description);
    let mut qemu = Watched::start(prepared.qemu(machine, true)?, prepared.folder.path())?;
    loop {
        check_stopped()?;
        match qemu.ended()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("QEMU ended with {status}"),
            None => sleep(TICK),
        }
    }
}

/// All that a machine needs to start, and a folder for the files of this run.
struct Prepared {
    folder: TempDir,
    qemu: Qemu,
    kernel: kernel::KernelFiles,
    description: String,
}

impl Prepared {
    fn new(machine: &Machine, binary: &Path) -> Result<Prepared> {
        let busybox = busybox::find()?;
        let qemu = Qemu::find(machine.iommu)?;
        let kernel = kernel::find(&machine.kernel, &busybox)?;
        let folder = tempfile::Builder::new()
            .prefix("iommu-tool-lab-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .context("cannot make a temporary folder")?;
        let initramfs = folder.path().join(INITRAMFS);
        let mut files = vec![("bin/busybox".to_owned(), busybox)];
        files.push(("bin/iommu-tool".to_owned(), binary.to_owned()));
        for path in &machine.add {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.with_context(|| format!("{} has no name", path.display()))?;
            files.push((format!("bin/{name}"), path.clone()));
        }
        if machine.with_qemu {
            files.extend(qemu::files_for_guest()?);
        }
        initramfs::write(&initramfs, &files, &kernel)?;
        let iommu = match machine.iommu {
            Iommu::None => "no IOMMU".to_owned(),
            iommu => format!("IOMMU {iommu}"),
        };
        let devices: Vec<_> = machine.devices.iter().map(ToString::to_string).collect();
        let description = format!(
            "Linux {}, {iommu}, devices {}; QEMU {} with {}",
            kernel.release,
            devices.join(" "),
            qemu.version,
            qemu.accelerator,
        );
        Ok(Prepared {
            folder,
            qemu,
            kernel,
            description,
        })
    }

    fn qemu(&self, machine: &Machine, shell: bool) -> Result<Command> {
        let mut command = self.qemu.command();
        command.arg("-kernel").arg(&self.kernel.image);
        command.args(machine::arguments(
            machine,
            &self.qemu,
            self.folder.path(),
            shell,
        )?);
        if machine.verbose {
            progress!("{command:?}");
        }
        Ok(command)
    }
}

/// Waits until QEMU connects a serial port.
fn accept(listener: &UnixListener, qemu: &mut Watched, life: &mut Life) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("cannot accept QEMU's connection"),
        }
        check_stopped()?;
        if let Some(status) = qemu.ended()? {
            return Err(life.ended(status, "starting"));
        }
        life.look("starting")?;
        sleep(Duration::from_millis(5));
    }
}

/// Writes what has come on a stream, up to the mark.
fn pass_on(from: &UnixStream, marked: &mut MarkedStream, to: &mut dyn Write) -> Result<()> {
    let passed = marked.push(&available(from)?);
    if passed.is_empty() {
        return Ok(());
    }
    to.write_all(&passed)
        .and_then(|()| to.flush())
        .context("cannot write the command's output")
}

/// What can be read from a stream now, without waiting.
fn available(stream: &UnixStream) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 1 << 16];
    match recv(stream.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
        Ok(length) => bytes.truncate(length),
        Err(Errno::EAGAIN | Errno::EINTR) => bytes.clear(),
        Err(errno) => return Err(errno).context("cannot read from QEMU"),
    }
    Ok(bytes)
}
