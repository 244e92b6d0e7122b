//! `vfs`: virtual functions of a network card and of an NVMe drive are made, used, refused and removed, also after a kill.

use super::lab::{DeviceKind, Guest, Iommu, Kernel, Machine};
use super::recovering::killer_name;
use super::{expect_clean_kernel, expect_words, in_guest, machine, run};
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
    let script = format!(
        "killer={}\n{}",
        killer_name()?,
        include_str!("functions.sh")
    );
    let output = run(guest, &script, 0)?;
    println!("{}", output.stdout);
    expect_words(
        "the script",
        &output.stdout,
        &["drive: ok", "card: ok", "steps of vfs:"],
    )?;
    expect_clean_kernel(guest)
}
