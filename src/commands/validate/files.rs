//! The results in files, for other programs and for people.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::ValidateArgs;
use crate::commands::write_file;
use crate::report::{ValidateReport, validate_junit, validate_metrics, validate_page};

/// Looks whether the files that the user named can be written, before hours of checks are lost.
///
/// # Errors
/// One cannot.
pub fn may_write(args: &ValidateArgs) -> anyhow::Result<()> {
    for path in [&args.junit, &args.prometheus, &args.html]
        .into_iter()
        .flatten()
    {
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Writes them.
///
/// # Errors
/// One cannot be written.
pub fn write(args: &ValidateArgs, report: &ValidateReport) -> anyhow::Result<()> {
    if let Some(path) = &args.junit {
        write_file(path, &validate_junit(report)?)?;
    }
    if let Some(path) = &args.prometheus {
        replace_file(path, &validate_metrics(report))?;
    }
    if let Some(path) = &args.html {
        write_file(path, &validate_page(report))?;
    }
    Ok(())
}

/// Writes a file that another program may read at any time: it finds the old one or the new one, whole.
fn replace_file(path: &Path, text: &str) -> anyhow::Result<()> {
    // A device or a link keeps being one.
    if !fs::symlink_metadata(path).is_ok_and(|known| known.is_file()) {
        return write_file(path, text);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(name);
    write_file(&draft, text)?;
    fs::rename(&draft, path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a.prom"), folder.path().join("b.prom"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();

        replace_file(&file, "new").unwrap();
        assert_eq!(fs::read_to_string(&link).unwrap(), "new");
        replace_file(&link, "newer").unwrap();

        assert_eq!(fs::read_to_string(&file).unwrap(), "newer");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
