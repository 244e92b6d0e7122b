//! Devices for a while: for as long as a command runs, or for a user.

use super::lab::{Iommu, Kernel};
use super::{expect_clean_kernel, in_guest, machine, run};
use libtest_mimic::Trial;

const SCENARIOS: &[(Kernel, &str, &str)] = &[
    (
        Kernel::Lab,
        "a command with devices",
        include_str!("commands.sh"),
    ),
    // Its drivers are modules, and it has nodes for groups only.
    (Kernel::Distro, "a user's nodes", include_str!("owner.sh")),
    (Kernel::Lab, "a user's nodes", include_str!("owner.sh")),
];

pub fn trials() -> Vec<Trial> {
    SCENARIOS
        .iter()
        .map(|(kernel, what, script)| {
            in_guest(
                format!("running::{kernel} kernel: {what}"),
                machine(kernel.clone(), Iommu::Intel, &[]),
                |guest| {
                    run(guest, script, 0)?;
                    expect_clean_kernel(guest)
                },
            )
        })
        .collect()
}
