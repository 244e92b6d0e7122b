//! QEMU, started in the guest with the arguments that `show --for qemu` prints, opens what was bound for it: a real client.

use super::lab::{DeviceKind, Guest, Iommu, Kernel, Machine};
use super::{expect_clean_kernel, in_guest, machine, run_scenario};
use libtest_mimic::{Failed, Trial};

pub fn trials() -> Vec<Trial> {
    let machine = Machine {
        devices: vec![DeviceKind::Nvme, DeviceKind::Igb],
        with_qemu: true,
        ..machine(Kernel::Lab, Iommu::Intel, &[])
    };
    vec![in_guest("clients::qemu", machine, qemu)]
}

fn qemu(guest: &mut Guest) -> Result<(), Failed> {
    let done = [
        "through type1: ok",
        "through iommufd: ok",
        "boots from the drive: ok",
        "by its token: ok",
    ];
    run_scenario(guest, include_str!("qemu.sh"), &done)?;
    expect_clean_kernel(guest)
}
