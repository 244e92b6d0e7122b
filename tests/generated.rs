//! man/ and completions/ are what the command line's definitions generate.
//!
//! After a change of `src/cli.rs`: `SNAPSHOTS=overwrite cargo test --test generated`.

use clap::CommandFactory;
use clap_complete::Shell;
use iommu_tool::cli::Cli;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Compares a folder of the repository with generated files, or rewrites it.
fn assert_folder_is(folder: &str, generate: impl Fn(&Path)) {
    let fresh = tempfile::tempdir().unwrap();
    generate(fresh.path());
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        fs::remove_dir_all(&committed).unwrap();
        fs::create_dir(&committed).unwrap();
        for (name, text) in files(fresh.path()) {
            fs::write(committed.join(name), text).unwrap();
        }
    }
    let (expected, actual) = (files(fresh.path()), files(&committed));
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&actual),
        names(&expected),
        "{folder}/ has other files than the command line generates"
    );
    for (name, text) in expected {
        assert!(
            actual[&name] == text,
            "{folder}/{name} is stale; run: SNAPSHOTS=overwrite cargo test --test generated"
        );
    }
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let read = |entry: fs::DirEntry| {
        (
            entry.file_name().into_string().unwrap(),
            fs::read_to_string(entry.path()).unwrap(),
        )
    };
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| read(entry.unwrap()))
        .collect()
}

#[test]
fn man_pages_are_current() {
    assert_folder_is("man", |folder| {
        clap_mangen::generate_to(Cli::command(), folder).unwrap()
    });
}

#[test]
fn completions_are_current() {
    assert_folder_is("completions", |folder| {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            clap_complete::generate_to(shell, &mut Cli::command(), "iommu-tool", folder).unwrap();
        }
    });
}

#[test]
fn definitions_hold_together() {
    Cli::command().debug_assert();
}
