//! What interrupted or lasting changes of the host are remembered by: a file for each device, until it is given back.

mod entry;
mod functions;
mod identity;

pub use entry::{Entry, Phase};
pub use functions::{FunctionsEntry, FunctionsPhase};
pub use identity::Identity;

use nix::errno::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::BindingError;
use crate::host::Host;
use crate::types::Bdf;

/// Where the journal lies. The folder does not outlive the boot, and neither do the changes.
const FOLDER: &str = "/run/iommu-tool";
const ENTRY_LIMIT: u64 = 64 << 10;
const VERSION: u32 = 1;
/// The names of the files about virtual functions begin so.
const FUNCTIONS: &str = "functions-of-";
const FOLDER_MODE: u32 = 0o755;
const FOR_ALL: u32 = 0o644;
const FOR_ROOT: u32 = 0o600;

/// The journal of a host: a file for each device that was changed and not given back.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
}

impl Journal {
    /// The journal of a host.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        Self::at(host.path(FOLDER))
    }

    /// The journal in a folder, which need not exist.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn file(&self, bdf: Bdf) -> PathBuf {
        self.folder.join(format!("{bdf}.json"))
    }

    fn functions_file(&self, bdf: Bdf) -> PathBuf {
        self.folder.join(format!("{FUNCTIONS}{bdf}.json"))
    }

    /// What is remembered of the device at an address.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn entry(&self, bdf: Bdf) -> Result<Option<Entry>, BindingError> {
        let path = self.file(bdf);
        let entry = read(&path, |entry: &Entry| entry.version)?;
        entry.map_err(|Damaged| BindingError::DamagedJournal { path, bdf })
    }

    /// What is remembered of the virtual functions of the device at an address.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn functions(&self, bdf: Bdf) -> Result<Option<FunctionsEntry>, BindingError> {
        let path = self.functions_file(bdf);
        let entry = read(&path, |entry: &FunctionsEntry| entry.version)?;
        entry.map_err(|Damaged| BindingError::DamagedFunctions { path, bdf })
    }

    /// All that is remembered of virtual functions. Damaged entries, and those that this user may not read, are left out.
    #[must_use]
    pub fn all_functions(&self) -> Vec<FunctionsEntry> {
        self.devices_with_functions()
            .filter_map(|bdf| self.functions(bdf).ok().flatten())
            .collect()
    }

    /// All that is remembered of drivers. Damaged entries are left out.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.devices()
            .filter_map(|bdf| self.entry(bdf).ok().flatten())
            .collect()
    }

    /// What a command began and did not end, be it interrupted or still at work. Of devices that are bound at once none is done before
    /// all are: those that are bound belong to it as well. What a `run` has bound is left when that process is gone.
    #[must_use]
    pub fn unfinished(&self, host: &Host) -> Vec<Entry> {
        let entries = self.entries();
        let is_begun = |entry: &Entry| {
            entry.phase != Phase::Bound || entry.run.is_some_and(|run| !run.is_alive(host))
        };
        let belongs = |entry: &Entry| {
            entries
                .iter()
                .any(|other| other.phase == Phase::Binding && other.together == entry.together)
        };
        entries
            .iter()
            .filter(|entry| is_begun(entry) || (entry.together.len() > 1 && belongs(entry)))
            .cloned()
            .collect()
    }

    /// The devices of which something is remembered that makes no sense, in order. What this user may only not read is none of these.
    #[must_use]
    pub fn damaged(&self) -> Vec<(Bdf, BindingError)> {
        let drivers = self
            .devices()
            .filter_map(|bdf| Some((bdf, self.entry(bdf).err()?)));
        let functions = self
            .devices_with_functions()
            .filter_map(|bdf| Some((bdf, self.functions(bdf).err()?)));
        let is_damage = |error: &BindingError| {
            matches!(
                error,
                BindingError::DamagedJournal { .. } | BindingError::DamagedFunctions { .. }
            )
        };
        let mut damaged: Vec<_> = drivers
            .chain(functions)
            .filter(|(_, error)| is_damage(error))
            .collect();
        damaged.sort_by_key(|(bdf, _)| *bdf);
        damaged
    }

    fn devices(&self) -> impl Iterator<Item = Bdf> + use<> {
        self.names().filter_map(|name| name.parse().ok())
    }

    fn devices_with_functions(&self) -> impl Iterator<Item = Bdf> + use<> {
        self.names()
            .filter_map(|name| name.strip_prefix(FUNCTIONS)?.parse().ok())
    }

    /// The names of the files, without their endings.
    fn names(&self) -> impl Iterator<Item = String> + use<> {
        fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
    }

    /// Makes what is remembered of a device this entry, or nothing. The file is whole at every moment.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, bdf: Bdf, entry: Option<&Entry>) -> Result<(), BindingError> {
        self.write(&self.file(bdf), entry, FOR_ALL)
    }

    /// The same for what is remembered of its virtual functions.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_functions(
        &self,
        bdf: Bdf,
        entry: Option<&FunctionsEntry>,
    ) -> Result<(), BindingError> {
        // A token is for the administrator alone.
        let is_secret = entry.is_some_and(|entry| entry.token.is_some());
        let mode = if is_secret { FOR_ROOT } else { FOR_ALL };
        self.write(&self.functions_file(bdf), entry, mode)
    }

    /// Makes the folder, which everybody may look into: who was given a device finds it there by the name it had.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn make_folder(&self) -> Result<(), BindingError> {
        let make = || -> io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            ensure_mode(&File::open(&self.folder)?, FOLDER_MODE)
        };
        make().map_err(|error| failed("make", &self.folder, &error))
    }

    fn write<T: Serialize>(
        &self,
        path: &Path,
        entry: Option<&T>,
        mode: u32,
    ) -> Result<(), BindingError> {
        let Some(entry) = entry else {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(failed("remove", path, &error))
                }
                _ => Ok(()),
            };
        };
        self.make_folder()?;
        let new = path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(mode)
                .open(&new)?;
            ensure_mode(&file, mode)?;
            let mut text = serde_json::to_vec_pretty(entry)?;
            text.push(b'\n');
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, path)
        };
        write().map_err(|error| failed("write", path, &error))
    }
}

/// Gives a file this mode, whatever the umask is, and whatever an interrupted command left there.
fn ensure_mode(file: &File, mode: u32) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// A file of the journal is not what this version writes.
struct Damaged;

/// What a file of the journal says, if there is one.
fn read<T: DeserializeOwned>(
    path: &Path,
    version: impl Fn(&T) -> u32,
) -> Result<Result<Option<T>, Damaged>, BindingError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(ENTRY_LIMIT).read_to_end(&mut bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(None)),
        Err(error) => Err(error),
    }
    .map_err(|error| failed("read", path, &error))?;
    let entry = serde_json::from_slice(&bytes).ok();
    let entry = entry.filter(|entry| version(entry) == VERSION);
    Ok(entry.map(Some).ok_or(Damaged))
}

pub(super) fn failed(action: &'static str, path: &Path, error: &io::Error) -> BindingError {
    BindingError::File {
        action,
        path: path.to_owned(),
        errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::DriverState;

    #[test]
    fn entries_are_kept_replaced_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::at(folder.path().join("run"));
        let bdf: Bdf = "01:00.0".parse().unwrap();
        let entry = Entry::example(bdf, Some(DriverState::default()), Phase::Binding);
        assert_eq!(journal.entry(bdf).unwrap(), None);
        journal.set(bdf, Some(&entry)).unwrap();
        let bound = entry.in_phase(Phase::Bound);
        journal.set(bdf, Some(&bound)).unwrap();
        assert_eq!(journal.entries(), [bound]);
        journal.set(bdf, None).unwrap();
        journal.set(bdf, None).unwrap();
        assert_eq!(journal.entries(), []);
    }

    #[test]
    fn what_belongs_to_an_unfinished_bind_is_unfinished() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::at(folder.path().to_owned());
        let host = Host::at(folder.path());
        let bdf = |function| Bdf::new(0, 1, 0, function).unwrap();
        let set = |function, phase, together: &[Bdf]| {
            let entry = Entry::example(bdf(function), None, phase).together_with(together);
            journal.set(bdf(function), Some(&entry)).unwrap();
        };
        let unfinished = || {
            let mut devices: Vec<_> = journal
                .unfinished(&host)
                .iter()
                .filter_map(Entry::bdf)
                .collect();
            devices.sort_unstable();
            devices
        };
        let both = [bdf(0), bdf(1)];

        // Killed between the last two notes of a bind of both.
        set(0, Phase::Bound, &both);
        set(1, Phase::Binding, &both);
        assert_eq!(unfinished(), both);

        // Bound together, and one of them is given back by itself.
        set(1, Phase::Unbinding, &[bdf(1)]);
        assert_eq!(unfinished(), [bdf(1)]);

        set(1, Phase::Bound, &both);
        assert_eq!(unfinished(), []);
    }

    #[test]
    fn a_damaged_entry_is_named_and_never_guessed() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::at(folder.path().to_owned());
        let bdf: Bdf = "01:00.0".parse().unwrap();
        let other: Bdf = "02:00.0".parse().unwrap();
        let newer = FunctionsEntry::new(other, Identity::default(), 0, None);
        let newer = serde_json::to_string(&newer)
            .unwrap()
            .replace("\"version\":1", "\"version\":2");
        assert!(journal.damaged().is_empty());
        for text in ["", "{", "{\"version\":1}", "\u{0}", &newer] {
            fs::write(folder.path().join("0000:01:00.0.json"), text).unwrap();
            fs::write(folder.path().join("functions-of-0000:02:00.0.json"), text).unwrap();
            let damaged = journal.damaged();
            assert!(
                matches!(
                    damaged[..],
                    [
                        (first, BindingError::DamagedJournal { .. }),
                        (second, BindingError::DamagedFunctions { .. }),
                    ] if first == bdf && second == other
                ),
                "{damaged:?}"
            );
            assert!(journal.entry(bdf).is_err() && journal.functions(other).is_err());
        }
        assert_eq!(journal.entries(), []);
        assert_eq!(journal.all_functions(), []);
    }

    /// Who was given a device looks up its old name; a token is for the administrator alone.
    #[test]
    fn everybody_may_read_what_holds_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::at(folder.path().join("run"));
        let bdf: Bdf = "01:00.0".parse().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let entry = Entry::example(bdf, None, Phase::Bound);
        journal.set(bdf, Some(&entry)).unwrap();
        assert_eq!(mode(journal.folder()), 0o755);
        assert_eq!(mode(&journal.file(bdf)), 0o644);
        let mut functions = FunctionsEntry::new(bdf, Identity::default(), 0, None);
        for (token, expected) in [(None, 0o644), (Some("uuid".to_owned()), 0o600)] {
            functions.token = token;
            journal.set_functions(bdf, Some(&functions)).unwrap();
            assert_eq!(mode(&journal.functions_file(bdf)), expected);
        }
    }
}
