//! The root folder, and bounded reads below it.

use nix::errno::Errno;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::recording::{Recording, Seen};

/// The most that a sysfs attribute can hold (PAGE_SIZE; Documentation/filesystems/sysfs.rst, section "Attributes").
const ATTRIBUTE_LIMIT: usize = 4096;

/// What most attributes are shorter than: to clear a whole page for each takes longer than to read it.
const SHORT: usize = 256;

/// A host to look at: the live one, or one captured in a folder.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    recording: Option<Arc<Recording>>,
}

impl Host {
    /// The host that this program runs on.
    #[must_use]
    pub fn live() -> Self {
        Self {
            root: PathBuf::from("/"),
            recording: None,
        }
    }

    /// A host whose `/sys`, `/proc` and so on lie below `root`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            recording: None,
        }
    }

    /// The same host, and a record of all that is read of it from now on through what this returns.
    #[must_use]
    pub fn recorded(&self) -> (Self, Arc<Recording>) {
        let recording = Arc::new(Recording::default());
        let host = Self {
            root: self.root.clone(),
            recording: Some(Arc::clone(&recording)),
        };
        (host, recording)
    }

    fn record(&self, path: impl AsRef<Path>, seen: impl FnOnce() -> Seen) {
        if let Some(recording) = &self.recording {
            recording.add(path.as_ref(), seen());
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
    /// One `read` only, if it is short: sysfs gives a whole attribute at once.
    pub(super) fn attribute(&self, path: impl AsRef<Path>) -> Option<String> {
        let mut file = File::open(self.path(&path)).ok()?;
        let mut short = [0; SHORT];
        let length = file.read(&mut short).ok()?;
        let mut bytes = short[..length].to_vec();
        if length == SHORT {
            let rest = (ATTRIBUTE_LIMIT - SHORT) as u64;
            file.take(rest).read_to_end(&mut bytes).ok()?;
        }
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        self.record(path, || Seen::File(bytes));
        (!text.is_empty()).then_some(text)
    }

    /// A number of an attribute in hexadecimal, with or without `0x`.
    pub(super) fn hex_attribute(&self, path: impl AsRef<Path>) -> Option<u32> {
        let text = self.attribute(path)?;
        u32::from_str_radix(text.strip_prefix("0x").unwrap_or(&text), 16).ok()
    }

    /// An attribute that is a plain value, as a decimal number.
    pub(super) fn parsed<T: std::str::FromStr>(&self, path: impl AsRef<Path>) -> Option<T> {
        self.attribute(path)?.parse().ok()
    }

    /// A longer file, as much as `limit` bytes of it.
    pub(super) fn read(&self, path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(&path))?
            .take(limit)
            .read_to_end(&mut bytes)?;
        self.record(path, || Seen::File(bytes.clone()));
        Ok(bytes)
    }

    /// A longer text, as much as `limit` bytes of it; nothing if it cannot be read.
    pub(super) fn text(&self, path: impl AsRef<Path>, limit: u64) -> String {
        let bytes = self.read(path, limit).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The lines of a long file that `pick` makes something of, in the first `limit` bytes. Only those lines are recorded.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn pick_lines<T>(
        &self,
        path: impl AsRef<Path>,
        limit: u64,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let path = path.as_ref();
        let mut reader =
            BufReader::with_capacity(64 << 10, File::open(self.path(path))?).take(limit);
        self.record(path, || Seen::Lines(Default::default()));
        let (mut picked, mut line) = (Vec::new(), Vec::new());
        while reader.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            if let Some(found) = pick(text.trim_end()) {
                self.record(path, || Seen::Lines([text.trim_end().to_owned()].into()));
                picked.push(found);
            }
            line.clear();
        }
        Ok(picked)
    }

    /// Where a symbolic link points to, as it is written; the target need not exist.
    pub(super) fn link(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let target = fs::read_link(self.path(&path)).ok()?;
        self.record(path, || Seen::Link(target.clone()));
        Some(target)
    }

    /// The last part of where a symbolic link points to, as `nvme` for `…/drivers/nvme`.
    pub(super) fn link_name(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = self.link(path)?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// Whether there is something at this path.
    pub(super) fn exists(&self, path: impl AsRef<Path>) -> bool {
        let exists = self.path(&path).symlink_metadata().is_ok();
        if exists {
            self.record(path, || Seen::Present);
        }
        exists
    }

    /// The names in a folder, sorted; none if it cannot be read.
    pub(super) fn names(&self, folder: impl AsRef<Path>) -> Vec<String> {
        self.entries(folder).unwrap_or_default()
    }

    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn entries(&self, folder: impl AsRef<Path>) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = fs::read_dir(self.path(&folder))?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        self.record(folder, || Seen::Folder(names.clone()));
        Ok(names)
    }
}

/// The errno of an I/O error; EIO for those that the standard library makes up itself.
pub(super) fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// A host that has just these files, for tests; it is there as long as its folder.
#[cfg(test)]
pub(super) fn host_of_files(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let host = Host::at(folder.path());
    (folder, host)
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
        assert_eq!(host.link("/sys/number"), None);
        assert_eq!(host.parsed::<u32>("/sys/binary"), None);
    }

    #[test]
    fn lines_are_picked_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        fs::write(folder.path().join("list"), b"a 1\nb 2\n\xff\na 3\na").unwrap();
        let picked = |limit| {
            host.pick_lines("/list", limit, |line| {
                line.starts_with('a').then(|| line.to_owned())
            })
        };
        assert_eq!(picked(100).unwrap(), ["a 1", "a 3", "a"]);
        assert_eq!(picked(4).unwrap(), ["a 1"]);
        assert!(host.pick_lines("/none", 100, |_| Some(())).is_err());
    }
}
