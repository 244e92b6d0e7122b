//! `validate`: what is fit is found fit on both kernel interfaces, what is not is named, and the host is as before in each case.

use super::lab::{DeviceKind, Guest, Iommu, Kernel, Machine};
use super::{expect_clean_kernel, in_guest, machine, required, run, run_json, run_scenario};
use iommu_tool::checks::validate::{
    ALL_LOAD, ALL_MAP_LATENCY, ALL_TABLES, FUNCTION_ACS, FUNCTION_BOUND, FUNCTION_GROUP,
    FUNCTION_INTERRUPTS, FUNCTION_OPEN, FUNCTION_REGIONS, FUNCTION_RESET, Item, VFS_COUNT,
    VFS_CYCLES, VFS_INTERRUPTS, VFS_READY, VFS_SPACE, VFS_STRIDE,
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

pub fn trials() -> Vec<Trial> {
    vec![
        in_guest(
            "validating::seven functions of a card, four of a drive and plain devices are fit, also twenty times in a row",
            with_fit_devices(),
            fit,
        ),
        in_guest(
            "validating::what is wrong is named, and all is put back, also after a kill",
            with_a_switch(),
            wrong,
        ),
    ]
}

/// An 82576, a drive with virtual functions, a device with an engine and one without.
fn with_fit_devices() -> Machine {
    let more = [
        "-device",
        "nvme-subsys,id=sub",
        "-device",
        "pcie-root-port,id=drive-port,chassis=9,slot=9,hotplug=off",
        "-device",
        "nvme,serial=v1,subsys=sub,bus=drive-port,max_ioqpairs=12,msix_qsize=13,sriov_max_vfs=4,sriov_vq_flexible=8,sriov_vi_flexible=8",
        "-device",
        "e1000e",
    ];
    Machine {
        devices: vec![DeviceKind::Edu, DeviceKind::Igb],
        qemu: more.map(str::to_owned).to_vec(),
        ..machine(Kernel::Lab, Iommu::Intel, &[])
    }
}

/// An 82576 below a root port, and one below a switch whose ports have no access control services.
fn with_a_switch() -> Machine {
    let switch = [
        "-device",
        "pcie-root-port,id=above,chassis=7,slot=7,hotplug=off",
        "-device",
        "x3130-upstream,id=switch,bus=above",
        "-device",
        "xio3130-downstream,id=down,bus=switch,chassis=8,slot=8,hotplug=off",
        "-device",
        "igb,bus=down",
    ];
    Machine {
        devices: vec![DeviceKind::Igb],
        qemu: switch.map(str::to_owned).to_vec(),
        add: std::env::current_exe().into_iter().collect(),
        ..machine(Kernel::Lab, Iommu::Intel, &[])
    }
}

fn fit(guest: &mut Guest) -> Result<(), Failed> {
    let done = [
        "card and drive: fit",
        "plain devices: ok",
        "twenty times: ok",
    ];
    run_scenario(guest, include_str!("fit.sh"), &done)?;
    for (file, engine, count) in [("card", "igbvf", 7), ("drive", "nvme", 4)] {
        let report = run_json(guest, &format!("cat /tmp/{file}.json"), 0)?;
        expect_all_passed(&report, engine, count)?;
    }
    let junit = run(guest, "cat /tmp/card.xml", 0)?.stdout;
    let junit = quick_junit::Report::deserialize_from_str(&junit)?;
    // The host, the card, its functions.
    let suites = junit.test_suites.len();
    if junit.failures != 0 || suites != 9 {
        return Err(format!("JUnit has {} failures in {suites} suites", junit.failures).into());
    }
    expect_clean_kernel(guest)
}

/// Every check that must pass did so, for each function and on both kernel interfaces, and none that matters was left out.
fn expect_all_passed(report: &Value, engine: &str, count: usize) -> Result<(), Failed> {
    let list = |field: &str| report[field].as_array().cloned().unwrap_or_default();
    let (functions, checks) = (list("functions"), list("checks"));
    let mut missing = Vec::new();
    if report["verdict"] != "fit" || report["skipped"] != 0 || functions.len() != count {
        missing.push(format!("{} functions: {}", functions.len(), report["says"]));
    }
    let passed = |item: &Item, device: &Value, backend: &Value| {
        checks.iter().any(|check| {
            let is = |field: &str, expected: &Value| check[field] == *expected;
            let works = check["verdict"] == "pass" || check["verdict"] == "warn";
            works && is("id", &json!(item.id)) && is("device", device) && is("backend", backend)
        })
    };
    let mut expect = |items: &[Item], device: &Value, backend: &Value| {
        for item in items {
            if !passed(item, device, backend) {
                missing.push(format!("{} of {device} through {backend}", item.id));
            }
        }
    };
    let none = Value::Null;
    let counted = [
        VFS_COUNT,
        VFS_READY,
        VFS_STRIDE,
        VFS_SPACE,
        VFS_INTERRUPTS,
        VFS_CYCLES,
    ];
    expect(&counted, &report["devices"][0]["bdf"], &none);
    let backends = list("backends");
    for function in &functions {
        let place = [FUNCTION_ACS, FUNCTION_GROUP, FUNCTION_BOUND];
        expect(&place, function, &none);
    }
    for backend in &backends {
        expect(&[ALL_TABLES, ALL_LOAD], &none, backend);
        let opened = [
            FUNCTION_OPEN,
            FUNCTION_REGIONS,
            FUNCTION_INTERRUPTS,
            FUNCTION_RESET,
        ];
        for function in &functions {
            expect(&opened, function, backend);
        }
    }
    expect(&[ALL_MAP_LATENCY], &none, &json!("iommufd"));
    let rows: Vec<_> = required::table()
        .into_iter()
        .filter(|row| row.kernel == Kernel::Lab && row.iommu == Iommu::Intel)
        .filter(|row| row.engine == engine)
        .collect();
    for row in &rows {
        for function in &functions {
            let of = |check: &&Value| {
                check["device"] == *function && check["backend"] == row.backend.as_str()
            };
            let of: Vec<&Value> = checks.iter().filter(of).collect();
            let tested = json!({"backend": row.backend, "engine": engine, "checks": of});
            missing.extend(
                row.unmet(&tested)
                    .iter()
                    .map(|what| format!("{function}: {what}")),
            );
        }
    }
    if missing.is_empty() && rows.len() == 2 && backends.len() == 2 {
        return Ok(());
    }
    Err(format!("on {backends:?}: {}", missing.join("\n")).into())
}

fn wrong(guest: &mut Guest) -> Result<(), Failed> {
    let done = [
        "isolation: ok",
        "functions that fail: ok",
        "held in the middle: ok",
        "in use: ok",
        "limits, refusals and Ctrl-C: ok",
        "steps: ok",
    ];
    run_scenario(guest, include_str!("wrong.sh"), &done)?;
    expect_clean_kernel(guest)
}
