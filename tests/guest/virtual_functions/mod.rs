//! `vfs`: virtual functions of a network card and of an NVMe drive are made, used, refused and removed, also after a kill.

use iommu_tool::sys::nvme;
use std::fs::File;
use std::os::fd::AsFd;

use super::lab::{DeviceKind, Guest, Iommu, Kernel, Machine};
use super::{expect_clean_kernel, in_guest, machine, run_scenario};
use libtest_mimic::{Failed, Trial};

/// The first word of the arguments that make this program say what an NVMe controller keeps for itself: `kept /dev/nvme0`; or tell it
/// what to keep from its next reset on: `kept /dev/nvme0 QUEUES INTERRUPTS`.
const KEPT: &str = "kept";
/// Primary Controller Capabilities, and where it has the flexible queues and interrupts that are assigned to the controller itself
/// (NVM Express Base 2.0, figure 308).
const PRIMARY_CAPABILITIES: u8 = 0x14;
const KEPT_AT: [usize; 2] = [40, 72];

/// If this program was started to ask a controller, what it ends with. It shares no code with what the program under test decides by.
pub fn as_asker() -> Option<i32> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [first, node, keep @ ..] = words.as_slice() else {
        return None;
    };
    (first == KEPT).then(|| {
        let file = File::open(node).expect("the node opens");
        for (resource, number) in (0_u32..).zip(keep) {
            // Action 1 on controller 0 (section 5.29).
            let dwords = [1 | resource << 8, number.parse().expect("a number")];
            nvme::manage_virtualization(file.as_fd(), dwords).expect("it takes that");
        }
        let says = nvme::identify(file.as_fd(), PRIMARY_CAPABILITIES, 0).expect("it answers");
        let [queues, interrupts] = KEPT_AT.map(|at| u16::from_le_bytes([says[at], says[at + 1]]));
        println!("{queues} queues, {interrupts} interrupts");
        0
    })
}

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
        "-drive",
        "id=space,file=null-co://,format=raw,if=none",
        "-device",
        "nvme-subsys,id=sub",
        "-device",
        "pcie-root-port,id=drive-port,chassis=9,slot=9",
        "-device",
        "nvme,id=v1,serial=v1,subsys=sub,bus=drive-port,max_ioqpairs=12,msix_qsize=13,sriov_max_vfs=4,sriov_vq_flexible=8,sriov_vi_flexible=8",
        "-device",
        "nvme-ns,drive=space,bus=v1,nsid=1,shared=off",
    ];
    Machine {
        devices: vec![DeviceKind::Igb],
        qemu: drive.map(str::to_owned).to_vec(),
        add: std::env::current_exe().into_iter().collect(),
        ..machine(Kernel::Lab, Iommu::Intel, &[])
    }
}

fn functions(guest: &mut Guest) -> Result<(), Failed> {
    let done = [
        "drive: ok",
        "drive in use: ok",
        "drive killed: ok",
        "damaged: ok",
        "card: ok",
        "steps of vfs:",
    ];
    run_scenario(guest, include_str!("functions.sh"), &done)?;
    expect_clean_kernel(guest)
}
