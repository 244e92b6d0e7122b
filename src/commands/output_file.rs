//! The files that a user wants results in, beside what is printed. They are written first: what is printed may find no reader, or no room.

use anyhow::Context as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::types::ExitClass;

/// Looks whether files can be written, before anything is done whose results would be lost. Leaves none that was not there.
///
/// # Errors
/// One cannot.
pub fn may_write<'p>(paths: impl IntoIterator<Item = &'p Option<PathBuf>>) -> anyhow::Result<()> {
    for path in paths.into_iter().flatten() {
        let is_new = fs::symlink_metadata(path).is_err();
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.with_context(|| cannot_write(path))?;
        if is_new {
            fs::remove_file(path).with_context(|| cannot_write(path))?;
        }
    }
    Ok(())
}

/// Writes a file, if one is wanted; what was there is replaced.
///
/// # Errors
/// It cannot be written.
pub fn write(
    path: Option<&PathBuf>,
    text: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    match path {
        None => Ok(()),
        Some(path) => fs::write(path, text()?).with_context(|| cannot_write(path)),
    }
}

/// Writes a file that another program may read at any time: it finds the old one or the new one, whole.
///
/// # Errors
/// It cannot be written.
pub fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    // A device or a link keeps being one.
    let result = match fs::symlink_metadata(path) {
        Ok(known) if known.is_file() => by_draft(path, text, |draft| fs::rename(draft, path)),
        _ => fs::write(path, text),
    };
    result.with_context(|| cannot_write(path))
}

/// Writes a file that is not there yet, whole or not at all.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if it is there, or that it cannot be written.
pub fn write_new(path: &Path, text: &str) -> io::Result<()> {
    // A link fails where there is a file; a rename would replace it.
    by_draft(path, text, |draft| fs::hard_link(draft, path))
}

/// What the exit status is where a file was to be written: a failure is told, after what is printed, and the result stands.
pub fn told(written: anyhow::Result<()>, class: ExitClass) -> ExitClass {
    match written {
        Ok(()) => class,
        Err(error) => {
            log::error!("{error:#}");
            ExitClass::Failed
        }
    }
}

/// Writes a draft beside the file, and lets it take the file's place.
fn by_draft(
    path: &Path,
    text: &str,
    place: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(name);
    let write = || {
        let mut file = File::options().write(true).create_new(true).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        place(&draft)
    };
    let result = write();
    // It is gone already where it was renamed, or could not be made.
    let _ = fs::remove_file(&draft);
    result
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_new_file_is_written_whole_and_no_other_one_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("expect.toml");
        write_new(&path, "first").unwrap();
        let error = write_new(&path, "second").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        assert_eq!(count(folder.path()), 1);
        assert!(write_new(&folder.path().join("none/expect.toml"), "x").is_err());
    }

    #[test]
    fn a_file_is_replaced_and_a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a.prom"), folder.path().join("b.prom"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();

        replace(&file, "new").unwrap();
        assert_eq!(fs::read_to_string(&link).unwrap(), "new");
        replace(&link, "newer").unwrap();

        assert_eq!(fs::read_to_string(&file).unwrap(), "newer");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(count(folder.path()), 2);
    }

    #[test]
    fn to_look_leaves_nothing_and_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        fs::write(&old, "kept").unwrap();

        may_write([&Some(old.clone()), &Some(new), &None]).unwrap();

        assert_eq!(count(folder.path()), 1);
        assert_eq!(fs::read_to_string(&old).unwrap(), "kept");
        let nowhere = Some(folder.path().join("none/file"));
        let error = may_write([&nowhere]).unwrap_err();
        assert!(format!("{error:#}").contains("cannot write"), "{error:#}");
    }

    #[test]
    fn what_was_found_stands_and_a_file_that_is_missing_is_a_failure() {
        assert_eq!(told(Ok(()), ExitClass::NoVerdict), ExitClass::NoVerdict);
        let missing = Err(anyhow::anyhow!("cannot write a"));
        assert_eq!(told(missing, ExitClass::Done), ExitClass::Failed);
    }
}
