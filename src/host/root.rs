//! The root folder, and bounded reads below it.

use nix::errno::Errno;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most that a sysfs attribute can hold (PAGE_SIZE; Documentation/filesystems/sysfs.rst, section "Attributes").
const ATTRIBUTE_LIMIT: usize = 4096;

/// A host to look at: the live one, or one captured in a folder.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// The host that this program runs on.
    #[must_use]
    pub fn live() -> Self {
        Self {
            root: PathBuf::from("/"),
        }
    }

    /// A host whose `/sys`, `/proc` and so on lie below `root`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Whether this is the host that the program runs on, so that it may be changed.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where a path of the host (`/sys/…`) lies in the file system of this program.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The first line or lines of a small file, without white space around; `None` if it says nothing.
    ///
    /// One `read` only: sysfs gives a whole attribute at once.
    pub(super) fn attribute(&self, path: impl AsRef<Path>) -> Option<String> {
        let mut buffer = [0; ATTRIBUTE_LIMIT];
        let length = File::open(self.path(path)).ok()?.read(&mut buffer).ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A number of an attribute in hexadecimal, with or without `0x`.
    pub(super) fn hex_attribute(&self, path: impl AsRef<Path>) -> Option<u32> {
        let text = self.attribute(path)?;
        u32::from_str_radix(text.strip_prefix("0x").unwrap_or(&text), 16).ok()
    }

    /// A longer file, as much as `limit` bytes of it.
    pub(super) fn read(&self, path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(path))?
            .take(limit)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The last part of where a symbolic link points to, as `nvme` for `…/drivers/nvme`; the target need not exist.
    pub(super) fn link_name(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// Whether there is something at this path.
    pub(super) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// The names in a folder, sorted; none if it cannot be read.
    pub(super) fn names(&self, folder: impl AsRef<Path>) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    }
}

/// The errno of an I/O error; EIO for those that the standard library makes up itself.
pub(super) fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_files_break_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        fs::create_dir(folder.path().join("sys")).unwrap();
        let write = |name: &str, bytes: &[u8]| {
            fs::write(folder.path().join("sys").join(name), bytes).unwrap();
        };
        write("empty", b"");
        write("blank", b" \n");
        write("binary", b"\xff\xfe0x1\n");
        write("huge", &vec![b'1'; 10 << 20]);
        write("number", b"0x1f\n");

        for silent in ["empty", "blank", "missing", "."] {
            assert_eq!(host.attribute(format!("/sys/{silent}")), None, "{silent}");
        }
        assert!(host.attribute("/sys/binary").unwrap().ends_with("0x1"));
        assert_eq!(host.hex_attribute("/sys/binary"), None);
        assert_eq!(host.attribute("/sys/huge").unwrap().len(), ATTRIBUTE_LIMIT);
        assert_eq!(host.read("/sys/huge", 100).unwrap().len(), 100);
        assert_eq!(host.hex_attribute("/sys/number"), Some(0x1f));
        assert_eq!(host.names("/sys/empty"), Vec::<String>::new());
    }
}
