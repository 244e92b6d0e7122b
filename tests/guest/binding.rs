//! `list`, `bind`, `unbind`: a device comes back as it was.

use super::lab::{Guest, Iommu, Kernel};
use super::{expect_clean_kernel, expect_words, in_guest, machine, run, run_json};
use libtest_mimic::{Failed, Trial};

pub fn trials() -> Vec<Trial> {
    [Kernel::Lab, Kernel::Distro]
        .into_iter()
        .map(|kernel| {
            in_guest(
                format!("binding::{kernel} kernel: every device comes back as it was"),
                machine(kernel, Iommu::Intel, &[]),
                |guest| {
                    for name in ["1234:11e8", "nvme0", "eth0"] {
                        comes_back(guest, name)?;
                    }
                    expect_clean_kernel(guest)
                },
            )
        })
        .collect()
}

/// What a user could notice about a device: its driver, its override, its names.
fn state(guest: &mut Guest, bdf: &str) -> Result<String, Failed> {
    let script = format!(
        "cd /sys/bus/pci/devices/{bdf} && readlink driver; cat driver_override enable; ls -d net/* nvme/* 2>/dev/null; true"
    );
    Ok(run(guest, &script, 0)?.stdout)
}

fn comes_back(guest: &mut Guest, name: &str) -> Result<(), Failed> {
    let listed = run_json(guest, &format!("iommu-tool list --json {name}"), 0)?;
    let device = &listed["groups"][0]["devices"][0];
    let bdf = device["bdf"]
        .as_str()
        .ok_or_else(|| format!("no bdf in {listed}"))?
        .to_owned();
    let before = state(guest, &bdf)?;
    if !before.contains("(null)") {
        return Err(
            format!("the override of {bdf} is set before anything was done: {before}").into(),
        );
    }

    let dry = run(guest, &format!("iommu-tool bind --dry-run {name}"), 0)?;
    expect_words("the dry run", &dry.stdout, &["vfio-pci", "driver_override"])?;
    expect_same(&before, &state(guest, &bdf)?, "a dry run")?;

    run(guest, &format!("iommu-tool bind {name}"), 0)?;
    expect_words("the driver's link", &state(guest, &bdf)?, &["vfio-pci"])?;
    run(guest, &format!("iommu-tool bind {bdf}"), 0)?;
    let listed = run_json(guest, &format!("iommu-tool list --json {bdf}"), 0)?;
    if listed["groups"][0]["devices"][0]["driver"] != "vfio-pci" {
        return Err(format!("list does not show the new driver: {listed}").into());
    }

    run(guest, &format!("iommu-tool unbind {name}"), 0)?;
    expect_same(&before, &state(guest, &bdf)?, "bind and unbind")
}

fn expect_same(before: &str, after: &str, what: &str) -> Result<(), Failed> {
    if before == after {
        return Ok(());
    }
    Err(format!("{what} changed the device.\nbefore: {before}\nafter: {after}").into())
}
