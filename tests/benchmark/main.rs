//! Measures in a guest what the program promises about speed, and prints it as ratios.
//!
//! `tests/benchmark/run` builds and starts this. On the host it boots a guest for each backend and has it run this same program,
//! which then measures beside a holder that the guest's `iommu-tool` runs.

mod holder;

#[path = "../lab/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "its command line and its own tests belong to the lab's own program"
)]
mod lab;

use anyhow::{Context, Result, ensure};
use lab::{DeviceKind, Guest, Iommu, Kernel, Machine};
use std::fs::File;
use std::io::Write;

/// Says to this program that it is in the guest: then the backend, a device that is held, and one that is free.
const IN_GUEST: &str = "--in-guest";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [flag, held, free] if flag == IN_GUEST => holder::measure(held.parse()?, free.parse()?),
        _ => {
            lab::stop_on_signals()?;
            ["iommufd", "type1"].into_iter().try_for_each(boot)
        }
    }
}

/// Boots a guest and prints what is measured in it.
fn boot(backend: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The guest finds this program on a disk.
    let disk = folder.path().join("program");
    let program = std::fs::read(std::env::current_exe()?).context("cannot read this program")?;
    let length = program.len().next_multiple_of(1 << 20) as u64;
    let mut file = File::create(&disk)?;
    file.write_all(&program)?;
    file.set_len(length)?;

    let mut machine = Machine {
        kernel: Kernel::Lab,
        iommu: Iommu::Intel,
        devices: vec![DeviceKind::Edu, DeviceKind::Edu],
        memory: "4G".to_owned(),
        ..Machine::default()
    };
    machine.qemu = [
        // Memory of the host that is touched for the first time would be measured along.
        "-mem-prealloc",
        "-drive",
        &format!(
            "id=program,if=none,format=raw,readonly=on,file={}",
            disk.display()
        ),
        "-device",
        "nvme,drive=program,serial=program",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut guest = Guest::boot(&machine, &lab::binary()?)?;
    let script = format!(
        "set -eu
        cp /dev/nvme0n1 /tmp/benchmark && chmod +x /tmp/benchmark
        set -- $(cd /sys/bus/pci/devices && grep -l 0x11e8 */device | sed 's/.device//')
        iommu-tool bind $1 $2 >/dev/null
        for pages in 0 600; do
            echo $pages >/proc/sys/vm/nr_hugepages
            echo
            echo \"{backend}, $(grep HugePages_Free /proc/meminfo | tr -s ' ')\"
            iommu-tool hold --backend {backend} $1 2>/tmp/log &
            until iommu-tool maps --json | grep -q '\"pid\"'; do usleep 10000; done
            /tmp/benchmark {IN_GUEST} $1 $2
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
    Ok(())
}
