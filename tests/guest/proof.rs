//! `test`: the device reaches what was mapped and nothing else, on every kernel, IOMMU and backend of the committed table.

use super::lab::{Guest, Iommu, Kernel, Machine};
use super::required::{Requirement, table};
use super::{
    UNSAFE_INTERRUPTS, expect_clean_kernel, expect_words, in_guest, machine, run, run_json,
};
use libtest_mimic::{Failed, Trial};

const EDU: &str = "1234:11e8";

pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<_> = guests()
        .into_iter()
        .map(|(name, machine, rows)| {
            in_guest(name, machine, move |guest| {
                rows.iter().try_for_each(|row| meets(guest, row))
            })
        })
        .collect();
    trials.push(in_guest(
        "proof::amd-broken: an IOMMU that does not translate is told before any harm",
        machine(Kernel::Lab, Iommu::AmdBroken, &[]),
        tells_what_is_not_translated,
    ));
    trials.push(in_guest(
        "proof::an interrupted test leaves the device quiet; devices are kept apart",
        machine(Kernel::Lab, Iommu::Intel, &[]),
        |guest| {
            survives_an_interrupt(guest)?;
            keeps_devices_apart(guest)?;
            serves_ordinary_users(guest)
        },
    ));
    trials.push(in_guest(
        "proof::blocks that are written are put back; random loops; what cannot be done is said",
        Machine {
            // It does no DMA.
            qemu: vec!["-device".into(), "pci-testdev".into()],
            ..machine(Kernel::Lab, Iommu::Intel, &[])
        },
        |guest| {
            puts_blocks_back(guest)?;
            goes_on_at_random(guest)?;
            says_what_it_cannot_do(guest)
        },
    ));
    trials
}

/// One guest for each kernel and IOMMU of the table, and one booted with `iommu=pt`, where the same must hold.
fn guests() -> Vec<(String, Machine, Vec<Requirement>)> {
    let mut guests: Vec<(String, Machine, Vec<Requirement>)> = Vec::new();
    for row in table() {
        let name = format!("proof::{} kernel, {}", row.kernel, row.iommu);
        match guests.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., rows)) => rows.push(row),
            None => {
                let cmdline: &[&str] = if row.iommu == Iommu::Virtio {
                    &[UNSAFE_INTERRUPTS]
                } else {
                    &[]
                };
                guests.push((
                    name,
                    machine(row.kernel.clone(), row.iommu, cmdline),
                    vec![row],
                ));
            }
        }
    }
    let plain = table()
        .into_iter()
        .filter(|row| row.kernel == Kernel::Lab && row.iommu == Iommu::Intel)
        .collect();
    guests.push((
        "proof::lab kernel, intel, iommu=pt".into(),
        machine(Kernel::Lab, Iommu::Intel, &["iommu=pt"]),
        plain,
    ));
    guests
}

/// How the devices of an engine are made ready, and what must be so when they were given back; shell scripts.
struct Engine {
    name: &'static str,
    /// Prints the names of the devices, on one line.
    prepare: &'static str,
    afterwards: &'static str,
}

const ENGINES: &[Engine] = &[
    Engine {
        name: "edu",
        prepare: "echo 1234:11e8",
        afterwards: "true",
    },
    Engine {
        name: "nvme",
        // Bytes that are not those of a blocked read, and whose hash must stay.
        prepare: "dd if=/bin/busybox of=/dev/nvme0n1 bs=64k 2>/dev/null && sync && sha256sum < /dev/nvme0n1 > /tmp/hash && echo nvme0",
        afterwards: "for wait in $(seq 100); do [ -b /dev/nvme0n1 ] && break; usleep 100000; done
                     sha256sum < /dev/nvme0n1 | cmp - /tmp/hash",
    },
    Engine {
        name: "igb",
        prepare: "echo 8086:10c9",
        afterwards: "true",
    },
    Engine {
        name: "igbvf",
        prepare: "cd /sys/bus/pci/drivers/igb/0000:*/ && echo 0 > sriov_drivers_autoprobe && ip link set $(ls net) up &&
                  for wait in $(seq 100); do grep -q up net/*/operstate && break; usleep 100000; done &&
                  echo 2 > sriov_numvfs && for number in 0 1; do basename $(readlink virtfn$number); done | xargs",
        afterwards: "cd /sys/bus/pci/drivers/igb/0000:*/ && echo 0 > sriov_numvfs && ip link set $(ls net) down",
    },
];

impl Engine {
    /// Makes the devices ready and binds them; returns their addresses.
    fn bind(&self, guest: &mut Guest) -> Result<String, Failed> {
        let devices = run(guest, self.prepare, 0)?.stdout;
        let bind = format!("iommu-tool bind --json {}", devices.trim());
        let bound = run_json(guest, &bind, 0)?;
        let addresses: Vec<&str> = bound["devices"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|device| device["bdf"].as_str())
            .collect();
        Ok(addresses.join(" "))
    }

    /// Gives the devices back.
    fn unbind(&self, guest: &mut Guest, addresses: &str) -> Result<(), Failed> {
        run(guest, &format!("iommu-tool unbind {addresses}"), 0)?;
        run(guest, self.afterwards, 0)?;
        expect_clean_kernel(guest)
    }
}

fn meets(guest: &mut Guest, row: &Requirement) -> Result<(), Failed> {
    let engine = engine(&row.engine);
    let addresses = engine.bind(guest)?;
    let report = run_json(
        guest,
        &format!(
            "iommu-tool test --json --level {} --backend {} {addresses}",
            row.level(),
            row.backend
        ),
        0,
    )?;
    let tested = report["devices"].as_array().map_or(&[][..], Vec::as_slice);
    let unmet: Vec<String> = tested.iter().flat_map(|device| row.unmet(device)).collect();
    if tested.is_empty() || !unmet.is_empty() {
        return Err(format!(
            "the committed table is not met for {row:?}:\n{}\n{report:#}",
            unmet.join("\n")
        )
        .into());
    }
    engine.unbind(guest, &addresses)
}

/// Half of the guest's memory is filled beforehand, and must be as it was afterwards.
fn tells_what_is_not_translated(guest: &mut Guest) -> Result<(), Failed> {
    let filling = "head -c 512M /dev/zero | tr '\\0' Z";
    let script = format!(
        "mkdir /tmp/filled && mount -t tmpfs -o size=100% none /tmp/filled && {filling} > /tmp/filled/file"
    );
    run(guest, &script, 0)?;
    for engine in ENGINES {
        let addresses = engine.bind(guest)?;
        for backend in ["type1", "iommufd"] {
            let output = run(
                guest,
                &format!("iommu-tool test --backend {backend} {addresses}"),
                1,
            )?;
            expect_words("the verdict", &output.stdout, &["FAIL", "NOT TRANSLATED"])?;
        }
        engine.unbind(guest, &addresses)?;
    }
    run(guest, &format!("{filling} | cmp - /tmp/filled/file"), 0)?;
    Ok(())
}

/// SIGINT in the middle: exit 1, bus mastering off, nothing pinned, and the next run passes.
fn survives_an_interrupt(guest: &mut Guest) -> Result<(), Failed> {
    run(guest, &format!("iommu-tool bind {EDU}"), 0)?;
    let script = format!(
        "iommu-tool test {EDU} > out & child=$!
         until grep -q PASS out; do usleep 10000; done
         kill -INT $child; wait $child"
    );
    run(guest, &script, 1)?;
    // Bit 2 of the command register, at offset 4 of configuration space, is bus mastering.
    let command = run(
        guest,
        "dd if=/sys/bus/pci/devices/0000:00:03.0/config bs=1 skip=4 count=1 2>/dev/null | xxd -p",
        0,
    )?;
    let command =
        u8::from_str_radix(command.stdout.trim(), 16).map_err(|error| error.to_string())?;
    if command & 4 != 0 {
        return Err("the device was left with bus mastering on".into());
    }
    expect_clean_kernel(guest)?;
    run(
        guest,
        &format!("iommu-tool test {EDU} && iommu-tool unbind {EDU}"),
        0,
    )?;
    Ok(())
}

/// Devices of different kinds, named together: each is also sent to what is mapped for another.
fn keeps_devices_apart(guest: &mut Guest) -> Result<(), Failed> {
    run(guest, &format!("iommu-tool bind {EDU} nvme0 8086:10c9"), 0)?;
    let script = format!("iommu-tool test --json {EDU} 01:00.0 8086:10c9");
    let report = run_json(guest, &script, 0)?;
    let tested = report["devices"].as_array().map_or(&[][..], Vec::as_slice);
    for device in tested {
        let checks = device["checks"].as_array().into_iter().flatten();
        let mut apart = checks.filter(|check| check["id"] == "isolation.other-device");
        if apart.next().is_none_or(|check| check["verdict"] != "pass") {
            return Err(format!("the devices were not kept apart: {device:#}").into());
        }
    }
    if tested.len() != 3 {
        return Err(format!("not all devices were tested: {report:#}").into());
    }
    run(
        guest,
        &format!("iommu-tool unbind {EDU} 01:00.0 8086:10c9"),
        0,
    )?;
    expect_clean_kernel(guest)
}

/// A user with no more rights than those of the device's nodes: all checks of DMA pass, and what needs root is said.
fn serves_ordinary_users(guest: &mut Guest) -> Result<(), Failed> {
    let script = "
        iommu-tool bind 8086:10c9 >&2 || exit
        chown user /dev/vfio/$(basename $(readlink /sys/bus/pci/devices/0000:02:00.0/iommu_group)) && chmod 666 /dev/vfio/vfio &&
        su user -c \"export PATH=$PATH; iommu-tool test --json --backend type1 02:00.0\"";
    let report = run_json(guest, script, 0)?;
    let device = &report["devices"][0];
    for check in device["checks"].as_array().into_iter().flatten() {
        let cannot_be = ["agreement.pages", "isolation.other-device"]
            .iter()
            .any(|id| check["id"] == *id);
        let expected = if cannot_be { "skip" } else { "pass" };
        if check["verdict"] != expected {
            return Err(format!("not {expected} for an ordinary user: {check:#}").into());
        }
    }
    let checks = device["checks"].as_array().into_iter().flatten();
    let mut pages = checks.filter(|check| check["id"] == "agreement.pages");
    let reason = pages.next().map(|check| check["detail"].to_string());
    expect_words("the skip", &reason.unwrap_or_default(), &["it takes root"])?;
    run(guest, "iommu-tool unbind 02:00.0", 0)?;
    expect_clean_kernel(guest)
}

/// Blocks are written with leave only, and are as they were afterwards, also when the run is interrupted.
fn puts_blocks_back(guest: &mut Guest) -> Result<(), Failed> {
    let nvme = engine("nvme");
    let address = nvme.bind(guest)?;
    let test = format!("iommu-tool test --json --level full --destructive {address}");
    let report = run_json(guest, &test, 0)?;
    let device = &report["devices"][0];
    let loops = device["checks"].as_array().map_or(&[][..], Vec::as_slice);
    let patterns = loops
        .iter()
        .any(|outcome| outcome["id"] == "loopback.patterns" && outcome["verdict"] == "pass");
    if device["engine_limits"]["reading"] != "kept" || !patterns {
        return Err(format!("nothing was written to the drive: {report:#}").into());
    }
    let script = format!(
        "iommu-tool test --destructive --only loopback.soak --duration 1h {address} > out & child=$!
         until grep -q translation.canary out; do usleep 10000; done
         usleep 500000; kill -INT $child; wait $child"
    );
    run(guest, &script, 1)?;
    run(guest, "grep INTERRUPTED out", 0)?;
    nvme.unbind(guest, &address)
}

/// A short soak, with its rate.
fn goes_on_at_random(guest: &mut Guest) -> Result<(), Failed> {
    let igb = engine("igb");
    let address = igb.bind(guest)?;
    let test = format!("iommu-tool test --json --level soak --duration 2s {address}");
    let report = run_json(guest, &test, 0)?;
    let device = &report["devices"][0];
    let last = device["checks"].as_array().and_then(|checks| checks.last());
    let soaked = last.is_some_and(|soak| {
        let transfers = soak["transfers"].as_u64().unwrap_or_default();
        soak["id"] == "loopback.soak" && soak["verdict"] == "pass" && transfers >= 16
    });
    let rate = &device["rate"];
    let positive = rate["bytes_per_second"]
        .as_f64()
        .is_some_and(|rate| rate > 0.0);
    if !soaked || !positive || rate["limited_by"] != "engine" {
        return Err(format!("no soak, or no rate: {report:#}").into());
    }
    igb.unbind(guest, &address)
}

/// A device without an engine, and names that no check has.
fn says_what_it_cannot_do(guest: &mut Guest) -> Result<(), Failed> {
    const WITHOUT_ENGINE: &str = "1b36:0005";
    run(guest, &format!("iommu-tool bind {WITHOUT_ENGINE}"), 0)?;
    let output = run(guest, &format!("iommu-tool test {WITHOUT_ENGINE}"), 4)?.stdout;
    let words = [
        "no engine for DMA",
        "PASS  mapping.round-trip",
        "PASS  agreement.pages",
        "SKIP  translation.canary",
        "INCOMPLETE",
    ];
    expect_words("a test without an engine", &output, &words)?;
    run(guest, &format!("iommu-tool unbind {WITHOUT_ENGINE}"), 0)?;

    let wrong = run(
        guest,
        &format!("iommu-tool test --only loopback.size {EDU}"),
        2,
    )?;
    expect_words(
        "a wrong name",
        &wrong.stderr,
        &["'loopback.size'", "loopback.sizes"],
    )?;
    run(
        guest,
        &format!("iommu-tool test --skip translation.canary {EDU}"),
        2,
    )?;
    run(guest, &format!("iommu-tool test --duration 10s {EDU}"), 2)?;
    expect_clean_kernel(guest)
}

fn engine(name: &str) -> &'static Engine {
    let named = |engine: &&Engine| engine.name == name;
    ENGINES
        .iter()
        .find(named)
        .expect("the table names engines that there are")
}
