//! The file of what is expected: read before anything is changed, or written after all was found good.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context as _;

use super::examination::{Examination, Watch};
use crate::checks::validate::MapLatency;
use crate::checks::validate::manifest::{Manifest, Observed, compare, written};
use crate::cli::ValidateArgs;
use crate::commands::{Failure, output_file};
use crate::host::{Host, PciDevice};
use crate::types::{ExitClass, FunctionCount, Level};

/// Far more than a file for every device of a host takes.
const MOST_BYTES: u64 = 1 << 20;

/// What is expected of the devices that were named, and what of it is seen on the way.
pub struct Expectation {
    manifest: Option<Manifest>,
    observed: RefCell<Vec<Observed>>,
}

impl Expectation {
    /// Reads the file, if one is named, and looks at the devices while their own drivers have them.
    ///
    /// # Errors
    /// The file cannot be read or is wrong; the one that is to be written is there.
    pub fn begin(args: &ValidateArgs, host: &Host, named: &[PciDevice]) -> anyhow::Result<Self> {
        if let Some(path) = args.write_expect.as_deref() {
            refuse_present(path)?;
        }
        let look = |device| Observed::of(host, device);
        Ok(Self {
            manifest: args.expect.as_deref().map(read).transpose()?,
            observed: RefCell::new(named.iter().map(look).collect()),
        })
    }

    /// How many virtual functions to make of the one device that was named, where the user does not say: as many as the file wants and the
    /// device can have. `None` where the file does not say, and where there are some already.
    pub fn function_count(&self, host: &Host, named: &[PciDevice]) -> Option<FunctionCount> {
        let [device] = named else { return None };
        let expected = self.manifest.as_ref()?.of(device.bdf, device.id)?;
        let wanted = expected.functions.wanted?;
        let sriov = host.sriov(device.bdf);
        let total = sriov.as_ref().map_or(0, |sriov| sriov.total);
        let is_without = sriov.is_none_or(|sriov| sriov.count() == 0);
        is_without.then_some(FunctionCount::Number(wanted.min(total)))
    }

    /// Looks at the devices again, now that their virtual functions are there and all is bound.
    pub fn see(&self, host: &Host) {
        for observed in self.observed.borrow_mut().iter_mut() {
            observed.see(host);
        }
    }

    /// Adds what differs, and what agrees.
    pub fn compare(
        &self,
        examination: &Examination<'_>,
        latencies: &[MapLatency],
        level: Level,
    ) -> anyhow::Result<()> {
        let Some(manifest) = &self.manifest else {
            return Ok(());
        };
        let all = examination.host.pci_devices()?;
        let measured = (level >= Level::Full).then_some(latencies);
        for it in compare(manifest, &self.observed.borrow(), &all, measured) {
            // What differs was so before: the kernel's log of this moment says nothing of it.
            examination.add(Watch::begin().part(it.item.id, it.device, it.judged));
        }
        Ok(())
    }

    /// Writes what was seen to a new file. It is there whole or not at all.
    ///
    /// # Errors
    /// The file is there meanwhile, or cannot be written.
    pub fn write(&self, path: &Path, latencies: &[MapLatency]) -> anyhow::Result<()> {
        let text = written(&self.observed.borrow(), latencies);
        match output_file::write_new(path, &text) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => refuse_present(path),
            result => result.with_context(|| format!("cannot write {}", path.display())),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Manifest> {
    let usage =
        |what: String| Failure::new(ExitClass::Usage, format!("{}: {what}", path.display()));
    let mut text = String::new();
    let result =
        File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text));
    match result {
        Ok(length) if length as u64 > MOST_BYTES => {
            Err(usage("more than 1 MiB is no file of what is expected".to_owned()).into())
        }
        Ok(_) => Ok(Manifest::parse(&text).map_err(|error| usage(error.to_string()))?),
        Err(error) => Err(usage(format!("cannot read it: {error}")).into()),
    }
}

fn refuse_present(path: &Path) -> anyhow::Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let message = format!(
        "{} is there already, and is not written over: remove it first, or name another file",
        path.display()
    );
    Err(Failure::new(ExitClass::Refused, message).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_that_is_there_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("expect.toml");
        refuse_present(&path).unwrap();
        fs::write(&path, "first").unwrap();
        assert!(refuse_present(&path).is_err());
    }

    #[test]
    fn what_is_no_file_of_expectations_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("expect.toml");
        let message = || format!("{:#}", read(&path).unwrap_err());
        assert!(
            message().contains("expect.toml: cannot read it: No such file"),
            "{}",
            message()
        );
        fs::write(&path, "schema_version = 1\nsize = 4").unwrap();
        assert!(
            message().contains("expect.toml: line 2, column 1: unknown field `size`"),
            "{}",
            message()
        );
        fs::write(&path, " ".repeat(MOST_BYTES as usize + 1)).unwrap();
        assert!(message().contains("more than 1 MiB"), "{}", message());
    }
}
