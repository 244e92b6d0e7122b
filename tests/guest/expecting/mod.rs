//! `validate --expect` and `--write-expect`: a file made by one run is accepted by the next, and each difference is named.

use super::lab::{DeviceKind, Guest, Iommu, Kernel, Machine};
use super::{expect_clean_kernel, in_guest, machine, run_scenario};
use libtest_mimic::{Failed, Trial};

pub fn trials() -> Vec<Trial> {
    vec![in_guest(
        "expecting::a file made by one validation is accepted by the next, and each difference is named",
        Machine {
            devices: vec![DeviceKind::Nvme, DeviceKind::Igb],
            ..machine(Kernel::Lab, Iommu::Intel, &[])
        },
        expectations,
    )]
}

fn expectations(guest: &mut Guest) -> Result<(), Failed> {
    let done = ["drive: ok", "card: ok"];
    run_scenario(guest, include_str!("expectations.sh"), &done)?;
    expect_clean_kernel(guest)
}
