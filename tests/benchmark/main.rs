//! Measures what the program promises about speed, and prints it as ratios: the bars, and what mappings cost through a holder.
//!
//! `tests/benchmark/run` builds and starts this. On the host it boots guests and has them run this same program. Nothing passes or fails by
//! a time: it prints.

mod bars;
mod calls;
mod holder;
mod memory;
mod program;
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

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [HOLDER, held, free] => holder::measure(held.parse()?, free.parse()?),
        [BARS, one, other] => in_guest(one, other, bars_of),
        [INSTRUCTIONS, one, other] => in_guest(one, other, |one, _| calls::instructions(one)),
        [] => {
            lab::stop_on_signals()?;
            print_bars()?;
            print_holder()
        }
        ["bars"] => {
            lab::stop_on_signals()?;
            print_bars()
        }
        ["holder"] => {
            lab::stop_on_signals()?;
            print_holder()
        }
        _ => anyhow::bail!("usage: tests/benchmark/run [bars|holder]"),
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

/// Binds both devices; their addresses are $1 and $2 then.
const BIND: &str = "set -eu
    set -- $(cd /sys/bus/pci/devices && grep -l 0x11e8 */device | sed 's/.device//')
    iommu-tool bind $1 $2 >/dev/null";

fn print_bars() -> Result<()> {
    let cores = available_parallelism()?.get();
    let load = || std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{cores} processors for this; load before: {}",
        load().trim()
    );
    let mut rows = program::measure(&lab::binary()?)?;
    let smp = if cores > 4 { 4 } else { 2 };
    let machines = [
        (
            BARS,
            Machine {
                memory: "4G".to_owned(),
                smp: Some(smp),
                ..Machine::default()
            },
        ),
        (
            INSTRUCTIONS,
            Machine {
                icount: true,
                ..Machine::default()
            },
        ),
    ];
    for (what, machine) in machines {
        let mut guest = boot(machine)?;
        let mut output = Vec::new();
        let script = format!("{BIND}\nbenchmark {what} $1 $2");
        let status = guest.run_streaming(&script, None, &mut output, &mut std::io::stderr())?;
        ensure!(status == 0, "the measurement ended with status {status}");
        for line in String::from_utf8(output)?.lines() {
            rows.push(serde_json::from_str(line).with_context(|| line.to_owned())?);
        }
    }
    rows.sort_by_key(|row| row.bar);
    bars::print(&rows);
    println!("load after: {}", load().trim());
    Ok(())
}

/// Opens an address space for each device, with each backend in turn, and prints what is measured in them for the host to read.
fn in_guest(one: &str, other: &str, measure: fn(&Space, &Space) -> Result<Vec<Row>>) -> Result<()> {
    let host = Host::live();
    for backend in [Backend::Type1, Backend::Iommufd] {
        let open = |bdf: &str| -> Result<_> {
            let bdf: Bdf = bdf.parse()?;
            let space = iommu::open(backend)?;
            let device = VfioDevice::open(&space, &host.vfio_node(&host.device(bdf)?))?;
            Ok((space, device))
        };
        let ((one, _device), (other, _other_device)) = (open(one)?, open(other)?);
        for row in measure(&one, &other)? {
            println!("{}", serde_json::to_string(&row)?);
        }
    }
    Ok(())
}

fn bars_of(one: &Space, other: &Space) -> Result<Vec<Row>> {
    let mut rows = calls::one_page(one, other)?;
    rows.extend(calls::placement(one)?);
    rows.extend(calls::clearing(one)?);
    rows.extend(calls::against_itself(one)?);
    rows.extend(memory::cold(one)?);
    if one.backend() == Backend::Iommufd {
        rows.extend(memory::hot(one)?);
        rows.extend(memory::threads(one)?);
    }
    Ok(rows)
}

/// What mappings cost through a holder.
fn print_holder() -> Result<()> {
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
