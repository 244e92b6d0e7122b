//! What a device was bound to before, kept in a file until it is given back.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{BindingError, DriverState};
use crate::host::{Host, PciDevice};
use crate::types::Bdf;

/// Where the journal lies. The folder does not outlive the boot, and neither do the changes.
const FOLDER: &str = "/run/iommu-tool";
const ENTRY_LIMIT: u64 = 64 << 10;
const VERSION: u32 = 1;

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
        }
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

    /// What is remembered of the device at an address.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn entry(&self, bdf: Bdf) -> Result<Option<Entry>, BindingError> {
        let path = self.file(bdf);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(ENTRY_LIMIT).read_to_end(&mut bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error),
        }
        .map_err(|error| failed("read", &path, &error))?;
        match serde_json::from_slice(&bytes) {
            Ok(
                entry @ Entry {
                    version: VERSION, ..
                },
            ) => Ok(Some(entry)),
            _ => Err(BindingError::DamagedJournal { path, bdf }),
        }
    }

    /// All that is remembered. Damaged entries are left out.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|file| {
                file.file_name()
                    .to_str()?
                    .strip_suffix(".json")?
                    .parse()
                    .ok()
            })
            .filter_map(|bdf| self.entry(bdf).ok().flatten())
            .collect()
    }

    /// Makes what is remembered of a device this entry, or nothing. The file is whole at every moment.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, bdf: Bdf, entry: Option<&Entry>) -> Result<(), BindingError> {
        let path = self.file(bdf);
        let Some(entry) = entry else {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(failed("remove", &path, &error))
                }
                _ => Ok(()),
            };
        };
        let new = path.with_extension("new");
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let mut file = File::create(&new)?;
            serde_json::to_writer_pretty(&mut file, entry)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|error| failed("write", &path, &error))
    }
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
                },
                kernel_names: vec!["nvme0".into()],
                before,
                bound_to: "vfio-pci".into(),
                phase,
                nodes: vec![],
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
