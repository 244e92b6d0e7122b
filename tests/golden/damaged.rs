//! Hosts whose files are empty, binary, huge or not files at all.

use super::{PACKAGE, iommu_tool};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Copies a folder with its symbolic links, and returns its files.
pub(super) fn copy(from: &Path, to: &Path, files: &mut Vec<PathBuf>) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else if kind.is_dir() {
            copy(&entry.path(), &target, files);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            files.push(target);
        }
    }
}

fn damage(path: &Path, how: &str) {
    fs::remove_file(path).unwrap();
    match how {
        "missing" => {}
        "empty" => fs::write(path, "").unwrap(),
        "binary" => fs::write(path, b"\xff\x00\xfe\n\x80 \xc3\x28 0x\n").unwrap(),
        "digits" => fs::write(path, "9".repeat(100_000)).unwrap(),
        "a folder" => fs::create_dir(path).unwrap(),
        _ => unreachable!(),
    }
}

#[test]
fn damaged_files_never_bring_the_program_down() {
    let captured = Path::new(PACKAGE).join("tests/hosts/two-socket-server");
    let kinds = [
        "modalias",
        "revision",
        "numa_node",
        "driver_override",
        "type",
        "reserved_regions",
        "flags",
        "route",
        "cmdline",
        "comm",
        ".json",
    ];
    for kind in kinds {
        for how in ["missing", "empty", "binary", "digits", "a folder"] {
            let host = tempfile::tempdir().unwrap();
            let mut files = Vec::new();
            copy(&captured, host.path(), &mut files);
            files.retain(|file| file.to_str().unwrap().ends_with(kind));
            assert!(!files.is_empty(), "no {kind} in the captured host");
            for file in &files {
                damage(file, how);
            }

            let sysroot = host.path().to_str().unwrap();
            let listed = iommu_tool(sysroot, &["list"]);
            assert_eq!(listed.status.code(), Some(0), "{kind} {how}: {listed:?}");
            for command in ["bind", "unbind"] {
                for device in ["d8:00.0", "d9:00.0", "eno1", "5e:10.4"] {
                    let output = iommu_tool(sysroot, &[command, "--dry-run", device]);
                    let status = output.status.code();
                    let message = String::from_utf8_lossy(&output.stderr);
                    assert!(
                        status.is_some_and(|status| status <= 3) && !message.contains("panicked"),
                        "{command} {device} with {kind} {how}: {status:?} {message}"
                    );
                    assert!(
                        status == Some(0) || !message.is_empty(),
                        "{kind} {how}: {output:?}"
                    );
                }
            }
        }
    }
}
