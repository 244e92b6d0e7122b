//! QEMU: one on the PATH that is new enough, or Debian's, unpacked in the cache folder and run with its own libraries.

use super::debian::Apt;
use super::options::Iommu;
use super::process::run;
use super::{busybox::on_path, cache};
use anyhow::{Context, Result};
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = "qemu-system-x86_64";

/// Major and minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32, u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// How QEMU runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    /// KVM where it can work. A /dev/kvm node may exist and be of no use: then the CPU has no vmx or svm flag.
    pub fn of_host() -> Accelerator {
        let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let capable = flags
            .split_whitespace()
            .any(|flag| flag == "vmx" || flag == "svm");
        let usable = || {
            File::options()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .is_ok()
        };
        if capable && usable() {
            Accelerator::Kvm
        } else {
            Accelerator::Tcg
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Accelerator::Kvm => "KVM",
            Accelerator::Tcg => "TCG",
        })
    }
}

/// A QEMU that can be started.
pub struct Qemu {
    pub version: Version,
    pub accelerator: Accelerator,
    /// The root folder that it was unpacked in; none if it is the system's own.
    root: Option<PathBuf>,
}

impl Qemu {
    /// Finds or unpacks a QEMU that has what the lab uses: igb came with 8.0, AMD-Vi that translates with 10.2.
    pub fn find(iommu: Iommu) -> Result<Qemu> {
        let needed = match iommu {
            Iommu::Amd | Iommu::AmdBroken => Version(10, 2),
            _ => Version(8, 0),
        };
        if on_path(PROGRAM).is_some() {
            let installed = Qemu::at(None)?;
            if installed.version >= needed {
                return Ok(installed);
            }
        }
        let root = unpacked_root().with_context(|| {
            format!("install {PROGRAM} {needed} or newer (Debian: package qemu-system-x86, Fedora: qemu-system-x86-core, Arch: qemu-system-x86)")
        })?;
        Qemu::at(Some(root))
    }

    /// A QEMU that was not asked for its version.
    pub fn new(root: Option<PathBuf>) -> Qemu {
        Qemu {
            version: Version(0, 0),
            accelerator: Accelerator::of_host(),
            root,
        }
    }

    fn at(root: Option<PathBuf>) -> Result<Qemu> {
        let mut qemu = Qemu::new(root);
        let printed = String::from_utf8_lossy(&run(qemu.command().arg("--version"))?).into_owned();
        qemu.version = version_of(&printed)
            .with_context(|| format!("{PROGRAM} --version names no version: {printed}"))?;
        Ok(qemu)
    }

    /// What this version calls the property of intel-iommu for scalable mode: it lost its `x-`.
    pub fn scalable_mode(&self) -> Result<&'static str> {
        let help = run(self.command().args(["-device", "intel-iommu,help"]))?;
        let named =
            |property: &&str| String::from_utf8_lossy(&help).contains(&format!(" {property}="));
        ["scalable-mode", "x-scalable-mode"]
            .into_iter()
            .find(named)
            .context("this QEMU has no scalable mode for VT-d")
    }

    /// The start of a command line.
    pub fn command(&self) -> Command {
        let Some(root) = &self.root else {
            return Command::new(PROGRAM);
        };
        let mut command = loader(root);
        command.arg(root.join("usr/bin").join(PROGRAM));
        for firmware in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            command.arg("-L").arg(root.join(firmware));
        }
        command
    }
}

/// The files that QEMU needs to run in a guest, without firmware for network boot: where each goes there, and where it is here.
///
/// They are Debian's even where the system has a QEMU: not every distribution's runs without modules that its libraries do not name.
pub fn files_for_guest() -> Result<Vec<(String, PathBuf)>> {
    let root = unpacked_root()?;
    let program = format!("usr/bin/{PROGRAM}");
    let listed = run(loader(&root).arg("--list").arg(root.join(&program)))?;
    let mut files: Vec<(String, PathBuf)> = String::from_utf8_lossy(&listed)
        .lines()
        .filter_map(library)
        .collect();
    for file in [
        program.as_str(),
        "usr/share/seabios/bios-256k.bin",
        "usr/share/qemu/kvmvapic.bin",
        "usr/share/qemu/linuxboot_dma.bin",
    ] {
        files.push((file.to_owned(), root.join(file)));
    }
    Ok(files)
}

fn unpacked_root() -> Result<PathBuf> {
    let unpacked =
        cache::get_or_build("qemu", unpack).context("cannot get QEMU from Debian's archive")?;
    Ok(unpacked.join("root"))
}

/// The dynamic loader of an unpacked QEMU, which finds its libraries there.
fn loader(root: &Path) -> Command {
    let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
    command
        .arg("--library-path")
        .arg(root.join("usr/lib/x86_64-linux-gnu"));
    command
}

fn unpack(partial: &Path) -> Result<String> {
    let apt = Apt::open()?;
    let packages = apt.with_dependencies(&["qemu-system-x86"], true)?;
    let qemu = packages
        .iter()
        .find(|package| package.name == "qemu-system-x86")
        .context("no package qemu-system-x86")?;
    apt.unpack(
        &format!("QEMU {}", qemu.version),
        &packages,
        &partial.join("root"),
    )?;
    Ok(qemu.version.clone())
}

/// Reads a line of the loader's list, `NAME => FILE (ADDRESS)`: where the library goes in the guest, and its file. The loader itself
/// is listed by the path that programs name it by; the kernel's vdso has no file.
fn library(line: &str) -> Option<(String, PathBuf)> {
    let (name, file) = line.trim().split_once(" => ")?;
    let (file, _address) = file.rsplit_once(' ')?;
    let place = match name.strip_prefix('/') {
        Some(path) => path.to_owned(),
        None => format!("usr/lib/x86_64-linux-gnu/{name}"),
    };
    Some((place, file.into()))
}

/// Reads `QEMU emulator version 10.0.13 (Debian ...)`.
fn version_of(printed: &str) -> Option<Version> {
    let mut numbers = printed
        .split("version ")
        .nth(1)?
        .split(|character: char| !character.is_ascii_digit());
    Some(Version(
        numbers.next()?.parse().ok()?,
        numbers.next()?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        let version =
            version_of("QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)\nCopyright")
                .unwrap();
        assert_eq!(version, Version(10, 0));
        assert!(version > Version(8, 2) && version < Version(10, 2));
        assert_eq!(version_of("something else"), None);
    }

    #[test]
    fn libraries_go_where_the_loader_looks_for_them() {
        assert_eq!(
            library("\tlibz.so.1 => /a b/usr/lib/x86_64-linux-gnu/libz.so.1 (0x00007f3f19710000)"),
            Some((
                "usr/lib/x86_64-linux-gnu/libz.so.1".to_owned(),
                "/a b/usr/lib/x86_64-linux-gnu/libz.so.1".into()
            ))
        );
        let loader = library("\t/lib64/ld-linux-x86-64.so.2 => /r/ld-linux-x86-64.so.2 (0x1)");
        assert_eq!(loader.unwrap().0, "lib64/ld-linux-x86-64.so.2");
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007f3f19820000)"), None);
    }
}
