//! What was read of a host: enough to build a folder that answers the same questions in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What was seen at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// That there is something.
    Present,
    /// A file with this content, as far as it was read.
    File(Vec<u8>),
    /// Lines of a file, those that mattered.
    Lines(BTreeSet<String>),
    /// A symbolic link to this target.
    Link(PathBuf),
    /// A folder with these names in it.
    Folder(Vec<String>),
}

/// Everything that was read of a host, by path.
#[derive(Debug, Default)]
pub struct Recording(Mutex<BTreeMap<PathBuf, Seen>>);

impl Recording {
    /// Notes what was seen at a path; what says more replaces what says less. A link whose content was read needs no mention of
    /// its own: it lies on the way to the content.
    pub(super) fn add(&self, path: &Path, seen: Seen) {
        let mut all = self.lock();
        match (all.get_mut(path), seen) {
            (Some(Seen::Lines(known)), Seen::Lines(more)) => known.extend(more),
            (Some(Seen::File(known)), Seen::File(content)) if known.len() > content.len() => {}
            (Some(_), Seen::Present) => {}
            (Some(Seen::File(_) | Seen::Lines(_) | Seen::Folder(_)), Seen::Link(_)) => {}
            (_, seen) => drop(all.insert(path.to_owned(), seen)),
        }
    }

    /// What was seen until now.
    #[must_use]
    pub fn seen(&self) -> BTreeMap<PathBuf, Seen> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, Seen>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use std::fs;

    #[test]
    fn all_that_is_read_is_noted_and_what_is_missing_is_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sys")).unwrap();
        fs::write(folder.path().join("sys/list"), "one\ntwo\nthree\n").unwrap();
        fs::write(folder.path().join("sys/value"), "7\n").unwrap();
        std::os::unix::fs::symlink("../to", folder.path().join("sys/link")).unwrap();
        let (host, recording) = Host::at(folder.path()).recorded();

        assert!(host.exists("/sys/value"));
        host.attribute("/sys/value");
        host.exists("/sys/value");
        host.attribute("/sys/none");
        host.link_name("/sys/link");
        std::os::unix::fs::symlink("../sys", folder.path().join("sys/folder")).unwrap();
        host.names("/sys/folder");
        host.link("/sys/folder");
        host.names("/sys");
        for start in ["t", "o"] {
            host.pick_lines("/sys/list", 100, |line| {
                line.starts_with(start).then_some(())
            })
            .unwrap();
        }

        let seen = recording.seen();
        let at = |path: &str| seen.get(Path::new(path)).cloned();
        assert_eq!(at("/sys/value"), Some(Seen::File(b"7\n".to_vec())));
        assert_eq!(at("/sys/none"), None);
        assert_eq!(at("/sys/link"), Some(Seen::Link("../to".into())));
        assert!(matches!(at("/sys/folder"), Some(Seen::Folder(_))));
        assert_eq!(
            at("/sys"),
            Some(Seen::Folder(vec![
                "folder".into(),
                "link".into(),
                "list".into(),
                "value".into()
            ]))
        );
        assert_eq!(
            at("/sys/list"),
            Some(Seen::Lines(
                ["one", "three", "two"].map(str::to_owned).into()
            ))
        );
    }
}
