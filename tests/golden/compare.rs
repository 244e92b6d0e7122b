//! `compare` on the files of records: runs of the same, a planted slowdown, another host, and files that are no records.

use iommu_tool::bench::{
    Block, Environment, Key, Method, Phase, Record, Route, Series, Summary, Unit, distribution,
};
use iommu_tool::types::{Backend, Suite};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const LAUNCHES: u32 = 5;
const ROUNDS: u32 = 8;

/// A number between -1 and 1 without a pattern (xorshift64).
fn noise(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// A series of about `time` nanoseconds, whose launches differ by 2 %, and the blocks of a launch by 0.5 %.
fn series(size: u64, phase: Phase, time: f64, state: &mut u64) -> Series {
    let mut blocks = Vec::new();
    for launch in 0..LAUNCHES {
        let of_launch = time * (1.0 + 0.02 * noise(state));
        blocks.extend((0..ROUNDS).map(|round| Block {
            launch,
            round,
            count: 1,
            median: (of_launch * (1.0 + 0.005 * noise(state))) as u64,
        }));
    }
    let mut samples: Vec<u64> = blocks.iter().map(|block| block.median).collect();
    samples.sort_unstable();
    Series {
        key: Key {
            suite: Suite::Map,
            backend: Backend::Iommufd,
            size: Some(size),
            pages: Some("thp".to_owned()),
            route: Route::Address,
            threads: 1,
            devices: 1,
            live: 0,
            working_set: None,
            phase,
        },
        iova: None,
        runs: None,
        summary: Summary::of(&samples, &blocks).unwrap(),
        per_page: None,
        rate: None,
        distribution: distribution(&samples),
        blocks,
        samples: None,
    }
}

/// A record with the noise of this seed, whose unmap of 64M takes `slow` times as long.
fn record(seed: u64, slow: f64) -> Record {
    let mut state = 0x2545_f491_4f6c_dd1d ^ (seed << 32);
    let mut all = Vec::new();
    for (size, map, unmap) in [
        (2 << 20, 9.0e3, 45.0e3),
        (64 << 20, 240.0e3, 1.2e6 * slow),
        (1 << 30, 3.7e6, 19.0e6),
    ] {
        all.push(series(size, Phase::Map, map, &mut state));
        all.push(series(size, Phase::Unmap, unmap, &mut state));
    }
    let environment = serde_json::json!({
        "version": "0.1.0", "kernel": "7.2.12", "kernel_parameters": ["intel_iommu=on"], "processor": "Example CPU", "processors": 2,
        "node": 0, "governor": "performance", "load": 0.1, "virtual_machine": false, "memory": 8_589_934_592_u64,
        "transparent_huge_pages": "always", "huge_pages": [], "locked_memory": null,
        "devices": [{"bdf": "0000:00:03.0", "id": "1234:11e8", "driver": "vfio-pci", "node": 0, "group": null, "domain": "DMA-FQ",
            "iommu": {"name": "dmar0", "kind": "vtd", "version": "1.0", "address_width": 48, "page_sizes": [4096], "features": []}}],
        "spaces": [],
    });
    Record {
        unit: Unit::Nanoseconds,
        complete: true,
        method: Method {
            started: 1_795_246_000,
            seconds: 48.2,
            launches: LAUNCHES,
            warm_up: 20,
            block: 1,
            clock: 20.0,
        },
        environment: serde_json::from_value::<Environment>(environment).unwrap(),
        warnings: Vec::new(),
        skipped: Vec::new(),
        series: all,
        comparisons: Vec::new(),
        fits: Vec::new(),
        breakdowns: Vec::new(),
    }
}

/// Writes the document that `bench --json` prints.
fn write(folder: &Path, name: &str, record: &Record) {
    let mut document = serde_json::to_value(record).unwrap();
    document["schema_version"] = 1.into();
    document["kind"] = "bench".into();
    fs::write(folder.join(name), document.to_string()).unwrap();
}

fn compare(folder: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_iommu-tool"))
        .arg("compare")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap()
}

/// The exit status with nobody to read what is printed: the reader has closed its end before the program starts.
fn status_unread(folder: &Path, arguments: &str) -> i32 {
    let unread = || {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_iommu-tool"));
    command.args(arguments.split_whitespace());
    let command = command.current_dir(folder);
    let status = command.stdout(unread()).stderr(unread()).status().unwrap();
    status.code().unwrap()
}

#[test]
fn the_exit_status_is_the_same_where_nobody_reads_the_result() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "before.json", &record(1, 1.0));
    write(folder.path(), "slower.json", &record(2, 1.1));
    let mut short = record(4, 1.0);
    for series in &mut short.series {
        series.blocks.retain(|block| block.launch == 0);
    }
    write(folder.path(), "interrupted.json", &short);
    for (arguments, status) in [
        ("before.json slower.json --fail-above 1.05", 1),
        ("before.json slower.json --fail-above 1.05 --json", 1),
        ("before.json before.json --fail-above 1.05", 0),
        ("before.json interrupted.json", 4),
        ("before.json no-such-file.json", 2),
        ("before.json no-such-file.json --json", 2),
        ("before.json", 2),
        ("--help", 0),
    ] {
        let found = status_unread(folder.path(), &format!("compare {arguments}"));
        assert_eq!(found, status, "{arguments}");
        // As it is where it is read.
        let read = compare(folder.path(), arguments).status.code();
        assert_eq!(read, Some(status), "{arguments}");
    }
    // What is printed piece by piece ends with its reader.
    assert_eq!(status_unread(folder.path(), "completions bash"), 0);
}

#[test]
fn twenty_runs_of_the_same_pass() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "before.json", &record(1, 1.0));
    for seed in 2..=21 {
        write(folder.path(), "after.json", &record(seed, 1.0));
        let output = compare(folder.path(), "before.json after.json --fail-above 1.01");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
fn changes_are_told_and_what_is_no_record_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "before.json", &record(1, 1.0));
    write(folder.path(), "same.json", &record(2, 1.0));
    write(folder.path(), "slower.json", &record(2, 1.1));
    let mut other = record(3, 0.8);
    other.environment.kernel = Some("6.12.30".to_owned());
    other.environment.transparent_huge_pages = Some("madvise".to_owned());
    for series in &mut other.series {
        let size = &mut series.key.size;
        *size = size.map(|bytes| if bytes == 1 << 30 { 2 << 30 } else { bytes });
    }
    write(folder.path(), "other-host.json", &other);
    let mut short = record(4, 1.0);
    short.complete = false;
    for series in &mut short.series {
        series.blocks.retain(|block| block.launch == 0);
    }
    write(folder.path(), "interrupted.json", &short);
    fs::write(folder.path().join("text.json"), "no JSON").unwrap();
    fs::write(
        folder.path().join("list.json"),
        r#"{"schema_version": 1, "kind": "list", "groups": []}"#,
    )
    .unwrap();
    fs::write(
        folder.path().join("future.json"),
        r#"{"schema_version": 9, "kind": "bench"}"#,
    )
    .unwrap();
    let mut text = String::new();
    for arguments in [
        "before.json same.json",
        "before.json same.json --fail-above 1.05 --all",
        "before.json slower.json",
        "before.json slower.json --fail-above 1.05",
        "before.json slower.json --fail-above 1.2",
        "before.json slower.json --fail-above 0.5",
        "before.json other-host.json --fail-above 1.05",
        "before.json interrupted.json",
        "before.json no-such-file.json",
        "text.json before.json",
        "before.json list.json",
        "before.json future.json",
    ] {
        let output = compare(folder.path(), arguments);
        text += &format!("$ iommu-tool compare {arguments}\n");
        text += &String::from_utf8(output.stdout).unwrap();
        text += &String::from_utf8(output.stderr).unwrap();
        text += &format!("exit status: {}\n\n", output.status.code().unwrap());
    }
    let expected = Path::new(super::PACKAGE).join("tests/golden/compare.txt");
    snapbox::Assert::new()
        .action_env("SNAPSHOTS")
        .eq(text, snapbox::Data::read_from(&expected, None).raw());

    let output = compare(
        folder.path(),
        "before.json slower.json --json --fail-above 1.05",
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["kind"], "compare");
    assert_eq!(document["regressions"], 1);
    let worst = &document["series"][0];
    assert_eq!(
        (&worst["phase"], &worst["size"], &worst["verdict"]),
        (&"unmap".into(), &(64_u64 << 20).into(), &"slower".into())
    );
    assert!(worst["ratio"]["interval"]["low"].as_f64().unwrap() > 1.0);
}
