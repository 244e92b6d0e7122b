//! `validate --expect` and `--write-expect`: a file made by one run is accepted by the next, and each difference is named.

use super::lab::{DeviceKind, Guest, Iommu, Kernel, Machine};
use super::{expect_clean_kernel, expect_words, in_guest, machine, run};
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
    let output = run(guest, include_str!("expectations.sh"), 0)?;
    println!("{}", output.stdout);
    expect_words("the script", &output.stdout, &["drive: ok", "card: ok"])?;
    expect_clean_kernel(guest)
}
