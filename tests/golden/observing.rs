//! `walk` and `faults` on captured hosts: what kernels log and show of each kind of IOMMU.
//!
//! The hosts are guests of the lab in which an edu device did DMA where nothing was mapped: two faults far apart, then some
//! in a burst, more than the kernel logs. What is mapped belongs to the kernel's own drivers.

use super::{PACKAGE, expect, iommu_tool};
use std::fs;
use std::path::Path;

const NVME: &str = "0000:01:00.0";

#[test]
fn vtd_shows_faults_and_tables() {
    expect(
        "guest-vtd",
        "observing",
        &[
            "faults",
            "--json faults --device 00:03.0",
            "faults --nearby",
            "faults --device nvme9",
            "walk 00:01.0 0xffffe123",
            "walk 00:01.0 0xffffe123 --bits",
            "--json walk 00:01.0 0xffffe123",
            "walk 00:01.0 0xfffd0000",
            "walk 00:01.0 0xfee00000",
            "walk 00:01.0 0x10000ffffe123",
            "walk 00:01.0 --all",
            "--json walk 00:01.0 --all",
            "walk 00:03.0 0x1000",
            "walk 00:03.0 0x1000 --map 4K",
            "walk 00:03.0",
            "faults --follow",
        ],
    );
}

#[test]
fn vtd_in_scalable_mode_shows_first_stage_tables() {
    expect(
        "guest-vtd-first-stage",
        "observing",
        &[
            "faults",
            "walk 00:01.0 0xffffe123",
            "walk 00:01.0 0xffffe123 --bits",
            "--json walk 00:01.0 0x1000",
        ],
    );
}

#[test]
fn amd_vi_shows_faults_and_the_first_step() {
    expect(
        "guest-amd",
        "observing",
        &[
            "faults",
            &format!("walk {NVME} 0xffffe123"),
            &format!("--json walk {NVME} 0xffffe123"),
            "walk 00:03.0 0x1000",
        ],
    );
}

#[test]
fn virtio_iommu_shows_faults_and_no_tables() {
    expect(
        "guest-virtio",
        "observing",
        &[
            "faults --device 1234:11e8",
            "walk 00:03.0 0x1000",
            "--json walk 00:03.0 0x1000",
        ],
    );
}

#[test]
fn a_host_without_an_iommu_has_neither() {
    expect(
        "laptop-without-iommu",
        "observing",
        &["faults", "walk nvme0 0x1000"],
    );
}

/// Copies a captured host and damages one of its files.
fn with_damaged(host: &str, file: &str, contents: &[u8]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    super::damaged::copy(
        &Path::new(PACKAGE).join("tests/hosts").join(host),
        copy.path(),
        &mut Vec::new(),
    );
    fs::write(copy.path().join(file), contents).unwrap();
    copy
}

/// What `faults` says on a copy of a host.
fn faults_on(host: &tempfile::TempDir) -> String {
    let output = iommu_tool(host.path().to_str().unwrap(), &["faults"]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_stream_is_looked_for_behind_the_smmu_that_logged_it() {
    let event = |unit: &str, seconds: u64| {
        let words = [
            "event 0x10 received:",
            "\t0x0000810000000010",
            "\t0x0000020800000000",
            "\t0x0000000000101000",
            "\t0x0000000000000000",
        ];
        words.map(|words| format!("3,7,{seconds}000000,-;arm-smmu-v3 {unit}: {words}\n"))
    };
    let lines = [
        event("arm-smmu-v3.3.auto", 1),
        event("arm-smmu-v3.0.auto", 2),
    ]
    .concat();
    let host = with_damaged("arm-server", "dev/kmsg", lines.concat().as_bytes());
    let told = faults_on(&host);
    assert!(told.contains("1.000000  0000:81:00.0"), "{told}");
    assert!(told.contains("2.000000  stream 0x8100"), "{told}");
}

#[test]
fn where_the_words_of_faults_are_not_known_there_may_be_some() {
    let host = with_damaged("guest-amd", "dev/kmsg", b"6,1,1000000,-;nothing\n");
    let says = |words: &str| {
        let told = faults_on(&host);
        assert!(told.starts_with(words), "{told}");
    };
    says("The kernel's log tells of no fault.\n");
    let units = host.path().join("sys/class/iommu");
    fs::rename(units.join("ivhd0"), units.join("s390-iommu.0")).unwrap();
    says(
        "No fault was found.\nHow the kernel's log words faults of s390-iommu.0 is not known here",
    );
}

#[test]
fn damaged_logs_and_tables_never_bring_the_program_down() {
    let tables = "sys/kernel/debug/iommu/intel/dmar_translation_struct";
    let pages = "sys/kernel/debug/iommu/intel/0000:00:01.0/domain_translation_struct";
    let original =
        |file: &str| fs::read(Path::new(PACKAGE).join("tests/hosts/guest-vtd").join(file)).unwrap();
    for file in ["dev/kmsg", "proc/interrupts", tables, pages] {
        let whole = original(file);
        let text = String::from_utf8(whole.clone()).unwrap();
        let contents: [Vec<u8>; 6] = [
            Vec::new(),
            b"\xff\x00\xfe\n\x80 \xc3\x28 0x\n".to_vec(),
            "9".repeat(100_000).into_bytes(),
            whole[..whole.len() / 2].to_vec(),
            text.replace("0x", "0xffffffffffffffff").into_bytes(),
            text.replace('0', "f").into_bytes(),
        ];
        for contents in contents {
            let host = with_damaged("guest-vtd", file, &contents);
            let root = host.path().to_str().unwrap();
            for arguments in [
                &["faults"][..],
                &["--json", "walk", "00:01.0", "0xffffe123", "--all"],
                &["walk", "00:01.0", "0xffffffffffffffff", "--bits"],
            ] {
                let output = iommu_tool(root, arguments);
                let status = output.status.code();
                assert!(
                    status.is_some_and(|status| status <= 4),
                    "{file}, {arguments:?}: {output:?}"
                );
            }
        }
    }
}
