//! `bench`: figures for every backend that works, and the host as it was; `compare` of what it measured.

use super::lab::{Guest, Iommu, Kernel};
use super::{
    UNSAFE_INTERRUPTS, expect_clean_kernel, expect_words, in_guest, machine, run, run_json,
};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

const EDU: &str = "1234:11e8";
const NVME: &str = "01:00.0";
const IGB: &str = "02:00.0";

/// A controller without a namespace has nothing to compare what it reads with: it only writes memory.
const EMPTY_NVME: &str = "00:0f.0";

pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = [
        (Kernel::Lab, &["iommufd", "type1"][..]),
        (Kernel::Distro, &["type1"]),
    ]
    .into_iter()
    .map(|(kernel, backends)| {
        in_guest(
            format!(
                "measuring::{kernel} kernel: every suite on {}",
                backends.join(" and ")
            ),
            machine(kernel, Iommu::Intel, &[]),
            |guest| measures(guest, backends),
        )
    })
    .collect();
    for (iommu, cmdline) in [
        (Iommu::IntelScalable, &[][..]),
        (Iommu::Virtio, &[UNSAFE_INTERRUPTS]),
        (Iommu::Amd, &[]),
    ] {
        let mut machine = machine(Kernel::Lab, iommu, cmdline);
        machine.qemu = ["-device", "nvme,serial=empty,addr=0xf"]
            .map(str::to_owned)
            .to_vec();
        trials.push(in_guest(
            format!("measuring::{iommu}: what mapping and transfers cost"),
            machine,
            measures_elsewhere,
        ));
    }
    trials.push(in_guest(
        "measuring::broken AMD IOMMU: nothing is written",
        machine(Kernel::Lab, Iommu::AmdBroken, &[]),
        writes_nothing,
    ));
    trials
}

/// Every suite on two devices that share an address space.
fn measures(guest: &mut Guest, backends: &[&str]) -> Result<(), Failed> {
    run(
        guest,
        &format!("echo 32 >/proc/sys/vm/nr_hugepages; iommu-tool bind {NVME} {IGB}"),
        0,
    )?;
    let record = run_json(
        guest,
        &format!(
            "iommu-tool bench --json --suite all --pages 4k,thp,2m --sizes 4K,2M,4M --samples 10 --raw --all-samples \
             --html /tmp/bench.html --csv /tmp/bench.csv {NVME} {IGB} >/tmp/a.json; cat /tmp/a.json"
        ),
        0,
    )?;
    expect_sense(&record)?;
    for backend in backends {
        for suite in ["map", "cold", "churn", "threads", "devices", "dma", "open"] {
            expect_series(&record, suite, backend)?;
        }
    }
    if backends.contains(&"iommufd") {
        expect_series(&record, "file", "iommufd")?;
    }
    for (field, least) in [("comparisons", 10), ("breakdowns", 4), ("fits", 2)] {
        let found = record[field].as_array().map_or(0, Vec::len);
        if found < least {
            return Err(format!("only {found} {field}: {:#}", record[field]).into());
        }
    }
    let page = run(guest, "cat /tmp/bench.html", 0)?.stdout;
    expect_words("the page", &page, &["<svg", "</html>", backends[0]])?;
    let lines = run(guest, "wc -l </tmp/bench.csv", 0)?.stdout;
    let series = record["series"].as_array().map_or(0, Vec::len);
    if lines.trim().parse() != Ok(series + 1) {
        return Err(format!("{series} series, and {lines} lines of CSV").into());
    }

    // A file that cannot be written is told before hours are spent.
    let late = run(guest, &format!("iommu-tool bench --csv /none/x {NVME}"), 1)?;
    expect_words("the error", &late.stderr, &["cannot write /none/x"])?;
    expect_words("nothing measured", &format!("[{}]", late.stdout), &["[]"])?;

    // The answer for a guest that does not fit.
    let text = run(
        guest,
        &format!("iommu-tool bench --suite cold --size 64G --samples 10 --pages thp {NVME}"),
        0,
    )?
    .stdout;
    expect_words("the answer", &text, &["64G through", "extrapolated from"])?;

    // An interrupted run keeps what it has.
    let partial = run(
        guest,
        &format!(
            "iommu-tool bench --suite map --duration 10m {NVME} >/tmp/partial & p=$!; sleep 5; kill -INT $p; wait $p; s=$?; \
             cat /tmp/partial; exit $s"
        ),
        1,
    )?
    .stdout;
    expect_words("the partial result", &partial, &["PARTIAL", "4K"])?;

    // Another kernel changes nothing of these; and on 6.12 an odd IOVA costs a tenth, which a busy host hides.
    if backends.contains(&"iommufd") {
        without_threads(guest)?;
        unread(guest)?;
        as_user(guest)?;
        same_and_slower(guest)?;
    }
    run(guest, &format!("iommu-tool unbind {NVME} {IGB}"), 0)?;
    expect_clean_kernel(guest)
}

/// No thread gets a stack that is larger than any process: the suite that needs threads says so, and memory is made ready without.
fn without_threads(guest: &mut Guest) -> Result<(), Failed> {
    let bench = |suite: &str| {
        format!("RUST_MIN_STACK=$((1 << 47)) iommu-tool bench --suite {suite} --samples 5 {NVME}")
    };
    let failed = run(guest, &bench("threads --threads 1,2 --sizes 4K"), 1)?;
    expect_words("the error", &failed.stderr, &["cannot start a thread"])?;
    let text = run(guest, &bench("cold --pages thp --sizes 64M"), 0)?.stdout;
    expect_words("the table", &text, &["64M", "the fastest way"])
}

/// A reader that leaves at once changes neither the exit status nor the files.
fn unread(guest: &mut Guest) -> Result<(), Failed> {
    let script = format!(
        "cd /tmp; rm -f page.html figures.csv junit.xml; \
         {{ iommu-tool bench --suite open --samples 5 --html page.html --csv figures.csv {NVME}; echo bench $? >said; }} | true; \
         {{ iommu-tool test --only loopback.echo --junit junit.xml {NVME}; echo test $? >>said; }} | true; \
         cat said; tail -n 1 page.html figures.csv junit.xml"
    );
    let said = run(guest, &script, 0)?.stdout;
    let words = ["bench 0", "test 0", "</html>", "open,", "</testsuites>"];
    expect_words("what is left", &said, &words)
}

/// A device of an ordinary user, who does not see where its writes would do no harm: all else is measured.
fn as_user(guest: &mut Guest) -> Result<(), Failed> {
    let bind =
        format!("iommu-tool bind --owner user {EDU}; [ ! -e /dev/iommu ] || chmod 666 /dev/iommu");
    run(guest, &bind, 0)?;
    let bench = |suites: &str| {
        format!(
            "su user -c \"export PATH=$PATH; iommu-tool bench --suite {suites} --sizes 4K --samples 5 {EDU}\""
        )
    };
    let text = run(guest, &bench("map,dma"), 0)?.stdout;
    expect_words(
        "the table",
        &text,
        &["map:", "not measured: dma", "as root"],
    )?;
    let failed = run(guest, &bench("dma"), 1)?;
    expect_words("the error", &failed.stderr, &["as root"])?;
    run(guest, &format!("iommu-tool unbind {EDU}"), 0)?;
    Ok(())
}

/// A run against itself has no regression; one at an IOVA that no huge page fits has one, and it is named.
fn same_and_slower(guest: &mut Guest) -> Result<(), Failed> {
    let measure = |iova: &str, file: &str| {
        format!(
            "iommu-tool bench --json --suite map --backend type1 --pages thp --sizes 64M --duration 8s --iova {iova} {NVME} >{file}"
        )
    };
    let script = format!(
        "{} && {}",
        measure("0x40000000", "/tmp/aligned"),
        measure("0x40001000", "/tmp/askew")
    );
    run(guest, &script, 0)?;
    let against = |file: &str| format!("iommu-tool compare /tmp/aligned {file} --fail-above 1.05");
    let same = run(guest, &against("/tmp/aligned"), 0)?.stdout;
    expect_words("the comparison", &same, &["PASS", "0 slower"])?;
    let slower = run(guest, &against("/tmp/askew"), 1)?.stdout;
    expect_words("the comparison", &slower, &["slower", "map", "64M of THP"])
}

fn measures_elsewhere(guest: &mut Guest) -> Result<(), Failed> {
    run(guest, &format!("iommu-tool bind {EDU} {NVME}"), 0)?;
    for (device, suites) in [(EDU, "dma"), (NVME, "map,cold,churn,dma,open")] {
        let command =
            format!("iommu-tool bench --json --suite {suites} --sizes 4K,2M --samples 5 {device}");
        let record = run_json(guest, &command, 0)?;
        expect_sense(&record)?;
        for backend in ["iommufd", "type1"] {
            for suite in suites.split(',') {
                expect_series(&record, suite, backend)?;
            }
        }
    }
    run(guest, &format!("iommu-tool unbind {EDU} {NVME}"), 0)?;
    only_writes(guest)?;
    expect_clean_kernel(guest)
}

/// Of a device that only writes memory, writing is measured.
fn only_writes(guest: &mut Guest) -> Result<(), Failed> {
    run(guest, &format!("iommu-tool bind {EMPTY_NVME}"), 0)?;
    let command = format!("iommu-tool bench --json --suite dma --samples 5 {EMPTY_NVME}");
    let record = run_json(guest, &command, 0)?;
    expect_sense(&record)?;
    for backend in ["iommufd", "type1"] {
        expect_series(&record, "dma", backend)?;
    }
    let all = record["series"].as_array().into_iter().flatten();
    if all.clone().any(|one| one["phase"] != "store") {
        return Err(format!("more than writing was measured: {record:#}").into());
    }
    expect_words(
        "what is missing",
        &record["skipped"].to_string(),
        &["read memory"],
    )?;
    run(guest, &format!("iommu-tool unbind {EMPTY_NVME}"), 0)?;
    Ok(())
}

/// Where the IOMMU does not translate, a device that reaches no further than the host's memory is not told to write.
fn writes_nothing(guest: &mut Guest) -> Result<(), Failed> {
    run(guest, &format!("iommu-tool bind {EDU}"), 0)?;
    let failed = run(guest, &format!("iommu-tool bench --suite dma {EDU}"), 1)?;
    expect_words("the error", &failed.stderr, &["does not translate"])
}

fn expect_series(record: &Value, suite: &str, backend: &str) -> Result<(), Failed> {
    let is_there = |one: &Value| one["suite"] == suite && one["backend"] == backend;
    let series = record["series"].as_array();
    if series.is_some_and(|series| series.iter().any(is_there)) {
        Ok(())
    } else {
        let skipped = &record["skipped"];
        Err(format!("{suite} was not measured on {backend}: {skipped:#}").into())
    }
}

/// The figures of every series are in their order, and their samples are all there.
fn expect_sense(record: &Value) -> Result<(), Failed> {
    if record["complete"] != true {
        return Err("the record is not complete".into());
    }
    for one in record["series"].as_array().into_iter().flatten() {
        let figure = |name: &str| one["summary"][name].as_u64();
        let blocks = one["blocks"].as_array().into_iter().flatten();
        let in_blocks: u64 = blocks.filter_map(|block| block["count"].as_u64()).sum();
        let ordered = figure("min") <= figure("p50")
            && figure("p50") <= figure("p90")
            && figure("p90") <= figure("max")
            && figure("max") > Some(0);
        if !ordered || figure("count") != Some(in_blocks) {
            return Err(format!("these figures make no sense: {one:#}").into());
        }
        if let Some(samples) = one["samples"].as_array() {
            let all: usize = samples
                .iter()
                .map(|block| block.as_array().map_or(0, Vec::len))
                .sum();
            if Some(all as u64) != figure("count") {
                return Err(format!("{all} samples: {one:#}").into());
            }
        }
    }
    Ok(())
}
