//! `walk` and `faults`: what the IOMMU's tables hold is what was mapped, and what the IOMMU blocks is told.

use super::lab::{Guest, Iommu, Kernel, Machine};
use super::{expect_clean_kernel, expect_words, in_guest, machine, run, run_json};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

const EDU: &str = "1234:11e8";

/// Above all memory of the guest, and where no large page begins.
const IOVA: u64 = 0x12_3456_7abc;

/// Huge pages of 1 GiB: two for the mapping before and after, and room for the rest.
const LARGE_PAGES: &str = "hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=4";

pub fn trials() -> Vec<Trial> {
    let tables = [
        ("legacy mode", Iommu::Intel, &[][..]),
        ("scalable mode", Iommu::IntelScalable, &[]),
        (
            "scalable mode, first-stage tables",
            Iommu::IntelScalable,
            &["-global", "intel-iommu.fsts=on"],
        ),
    ];
    let walks = tables.into_iter().map(|(name, iommu, qemu)| {
        let machine = Machine {
            memory: "6G".into(),
            qemu: qemu.iter().map(ToString::to_string).collect(),
            ..machine(Kernel::Lab, iommu, &[LARGE_PAGES])
        };
        in_guest(
            format!("observing::walk of VT-d's tables, {name}"),
            machine,
            move |guest| walks_tables(guest, name),
        )
    });
    let traces = [(Kernel::Distro, Iommu::Intel), (Kernel::Lab, Iommu::Amd)]
        .into_iter()
        .map(|(kernel, iommu)| {
            let name = format!("observing::walk by trace events, {kernel} kernel, {iommu}");
            let machine = Machine {
                memory: "6G".into(),
                ..machine(kernel, iommu, &[LARGE_PAGES])
            };
            in_guest(name, machine, walks_traces)
        });
    let faults = [Kernel::Lab, Kernel::Distro].map(|kernel| {
        in_guest(
            format!("observing::every fault is told, {kernel} kernel"),
            machine(kernel, Iommu::Intel, &[]),
            tells_faults,
        )
    });
    walks.chain(traces).chain(faults).collect()
}

/// A number that JSON has as `0x…`.
fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

fn expect(holds: bool, what: &str, report: &Value) -> Result<(), Failed> {
    if holds {
        Ok(())
    } else {
        Err(format!("{what}: {report:#}").into())
    }
}

/// A page of each size: the walk ends at a leaf of that size, which holds the page that the CPU has; mapped anew, the new page.
fn walks_tables(guest: &mut Guest, mode: &str) -> Result<(), Failed> {
    run(guest, &format!("iommu-tool bind {EDU}"), 0)?;
    for backend in ["type1", "iommufd"] {
        for (pages, size, levels, memory) in [
            ("4k", 4096_u64, 4, "20K --scatter"),
            ("2m", 2 << 20, 3, "2M"),
            ("1g", 1 << 30, 2, "1G"),
        ] {
            let script = format!(
                "iommu-tool walk --json {EDU} {IOVA:#x} --map {memory} --pages {pages} --remap --backend {backend}"
            );
            let report = run_json(guest, &script, 0)?;
            let offset = IOVA % size;
            for sight in [&report, &report["remapped"]] {
                let entries = sight["walk"]["entries"].as_array();
                let leaf = entries.and_then(|entries| entries.last()).unwrap_or(sight);
                let physical = number(&sight["physical_address"]);
                let lookup = sight["lookup"]["mode"].as_str();
                expect(
                    lookup.is_some_and(|m| mode.starts_with(m)),
                    "the mode",
                    sight,
                )?;
                expect(sight["source"] == "debugfs", "the source", sight)?;
                expect(sight["page"]["size"] == size, "the page's size", sight)?;
                expect(
                    entries.is_some_and(|entries| entries.len() == levels),
                    "the number of levels",
                    sight,
                )?;
                // The address is in the entry itself, and the offset is added to it.
                let in_leaf = number(&leaf["words"][0])
                    .map(|word| word & 0x000f_ffff_ffff_f000 & !(size - 1) | offset);
                expect(
                    physical.is_some() && physical == in_leaf,
                    "the leaf leads to another page",
                    sight,
                )?;
                expect(
                    sight["cpu"]["agrees"] == true,
                    "the CPU and the IOMMU disagree",
                    sight,
                )?;
            }
            expect(
                report["physical_address"] != report["remapped"]["physical_address"],
                "the leaf did not change",
                &report,
            )?;
        }
        let pieces = run_json(
            guest,
            &format!("iommu-tool walk --json {EDU} {IOVA:#x} --map 20K --scatter --all"),
            0,
        )?;
        let range = &pieces["ranges"][0];
        expect(
            range["pages"] == serde_json::json!([[4096, 5]]) && pieces["ranges"][1].is_null(),
            "scattered pages are one range",
            &pieces,
        )?;
    }
    for backend in ["type1", "iommufd"] {
        follows_files(guest, backend)?;
    }
    let test = format!("iommu-tool test --only loopback.huge-pages {EDU}");
    let huge = run(guest, &test, 0)?.stdout;
    expect_words(
        "loops through huge pages",
        &huge,
        &["2 MiB", "and one of 1 GiB"],
    )?;
    // After the mapping's end nothing is there.
    let gone = run_json(guest, &format!("iommu-tool walk --json {EDU} {IOVA:#x}"), 1)?;
    expect(gone["page"].is_null(), "nothing is mapped", &gone)?;
    leaves_no_trace(guest)
}

/// Files in memory, of pages of each size, mapped one after the other at the same IOVA by a process that holds them. The leaf is the
/// page that the holder has, and what the device writes there is in that file, as reading it shows.
fn follows_files(guest: &mut Guest, backend: &str) -> Result<(), Failed> {
    for (size, mount) in [
        (4096_u64, "-t tmpfs"),
        (2 << 20, "-t hugetlbfs -o pagesize=2M"),
        (1 << 30, "-t hugetlbfs -o pagesize=1G"),
    ] {
        let script = format!(
            "mkdir -p /tmp/files && mount {mount} none /tmp/files && cd /tmp/files && truncate -s {size} one other"
        );
        run(guest, &script, 0)?;
        let start = 0x12_4000_0000_u64;
        let (offset, iova) = (size / 2 + 0xa4, start + size / 2 + 0xa4);
        let mut pages = Vec::new();
        for (name, other, bytes) in [("one", "other", "c0ffee11"), ("other", "one", "0ddba11e")] {
            let map = format!(
                "iommu-tool map {EDU} --file /tmp/files/{name} --iova {start:#x} --name {name} --backend {backend}"
            );
            run(guest, &map, 0)?;
            let sight = run_json(guest, &format!("iommu-tool walk --json {EDU} {iova:#x}"), 0)?;
            expect(sight["page"]["size"] == size, "the page's size", &sight)?;
            expect(
                sight["cpu"]["agrees"] == true,
                "the holder has another page",
                &sight,
            )?;
            let mapping = sight["cpu"]["mapping"].as_str().unwrap_or_default();
            expect(
                mapping.starts_with(&format!("'{name}' at {start:#x}-")),
                "the mapping",
                &sight,
            )?;
            pages.push(number(&sight["physical_address"]));

            let script = format!(
                "iommu-tool dma {EDU} write --iova {iova:#x} --data {bytes} >&2
                 for file in {name} {other}; do dd if=/tmp/files/$file bs=4 skip={} count=1 2>/dev/null | xxd -p; done",
                offset / 4
            );
            let seen = run(guest, &script, 0)?.stdout;
            let mut lines = seen.lines();
            if lines.next() != Some(bytes) || lines.next() == Some(bytes) {
                return Err(format!("{bytes} is not in the file '{name}' alone: {seen}").into());
            }
            run(guest, &format!("iommu-tool unmap {EDU} --all"), 0)?;
        }
        if pages[0].is_none() || pages[0] == pages[1] {
            return Err(format!("the leaf did not change: {pages:x?}").into());
        }
        run(guest, "cd / && umount /tmp/files", 0)?;
    }
    Ok(())
}

/// Where no kernel shows the tables: what was mapped is told by trace events, and is what the CPU has.
fn walks_traces(guest: &mut Guest) -> Result<(), Failed> {
    run(guest, &format!("iommu-tool bind {EDU}"), 0)?;
    for memory in [
        "20K --scatter",
        "4M --pages thp",
        "2M --pages 2m",
        "1G --pages 1g",
    ] {
        let script = format!("iommu-tool walk --json {EDU} {IOVA:#x} --map {memory} --remap");
        let report = run_json(guest, &script, 0)?;
        for sight in [&report, &report["remapped"]] {
            expect(sight["source"] == "trace-events", "the source", sight)?;
            expect(
                sight["cpu"]["agrees"] == true,
                "the CPU has other memory than was mapped",
                sight,
            )?;
        }
        expect(
            report["physical_address"] != report["remapped"]["physical_address"],
            "other memory was mapped",
            &report,
        )?;
    }
    // What was mapped before cannot be learned, but the CPU's side of it.
    run(guest, &format!("iommu-tool walk {EDU} {IOVA:#x}"), 4)?;
    run(
        guest,
        &format!("iommu-tool map {EDU} --size 8K --iova 0x1200000000"),
        0,
    )?;
    let held = run_json(
        guest,
        &format!("iommu-tool walk --json {EDU} 0x1200001abc"),
        4,
    )?;
    let cpu = &held["cpu"]["pieces"][0];
    expect(
        number(&cpu["cpu_physical"]).is_some() && held["cpu"]["agrees"].is_null(),
        "the CPU's side is known, and no more",
        &held,
    )?;
    run(guest, &format!("iommu-tool unmap {EDU} --all"), 0)?;
    leaves_no_trace(guest)
}

fn leaves_no_trace(guest: &mut Guest) -> Result<(), Failed> {
    run(
        guest,
        &format!("iommu-tool unbind {EDU} && test -z \"$(ls /sys/kernel/tracing/instances)\""),
        0,
    )?;
    expect_clean_kernel(guest)
}

/// Where the device is sent, beside the 8 KiB at 0x1200000000 that may be read and the 4 KiB at 0x1200100000 that may be written too: the
/// direction, the IOVA, and where that is as seen from the nearest mapping.
const STRAYS: [(&str, &str, &str, &str, u64); 5] = [
    ("write", "0x1200002000", "ring", "past", 0),
    ("read", "0x1200002000", "ring", "past", 0),
    ("write", "0x1200000000", "ring", "inside", 0),
    ("read", "0x1200103000", "buffer", "past", 0x2000),
    ("write", "0x12000ff000", "buffer", "before", 0x1000),
];

/// The trace event of a fault, as IOMMUs raise it that the lab has not; written into the trace by hand.
const TRACED: &str =
    "1.5: io_page_fault: IOMMU:vfio-pci 0000:00:03.0 iova=0x0000001200002abc flags=0x0001";

/// Faults, seconds apart. Each is in the log as often as the IOMMU interrupted, with device and address, and what is mapped there.
fn tells_faults(guest: &mut Guest) -> Result<(), Failed> {
    let strays: Vec<String> = STRAYS
        .iter()
        .map(|(direction, iova, ..)| {
            let bytes = match *direction {
                "write" => "--data 5a5a5a5a",
                _ => "--size 4",
            };
            format!("iommu-tool dma {EDU} {direction} --iova {iova} {bytes} >&2 && exit 9; sleep 2")
        })
        .collect();
    let script = format!(
        "iommu-tool bind {EDU} >&2 || exit
         iommu-tool map {EDU} --size 8K --iova 0x1200000000 --protection r --name ring >&2 || exit
         iommu-tool map {EDU} --size 4K --iova 0x1200100000 --name buffer >&2 || exit
         iommu-tool faults --follow --json > followed & follower=$!
         {}
         echo '{TRACED}' > /sys/kernel/tracing/instances/iommu-tool-$follower/trace_marker || exit
         sleep 3; kill $follower; wait $follower || exit
         iommu-tool faults --json --device {EDU}",
        strays.join("\n")
    );
    let report = run_json(guest, &script, 0)?;
    let faults = report["faults"].as_array().map_or(&[][..], Vec::as_slice);
    expect(
        faults.len() == STRAYS.len(),
        "there is a fault for each time that the device went astray",
        &report,
    )?;
    for (fault, (direction, iova, name, place, bytes)) in faults.iter().zip(STRAYS) {
        let (nearby, told) = (&fault["nearby"], &fault["nearby"]["place"]);
        let is_whole = fault["device"] == "0000:00:03.0"
            && fault["access"] == direction
            && fault["address"] == iova
            && nearby["name"] == name
            && told["kind"] == place
            && told["bytes"].as_u64().unwrap_or_default() == bytes;
        expect(
            is_whole,
            &format!("a {direction} at {iova}, {place} '{name}'"),
            fault,
        )?;
    }
    let text = run(guest, &format!("iommu-tool faults --device {EDU}"), 0)?.stdout;
    super::expect_words(
        "the text",
        &text,
        &["just past the end of mapping 'ring' at 0x1200000000-0x1200001fff"],
    )?;
    let interrupts: u64 = report["interrupts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|unit| unit["count"].as_u64())
        .sum();
    expect(
        interrupts == faults.len() as u64,
        "the IOMMU interrupted once for each fault",
        &report,
    )?;
    expect(
        report["unlogged"] == serde_json::json!([]),
        "no fault is missing",
        &report,
    )?;

    // The same faults came one by one, a line each; and the one that the log does not have.
    let followed = run(guest, "cat followed", 0)?.stdout;
    let lines: Result<Vec<Value>, _> = followed.lines().map(serde_json::from_str).collect();
    let lines = lines.map_err(|error| format!("not one document a line: {error}\n{followed}"))?;
    let (traced, lines) = lines.split_last().ok_or("nothing was followed")?;
    expect(
        traced["source"] == "trace-events"
            && traced["device"] == "0000:00:03.0"
            && traced["address"] == "0x1200002abc",
        "the fault that was traced",
        traced,
    )?;
    let same = lines.len() == faults.len()
        && lines
            .iter()
            .zip(faults)
            .all(|(line, fault)| line["kind"] == "fault" && line["line"] == fault["line"]);
    if !same {
        return Err(format!("other faults were followed:\n{followed}\n{report:#}").into());
    }
    run(guest, &format!("iommu-tool unmap {EDU} --all"), 0)?;
    leaves_no_trace(guest)
}
