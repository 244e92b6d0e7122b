//! What a device was bound to before, kept in a file until it is given back.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{BindingError, DriverState, NodeState, Owner, Process};
use crate::host::{Host, PciDevice};
use crate::types::Bdf;

/// Where the journal lies. The folder does not outlive the boot, and neither do the changes.
const FOLDER: &str = "/run/iommu-tool";
const ENTRY_LIMIT: u64 = 64 << 10;
const VERSION: u32 = 1;
/// The names of the files about virtual functions begin so.
const FUNCTIONS: &str = "functions-of-";

/// The journal of a host: a file for each device that was changed and not given back.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
}

/// What is remembered of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    version: u32,
    bdf: String,
    /// What the device is, so that another one at the same address is not taken for it.
    pub identity: Identity,
    /// The kernel's names of what it provided before: `eth0`, `nvme0`.
    pub kernel_names: Vec<String>,
    /// The driver and override it had before; `None` if it was found on VFIO and nothing is known.
    pub before: Option<DriverState>,
    /// The driver that it was, or is to be, bound to.
    pub bound_to: String,
    /// How far the change got.
    pub phase: Phase,
    /// The nodes that user space may have it open by, noted before it is given back.
    pub nodes: Vec<PathBuf>,
    /// The addresses of all devices that the last change was made to at once, this one included.
    #[serde(default)]
    together: Vec<String>,
    /// To whom its nodes were given.
    #[serde(default)]
    pub given: Option<Owner>,
    /// The nodes that were there before they were given away, and whose they were.
    #[serde(default)]
    pub nodes_before: Vec<NodeState>,
    /// The `run` that bound it, and gives it back.
    #[serde(default)]
    pub run: Option<Process>,
}

/// How far a change got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Binding began and did not end.
    Binding,
    /// The device is bound.
    Bound,
    /// Giving it back began and did not end.
    Unbinding,
}

/// What a device is, wherever it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    vendor: u16,
    device: u16,
    subsystem_vendor: Option<u16>,
    subsystem_device: Option<u16>,
    place: Option<String>,
    /// Its serial number, where it has one and this user may read it.
    #[serde(default)]
    serial: Option<u64>,
}

/// What is remembered of a physical function whose virtual ones were made, or are being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionsEntry {
    version: u32,
    bdf: String,
    /// What the device is, so that another one at the same address is not taken for it.
    pub identity: Identity,
    /// How many there were.
    pub before: u16,
    /// Whether the host's own drivers took new ones.
    pub autoprobe: Option<bool>,
    /// How far the change got.
    pub phase: FunctionsPhase,
    /// What whoever opens one must show, where the physical function is on a VFIO driver (a UUID).
    pub token: Option<String>,
}

/// How far a change of virtual functions got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FunctionsPhase {
    /// The change began and did not end.
    Changing,
    /// They are there for as long as a command runs.
    Temporary,
    /// They are there to stay.
    Kept,
}

impl FunctionsEntry {
    /// A new entry for a device whose virtual functions are about to be changed.
    #[must_use]
    pub fn new(
        bdf: Bdf,
        identity: Identity,
        before: u16,
        autoprobe: Option<bool>,
        token: Option<String>,
    ) -> Self {
        Self {
            version: VERSION,
            bdf: bdf.to_string(),
            identity,
            before,
            autoprobe,
            phase: FunctionsPhase::Changing,
            token,
        }
    }

    /// The device's address.
    #[must_use]
    pub fn bdf(&self) -> Option<Bdf> {
        self.bdf.parse().ok()
    }

    /// The same entry in another phase.
    #[must_use]
    pub fn in_phase(&self, phase: FunctionsPhase) -> Self {
        Self {
            phase,
            ..self.clone()
        }
    }
}

impl Identity {
    /// What a device is now.
    #[must_use]
    pub fn of(host: &Host, device: &PciDevice) -> Self {
        Self {
            vendor: device.id.vendor,
            device: device.id.device,
            subsystem_vendor: device.subsystem.map(|id| id.vendor),
            subsystem_device: device.subsystem.map(|id| id.device),
            place: host.place(device.bdf),
            serial: host.config_space(device.bdf).device_serial(),
        }
    }

    /// Whether both are the same device: all that is known of both is the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let one_serial = self.serial.or(other.serial) == other.serial.or(self.serial);
        let without_serial = |identity: &Self| Self {
            serial: None,
            ..identity.clone()
        };
        one_serial && without_serial(self) == without_serial(other)
    }
}

impl Entry {
    /// A new entry for a device that is about to be bound.
    #[must_use]
    pub fn new(
        host: &Host,
        device: &PciDevice,
        before: Option<DriverState>,
        bound_to: &str,
    ) -> Self {
        Self {
            version: VERSION,
            bdf: device.bdf.to_string(),
            identity: Identity::of(host, device),
            kernel_names: host
                .kernel_names()
                .of(device.bdf)
                .map(|name| name.name.clone())
                .collect(),
            before,
            bound_to: bound_to.to_owned(),
            phase: Phase::Binding,
            nodes: Vec::new(),
            together: Vec::new(),
            given: None,
            nodes_before: Vec::new(),
            run: None,
        }
    }

    /// The entry when the device's nodes, of which these are there, go to an owner.
    #[must_use]
    pub fn giving_to(&self, owner: Owner, there: Vec<NodeState>) -> Self {
        Self {
            given: Some(owner),
            // Given away once more: whose they were at first is what counts.
            nodes_before: match self.given {
                Some(_) => self.nodes_before.clone(),
                None => there,
            },
            ..self.clone()
        }
    }

    /// The device's address.
    #[must_use]
    pub fn bdf(&self) -> Option<Bdf> {
        self.bdf.parse().ok()
    }

    /// The entry while the device is given back, with the nodes that user space may have it open by.
    #[must_use]
    pub fn unbinding(&self, nodes: Vec<PathBuf>) -> Self {
        Self {
            nodes,
            ..self.in_phase(Phase::Unbinding)
        }
    }

    /// The entry while the device is bound to yet another driver.
    #[must_use]
    pub fn binding_to(&self, driver: &str) -> Self {
        Self {
            bound_to: driver.to_owned(),
            ..self.in_phase(Phase::Binding)
        }
    }

    /// The same entry in another phase.
    #[must_use]
    pub fn in_phase(&self, phase: Phase) -> Self {
        Self {
            phase,
            ..self.clone()
        }
    }

    /// The same entry of a change that is made to these devices at once.
    #[must_use]
    pub fn together_with(&self, devices: &[Bdf]) -> Self {
        Self {
            together: devices.iter().map(ToString::to_string).collect(),
            ..self.clone()
        }
    }
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
        match read(&path)? {
            None => Ok(None),
            Some(bytes) => match serde_json::from_slice(&bytes) {
                Ok(
                    entry @ Entry {
                        version: VERSION, ..
                    },
                ) => Ok(Some(entry)),
                _ => Err(BindingError::DamagedJournal { path, bdf }),
            },
        }
    }

    /// What is remembered of the virtual functions of the device at an address.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn functions(&self, bdf: Bdf) -> Result<Option<FunctionsEntry>, BindingError> {
        let path = self.functions_file(bdf);
        match read(&path)? {
            None => Ok(None),
            Some(bytes) => match serde_json::from_slice(&bytes) {
                Ok(
                    entry @ FunctionsEntry {
                        version: VERSION, ..
                    },
                ) => Ok(Some(entry)),
                _ => Err(BindingError::DamagedFunctions { path, bdf }),
            },
        }
    }

    /// All that is remembered of virtual functions. Damaged entries are left out.
    #[must_use]
    pub fn all_functions(&self) -> Vec<FunctionsEntry> {
        self.names()
            .filter_map(|name| name.strip_prefix(FUNCTIONS)?.parse().ok())
            .filter_map(|bdf| self.functions(bdf).ok().flatten())
            .collect()
    }

    /// All that is remembered. Damaged entries are left out.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.names()
            .filter_map(|name| name.parse().ok())
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

    /// The devices of which cannot be read what is remembered.
    #[must_use]
    pub fn damaged(&self) -> Vec<Bdf> {
        self.names()
            .filter_map(|name| name.parse().ok())
            .filter(|bdf| self.entry(*bdf).is_err())
            .collect()
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
        self.write(&self.file(bdf), entry)
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
        self.write(&self.functions_file(bdf), entry)
    }

    fn write<T: Serialize>(&self, path: &Path, entry: Option<&T>) -> Result<(), BindingError> {
        let Some(entry) = entry else {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(failed("remove", path, &error))
                }
                _ => Ok(()),
            };
        };
        let new = path.with_extension("new");
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            // A token in it is for the administrator alone.
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            let mut text = serde_json::to_vec_pretty(entry)?;
            text.push(b'\n');
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, path)
        };
        write().map_err(|error| failed("write", path, &error))
    }
}

/// The bytes of a file of the journal; `None` if there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, BindingError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(ENTRY_LIMIT).read_to_end(&mut bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    }
    .map_err(|error| failed("read", path, &error))?;
    Ok(Some(bytes))
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

    impl Entry {
        /// An entry for tests.
        pub(in crate::binding) fn example(
            bdf: Bdf,
            before: Option<DriverState>,
            phase: Phase,
        ) -> Self {
            Self {
                version: VERSION,
                bdf: bdf.to_string(),
                identity: Identity {
                    vendor: 1,
                    device: 2,
                    subsystem_vendor: None,
                    subsystem_device: None,
                    place: None,
                    serial: None,
                },
                kernel_names: vec!["nvme0".into()],
                before,
                bound_to: "vfio-pci".into(),
                phase,
                nodes: vec![],
                together: vec![],
                given: None,
                nodes_before: vec![],
                run: None,
            }
        }
    }

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
    fn a_device_is_told_from_another_of_its_kind_by_its_serial_number() {
        let with = |serial| Identity {
            serial,
            ..Entry::example("01:00.0".parse().unwrap(), None, Phase::Bound).identity
        };
        assert!(with(Some(1)).is_same(&with(Some(1))));
        assert!(!with(Some(1)).is_same(&with(Some(2))));
        // Who may not read it, as an ordinary user, knows less.
        assert!(with(Some(1)).is_same(&with(None)) && with(None).is_same(&with(Some(1))));
        let elsewhere = Identity {
            place: Some("pci0000:00/0000:01:00.0".into()),
            ..with(Some(1))
        };
        assert!(!elsewhere.is_same(&with(Some(1))));
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
        assert_eq!(journal.damaged(), []);
        fs::write(folder.path().join("0000:01:00.2.json"), "{").unwrap();
        assert_eq!(journal.damaged(), [bdf(2)]);
    }

    #[test]
    fn a_damaged_entry_is_named_and_never_guessed() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::at(folder.path().to_owned());
        let bdf = "01:00.0".parse().unwrap();
        for text in ["", "{", "{\"version\":1}", "\u{0}"] {
            fs::write(folder.path().join("0000:01:00.0.json"), text).unwrap();
            let error = journal.entry(bdf).unwrap_err();
            assert!(
                matches!(error, BindingError::DamagedJournal { .. }),
                "{error}"
            );
        }
        assert_eq!(journal.entries(), []);
    }
}
