//! The cache folder: what set-up downloaded and built, kept by kind and version.

use super::process::check_stopped;
use super::progress;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// The name of a folder which is being filled begins so; a version never does.
const PARTIAL: &str = ".partial-";

/// `$XDG_CACHE_HOME/iommu-tool-lab` or `~/.cache/iommu-tool-lab`.
pub fn folder() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .context("no cache folder: neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("iommu-tool-lab"))
}

/// The folder of `kind` in the cache. If there is none, `build` fills one and returns its version.
///
/// It appears by a rename when it is complete, so that an interrupted set-up leaves nothing that looks ready. A second run that wants
/// the same kind at the same time waits.
pub fn get_or_build(kind: &str, build: impl FnOnce(&Path) -> Result<String>) -> Result<PathBuf> {
    let folder = folder()?.join(kind);
    if let Some(ready) = newest(&folder)? {
        return Ok(ready);
    }
    let _lock = lock(&folder)?;
    if let Some(ready) = newest(&folder)? {
        return Ok(ready);
    }
    remove_leftovers(&folder)?;
    let partial = tempfile::Builder::new()
        .prefix(PARTIAL)
        .tempdir_in(&folder)?;
    let version = build(partial.path())?;
    check_stopped()?;
    // A colon ends a path in lists of paths.
    let ready = folder.join(version.replace(':', "_"));
    fs::rename(partial.keep(), &ready)
        .with_context(|| format!("cannot put {} in place", ready.display()))?;
    Ok(ready)
}

/// Takes the lock of a folder, which is made if it does not exist; whoever else wants it waits, and says so.
pub fn lock(folder: &Path) -> Result<Flock<File>> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the cache folder {}", folder.display()))?;
    let path = folder.join(".lock");
    let mut file =
        File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut told = false;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, errno)) => {
                return Err(errno).with_context(|| format!("cannot lock {}", path.display()));
            }
        };
        if !told {
            progress!(
                "waiting for another run that is setting up {}",
                folder.display()
            );
            told = true;
        }
        check_stopped()?;
        sleep(Duration::from_millis(100));
    }
}

fn newest(folder: &Path) -> Result<Option<PathBuf>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(None);
    };
    let mut versions = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            versions.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    Ok(versions.into_iter().max().map(|(_, path)| path))
}

/// Removes what runs that were killed left. A child of such a run may still be writing there: then the rest goes the next time.
fn remove_leftovers(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
