//! Starting holders: in the foreground, and by a command that needs one.

use std::env;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::{geteuid, setsid};

use super::folder::Unclaimed;
use super::ready::{NOTIFY_SOCKET, StartReport, Waiting, is_service, notify, report};
use super::server::{End, Server, Signals};
use super::testing::RunChecks;
use super::{Client, Failure, Folder, Holding, SessionError};
use crate::iommu;
use crate::types::{BackendChoice, Bdf, ExitClass, GroupId, VfioNode};

/// Where systemd says that it runs (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// How many times a command looks for a holder that others start and end at the same time.
const TRIES: usize = 10;

/// How long the kernel may take to close the devices of a killed process: a reset each, and unpinning all that was mapped.
const LAST_BREATH: Duration = Duration::from_secs(10);

/// How often it is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How a holder is to be.
#[derive(Debug, Clone)]
pub struct HoldOptions {
    /// The kernel interface.
    pub backend: BackendChoice,
    /// Whether it ends with its last mapping.
    pub until_unmapped: bool,
    /// Whether it leaves the session of its caller.
    pub detach: bool,
    /// What runs the checks of `test`.
    pub run_checks: RunChecks,
    /// Where the command waits that started it.
    pub report_to: Option<PathBuf>,
}

/// How holding devices in the foreground went.
#[derive(Debug)]
pub enum Held {
    /// It was done, until this.
    Ended(End),
    /// The devices' group has a holder, and the devices joined it.
    Joined(Box<Client>),
}

/// Holds devices in one address space until there is a reason to end. Call it before the process has other threads.
///
/// If their group has a holder already, the devices join it, unless this one was started to stay: by a command that waits for a holder, or
/// by a service manager.
pub fn hold(nodes: &[VfioNode], options: &HoldOptions) -> Result<Held, SessionError> {
    let signals = Signals::block()?;
    allow_open_files();
    if options.detach {
        setsid().map_err(|errno| SessionError::Process {
            action: "leave the session of the caller",
            errno,
        })?;
    }
    let mut groups: Vec<_> = nodes.iter().filter_map(|node| node.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let Some(first) = nodes.first().filter(|_| !groups.is_empty()) else {
        let message = "the device has no IOMMU group: without an IOMMU nothing can be mapped";
        return Err(Failure::new(ExitClass::NoVerdict, message).into());
    };
    let folder = Folder::own()?;
    let claim = match folder.claim(&groups) {
        Ok(claim) => claim,
        Err(Unclaimed::Failed(error)) => return Err(error),
        Err(Unclaimed::Taken(group, stream)) => {
            let holder =
                Client::greet(&folder, group, stream)?.ok_or(SessionError::Ended(group))?;
            if let Some(to) = &options.report_to {
                report(to, &StartReport::Taken);
            } else if !is_service() && holder.hello().backend_is(options.backend) {
                return join(holder, nodes);
            }
            return Err(SessionError::Held {
                group,
                pid: holder.hello().pid,
            });
        }
    };
    let holding = open(first, nodes, options.backend, claim.was_stale())?;
    let holding = holding.with_checks(options.run_checks);
    let server = Server::new(holding, claim, signals, options.until_unmapped)?;
    if let Some(to) = &options.report_to {
        report(to, &StartReport::Ready);
    }
    let names: Vec<_> = nodes.iter().map(|node| node.bdf.to_string()).collect();
    log::info!("holding {}", names.join(", "));
    notify("READY=1");
    let end = server.run()?;
    Ok(Held::Ended(end))
}

/// Allows itself as many open files as it may: each client needs one, and each mapping of reserved huge pages.
fn allow_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        log::info!("cannot raise the limit of open files: {errno}");
    }
}

/// Opens the devices in a new address space.
///
/// The kernel closes the sockets of a killed process before its devices, and lets no one wait for these: where the process before
/// was killed, devices that are in use are tried again for a while.
fn open(
    first: &VfioNode,
    nodes: &[VfioNode],
    backend: BackendChoice,
    was_killed: bool,
) -> Result<Holding, Failure> {
    let attempt = || {
        let choice = iommu::choose(backend, first)?;
        log::info!("{}: {} ({})", first.bdf, choice.backend, choice.reason);
        Holding::new(iommu::open(choice.backend)?, nodes)
    };
    let begin = Instant::now();
    loop {
        match attempt() {
            Err(failure)
                if was_killed
                    && failure.class == ExitClass::Refused
                    && begin.elapsed() < LAST_BREATH =>
            {
                log::info!("the process before was killed and may still be closing: {failure}");
                thread::sleep(LOOK_AGAIN);
            }
            result => return result,
        }
    }
}

/// Has a holder take in all devices that it does not have yet.
fn join(mut holder: Client, nodes: &[VfioNode]) -> Result<Held, SessionError> {
    for node in nodes {
        holder.include(node)?;
    }
    Ok(Held::Joined(Box::new(holder)))
}

/// This user's holder of a device, in whose address space the device is; started if there is none. It is given files to be mapped.
pub fn find_or_start(node: &VfioNode, backend: BackendChoice) -> Result<Client, SessionError> {
    let group = node.group.ok_or_else(|| {
        let message = format!(
            "{} has no IOMMU group: without an IOMMU nothing can be mapped",
            node.bdf
        );
        Failure::new(ExitClass::NoVerdict, message)
    })?;
    for _ in 0..TRIES {
        if let Some(mut client) = Client::own(group)? {
            if !client.hello().backend_is(backend) {
                return Err(Failure::new(
                    ExitClass::Refused,
                    format!(
                        "the process that holds IOMMU group {group} uses {}: unmap all to have another backend, or leave --backend away",
                        client.hello().backend
                    ),
                )
                .into());
            }
            client.include(node)?;
            return Ok(client);
        }
        match start(group, node.bdf, backend)? {
            StartReport::Ready | StartReport::Taken => {}
            StartReport::Failed(failure) => return Err(failure.into()),
        }
    }
    Err(SessionError::Ended(group))
}

/// Starts a holder, and waits until it is ready or has failed.
fn start(group: GroupId, device: Bdf, backend: BackendChoice) -> Result<StartReport, SessionError> {
    let folder = Folder::own()?;
    let waiting = Waiting::new(&folder)?;
    let program = env::current_exe().map_err(|error| SessionError::Start {
        what: format!(
            "this program is not found: {}",
            super::error::errno_of(&error)
        ),
    })?;
    let mut arguments: Vec<OsString> = vec![program.into(), "hold".into()];
    arguments.push("--until-unmapped".into());
    arguments.push("--backend".into());
    arguments.push(backend.to_string().into());
    arguments.push("--report-to".into());
    arguments.push(waiting.path().into());
    arguments.push(device.to_string().into());

    if Path::new(SYSTEMD).exists() {
        match as_unit(&folder, group, &arguments).spawn() {
            Ok(mut child) => match wait(&waiting, &mut child)? {
                Ok(report) => return Ok(report),
                // No manager for this user, or it may not be asked: a container, a plain `su`.
                Err(why) => log::info!("no transient unit: {why}"),
            },
            Err(error) => log::info!("no systemd-run: {}", super::error::errno_of(&error)),
        }
    }
    let log = folder.path().join(format!("group-{group}.log"));
    let mut child = detached(&log, &arguments)?;
    wait(&waiting, &mut child)?.map_err(|why| SessionError::Start {
        what: format!("it ended with {why}; {} may say more", log.display()),
    })
}

/// The holder as a transient unit of systemd, which is not part of the caller's session: `systemctl status 'iommu-tool*'`
/// finds it, and the journal has what it says.
fn as_unit(folder: &Folder, group: GroupId, arguments: &[OsString]) -> Command {
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--collect", "--service-type=notify"]);
    command.arg(format!("--unit=iommu-tool-group-{group}"));
    command.arg("--description=iommu-tool holds mappings");
    // A unit has systemd's limit, which may be lower than the caller's own.
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) {
        let [soft, hard] = [soft, hard].map(|limit| match limit {
            RLIM_INFINITY => "infinity".to_owned(),
            bytes => bytes.to_string(),
        });
        command.arg(format!("--property=LimitMEMLOCK={soft}:{hard}"));
    }
    if !geteuid().is_root() {
        command.arg("--user");
        if let Some(runtime) = folder.path().parent() {
            let mut variable = OsString::from("--setenv=XDG_RUNTIME_DIR=");
            variable.push(runtime);
            command.arg(variable);
        }
    }
    command.arg("--").args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The holder as a process in a session of its own, which logs to a file.
fn detached(log: &Path, arguments: &[OsString]) -> Result<Child, SessionError> {
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(log)
        .map_err(|error| SessionError::path("open", log, &error))?;
    let mut words = arguments.iter();
    let mut command = Command::new(words.next().expect("the program is the first word"));
    command
        .args(words)
        .arg("--detach")
        // The service manager of the caller, if there is one, does not wait for this process.
        .env_remove(NOTIFY_SOCKET)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file);
    command.spawn().map_err(|error| SessionError::Start {
        what: format!(
            "{} cannot be run: {}",
            Path::new(command.get_program()).display(),
            super::error::errno_of(&error)
        ),
    })
}

/// Waits for the report; the inner error says how the process ended without one.
fn wait(waiting: &Waiting, child: &mut Child) -> Result<Result<StartReport, String>, SessionError> {
    let its_end = child.stdout.take().expect("standard output is a pipe");
    if let Some(report) = waiting.report(child, &its_end)? {
        return Ok(Ok(report));
    }
    let status = child
        .wait()
        .map_or_else(|error| error.to_string(), |status| status.to_string());
    let mut words = String::new();
    if let Some(errors) = child.stderr.take() {
        // What it says only explains.
        let _: io::Result<_> = errors.take(4096).read_to_string(&mut words);
    }
    Ok(Err(format!("{status} {}", words.trim()).trim().to_owned()))
}
