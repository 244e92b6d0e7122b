//! What cannot be done is refused with its reason and its exit status, and nothing is changed.

use super::lab::{Guest, Iommu, Kernel, Machine};
use super::{expect_clean_kernel, expect_words, in_guest, machine, run};
use libtest_mimic::{Failed, Trial};

const EDU: &str = "1234:11e8";

pub fn trials() -> Vec<Trial> {
    vec![
        in_guest(
            "refusals::no IOMMU: exit 4 and how to turn it on",
            machine(Kernel::Lab, Iommu::None, &[]),
            without_iommu,
        ),
        in_guest(
            "refusals::virtio-iommu: the missing interrupt remapping is named",
            machine(Kernel::Lab, Iommu::Virtio, &[]),
            without_interrupt_remapping,
        ),
        in_guest(
            "refusals::bad input changes nothing",
            Machine::default(),
            bad_input,
        ),
        in_guest(
            "refusals::an ordinary user is told which node is closed",
            machine(Kernel::Lab, Iommu::Intel, &[]),
            as_ordinary_user,
        ),
    ]
}

fn without_iommu(guest: &mut Guest) -> Result<(), Failed> {
    for command in ["bind", "test", "bench"] {
        let output = run(guest, &format!("iommu-tool {command} {EDU}"), 4)?;
        expect_words(
            command,
            &output.stderr,
            &["no IOMMU", "-device intel-iommu"],
        )?;
    }
    run(guest, "iommu-tool list", 0)?;
    run(
        guest,
        "test ! -e /sys/bus/pci/devices/0000:00:03.0/driver",
        0,
    )?;
    Ok(())
}

fn without_interrupt_remapping(guest: &mut Guest) -> Result<(), Failed> {
    run(guest, &format!("iommu-tool bind {EDU}"), 0)?;
    for (backend, parameter) in [
        ("type1", "vfio_iommu_type1.allow_unsafe_interrupts=1"),
        ("iommufd", "iommufd.allow_unsafe_interrupts=1"),
    ] {
        let output = run(
            guest,
            &format!("iommu-tool test --backend {backend} {EDU}"),
            4,
        )?;
        let said = output.stdout + &output.stderr;
        expect_words(backend, &said, &["interrupt remapping", parameter, "EPERM"])?;
    }
    run(guest, &format!("iommu-tool unbind {EDU}"), 0)?;
    expect_clean_kernel(guest)
}

fn bad_input(guest: &mut Guest) -> Result<(), Failed> {
    run(guest, &format!("iommu-tool bind {EDU}"), 0)?;
    let cases = [
        ("iommu-tool test 0000:7f:00.0", &["0000:7f:00.0"][..]),
        ("iommu-tool bind 00:03.9", &["function"]),
        ("iommu-tool bind nosuch0", &["nosuch0"]),
        ("iommu-tool bench --sizes 0 1234:11e8", &["size of 0"]),
        ("iommu-tool bench --sizes 4097 1234:11e8", &["4097", "4096"]),
        (
            "iommu-tool bench --iova 0xfffffffffffff000 1234:11e8",
            &["0xfffffffffffff000"],
        ),
        ("iommu-tool bench --iova 0x1001 1234:11e8", &["0x1001"]),
        (
            "iommu-tool test --iova 0xfffffffffffff000 1234:11e8",
            &["0xfffffffffffff000"],
        ),
        ("iommu-tool test --backend nosuch 1234:11e8", &["nosuch"]),
    ];
    for (command, words) in cases {
        let output = run(guest, command, 2)?;
        expect_words(command, &output.stderr, words)?;
    }
    run(guest, &format!("iommu-tool unbind {EDU}"), 0)?;
    let output = run(guest, &format!("iommu-tool test {EDU}"), 3)?;
    expect_words(
        "test of an unbound device",
        &output.stderr,
        &["iommu-tool bind 0000:00:03.0"],
    )?;
    expect_clean_kernel(guest)
}

fn as_ordinary_user(guest: &mut Guest) -> Result<(), Failed> {
    let bind = run(guest, &format!("su user -c 'iommu-tool bind {EDU}'"), 1)?;
    expect_words(
        "bind",
        &bind.stderr,
        &["EACCES", "/sys/bus/pci/devices/0000:00:03.0"],
    )?;
    run(guest, &format!("iommu-tool bind {EDU}"), 0)?;
    for (backend, node) in [("type1", "/dev/vfio/"), ("iommufd", "/dev/iommu")] {
        let output = run(
            guest,
            &format!("su user -c 'iommu-tool test --backend {backend} {EDU}'"),
            1,
        )?;
        expect_words(
            backend,
            &(output.stdout + &output.stderr),
            &["EACCES", node],
        )?;
    }
    run(guest, &format!("iommu-tool unbind {EDU}"), 0)?;
    expect_clean_kernel(guest)
}
