//! busybox, static: the guest's shell and tools. It also unpacks compressed modules on the host.

use super::process::run;
use super::{cache, debian::Apt, is_static};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A static busybox on the PATH, or Debian's.
pub fn find() -> Result<PathBuf> {
    if let Some(busybox) = on_path("busybox").filter(|path| is_static(path).unwrap_or(false)) {
        return Ok(busybox);
    }
    let folder = cache::get_or_build("busybox", |partial| {
        let apt = Apt::open()?;
        let package = apt.package("busybox-static")?;
        let version = package.version.clone();
        let root = partial.join("root");
        apt.unpack("busybox", &[package], &root)?;
        fs::rename(root.join("usr/bin/busybox"), partial.join("busybox"))?;
        fs::remove_dir_all(root)?;
        Ok(version)
    })
    .context("cannot get a static busybox from Debian's archive; put one on the PATH (Fedora, Arch: package busybox)")?;
    Ok(folder.join("busybox"))
}

/// The first executable of this name on the PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// What is in a file that may be compressed, as its extension says.
pub fn read_decompressed(busybox: &Path, file: &Path) -> Result<Vec<u8>> {
    let (program, arguments): (&Path, &[&str]) =
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => (busybox, &["unxz", "-c"]),
            Some("gz") => (busybox, &["gunzip", "-c"]),
            Some("zst") => (Path::new("zstd"), &["-dc"]),
            _ => return fs::read(file).with_context(|| format!("cannot read {}", file.display())),
        };
    run(Command::new(program).args(arguments).arg(file))
        .with_context(|| format!("cannot decompress {}", file.display()))
}
