//! Measures what the program promises about speed, and prints it as ratios: the bars, and what mappings cost through a holder.
//!
//! `tests/benchmark/run` builds and starts this. On the host it boots guests and has them run this same program. Nothing passes or fails by
//! a time: it prints.

mod bars;
mod calls;
mod holder;
mod memory;
mod program;
mod same;
mod turns;

#[path = "../lab/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "its command line and its own tests belong to the lab's own program"
)]
mod lab;

use anyhow::{Context, Result, ensure};
use bars::Row;
use iommu_tool::device::VfioDevice;
use iommu_tool::host::Host;
use iommu_tool::iommu::{self, AddressSpace};
use iommu_tool::types::{Backend, Bdf};
use lab::{DeviceKind, Guest, Iommu, Kernel, Machine};
use std::sync::Arc;
use std::thread::available_parallelism;

type Space = Arc<dyn AddressSpace>;

/// Say to this program that it is in the guest, and what to measure there: then come two devices.
const HOLDER: &str = "--holder-in-guest";
const BARS: &str = "--bars-in-guest";
const INSTRUCTIONS: &str = "--instructions-in-guest";

/// What measures bars in a guest, in the address spaces of two devices.
struct Entry {
    bars: &'static [u8],
    /// How many processes measure it, one after the other: what a process has once and for all (where its code lies) differs between them.
    launches: usize,
    measure: fn(&Space, &Space) -> Result<Vec<Row>>,
}

const IN_GUEST: &[Entry] = &[
    Entry {
        bars: &[1, 2],
        launches: 9,
        measure: calls::one_page,
    },
    Entry {
        bars: &[3],
        launches: 1,
        measure: |space, _| memory::cold(space),
    },
    Entry {
        bars: &[4],
        launches: 3,
        measure: |space, _| memory::hot(space),
    },
    Entry {
        bars: &[5],
        launches: 3,
        measure: |space, _| calls::placement(space),
    },
    Entry {
        bars: &[6],
        launches: 3,
        measure: |space, _| memory::threads(space),
    },
    Entry {
        bars: &[7],
        launches: 3,
        measure: |space, _| calls::clearing(space),
    },
    Entry {
        bars: &[8],
        launches: 1,
        measure: |space, _| calls::against_itself(space),
    },
];

/// In a guest whose clock counts instructions, which are the same in every process.
const COUNTED: &[Entry] = &[Entry {
    bars: &[1],
    launches: 1,
    measure: |space, _| calls::instructions(space),
}];

impl Entry {
    fn is_wanted(&self, wanted: &[u8]) -> bool {
        self.bars.iter().any(|bar| wanted.contains(bar))
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let numbers = |words: &[&str]| -> Result<Vec<u8>> {
        let words = words.iter().map(|word| word.parse::<u8>());
        words.collect::<Result<_, _>>().context(USAGE)
    };
    match arguments.as_slice() {
        [HOLDER, held, free] => holder::measure(held.parse()?, free.parse()?),
        [BARS, one, other, launch, wanted @ ..] => {
            in_guest([one, other], IN_GUEST, launch.parse()?, &numbers(wanted)?)
        }
        [INSTRUCTIONS, one, other, launch, wanted @ ..] => {
            in_guest([one, other], COUNTED, launch.parse()?, &numbers(wanted)?)
        }
        ["bars"] => print_bars(&(1..=9).collect::<Vec<_>>()),
        ["bars", wanted @ ..] => print_bars(&numbers(wanted)?),
        ["holder"] => print_holder(),
        ["same"] => print_same(20),
        ["same", runs] => print_same(runs.parse().context(USAGE)?),
        [] => {
            print_bars(&(1..=9).collect::<Vec<_>>())?;
            print_holder()
        }
        _ => anyhow::bail!(USAGE),
    }
}

/// A guest with this program in it.
fn boot(machine: Machine) -> Result<Guest> {
    let machine = Machine {
        kernel: Kernel::Lab,
        iommu: Iommu::Intel,
        devices: vec![DeviceKind::Edu, DeviceKind::Edu],
        add: vec![std::env::current_exe().context("cannot find this program")?],
        // Memory of the host that is touched for the first time would be measured along.
        qemu: vec!["-mem-prealloc".to_owned()],
        ..machine
    };
    Guest::boot(&machine, &lab::binary()?)
}

const USAGE: &str = "usage: tests/benchmark/run [bars [NUMBER...] | holder | same [RUNS]]";

/// Binds both devices; their addresses are $1 and $2 then.
const BIND: &str = "set -eu
    set -- $(cd /sys/bus/pci/devices && grep -l 0x11e8 */device | sed 's/.device//')
    iommu-tool bind $1 $2 >/dev/null";

/// Measures these bars, and prints them as one table.
fn print_bars(wanted: &[u8]) -> Result<()> {
    lab::stop_on_signals()?;
    let cores = available_parallelism()?.get();
    let load = || std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{cores} processors to use; load of the machine before: {}",
        load().trim()
    );
    let numbers: Vec<String> = wanted.iter().map(u8::to_string).collect();
    let plain = Machine {
        memory: "4G".to_owned(),
        // Four threads need a processor each, and the rest of the machine one.
        smp: Some(if cores > 4 { 4 } else { 2 }),
        ..Machine::default()
    };
    let counted = Machine {
        icount: true,
        ..Machine::default()
    };
    let mut rows = Vec::new();
    if wanted.contains(&9) {
        rows.extend(program::measure(&lab::binary()?)?);
    }
    for (entries, what, machine) in [(IN_GUEST, BARS, plain), (COUNTED, INSTRUCTIONS, counted)] {
        let launches = entries.iter().filter(|entry| entry.is_wanted(wanted));
        let Some(launches) = launches.map(|entry| entry.launches).max() else {
            continue;
        };
        let mut guest = boot(machine)?;
        let mut output = Vec::new();
        let script = format!(
            "{BIND}
            for launch in $(seq {launches}); do benchmark {what} $1 $2 $launch {}; done",
            numbers.join(" ")
        );
        let status = guest.run_streaming(&script, None, &mut output, &mut std::io::stderr())?;
        ensure!(status == 0, "the measurement ended with status {status}");
        for line in String::from_utf8(output)?.lines() {
            let row = serde_json::from_str(line).with_context(|| line.to_owned())?;
            bars::add(&mut rows, row);
        }
    }
    rows.sort_by_key(|row: &Row| row.bar);
    bars::print(&rows);
    println!("load of the machine after: {}", load().trim());
    Ok(())
}

/// Opens an address space for each device, with each backend in turn, and prints what is measured in them for the host to read.
fn in_guest(devices: [&str; 2], entries: &[Entry], launch: usize, wanted: &[u8]) -> Result<()> {
    let host = Host::live();
    for backend in [Backend::Type1, Backend::Iommufd] {
        let open = |bdf: &str| -> Result<_> {
            let bdf: Bdf = bdf.parse()?;
            let space = iommu::open(backend)?;
            let device = VfioDevice::open(&space, &host.vfio_node(&host.device(bdf)?))?;
            Ok((space, device))
        };
        let [one, other] = devices.map(open);
        let ((one, _device), (other, _other_device)) = (one?, other?);
        let entries = entries.iter().filter(|entry| entry.is_wanted(wanted));
        for entry in entries.filter(|entry| launch <= entry.launches) {
            for row in (entry.measure)(&one, &other)? {
                println!("{}", serde_json::to_string(&row)?);
            }
        }
    }
    Ok(())
}

/// How often equal runs of `bench` seem to differ.
fn print_same(runs: u32) -> Result<()> {
    lab::stop_on_signals()?;
    ensure!(runs > 0, "a run is compared with another");
    same::measure(runs)
}

/// What mappings cost through a holder.
fn print_holder() -> Result<()> {
    lab::stop_on_signals()?;
    for backend in ["iommufd", "type1"] {
        let mut guest = boot(Machine {
            memory: "4G".to_owned(),
            ..Machine::default()
        })?;
        let script = format!(
            "{BIND}
            for pages in 0 600; do
                echo $pages >/proc/sys/vm/nr_hugepages
                echo
                echo \"{backend}, $(grep HugePages_Free /proc/meminfo | tr -s ' ')\"
                iommu-tool hold --backend {backend} $1 2>/tmp/log &
                until iommu-tool maps --json | grep -q '\"pid\"'; do usleep 10000; done
                benchmark {HOLDER} $1 $2
                kill $! && wait $!
            done"
        );
        let status = guest.run_streaming(
            &script,
            None,
            &mut std::io::stdout(),
            &mut std::io::stderr(),
        )?;
        ensure!(status == 0, "the measurement ended with status {status}");
    }
    Ok(())
}
