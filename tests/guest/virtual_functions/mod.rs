//! `vfs`: virtual functions of a network card and of an NVMe drive are made, used, refused and removed, also after a kill.

use super::lab::{DeviceKind, Guest, Iommu, Kernel, Machine};
use super::{expect_clean_kernel, in_guest, machine, run_scenario};
use libtest_mimic::{Failed, Trial};

pub fn trials() -> Vec<Trial> {
    vec![in_guest(
        "virtual_functions::made, refused, removed, and put back after a kill at every step",
        with_functions(),
        functions,
    )]
}

/// An 82576, and a drive whose virtual functions get queues and interrupts by Virtualization Management.
fn with_functions() -> Machine {
    let drive = [
        "-device",
        "nvme-subsys,id=sub",
        "-device",
        "pcie-root-port,id=drive-port,chassis=9,slot=9",
        "-device",
        "nvme,serial=v1,subsys=sub,bus=drive-port,max_ioqpairs=12,msix_qsize=13,sriov_max_vfs=4,sriov_vq_flexible=8,sriov_vi_flexible=8",
    ];
    Machine {
        devices: vec![DeviceKind::Igb],
        qemu: drive.map(str::to_owned).to_vec(),
        add: std::env::current_exe().into_iter().collect(),
        ..machine(Kernel::Lab, Iommu::Intel, &[])
    }
}

fn functions(guest: &mut Guest) -> Result<(), Failed> {
    let done = ["drive: ok", "card: ok", "steps of vfs:"];
    run_scenario(guest, include_str!("functions.sh"), &done)?;
    expect_clean_kernel(guest)
}
