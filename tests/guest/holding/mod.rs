//! Mappings that outlive a command. Each script beside this file is one that a user could have written.

use super::lab::{Guest, Iommu, Kernel, Machine};
use super::{expect_clean_kernel, expect_words, in_guest, machine, run};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A script, and more of the machine that it needs.
type Scenario = (&'static str, &'static str, fn(&mut Machine));

/// Runs with each backend on the kernel that has it.
const ON_BOTH_KERNELS: &[Scenario] = &[
    (
        "step by step",
        include_str!("step_by_step.sh"),
        |_: &mut Machine| {},
    ),
    (
        "a killed holder",
        include_str!("killed.sh"),
        |_: &mut Machine| {},
    ),
    (
        "many clients at once",
        include_str!("crowd.sh"),
        |_: &mut Machine| {},
    ),
    (
        "as a service",
        include_str!("service.sh"),
        |_: &mut Machine| {},
    ),
    (
        "a test in the holder",
        include_str!("tested.sh"),
        |_: &mut Machine| {},
    ),
    (
        "a device that is taken away",
        include_str!("taken_away.sh"),
        |_: &mut Machine| {},
    ),
];

/// Runs with both backends on the lab's kernel.
const ON_THE_LAB_KERNEL: &[Scenario] = &[
    (
        "what is refused",
        include_str!("refusals.sh"),
        |_: &mut Machine| {},
    ),
    ("ordinary users", include_str!("users.sh"), |machine| {
        let edu = machine.devices[0];
        machine.devices = vec![edu, edu];
    }),
    ("a group of two", include_str!("joined.sh"), |machine| {
        machine.devices.remove(0);
        let bridge = "pcie-pci-bridge,id=shared,bus=behind";
        let devices = [
            ROOT_PORT,
            bridge,
            "edu,bus=shared,addr=1",
            "edu,bus=shared,addr=2",
        ];
        add_devices(machine, &devices);
    }),
];

/// A root port beside the lab's own.
const ROOT_PORT: &str = "pcie-root-port,id=behind,chassis=99,slot=99,addr=0x1e";

fn add_devices(machine: &mut Machine, devices: &[&str]) {
    for device in devices {
        machine
            .qemu
            .extend(["-device".to_owned(), (*device).to_owned()]);
    }
}

pub fn trials() -> Vec<Trial> {
    let both = |kernels: [(Kernel, &'static str); 2], scenarios: &'static [Scenario]| {
        let pair = move |(kernel, backend): (Kernel, &'static str)| {
            scenarios
                .iter()
                .map(move |scenario| trial(kernel.clone(), backend, scenario))
        };
        kernels.into_iter().flat_map(pair)
    };
    let limit = "vfio_iommu_type1.dma_entry_limit=4";
    let few_entries = in_guest(
        "holding::type1: more mappings than the container takes",
        machine(Kernel::Lab, Iommu::Intel, &[limit]),
        |guest| scenario(guest, include_str!("entries.sh"), "type1"),
    );
    both(
        [(Kernel::Lab, "iommufd"), (Kernel::Distro, "type1")],
        ON_BOTH_KERNELS,
    )
    .chain(both(
        [(Kernel::Lab, "iommufd"), (Kernel::Lab, "type1")],
        ON_THE_LAB_KERNEL,
    ))
    .chain([few_entries, unplugged("iommufd"), unplugged("type1")])
    .collect()
}

fn trial(kernel: Kernel, backend: &'static str, (name, script, adapt): &'static Scenario) -> Trial {
    let title = format!("holding::{backend}, {kernel} kernel: {name}");
    let mut machine = machine(kernel, Iommu::Intel, &[]);
    adapt(&mut machine);
    in_guest(title, machine, move |guest| {
        scenario(guest, script, backend)
    })
}

/// Runs a script with the backend as its argument; then nothing may be left.
fn scenario(guest: &mut Guest, script: &str, backend: &str) -> Result<(), Failed> {
    run(guest, &format!("set -- {backend}\n{script}"), 0)?;
    // No holder, and no process that nobody waited for.
    let left = run(
        guest,
        "ps -o stat,args | grep -e '^Z' -e '[i]ommu-tool hold' || true",
        0,
    )?;
    if !left.stdout.is_empty() {
        return Err(format!("processes are left: {}", left.stdout).into());
    }
    expect_clean_kernel(guest)
}

/// QEMU takes the device out of its slot while it is held.
fn unplugged(backend: &'static str) -> Trial {
    Trial::test(format!("holding::{backend}: hot unplug"), move || {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("qmp");
        // Otherwise the kernel wants to be given hot-plug by the firmware along with things that it was built without.
        let mut machine = machine(Kernel::Lab, Iommu::Intel, &["pcie_ports=native"]);
        machine.devices.remove(0);
        machine.qemu = [
            "-qmp",
            &format!("unix:{},server=on,wait=off", socket.display()),
            // The kernel has the driver for hot-plug by PCI Express, not the one by ACPI.
            "-global",
            "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
        ]
        .map(str::to_owned)
        .to_vec();
        add_devices(&mut machine, &[ROOT_PORT, "edu,id=victim,bus=behind"]);
        let mut guest = Guest::boot(&machine, &super::lab::binary()?)?;

        let bind_and_map = format!(
            "iommu-tool bind 1234:11e8 && iommu-tool map 1234:11e8 --backend {backend} --size 2M"
        );
        run(&mut guest, &bind_and_map, 0)?;
        unplug(&socket, "victim")?;
        let gone = "until ! iommu-tool list 1234:11e8 >/dev/null 2>&1; do usleep 100000; done
            [ \"$(iommu-tool maps)\" = 'nothing is mapped' ]
            ! ps -o args | grep '[i]ommu-tool hold'
            cat /run/iommu-tool/group-*.log";
        let log = run(&mut guest, gone, 0)?;
        expect_words(
            "the holder",
            &log.stdout,
            &["back, as it is unplugged", "no device is left: closing"],
        )?;
        if log.stdout.contains("panicked") {
            return Err(format!("the holder panicked: {}", log.stdout).into());
        }
        expect_clean_kernel(&mut guest)
    })
}

/// Asks QEMU to take a device out (QEMU Machine Protocol, device_del).
fn unplug(socket: &Path, device: &str) -> Result<(), Failed> {
    let mut stream = UnixStream::connect(socket)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut line = move || -> Result<Value, Failed> {
        let line = lines.next().ok_or("QEMU closed the connection")??;
        Ok(serde_json::from_str(&line)?)
    };
    line()?; // The greeting.
    for command in [
        json!({"execute": "qmp_capabilities"}),
        json!({"execute": "device_del", "arguments": {"id": device}}),
    ] {
        writeln!(stream, "{command}")?;
        let answer = line()?;
        if answer.get("return").is_none() {
            return Err(format!("QEMU says {answer} to {command}").into());
        }
    }
    Ok(())
}
