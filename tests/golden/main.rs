//! The built program on captured hosts: what it prints, as text and as JSON, and its exit status, beside what is expected.
//!
//! `SNAPSHOTS=overwrite cargo test --test golden` writes the expected files anew; read the difference before you commit it.

mod compare;
mod damaged;
mod look;
mod observing;

use std::path::Path;
use std::process::{Command, Output};

/// The package's folder; hosts are named from there, so that no path of this machine is printed.
const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

fn iommu_tool(sysroot: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_iommu-tool"))
        .args(["--sysroot", sysroot])
        .args(arguments)
        .current_dir(PACKAGE)
        .output()
        .unwrap()
}

/// What a person would see who ran these commands one after the other.
fn transcript(sysroot: &str, commands: &[&str]) -> String {
    let mut text = String::new();
    for command in commands {
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let output = iommu_tool(sysroot, &arguments);
        text += &format!("$ iommu-tool {command}\n");
        text += &String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        text += &errors
            .lines()
            .map(|line| format!("stderr: {line}\n"))
            .collect::<String>();
        text += &format!("exit status: {}\n\n", output.status.code().unwrap());
    }
    text
}

fn expect(host: &str, topic: &str, commands: &[&str]) {
    let file = Path::new(PACKAGE).join(format!("tests/golden/{host}.{topic}.txt"));
    let actual = transcript(&format!("tests/hosts/{host}"), commands);
    snapbox::Assert::new()
        .action_env("SNAPSHOTS")
        .eq(actual, snapbox::Data::read_from(&file, None).raw());
}

#[test]
fn server_lists_its_groups() {
    expect(
        "two-socket-server",
        "list",
        &["list", "list nvme1 eno2 04:00.1", "--json list group:20"],
    );
}

#[test]
fn a_wrong_command_line_is_told_to_scripts_too() {
    expect(
        "laptop-without-iommu",
        "usage",
        &["--json lst", "show --json", "list --json 01:00.0:1", "lst"],
    );
}

#[test]
fn server_says_what_binding_would_do_and_refuses_what_is_unsafe() {
    expect(
        "two-socket-server",
        "bind",
        &[
            "bind --dry-run eno2 nvme0",
            "--json bind --dry-run eno2",
            "bind --dry-run eno1",
            "bind --dry-run eno1 eno2 --allow address",
            "bind --dry-run eno1 enp94s0f0",
            "bind --dry-run eno1 --allow address,route",
            "bind --dry-run eno1 --allow held",
            "--json bind --dry-run eno1",
            "bind --dry-run 5e:10.0",
            "bind --dry-run 5e:10.4",
            "bind --dry-run group:20",
            "bind --dry-run 00:1c.4",
            "bind eno2",
        ],
    );
}

#[test]
fn server_says_what_virtual_functions_it_has_and_what_would_change() {
    expect(
        "two-socket-server",
        "vfs",
        &[
            "vfs enp94s0f0",
            "--json vfs enp94s0f0",
            "vfs --dry-run enp94s0f0 max",
            "vfs --dry-run enp94s0f0 0",
            "vfs --dry-run eno1 2",
            "vfs eno1 2",
            "vfs eno1 99999",
            "vfs --dry-run nvme1 1",
            "vfs 5e:10.0 1",
        ],
    );
}

#[test]
fn server_says_what_would_be_validated_and_what_cannot_be() {
    expect(
        "two-socket-server",
        "validate",
        &[
            "validate --list",
            "--json validate --list",
            "validate enp94s0f0",
            "validate enp94s0f0 --vfs 2",
            "validate enp94s0f0 --vfs 9999",
            "validate nvme1 --vfs 2",
            "validate nvme1 eno2 --vfs 2",
            "validate",
        ],
    );
}

#[test]
fn server_hands_devices_over() {
    expect(
        "two-socket-server",
        "hand-over",
        &[
            "show 5e:10.0 --for qemu",
            "--json show 5e:10.0 --for qemu",
            "show 5e:10.0 --for libvirt",
            "show 5e:10.0 --for cloud-hypervisor",
            "show 5e:10.0 --for dpdk",
            "--json show 5e:10.0 --for libvirt",
            "show eno1 --for qemu",
            "show 5e:10.0 --for vmware",
        ],
    );
}

#[test]
fn arm_server_has_drivers_of_its_own_for_user_space() {
    expect(
        "arm-server",
        "bind",
        &[
            "bind --dry-run 75:00.2",
            "bind --dry-run --driver auto 75:00.2",
            "bind --dry-run --driver auto 75:00.1",
            "bind --dry-run --driver vfio-pci 75:00.1",
            "bind --dry-run --driver auto 81:00.0",
            "bind --dry-run --driver hisi_acc_vfio_pci 81:00.0",
            "--json bind --dry-run --driver mlx5_core 81:00.0",
            "bind --dry-run --owner 1000:36 75:00.1 75:00.2",
            "--json run --dry-run --owner 1000 75:00.2 -- true",
            "run --dry-run --owner 1000 75:00.1 -- true",
            "run 75:00.2 -- true",
            "run 75:00.2 -- no-such-program",
        ],
    );
}

#[test]
fn server_remembers_what_a_device_was_bound_to() {
    expect(
        "two-socket-server",
        "unbind",
        &[
            "unbind --dry-run nvme1",
            "recover --dry-run",
            "--json recover --dry-run 5e:10.4",
            "recover",
            "unbind --dry-run 5e:10.4",
            "unbind --dry-run 5e:10.0",
            "unbind --dry-run eno1",
            "unbind eno1",
            "unbind nvme1",
        ],
    );
}

#[test]
fn names_that_mean_nothing_or_too_much_are_usage_errors() {
    expect(
        "two-socket-server",
        "names",
        &[
            "list 144d:a808",
            "list 8086:ffff",
            "list eth9",
            "list group:99",
            "list 0000:ff:00.0",
            "list 00:1c.9",
            "bind",
        ],
    );
}

#[test]
fn laptop_has_no_iommu() {
    expect(
        "laptop-without-iommu",
        "all",
        &[
            "list",
            "--json list enp0s31f6",
            "bind --dry-run enp0s31f6",
            "--json bind nvme0",
            "unbind nvme0",
            "list lo",
        ],
    );
}

#[test]
fn lab_guest_is_understood() {
    expect(
        "lab-guest",
        "all",
        &[
            "list",
            "--json list nvme0",
            "bind --dry-run 1234:11e8",
            "bind nvme0",
            "unbind --dry-run nvme0n1",
            "--json unbind --dry-run 1b36:0010",
        ],
    );
}

#[test]
fn a_folder_that_is_no_host_is_a_usage_error() {
    let output = iommu_tool("tests/hosts", &["list"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(output.stdout, b"");
}
