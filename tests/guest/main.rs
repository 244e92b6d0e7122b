//! The built program on real kernels, each in a guest with a virtual IOMMU.
//!
//! Each test boots a guest of its own and runs many commands in it. `tests/run guest` starts this; a name after it picks tests,
//! as with every Rust test.

mod binding;
mod clients;
mod expecting;
mod holding;
mod in_use;
mod looking;
mod measuring;
mod observing;
mod proof;
mod recovering;
mod refusals;
mod required;
mod running;
mod safety;
mod validating;
mod virtual_functions;

#[path = "../lab/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "its command line and its own tests belong to the lab's own program"
)]
mod lab;

use lab::{Guest, Iommu, Kernel, Machine, Output};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

fn main() {
    // In a guest this program is the one that kills another at a chosen step, or that asks a drive.
    if let Some(status) = recovering::as_killer().or_else(virtual_functions::as_asker) {
        std::process::exit(status);
    }
    let mut arguments = Arguments::from_args();
    // A guest has two CPUs, and waits for its devices half of the time.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(cores);
    if let Err(error) = lab::stop_on_signals() {
        eprintln!("cannot watch for signals: {error:#}");
        std::process::exit(125);
    }
    // The longest first, so that none is left alone at the end.
    let trials = [
        validating::trials(),
        proof::trials(),
        binding::trials(),
        refusals::trials(),
        safety::trials(),
        in_use::trials(),
        measuring::trials(),
        holding::trials(),
        observing::trials(),
        looking::trials(),
        recovering::trials(),
        running::trials(),
        virtual_functions::trials(),
        expecting::trials(),
        clients::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}

/// A test that boots `machine` and looks at it.
fn in_guest(
    name: impl Into<String>,
    machine: Machine,
    look: impl FnOnce(&mut Guest) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    Trial::test(name, move || {
        let mut guest = Guest::boot(&machine, &lab::binary()?)?;
        look(&mut guest)
    })
}

/// virtio-iommu has no interrupt remapping, so VFIO must be told to do without.
const UNSAFE_INTERRUPTS: &str =
    "vfio_iommu_type1.allow_unsafe_interrupts=1 iommufd.allow_unsafe_interrupts=1";

/// A machine with this kernel and IOMMU, and more kernel parameters.
fn machine(kernel: Kernel, iommu: Iommu, cmdline: &[&str]) -> Machine {
    Machine {
        kernel,
        iommu,
        cmdline: cmdline.iter().map(ToString::to_string).collect(),
        ..Machine::default()
    }
}

/// Runs a script that must end with this status.
fn run(guest: &mut Guest, script: &str, status: i32) -> Result<Output, Failed> {
    let output = guest.run(script)?;
    if output.status == status {
        Ok(output)
    } else {
        Err(format!(
            "'{script}' should exit with {status}: {output}\n--- console\n{}",
            guest.console()
        )
        .into())
    }
}

/// Runs a script that uses the words of `words.sh`; it must end well and say that all these are done. What it says is printed.
fn run_scenario(guest: &mut Guest, script: &str, done: &[&str]) -> Result<(), Failed> {
    let script = [
        &format!("killer={}", recovering::killer_name()?),
        include_str!("words.sh"),
        script,
    ]
    .join("\n");
    let output = run(guest, &script, 0)?;
    println!("{}", output.stdout);
    expect_words("the script", &output.stdout, done)
}

/// Runs a script that must end with this status and print one JSON document.
fn run_json(guest: &mut Guest, script: &str, status: i32) -> Result<Value, Failed> {
    let output = run(guest, script, status)?;
    serde_json::from_str(&output.stdout)
        .map_err(|error| format!("'{script}' printed no JSON: {error}\n{output}").into())
}

/// Fails with what was seen unless the text has all these words.
fn expect_words(what: &str, text: &str, words: &[&str]) -> Result<(), Failed> {
    match words.iter().find(|word| !text.contains(**word)) {
        None => Ok(()),
        Some(word) => Err(format!("{what} does not say '{word}': {text}").into()),
    }
}

/// What the kernel must show after the program is done: every page pinned for DMA was released, and nothing went wrong.
fn expect_clean_kernel(guest: &mut Guest) -> Result<(), Failed> {
    // The counters are kept by CPU; reading stat_refresh adds them up (Documentation/admin-guide/sysctl/vm.rst).
    let pins = run(
        guest,
        "cat /proc/sys/vm/stat_refresh; grep nr_foll_pin_ /proc/vmstat",
        0,
    )?
    .stdout;
    let count = |name: &str| {
        pins.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|number| number.trim().to_owned())
    };
    let (acquired, released) = (count("nr_foll_pin_acquired"), count("nr_foll_pin_released"));
    if acquired.is_none() || acquired != released {
        return Err(format!("pages pinned for DMA were not all released: {pins}").into());
    }
    let log = run(guest, "dmesg", 0)?.stdout;
    let bad = [
        "WARNING: CPU",
        "cut here",
        "BUG:",
        "Oops",
        "Call Trace",
        "general protection",
        "leaked",
    ];
    match log
        .lines()
        .find(|line| bad.iter().any(|sign| line.contains(sign)))
    {
        None => Ok(()),
        Some(line) => Err(format!("the kernel log has '{line}':\n{log}").into()),
    }
}
