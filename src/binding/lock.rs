//! One command at a time for each IOMMU group.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::journal::failed;
use super::{BindingError, Journal};
use crate::host::PciDevice;

/// How long to wait for another command; a bind takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// The most bytes of a holder's name that are shown.
const NAME_LIMIT: u64 = 200;

type Lock = Arc<Flock<fs::File>>;

/// What this process holds. It does not wait for itself: a virtual function may be in the group of its physical one, which is locked as
/// long as the virtual ones are temporary.
static OWN: Mutex<BTreeMap<PathBuf, Weak<Flock<fs::File>>>> = Mutex::new(BTreeMap::new());

/// Held locks; given back when dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct Locks {
    _held: Vec<Lock>,
}

impl Locks {
    /// Locks the groups of these devices, and those that have no group one by one. Waits while another command holds one.
    ///
    /// # Errors
    /// Another command did not end, or the lock file cannot be made.
    pub fn take(journal: &Journal, devices: &[PciDevice]) -> Result<Self, BindingError> {
        // Everybody locks in the same order, so that two commands cannot wait for each other.
        let names: BTreeSet<String> = devices
            .iter()
            .map(|device| match device.group {
                Some(group) => format!("group-{group}.lock"),
                None => format!("device-{}.lock", device.bdf),
            })
            .collect();
        journal.make_folder()?;
        let locks: Result<_, _> = names
            .iter()
            .map(|name| own_or_new(&journal.folder().join(name)))
            .collect();
        Ok(Self { _held: locks? })
    }
}

fn own_or_new(path: &Path) -> Result<Lock, BindingError> {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(held) = own.get(path).and_then(Weak::upgrade) {
        return Ok(held);
    }
    let held = Arc::new(lock(path, PATIENCE)?);
    own.insert(path.to_owned(), Arc::downgrade(&held));
    Ok(held)
}

fn lock(path: &Path, patience: Duration) -> Result<Flock<fs::File>, BindingError> {
    let deadline = Instant::now() + patience;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| failed("write", path, &error))?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                // Only for the message to others: the lock counts, not the text.
                let _ = lock.set_len(0);
                let _ = write!(lock, "{}", this_command());
                return Ok(lock);
            }
            Err((same, Errno::EWOULDBLOCK)) if Instant::now() < deadline => {
                file = same;
                std::thread::sleep(PAUSE);
            }
            Err((same, Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                let _ = same.take(NAME_LIMIT).read_to_string(&mut holder);
                return Err(BindingError::Locked {
                    path: path.to_owned(),
                    holder,
                });
            }
            Err((_, errno)) => {
                return Err(BindingError::File {
                    action: "lock",
                    path: path.to_owned(),
                    errno,
                });
            }
        }
    }
}

/// What others are told of this process: its number and its command.
fn this_command() -> String {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    format!(
        "process {}, iommu-tool {}",
        std::process::id(),
        words.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_in_vain_is_told_for_whom() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("group-1.lock");
        let first = lock(&path, Duration::ZERO).unwrap();

        let error = lock(&path, Duration::ZERO).unwrap_err();

        let holder = format!("process {}, iommu-tool", std::process::id());
        assert!(error.to_string().contains(&holder), "{error}");
        drop(first);
        lock(&path, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_process_does_not_wait_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("group-1.lock");
        let first = own_or_new(&path).unwrap();
        drop(own_or_new(&path).unwrap());
        lock(&path, Duration::ZERO).unwrap_err();
        drop(first);
        lock(&path, Duration::ZERO).unwrap();
    }
}
