//! Killed at any step, `recover` puts everything back.

mod killer;

use super::lab::{Guest, Iommu, Kernel, Machine};
use super::{expect_clean_kernel, in_guest, machine, run_scenario};
use libtest_mimic::{Failed, Trial};

/// The first word of the arguments that make this program the killer: `kill-at N COMMAND...`.
const KILL_AT: &str = "kill-at";

/// If this program was started as the killer, what it ends with.
pub fn as_killer() -> Option<i32> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [first, at, command @ ..] = words.as_slice() else {
        return None;
    };
    (first == KILL_AT).then(|| {
        let at = at.parse().expect("the step is a number");
        killer::run_and_kill(at, command).expect("a process can be traced")
    })
}

pub fn trials() -> Vec<Trial> {
    vec![in_guest(
        "recovering::killed at every step, a group comes back as it was",
        two_functions(),
        every_step,
    )]
}

/// A drive of two functions, which are one group: nothing separates them.
fn two_functions() -> Machine {
    let function = |name: &str, place: &str| {
        [
            "-drive".to_owned(),
            format!("id={name},file=null-co://,format=raw,if=none"),
            "-device".to_owned(),
            format!("nvme,serial={name},drive={name},{place}"),
        ]
    };
    Machine {
        qemu: [
            function("first", "addr=8.0,multifunction=on"),
            function("second", "addr=8.1"),
        ]
        .concat(),
        add: std::env::current_exe().into_iter().collect(),
        ..machine(Kernel::Distro, Iommu::Intel, &[])
    }
}

/// What the killer is called in the guest, where this program was added.
pub fn killer_name() -> Result<String, Failed> {
    let killer = std::env::current_exe()?;
    let name = killer.file_name().and_then(|name| name.to_str());
    Ok(name.ok_or("this program has no name")?.to_owned())
}

fn every_step(guest: &mut Guest) -> Result<(), Failed> {
    let done = [
        "steps of bind --group:",
        "steps of unbind:",
        "steps of recover:",
    ];
    run_scenario(guest, include_str!("every_step.sh"), &done)?;
    expect_clean_kernel(guest)
}
