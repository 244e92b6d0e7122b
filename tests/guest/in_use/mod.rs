//! What the host uses is not taken away: each way in which a disk or a network interface can be in use, found, named, and lifted
//! by the `--allow` of just that reason.

use super::lab::{Guest, Iommu, Kernel, Machine};
use super::{expect_clean_kernel, in_guest, machine, run};
use libtest_mimic::{Failed, Trial};

const CASES: &str = include_str!("cases.sh");
const DISKS: &str = include_str!("disks.sh");
const NETWORKS: &str = include_str!("networks.sh");

pub fn trials() -> Vec<Trial> {
    vec![
        in_guest("in_use::disks", with_disks(), |guest| {
            all_cases(guest, DISKS, 8)
        }),
        in_guest("in_use::networks", with_networks(), |guest| {
            all_cases(guest, NETWORKS, 20)
        }),
    ]
}

/// Two disks, one of them with a device-mapper device.
fn with_disks() -> Machine {
    let boot = [
        "dm-mod.create=lv0,,,rw,0 32768 linear /dev/nvme1n1 0",
        "dm-mod.waitfor=/dev/nvme1n1",
    ]
    .map(|parameter| format!("\"{parameter}\""));
    let mut machine = machine(Kernel::Lab, Iommu::Intel, &[&boot[0], &boot[1]]);
    let nvme = machine.devices[1];
    machine.devices = vec![nvme, nvme];
    machine
}

/// An igb card on one wire with another card, which plays another host; and serial ports that nobody needs.
fn with_networks() -> Machine {
    let mut machine = machine(Kernel::Lab, Iommu::Intel, &[]);
    machine.devices.pop();
    machine.qemu = [
        "-netdev",
        "hubport,id=here,hubid=0",
        "-netdev",
        "hubport,id=there,hubid=0",
        "-device",
        "pcie-root-port,id=nic,addr=0x1d,chassis=30,slot=30,hotplug=off",
        "-device",
        "igb,bus=nic,netdev=here",
        "-device",
        "virtio-net-pci,netdev=there,addr=0xf,romfile=",
        "-device",
        "virtio-serial-pci,id=spare,addr=0xe",
        "-device",
        "virtserialport,bus=spare.0",
    ]
    .map(str::to_owned)
    .to_vec();
    machine
}

/// Runs a script; each of its cases says PASS, and none may be left out.
fn all_cases(guest: &mut Guest, script: &str, cases: usize) -> Result<(), Failed> {
    let output = run(guest, &format!("{CASES}\n{script}"), 0)?;
    let passed: Vec<&str> = output
        .stdout
        .lines()
        .filter(|line| line.starts_with("PASS: "))
        .collect();
    if passed.len() != cases {
        return Err(format!("{} of {cases} cases passed:\n{output}", passed.len()).into());
    }
    expect_clean_kernel(guest)
}
