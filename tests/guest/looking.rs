//! `show`, `doctor` and `capture` on a real kernel: what they say is so, and looking takes nothing from anyone.

use super::lab::{Guest, Iommu, Kernel};
use super::{expect_clean_kernel, expect_words, in_guest, machine, run, run_json};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

const EDU: &str = "1234:11e8";

pub fn trials() -> Vec<Trial> {
    vec![
        in_guest(
            "looking::a device is shown, examined and captured",
            machine(Kernel::Lab, Iommu::Intel, &[]),
            everything,
        ),
        in_guest(
            "looking::a device that is held is left alone",
            machine(Kernel::Lab, Iommu::Intel, &[]),
            held,
        ),
        in_guest(
            "looking::an ordinary user is told what is hidden",
            machine(Kernel::Lab, Iommu::Intel, &[]),
            as_ordinary_user,
        ),
        in_guest(
            "looking::doctor finds that interrupts are not remapped",
            machine(Kernel::Lab, Iommu::Virtio, &[]),
            without_interrupt_remapping,
        ),
        in_guest(
            "looking::doctor finds that there is no IOMMU",
            machine(Kernel::Lab, Iommu::None, &[]),
            without_iommu,
        ),
        in_guest(
            "looking::doctor knows a kernel without iommufd and a domain that is direct",
            machine(Kernel::Distro, Iommu::Intel, &["iommu=pt"]),
            distribution,
        ),
    ]
}

/// A check of the document that `doctor --json` printed.
fn check<'v>(doctor: &'v Value, id: &str) -> Result<&'v Value, Failed> {
    doctor["checks"]
        .as_array()
        .and_then(|checks| checks.iter().find(|check| check["id"] == id))
        .ok_or_else(|| format!("no check {id}: {doctor}").into())
}

fn expect_verdict(doctor: &Value, id: &str, verdict: &str) -> Result<(), Failed> {
    let check = check(doctor, id)?;
    if check["verdict"] == verdict {
        Ok(())
    } else {
        Err(format!("{id} should be {verdict}: {check}").into())
    }
}

fn expect_equal(what: &str, left: &Value, right: &Value) -> Result<(), Failed> {
    if left == right {
        Ok(())
    } else {
        Err(format!("{what}: {left} is not {right}").into())
    }
}

fn everything(guest: &mut Guest) -> Result<(), Failed> {
    let unbound = run_json(guest, &format!("iommu-tool --json show {EDU}"), 0)?;
    expect_equal("opened", &unbound["vfio"]["opened"], &Value::Null)?;
    run(guest, &format!("iommu-tool bind {EDU}"), 0)?;

    let shown = run_json(guest, &format!("iommu-tool --json show {EDU}"), 0)?;
    expect_equal("unit", &shown["iommu"]["name"], &"dmar0".into())?;
    expect_equal("domain", &shown["domain"]["type"], &"DMA-FQ".into())?;
    // What the kernel allows with the device opened agrees with what sysfs says of it.
    let opened = &shown["vfio"]["opened"];
    expect_equal(
        "BAR 0",
        &opened["regions"][0]["size"],
        &shown["regions"][0]["size"],
    )?;
    let reserved = &shown["group"]["reserved_regions"][0];
    expect_equal("reserved", &reserved["start"], &"0xfee00000".into())?;
    expect_equal(
        "IOVAs",
        &opened["iova_ranges"][0]["last"],
        &"0xfedfffff".into(),
    )?;

    let nic = run_json(guest, "iommu-tool --json show eth0", 0)?;
    let functions: Value = run(guest, "cat /sys/class/net/eth0/device/sriov_totalvfs", 0)?
        .stdout
        .trim()
        .parse::<u64>()?
        .into();
    expect_equal("virtual functions", &nic["sriov"]["total"], &functions)?;
    let port = &nic["isolation"]["path"][1];
    expect_equal("the port above", &port["open"], &false.into())?;

    let doctor = run_json(
        guest,
        &format!("iommu-tool --json doctor --memory 64M {EDU}"),
        0,
    )?;
    expect_verdict(&doctor, "device.attach", "pass")?;
    let evidence = check(&doctor, "device.attach")?["evidence"].to_string();
    expect_words(
        "device.attach",
        &evidence,
        &["iommufd: works", "type1: works"],
    )?;
    expect_verdict(&doctor, "device.reset", "warn")?;
    run(guest, &format!("iommu-tool doctor --strict {EDU}"), 1)?;
    let much = run_json(guest, "iommu-tool --json doctor --memory 64G", 1)?;
    expect_verdict(&much, "memory.available", "fail")?;

    run(guest, "iommu-tool capture /tmp/captured", 0)?;
    for command in ["list", "list --tree", "show --no-open eth0"] {
        run(
            guest,
            &format!(
                "iommu-tool {command} | grep -v 'Not opened' > /tmp/live; \
                 iommu-tool --sysroot /tmp/captured {command} | grep -v 'Not opened' > /tmp/replayed; \
                 cmp /tmp/live /tmp/replayed"
            ),
            0,
        )?;
    }
    run(guest, "iommu-tool capture /tmp/captured", 2)?;
    run(guest, &format!("iommu-tool unbind {EDU}"), 0)?;
    expect_clean_kernel(guest)
}

fn held(guest: &mut Guest) -> Result<(), Failed> {
    run(guest, &format!("iommu-tool bind {EDU}"), 0)?;
    // A script of its own: the kernel names the process after it.
    run(
        guest,
        "echo 'exec 3<>/dev/vfio/devices/vfio0; while :; do sleep 1; done' > /tmp/holder; sh /tmp/holder & sleep 1",
        0,
    )?;
    let shown = run_json(guest, &format!("iommu-tool --json show {EDU}"), 0)?;
    expect_equal("opened", &shown["vfio"]["opened"], &Value::Null)?;
    expect_words(
        "show",
        &shown["vfio"].to_string(),
        &["/dev/vfio/devices/vfio0", "held by"],
    )?;
    let doctor = run_json(guest, &format!("iommu-tool --json doctor {EDU}"), 0)?;
    expect_verdict(&doctor, "device.attach", "skip")?;
    expect_verdict(&doctor, "device.in-use", "warn")
}

fn as_ordinary_user(guest: &mut Guest) -> Result<(), Failed> {
    let shown = run_json(guest, "su user -c 'iommu-tool --json show eth0'", 0)?;
    expect_equal(
        "visible",
        &shown["configuration_space"]["visible"],
        &"header".into(),
    )?;
    expect_equal(
        "isolation",
        &shown["isolation"]["path"][1]["open"],
        &Value::Null,
    )?;
    run(guest, &format!("iommu-tool bind {EDU}"), 0)?;
    let doctor = run_json(
        guest,
        &format!("su user -c 'iommu-tool --json doctor --memory 1G {EDU}'"),
        1,
    )?;
    expect_verdict(&doctor, "limit.memlock", "fail")?;
    expect_verdict(&doctor, "device.attach", "fail")?;
    expect_words(
        "device.attach",
        &check(&doctor, "device.attach")?.to_string(),
        &["EACCES", "/dev/"],
    )
}

fn without_interrupt_remapping(guest: &mut Guest) -> Result<(), Failed> {
    run(guest, &format!("iommu-tool bind {EDU}"), 0)?;
    let doctor = run_json(guest, &format!("iommu-tool --json doctor {EDU}"), 1)?;
    expect_verdict(&doctor, "iommu.interrupt-remapping", "fail")?;
    expect_verdict(&doctor, "device.attach", "fail")?;
    run(guest, &format!("iommu-tool unbind {EDU}"), 0)?;
    Ok(())
}

fn without_iommu(guest: &mut Guest) -> Result<(), Failed> {
    let doctor = run_json(guest, &format!("iommu-tool --json doctor {EDU}"), 1)?;
    expect_verdict(&doctor, "iommu.on", "fail")?;
    expect_verdict(&doctor, "device.group", "fail")?;
    let shown = run(guest, &format!("iommu-tool show {EDU}"), 0)?;
    expect_words("show", &shown.stdout, &["no IOMMU translates"])
}

fn distribution(guest: &mut Guest) -> Result<(), Failed> {
    run(guest, &format!("iommu-tool bind {EDU}"), 0)?;
    let doctor = run_json(guest, &format!("iommu-tool --json doctor {EDU}"), 0)?;
    expect_verdict(&doctor, "kernel.iommufd", "warn")?;
    expect_verdict(&doctor, "device.attach", "pass")?;
    let evidence = check(&doctor, "iommu.domains")?["evidence"].to_string();
    expect_words("iommu.domains", &evidence, &["identity (direct"])?;
    run(guest, &format!("iommu-tool unbind {EDU}"), 0)?;
    expect_clean_kernel(guest)
}
