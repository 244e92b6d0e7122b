//! What another process holds stays where it is; commands on one device wait for each other.

use super::lab::{Guest, Iommu, Kernel};
use super::{expect_clean_kernel, expect_words, in_guest, machine, run};
use libtest_mimic::{Failed, Trial};

const EDU: &str = "0000:00:03.0";

pub fn trials() -> Vec<Trial> {
    vec![
        in_guest(
            "safety::commands on one device wait for each other",
            machine(Kernel::Lab, Iommu::Intel, &[]),
            at_once,
        ),
        // This kernel has process namespaces, in which a holder cannot be seen.
        in_guest(
            "safety::an unbind that waits in the kernel is left to it, and finished later",
            machine(Kernel::Distro, Iommu::Intel, &[]),
            held,
        ),
    ]
}

fn at_once(guest: &mut Guest) -> Result<(), Failed> {
    let script = format!(
        "pids=
         for round in 1 2 3 4 5 6; do
             iommu-tool bind {EDU} & pids=\"$pids $!\"
             iommu-tool unbind {EDU} & pids=\"$pids $!\"
         done
         for pid in $pids; do wait $pid || exit 1; done"
    );
    run(guest, &script, 0)?;
    run(guest, &format!("iommu-tool unbind {EDU}"), 0)?;
    let left = run(guest, "ls /run/iommu-tool/*.json; true", 0)?.stdout;
    if !left.is_empty() {
        return Err(format!("the journal still has entries: {left}").into());
    }
    run(
        guest,
        &format!("grep -q null /sys/bus/pci/devices/{EDU}/driver_override"),
        0,
    )?;
    expect_clean_kernel(guest)
}

/// On most kernels a read of `driver_override` waits for the device's lock, which a driver that hangs never gives back. A pipe that nobody
/// writes to stands for it; the deadline runs while the next command waits for its own.
const LOCKED: &str = "
    mkfifo /run/pipe && exec 3<>/run/pipe || exit 1
    mount --bind /run/pipe /sys/bus/pci/devices/0000:01:00.0/driver_override || exit 1
    (iommu-tool bind 01:00.0 >/run/busy 2>&1; echo $? >/run/busy-status) 3<&3 & ";

fn held(guest: &mut Guest) -> Result<(), Failed> {
    let script = format!(
        "iommu-tool bind {EDU} || exit 1
         iommu-tool test {EDU} >/dev/null 2>&1 & echo $! >/run/holder
         until ls -l /proc/$!/fd | grep -q vfio-device; do kill -0 $! || exit 1; done
         kill -STOP $!"
    );
    run(guest, &script, 0)?;
    let refused = run(guest, &format!("iommu-tool unbind {EDU}"), 3)?;
    expect_words(
        "unbind",
        &refused.stderr,
        &["held by iommu-tool (process", "/dev/vfio/"],
    )?;

    let hidden = format!(
        "rm -f /run/status
         unshare -p -f -m sh -c 'mount -t proc proc /proc; iommu-tool unbind {EDU} >/run/said 2>&1; echo $? >/run/status' &
         until [ -s /run/status ]; do sleep 0.1; done
         cat /run/said; exit $(cat /run/status)"
    );
    run(guest, LOCKED, 0)?;
    let waiting = run(guest, &hidden, 3)?;
    expect_words(
        "unbind with a hidden holder",
        &waiting.stdout,
        &["as soon as its holder lets go"],
    )?;
    let busy = run(
        guest,
        "until [ -s /run/busy-status ]; do sleep 0.1; done
         umount /sys/bus/pci/devices/0000:01:00.0/driver_override
         cat /run/busy; exit $(cat /run/busy-status)",
        3,
    )?;
    expect_words(
        "bind of a device that the kernel is at work on",
        &busy.stdout,
        &["at work on 0000:01:00.0"],
    )?;

    // Nothing of this hangs while the kernel waits.
    let hidden = hidden.replace("unbind", "recover");
    let waiting = run(guest, &hidden, 3)?;
    expect_words(
        "recover with a hidden holder",
        &waiting.stdout,
        &["as soon as its holder lets go", "in other containers"],
    )?;
    run(guest, &format!("iommu-tool list {EDU}"), 0)?;
    run(guest, &format!("iommu-tool recover {EDU}"), 3)?;
    let unfinished = run(guest, &format!("iommu-tool bind {EDU}"), 3)?;
    expect_words(
        "bind",
        &unfinished.stderr,
        &["interrupted", "iommu-tool recover"],
    )?;

    let let_go = "kill -KILL $(cat /run/holder); until ! grep -q iommu-tool /proc/[0-9]*/comm; do sleep 0.1; done";
    run(guest, let_go, 0)?;
    run(guest, &format!("iommu-tool recover {EDU}"), 0)?;
    run(
        guest,
        &format!("grep -q null /sys/bus/pci/devices/{EDU}/driver_override"),
        0,
    )?;
    expect_clean_kernel(guest)
}
