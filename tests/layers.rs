//! Imports run downwards only: each part of src/ uses the layers below it and no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each part of `src/`, and the parts it may name as `crate::PART`.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "commands",
        &[
            "cli", "report", "checks", "bench", "session", "engine", "device", "iommu", "binding",
            "host", "sys", "types",
        ],
    ),
    ("cli", &["types"]),
    (
        "report",
        &["checks", "bench", "session", "binding", "host", "types"],
    ),
    ("checks", &["engine", "device", "iommu", "host", "types"]),
    ("bench", &["engine", "device", "iommu", "host", "types"]),
    ("session", &["engine", "device", "iommu", "sys", "types"]),
    ("engine", &["device", "iommu", "types"]),
    ("device", &["iommu", "sys", "types"]),
    ("iommu", &["sys", "types"]),
    ("binding", &["host", "sys", "types"]),
    ("host", &["types"]),
    ("sys", &[]),
    ("types", &[]),
];

/// The files of `src/` where `unsafe` may stand.
const UNSAFE_FILES: &[&str] = &[
    "sys/",
    "device/registers.rs",
    "iommu/address_space.rs", // The trait: it states what a caller of `map` upholds.
    "iommu/part.rs",          // Passes the trait's `map` on.
    "iommu/dma.rs",
    "iommu/dma/",
    "iommu/type1.rs",
    "iommu/iommufd.rs",
    "engine/arena/tests.rs", // For tests, as the next.
    "checks/fakes/space.rs", // For tests: a stand-in has to spell the trait's `unsafe fn` out.
    "session/fakes.rs",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Each file below src/: its path there, its layer, and its text without comments.
fn files() -> Vec<(String, String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let file = |path: PathBuf| {
        let name = path
            .strip_prefix(&src)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let layer = name.split(['/', '.']).next().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let code = text
            .lines()
            .map(|line| line.split("//").next().unwrap())
            .collect::<Vec<_>>()
            .join("\n");
        (name, layer, code)
    };
    sources(&src).into_iter().map(file).collect()
}

/// The parts that a text names as `crate::PART` or `use crate::{PART, …}`.
fn named_parts(code: &str) -> BTreeSet<String> {
    let word = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut parts = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => drop(parts.insert(word(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            parts.insert(word(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    parts
}

#[test]
fn imports_run_downwards() {
    let mut wrong = Vec::new();
    for (name, layer, code) in files()
        .iter()
        .filter(|(_, layer, _)| !["main", "lib"].contains(&layer.as_str()))
    {
        let Some((_, allowed)) = LAYERS.iter().find(|(known, _)| known == layer) else {
            wrong.push(format!("src/{name} is in no known layer"));
            continue;
        };
        for part in named_parts(code)
            .iter()
            .filter(|part| *part != layer && !allowed.contains(&part.as_str()))
        {
            wrong.push(format!(
                "src/{name} uses crate::{part}, which is not below it"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn layers_have_an_order() {
    for (place, (layer, allowed)) in LAYERS.iter().enumerate() {
        for used in *allowed {
            let below = LAYERS.iter().position(|(known, _)| known == used).unwrap();
            assert!(below > place, "{layer} may use {used}, which is above it");
        }
    }
}

#[test]
fn unsafe_code_stays_where_it_belongs() {
    for (name, _, code) in files() {
        let allowed = UNSAFE_FILES.iter().any(|place| name.starts_with(place));
        let unsafe_code = code
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "unsafe");
        assert!(allowed || !unsafe_code, "src/{name} has unsafe code");
    }
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let code = "use crate::types::{Bdf, Iova};\nuse crate::{\n    host::{Host, HostError},\n    report,\n};\nfn f() -> crate::cli::Cli";
    assert_eq!(
        named_parts(code).into_iter().collect::<Vec<_>>(),
        ["cli", "host", "report", "types"]
    );
}
