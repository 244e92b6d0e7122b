//! Kills a command with SIGKILL just before a chosen one of its steps: the system calls by which it changes the host or its own notes.
//!
//! So every point at which a real kill could leave something half done is met, and the program under test has no code for it.

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};

/// Exit status when the command was killed.
const KILLED: i32 = 137;

/// Numbers of system calls on x86-64 (arch/x86/entry/syscalls/syscall_64.tbl) that write to an open file: write, pwrite64.
const WRITES: [u64; 2] = [1, 18];
/// Those that change names, owners or modes: rename, mkdir, unlink, chmod, fchmod, chown, fchown, mkdirat, unlinkat, renameat, fchmodat,
/// fchownat, renameat2.
const CHANGES: [u64; 13] = [82, 83, 87, 90, 91, 92, 93, 258, 263, 264, 268, 260, 316];

/// The system call that sends a drive an admin command, and its request: ioctl, NVME_IOCTL_ADMIN_CMD (linux/nvme_ioctl.h). Its argument
/// begins with the command's code; this one changes something (NVM Express Base 2.0, section 5.29).
const ADMIN_COMMAND: (u64, u64) = (16, 0xc048_4e41);
const VIRTUALIZATION_MANAGEMENT: u8 = 0x1c;

/// Runs a command and kills it, with all its children, before step `at`, counted from 1. Returns the status to exit with: that of the
/// command if it took fewer steps.
pub fn run_and_kill(at: usize, command: &[String]) -> nix::Result<i32> {
    // The shell waits until it is traced, and becomes the command then.
    let child = Command::new("sh")
        .args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
        .args(command)
        .spawn()
        .map_err(|_| nix::errno::Errno::ENOENT)?;
    let first = pid_of(&child);
    waitpid(first, Some(WaitPidFlag::WUNTRACED))?;
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_EXITKILL;
    ptrace::attach(first)?;
    waitpid(first, None)?;
    ptrace::setoptions(first, options)?;
    ptrace::syscall(first, None)?;
    kill(first, Signal::SIGCONT)?;

    let mut steps = 0;
    // Whether the next stop of a process is the entry to a system call, or the way back.
    let mut enters: BTreeMap<Pid, bool> = BTreeMap::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Exited(pid, status) if pid == first => return Ok(status),
            WaitStatus::Signaled(pid, signal, _) if pid == first => {
                return Ok(128 + signal as i32);
            }
            WaitStatus::PtraceSyscall(pid) => {
                let enter = enters.entry(pid).or_insert(true);
                let is_entry = std::mem::replace(enter, !*enter);
                if is_entry && is_step(pid)? {
                    steps += 1;
                    if steps == at {
                        // The end of this process is that of all it traces (PTRACE_O_EXITKILL); those that it made go first.
                        for pid in enters.keys() {
                            let _ = kill(*pid, Signal::SIGKILL);
                        }
                        let _ = kill(first, Signal::SIGKILL);
                        return Ok(KILLED);
                    }
                }
                go_on(pid, None);
            }
            // A new child begins with a SIGSTOP of the kernel's.
            WaitStatus::Stopped(pid, signal) => {
                let is_news = matches!(signal, Signal::SIGSTOP | Signal::SIGTRAP);
                let pass_on = (!is_news).then_some(signal);
                go_on(pid, pass_on);
            }
            WaitStatus::PtraceEvent(pid, ..) => go_on(pid, None),
            _ => {}
        }
    }
}

/// Lets a process go on to its next system call, unless it was killed meanwhile.
fn go_on(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(pid, signal);
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("numbers of processes are small"))
}

/// Whether the system call that a process enters changes the host or the journal.
fn is_step(pid: Pid) -> nix::Result<bool> {
    let registers = ptrace::getregs(pid)?;
    if (registers.orig_rax, registers.rsi) == ADMIN_COMMAND {
        let [code, ..] = ptrace::read(pid, registers.rdx as ptrace::AddressType)?.to_ne_bytes();
        return Ok(code == VIRTUALIZATION_MANAGEMENT);
    }
    if CHANGES.contains(&registers.orig_rax) {
        return Ok(true);
    }
    if !WRITES.contains(&registers.orig_rax) {
        return Ok(false);
    }
    let file = fs::read_link(format!("/proc/{pid}/fd/{}", registers.rdi)).unwrap_or_default();
    let changes = ["/sys", "/run/iommu-tool"].map(Path::new);
    Ok(changes.iter().any(|folder| file.starts_with(folder)))
}
