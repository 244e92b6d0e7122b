use super::*;
use crate::checks::doctor::Health;
use crate::checks::validate::{Checked, Fitness, Judged, MapLatency};
use crate::host::{Host, PciDevice};
use std::path::Path;

const NIC: &str = "0000:5e:00.0";
const DRIVE: &str = "0000:d8:00.0";
const PORT: &str = "0000:04:00.0";

fn server() -> Host {
    Host::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/two-socket-server"))
}

fn bdf(text: &str) -> Bdf {
    text.parse().unwrap()
}

fn seen(device: &str) -> Observed {
    let host = server();
    let mut observed = Observed::of(&host, &host.device(bdf(device)).unwrap());
    observed.see(&host);
    observed
}

fn all() -> Vec<PciDevice> {
    server().pci_devices().unwrap()
}

fn latency(function: &str, map_ns: u64) -> MapLatency {
    MapLatency {
        bdf: bdf(function),
        map_ns,
        unmap_ns: 0,
        ratio: 1.0,
    }
}

/// The findings about one device, by the check's name.
fn compared(
    device: &str,
    keys: &str,
    latencies: Option<&[MapLatency]>,
) -> Vec<(&'static str, Judged)> {
    let text = format!("schema_version = 1\n[[device]]\nmatch = \"{device}\"\n{keys}");
    let manifest = Manifest::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    compare(&manifest, &[seen(device)], &all(), latencies)
        .into_iter()
        .map(|compared| (compared.item.id, compared.judged))
        .collect()
}

#[test]
fn what_is_as_expected_passes_and_only_what_is_written_is_checked() {
    assert_eq!(compared(DRIVE, "", None), []);
    let keys = "id = \"144d:a808\"\nsubsystem = \"144d:a801\"\nmodel = \"SAMSUNG MZ1LB960HAJQ-00007\"\n\
                firmware = \"EDA7602Q\"\nnuma_node = 1\nisolated = true\n\
                [device.link]\nspeed = 8\nwidth = 2\nmax_speed = 8.0\nmax_width = 4\n\
                [device.functions]\ntotal = 0\nwanted = 0\n\
                [device.iommu]\nunit = \"vtd\"\nmode = \"lazy\"\n";
    let found = compared(DRIVE, keys, None);
    let names: Vec<&str> = found.iter().map(|(id, _)| *id).collect();
    assert_eq!(
        names,
        [
            "expect.model",
            "expect.firmware",
            "expect.link",
            "expect.functions",
            "expect.isolation",
            "expect.numa",
            "expect.iommu"
        ]
    );
    for (id, judged) in found {
        assert_eq!(judged.verdict, Health::Pass, "{id}: {judged:?}");
    }
}

#[test]
fn each_difference_is_named_with_what_was_expected_and_found() {
    let cases = [
        (
            DRIVE,
            "id = \"144d:a809\"",
            "expect.model",
            "id: expected 144d:a809, found 144d:a808",
        ),
        (
            DRIVE,
            "subsystem = \"8086:0003\"",
            "expect.model",
            "subsystem: expected 8086:0003, found 144d:a801",
        ),
        (
            DRIVE,
            "model = \"PM9A3\"",
            "expect.model",
            "model: expected PM9A3, found SAMSUNG MZ1LB960HAJQ-00007",
        ),
        (
            DRIVE,
            "firmware = \"EDA7702Q\"",
            "expect.firmware",
            "firmware: expected EDA7702Q, found EDA7602Q",
        ),
        (
            "0000:d9:00.0",
            "link = { width = 4 }",
            "expect.link",
            "width: expected at least x4, found x2 (/sys/bus/pci/devices/0000:d9:00.0/current_link_width)",
        ),
        (
            DRIVE,
            "link = { speed = 16 }",
            "expect.link",
            "speed: expected at least 16 GT/s, found 8 GT/s",
        ),
        (
            NIC,
            "functions = { total = 7 }",
            "expect.functions",
            "total: expected 7, found 63",
        ),
        (
            NIC,
            "functions = { wanted = 7 }",
            "expect.functions",
            "wanted: expected 7, found 3",
        ),
        (
            NIC,
            "isolated = true",
            "expect.isolation",
            "0000:5e:10.0: expected a group of its own, found group 20 with 0000:5e:00.0, 0000:5e:10.2, 0000:5e:10.4",
        ),
        (
            DRIVE,
            "numa_node = 0",
            "expect.numa",
            "numa_node: expected 0, found 1",
        ),
        (
            DRIVE,
            "iommu = { mode = \"strict\" }",
            "expect.iommu",
            "mode: expected strict, found lazy",
        ),
        (
            DRIVE,
            "iommu = { unit = \"amd-vi\" }",
            "expect.iommu",
            "unit: expected amd-vi, found vtd",
        ),
    ];
    for (device, keys, id, line) in cases {
        let found = compared(device, keys, None);
        let [(found_id, judged)] = found.as_slice() else {
            panic!("{keys}: {found:?}");
        };
        assert_eq!(
            (*found_id, judged.verdict),
            (id, Health::Fail),
            "{keys}: {judged:?}"
        );
        assert!(judged.evidence[0].starts_with(line), "{keys}: {judged:?}");
        assert!(judged.remedy.is_some(), "{keys}");
    }
}

#[test]
fn what_the_host_does_not_tell_leaves_no_verdict() {
    for (keys, id) in [
        ("firmware = \"1.2\"", "expect.firmware"),
        ("latency = { max_ratio_to_first = 2 }", "expect.latency"),
    ] {
        let found = compared(PORT, keys, Some(&[]));
        let [(found_id, judged)] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((*found_id, judged.verdict), (id, Health::Skip));
        assert!(!judged.optional, "{judged:?}");
    }
    let unasked = compared(PORT, "latency = { max_ratio_to_first = 2 }", None);
    assert!(unasked[0].1.optional, "{unasked:?}");
}

#[test]
fn what_mapping_costs_is_held_against_the_stored_time_and_the_first_function() {
    let functions = ["5e:10.0", "5e:10.2", "5e:10.4"];
    let verdict = |keys: &str, times: [u64; 3]| {
        let times: Vec<_> = functions
            .iter()
            .zip(times)
            .map(|(f, ns)| latency(f, ns))
            .collect();
        let keys = format!("latency = {{ {keys} }}");
        let found = compared(NIC, &keys, Some(&times));
        let [("expect.latency", judged)] = found.as_slice() else {
            panic!("{found:?}");
        };
        judged.clone()
    };
    let stored = "map_ns = 900, unmap_ns = 100, max_ratio_to_stored = 2";
    assert_eq!(verdict(stored, [2000, 9000, 9000]).verdict, Health::Pass);
    let slow = verdict(stored, [2001, 1, 1]);
    assert_eq!(slow.verdict, Health::Fail);
    assert!(slow.evidence[0].contains("at most 2 times the stored 1000 ns, found 2001 ns"));
    let even = "max_ratio_to_first = 1.5";
    assert_eq!(verdict(even, [1000, 1500, 1400]).verdict, Health::Pass);
    let odd = verdict(even, [1000, 1500, 1600]);
    assert_eq!((odd.verdict, odd.evidence.len()), (Health::Fail, 1));
    assert!(odd.evidence[0].starts_with("0000:5e:10.4"), "{odd:?}");
}

#[test]
fn devices_and_sections_without_each_other_are_named() {
    let text = "schema_version = 1\n[[device]]\nmatch = \"8086:1521\"\n[[device]]\nmatch = \"10ee:9038\"\n";
    let manifest = Manifest::parse(text).unwrap();
    let found = compare(&manifest, &[seen(DRIVE)], &all(), None);
    let words: Vec<(Option<Bdf>, Health, &str)> = found
        .iter()
        .map(|it| (it.device, it.judged.verdict, it.judged.detail.as_str()))
        .collect();
    assert_eq!(
        words,
        [
            (
                Some(bdf(DRIVE)),
                Health::Fail,
                "144d:a808 is none of the devices that are expected: 8086:1521, 10ee:9038"
            ),
            (
                None,
                Health::Skip,
                "8086:1521 is there, and was not named to be checked"
            ),
            (
                None,
                Health::Fail,
                "10ee:9038 is expected, and this host has no such device"
            ),
        ]
    );
    assert!(found.iter().all(|it| it.item.id == "expect.model"));
}

#[test]
fn a_section_with_the_address_comes_first() {
    let text = "schema_version = 1\n[[device]]\nmatch = \"144d:a808\"\nnuma_node = 7\n\
                [[device]]\nmatch = \"d8:00.0\"\nnuma_node = 1\n";
    let manifest = Manifest::parse(text).unwrap();
    let drive = seen(DRIVE);
    let node = |address| manifest.of(bdf(address), drive.id).unwrap().numa_node;
    assert_eq!((node(DRIVE), node("d9:00.0")), (Some(1), Some(7)));
}

#[test]
fn what_is_written_of_a_host_is_accepted_on_it() {
    let observed = [seen(PORT), seen(DRIVE), seen("0000:d9:00.0")];
    let times = [latency(PORT, 5000)];
    let text = written(&observed, &times);
    let manifest = Manifest::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let found = compare(&manifest, &observed, &all(), Some(&times));
    for compared in &found {
        assert_eq!(
            compared.judged.verdict,
            Health::Pass,
            "{compared:?}\n{text}"
        );
    }
    let about = |device| {
        let it = |compared: &&Compared| compared.device == Some(bdf(device));
        let names: Vec<&str> = found.iter().filter(it).map(|it| it.item.id).collect();
        names.join(" ").replace("expect.", "")
    };
    assert_eq!(
        about(PORT),
        "model link functions isolation numa iommu latency"
    );
    assert_eq!(about(DRIVE), "model firmware link isolation numa iommu");
    // Two drives have the same IDs, so each is known by its address.
    assert!(text.contains("match = \"8086:1521\""), "{text}");
    assert!(text.contains("match = \"0000:d8:00.0\""), "{text}");
}

#[test]
fn any_name_is_written_so_that_it_is_read_again() {
    let mut drive = seen(DRIVE);
    drive.model = Some("a \"b\" \\ \t \u{7f} \u{1} é".to_owned());
    let text = written(&[drive.clone()], &[]);
    let manifest = Manifest::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(manifest.devices[0].model, drive.model);
}

#[test]
fn an_error_in_a_file_says_where_and_which_keys_there_are() {
    let cases = [
        ("", "line 1, column 1: missing field `schema_version`"),
        (
            "schema_version = 2\nnew = 1",
            "line 1, column 18: the file is of version 2, and this program knows version 1",
        ),
        (
            "schema_version = 1\n[[device]\n",
            "line 2, column 10: unclosed array table",
        ),
        ("schema_version = 1", "nothing is expected"),
        (
            "schema_version = 1\n[[device]]\nmatch = \"8086:1521\"\n  modle = \"x\"",
            "line 4, column 3: unknown field `modle`, expected one of `match`, `id`, `subsystem`, `model`, `firmware`",
        ),
        (
            "schema_version = 1\n[[device]]\nmatch = \"8086:1521\"\n[device.link]\nwide = 4",
            "line 5, column 1: unknown field `wide`, expected one of `speed`, `width`, `max_speed`, `max_width`",
        ),
        (
            "schema_version = 1\n[[device]]\nmatch = \"eth0\"",
            "line 3, column 9: 'eth0' is neither a vendor and device ID",
        ),
        (
            "schema_version = 1\n[[device]]\nmatch = \"8086:1521\"\nid = 8086",
            "line 4, column 6: invalid type: integer `8086`, expected a string",
        ),
        (
            "schema_version = 1\n[[device]]\nmatch = \"8086:1521\"\n[device.link]\nwidth = 300",
            "line 5, column 9: invalid value: integer `300`, expected u8",
        ),
        (
            "schema_version = 1\n[[device]]\nmatch = \"8086:1521\"\niommu = { mode = \"quick\" }",
            "line 4, column 18: unknown variant `quick`, expected one of `direct`, `strict`, `lazy`",
        ),
        (
            "schema_version = 1\n[[device]]\nmatch = \"8086:1521\"\nlatency = { map_ns = 5 }",
            "line 4, column 11: map_ns (above 0), unmap_ns and max_ratio_to_stored go together",
        ),
        (
            "schema_version = 1\n[[device]]\nmatch = \"8086:1521\"\nlatency = { max_ratio_to_first = -1 }",
            "line 4, column 11: a ratio is a number above 0",
        ),
        (
            "schema_version = 1\n[[device]]\nmatch = \"8086:1521\"\n[[device]]\nmatch = \"8086:1521\"",
            "two [[device]] sections have match = \"8086:1521\"",
        ),
        (
            "schema_version = 1\n[device]\nmatch = \"8086:1521\"",
            "line 2, column 1: invalid type: map, expected [[device]], in two",
        ),
    ];
    for (text, expected) in cases {
        let error = Manifest::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}\n{error}");
    }
}

#[test]
fn one_difference_makes_the_device_unfit() {
    let found = compared(DRIVE, "numa_node = 0", None);
    let checked = found.into_iter().map(|(id, judged)| Checked {
        id,
        device: Some(bdf(DRIVE)),
        backend: None,
        judged,
        kernel_log: vec![],
        seconds: 0.0,
    });
    assert_eq!(
        Fitness::of(&checked.collect::<Vec<_>>(), false),
        Fitness::Unfit
    );
}
