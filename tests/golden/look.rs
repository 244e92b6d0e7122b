//! `show`, `doctor`, `list --tree` and `capture`, on all captured hosts.

use super::{PACKAGE, expect, iommu_tool};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

#[test]
fn server_with_virtual_functions_is_shown() {
    expect(
        "two-socket-server",
        "show",
        &[
            "show eno1",
            "show enp94s0f0",
            "show 5e:10.0",
            "show nvme1",
            "show 00:1c.4",
            "--json show eno1",
            "show group:20",
            "show 00:1f.7",
        ],
    );
}

#[test]
fn server_is_examined() {
    expect(
        "two-socket-server",
        "doctor",
        &[
            "doctor",
            "doctor --memory 24G nvme1 eno1 03:00.0",
            "doctor --strict nvme1",
            "--json doctor --memory 200G 5e:10.2",
            "doctor --memory 0",
        ],
    );
}

#[test]
fn desktop_with_a_shared_gpu_is_shown_and_examined() {
    expect(
        "amd-desktop",
        "look",
        &[
            "list",
            "list --tree",
            "show 04:00.0",
            "show 09:00.0",
            "doctor 04:00.0 09:00.0",
            "bind --dry-run 04:00.0",
            "--json doctor --memory 8G 05:00.0",
        ],
    );
}

#[test]
fn arm_server_is_shown_and_examined() {
    expect(
        "arm-server",
        "look",
        &[
            "list",
            "list --tree 75:00.1",
            "--json list --tree 81:00.0",
            "show 75:00.0",
            "show 75:00.1",
            "show enp129s0f0np0",
            "--json show 75:00.0",
            "doctor --memory 32G 75:00.1 81:00.0",
        ],
    );
}

#[test]
fn laptop_is_shown_and_examined() {
    expect(
        "laptop-without-iommu",
        "look",
        &[
            "list --tree",
            "show nvme0",
            "doctor enp0s31f6",
            "--json show nvme0",
        ],
    );
}

#[test]
fn lab_guest_is_shown_and_examined() {
    expect(
        "lab-guest",
        "look",
        &[
            "list --tree",
            "show 1b36:0010",
            "show eth0",
            "doctor 1b36:0010",
        ],
    );
}

#[test]
fn a_capture_of_a_host_says_the_same_as_the_host() {
    for host in [
        "two-socket-server",
        "amd-desktop",
        "arm-server",
        "laptop-without-iommu",
        "lab-guest",
    ] {
        let host = format!("tests/hosts/{host}");
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().to_str().unwrap();
        let captured = iommu_tool(&host, &["capture", copy]);
        assert_eq!(captured.status.code(), Some(0), "{captured:?}");

        let list = iommu_tool(&host, &["list"]);
        let mut commands = vec![
            vec!["--json".to_owned(), "list".to_owned()],
            vec!["list".to_owned(), "--tree".to_owned()],
            vec!["doctor".to_owned(), "--memory".to_owned(), "4G".to_owned()],
        ];
        let devices = String::from_utf8(list.stdout).unwrap();
        for bdf in devices
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        {
            for command in ["show", "doctor"] {
                if bdf.contains(':') {
                    commands.push(vec![
                        "--json".to_owned(),
                        command.to_owned(),
                        bdf.to_owned(),
                    ]);
                }
            }
        }
        assert!(commands.len() > 10, "{commands:?}");
        for command in commands {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            let (there, here) = (iommu_tool(&host, &command), iommu_tool(copy, &command));
            assert_eq!(there.status, here.status, "{host}: {command:?}");
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            assert_eq!(text(here.stdout), text(there.stdout), "{host}: {command:?}");
        }

        let again = iommu_tool(&host, &["capture", copy]);
        assert_eq!(again.status.code(), Some(2), "{again:?}");
    }
}

/// Copies a folder with its symbolic links.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else if kind.is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn files_named(name: &str, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files_named(name, &entry.path(), found);
        } else if kind.is_file() && entry.file_name() == name {
            found.push(entry.path());
        }
    }
}

#[test]
fn damaged_files_are_shown_as_far_as_they_go() {
    let captured = Path::new(PACKAGE).join("tests/hosts/two-socket-server");
    let host = tempfile::tempdir().unwrap();
    copy(&captured, host.path());
    let sysroot = host.path().to_str().unwrap();
    for name in [
        "config",
        "resource",
        "cap",
        "ecap",
        "version",
        "reset_method",
        "current_link_speed",
        "max_link_width",
        "sriov_totalvfs",
        "local_cpulist",
        "limits",
        "status",
        "cgroup",
        "cpuinfo",
        "meminfo",
        "interrupts",
        "os-release",
        "osrelease",
        "modules.alias",
        "modules.dep",
        "nr_hugepages",
        "enabled",
        "lockdown",
        "dma_entry_limit",
    ] {
        let mut files = Vec::new();
        files_named(name, host.path(), &mut files);
        assert!(!files.is_empty(), "no {name} in the captured host");
        let good: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        for damage in [
            vec![],
            b"\xff\x00\xfe\n\x80 \xc3\x28 0x\n".to_vec(),
            "9".repeat(100_000).into_bytes(),
            vec![0xff; 4096],
            "[0x -1 : = @\n".repeat(1000).into_bytes(),
        ] {
            for file in &files {
                fs::write(file, &damage).unwrap();
            }
            for command in [
                ["--json", "show", "5e:00.0"],
                ["--json", "show", "d9:00.0"],
                ["--json", "doctor", "5e:00.0"],
            ] {
                let output = iommu_tool(sysroot, &command);
                assert!(
                    matches!(output.status.code(), Some(0..=1)),
                    "{name} {command:?}: {output:?}"
                );
                serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
            }
        }
        for (file, good) in files.iter().zip(good) {
            fs::write(file, good).unwrap();
        }
    }
}
