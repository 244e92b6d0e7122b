//! The folder where the kernel shows its insides, and why something in it may be missing.

use std::fs::File;
use std::io::ErrorKind;

use super::NotShown;
use crate::host::Host;
use crate::host::root::errno;

/// Where debugfs is mounted (Documentation/filesystems/debugfs.rst).
pub(super) const DEBUGFS: &str = "/sys/kernel/debug";

impl Host {
    /// Opens a file of debugfs, of which `folder` is there if the kernel was built with `option`.
    pub(super) fn open_debugfs(
        &self,
        folder: &str,
        file: &str,
        option: &'static str,
    ) -> Result<File, NotShown> {
        let path = format!("{folder}/{file}");
        File::open(self.path(&path)).map_err(|error| match error.kind() {
            ErrorKind::NotFound if self.names(DEBUGFS).is_empty() => NotShown::NotMounted,
            ErrorKind::NotFound if self.names(folder).is_empty() => NotShown::NotBuilt { option },
            ErrorKind::NotFound => NotShown::NoEntry("there is no file for it in debugfs"),
            _ => NotShown::Denied {
                path,
                errno: errno(&error),
            },
        })
    }

    /// What an error while reading means.
    pub(super) fn read_failed(path: &str, error: &std::io::Error) -> NotShown {
        NotShown::Denied {
            path: path.to_owned(),
            errno: errno(error),
        }
    }
}
