//! The program to run, looked up before anything is changed.

use nix::unistd::{AccessFlags, eaccess};
use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::RunError;

/// Where to look if there is no PATH (execvp(3)).
const USUAL_PATH: &str = "/bin:/usr/bin";

/// Finds a program as a shell does: a name with a slash is a path, another one is looked up in PATH.
pub fn find(name: &OsStr) -> Result<PathBuf, RunError> {
    let path = env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
    find_in(name, &path)
}

fn find_in(name: &OsStr, path: &OsStr) -> Result<PathBuf, RunError> {
    let shown = || name.to_string_lossy().into_owned();
    let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        vec![name.into()]
    } else if name.is_empty() {
        Vec::new()
    } else {
        // An empty part is the working folder, which needs a slash: a plain name would be looked up again.
        let here = |folder: PathBuf| {
            if folder.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                folder
            }
        };
        env::split_paths(path)
            .map(|folder| here(folder).join(name))
            .collect()
    };
    let is_program =
        |file: &&PathBuf| file.is_file() && eaccess(file.as_path(), AccessFlags::X_OK).is_ok();
    match candidates.iter().find(is_program) {
        Some(program) => Ok(program.clone()),
        None if candidates.iter().any(|file| Path::exists(file)) => {
            Err(RunError::NotExecutable { program: shown() })
        }
        None => Err(RunError::NotFound { program: shown() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let plain = file("a/tool", 0o644);
        let program = file("b/tool", 0o755);
        file("a/text", 0o644);
        let path = env::join_paths(["a", "b"].map(|name| folder.path().join(name))).unwrap();
        let find = |name: &OsStr| find_in(name, &path);

        assert_eq!(find("tool".as_ref()).unwrap(), program);
        assert_eq!(find(program.as_os_str()).unwrap(), program);
        for name in [
            plain.as_os_str(),
            "text".as_ref(),
            folder.path().as_os_str(),
        ] {
            let error = find(name).unwrap_err();
            assert!(matches!(error, RunError::NotExecutable { .. }), "{error}");
        }
        for name in ["tol", "", "/no/such", "b/tool"] {
            let error = find(name.as_ref()).unwrap_err();
            assert!(
                matches!(error, RunError::NotFound { .. }),
                "{name}: {error}"
            );
        }
    }
}
