//! Holds what is expected against what was seen.

use std::fmt::{self, Display};

use super::latency::held_to;
use super::questions::Questions;
use super::{Expected, Id, Manifest, Observed, Place, Subject};
use crate::checks::doctor::Health;
use crate::checks::validate::{
    EXPECT_FIRMWARE, EXPECT_FUNCTIONS, EXPECT_IOMMU, EXPECT_ISOLATION, EXPECT_LATENCY, EXPECT_LINK,
    EXPECT_MODEL, EXPECT_NUMA, Item, Judged, MapLatency,
};
use crate::host::{IommuKind, PciDevice};
use crate::types::Bdf;

/// What a section of the file led to.
#[derive(Debug, Clone)]
pub struct Compared {
    /// The check.
    pub item: Item,
    /// The device; `None` for one that is not there.
    pub device: Option<Bdf>,
    /// What it found.
    pub judged: Judged,
}

/// Compares every device that was named. `all` are the host's devices; `latencies` is what was measured, `None` where the level asks for no
/// measurement.
#[must_use]
pub fn compare(
    manifest: &Manifest,
    observed: &[Observed],
    all: &[PciDevice],
    latencies: Option<&[MapLatency]>,
) -> Vec<Compared> {
    let mut compared = Vec::new();
    for seen in observed {
        let mut add = |item, judged: Option<Judged>| {
            compared.extend(judged.map(|judged| Compared {
                item,
                device: Some(seen.bdf),
                judged,
            }));
        };
        let Some(expected) = manifest.of(seen.bdf, seen.id) else {
            add(EXPECT_MODEL, Some(unknown(manifest, seen)));
            continue;
        };
        add(EXPECT_MODEL, model(expected, seen));
        add(EXPECT_FIRMWARE, firmware(expected, seen));
        add(EXPECT_LINK, link(expected, seen));
        add(EXPECT_FUNCTIONS, functions(expected, seen));
        add(EXPECT_ISOLATION, isolation(expected, seen));
        add(EXPECT_NUMA, numa(expected, seen));
        add(EXPECT_IOMMU, iommu(expected, seen));
        let latency = expected.latency.as_ref();
        add(
            EXPECT_LATENCY,
            latency.map(|it| held_to(it, seen, latencies)),
        );
    }
    for expected in &manifest.devices {
        let is_meant = |seen: &&Observed| {
            manifest.of(seen.bdf, seen.id).map(|it| it.subject) == Some(expected.subject)
        };
        if observed.iter().find(is_meant).is_none() {
            compared.push(Compared {
                item: EXPECT_MODEL,
                device: None,
                judged: not_named(expected.subject, all),
            });
        }
    }
    compared
}

fn unknown(manifest: &Manifest, seen: &Observed) -> Judged {
    let known = manifest.devices.iter().map(|it| it.subject.to_string());
    Judged::fail(
        format!(
            "{} is none of the devices that are expected: {}",
            Id::from(seen.id),
            known.collect::<Vec<_>>().join(", ")
        ),
        "put the right card there, or write a [[device]] section for this one",
    )
}

fn not_named(subject: Subject, all: &[PciDevice]) -> Judged {
    let is_there = all.iter().any(|device| match subject {
        Subject::Address(bdf) => device.bdf == bdf,
        Subject::Id(id) => Id::from(device.id) == id,
    });
    if is_there {
        return Judged::not_here(format!(
            "{subject} is there, and was not named to be checked"
        ));
    }
    Judged::fail(
        format!("{subject} is expected, and this host has no such device"),
        "look whether the card is in its slot, and whether the firmware has the slot switched on",
    )
}

fn attribute(seen: &Observed, name: &str) -> String {
    format!("/sys/bus/pci/devices/{}/{name}", seen.bdf)
}

fn model(expected: &Expected, seen: &Observed) -> Option<Judged> {
    let mut questions = Questions::default();
    questions.ask(
        "id",
        expected.id,
        Some(Id::from(seen.id)),
        attribute(seen, "modalias"),
        Id::eq,
    );
    let subsystem = seen.subsystem.map(Id::from);
    questions.ask(
        "subsystem",
        expected.subsystem,
        subsystem,
        attribute(seen, "modalias"),
        Id::eq,
    );
    let (name, source) = match &seen.model {
        Some(model) => (Some(model), attribute(seen, "nvme/*/model")),
        None => (seen.listed_name.as_ref(), "the list of PCI IDs".to_owned()),
    };
    questions.ask("model", expected.model.as_ref(), name, source, |a, b| {
        a == b
    });
    let judged = questions.judged(
        "put the expected card there; if this one is as good, write its IDs and name into the file",
    );
    judged.map(untold)
}

fn firmware(expected: &Expected, seen: &Observed) -> Option<Judged> {
    let mut questions = Questions::default();
    questions.ask(
        "firmware",
        expected.firmware.as_ref(),
        seen.firmware.as_ref(),
        attribute(seen, "{nvme/*/firmware_rev,infiniband/*/fw_ver}"),
        |a, b| a == b,
    );
    let judged = questions.judged(
        "bring the firmware to that version (fwupdmgr, nvme fw-download, or the maker's program); if this one is as good, write it into the file",
    );
    judged.map(untold)
}

/// What a device tells of itself is asked by its own driver.
fn untold(mut judged: Judged) -> Judged {
    if judged.verdict == Health::Skip {
        let remedy = "give the device back to its own driver first (iommu-tool unbind): only that one asks it; take out of the file what the \
                      device never tells";
        judged.remedy = Some(remedy.to_owned());
    }
    judged
}

fn link(expected: &Expected, seen: &Observed) -> Option<Judged> {
    let (asked, now) = (expected.link, seen.link.and_then(|link| link.now));
    let most = seen.link.map(|link| link.device);
    let mut questions = Questions::default();
    let mut speed = |key, asked: Option<f32>, found: Option<f32>, file: &str| {
        let found = found.map(|value| GigaTransfers("", value));
        questions.ask(
            key,
            asked.map(|value| GigaTransfers("at least ", value)),
            found,
            attribute(seen, file),
            |a, b| b.1 >= a.1,
        );
    };
    speed(
        "speed",
        asked.speed,
        now.map(|rate| rate.gigatransfers),
        "current_link_speed",
    );
    speed(
        "max_speed",
        asked.max_speed,
        most.map(|rate| rate.gigatransfers),
        "max_link_speed",
    );
    let mut width = |key, asked: Option<u8>, found: Option<u8>, file: &str| {
        let found = found.map(|value| Lanes("", value));
        questions.ask(
            key,
            asked.map(|value| Lanes("at least ", value)),
            found,
            attribute(seen, file),
            |a, b| b.1 >= a.1,
        );
    };
    width(
        "width",
        asked.width,
        now.map(|rate| rate.width),
        "current_link_width",
    );
    width(
        "max_width",
        asked.max_width,
        most.map(|rate| rate.width),
        "max_link_width",
    );
    questions.judged(
        "seat the card anew, and look which slot it is in and how the firmware has set that up (bifurcation, speed); many devices lower the \
         speed while they are idle: leave 'speed' out for those",
    )
}

struct GigaTransfers(&'static str, f32);

impl Display for GigaTransfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} GT/s", self.0, self.1)
    }
}

struct Lanes(&'static str, u8);

impl Display for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.0, self.1)
    }
}

fn functions(expected: &Expected, seen: &Observed) -> Option<Judged> {
    let asked = expected.functions;
    let mut questions = Questions::default();
    let total = Some(seen.total_functions);
    questions.ask(
        "total",
        asked.total,
        total,
        attribute(seen, "sriov_totalvfs"),
        u16::eq,
    );
    questions.ask(
        "wanted",
        asked.wanted,
        seen.functions,
        attribute(seen, "virtfn*"),
        u16::eq,
    );
    questions.judged(
        "switch SR-IOV on, with that many virtual functions, in the firmware's set-up or the card's own (as mlxconfig's NUM_OF_VFS); a --vfs \
         that asks for another number differs too",
    )
}

fn isolation(expected: &Expected, seen: &Observed) -> Option<Judged> {
    if !expected.isolated {
        return None;
    }
    if seen.places.is_empty() {
        return Some(Judged::skip("it did not come to the look at the groups"));
    }
    let shared: Vec<&Place> = seen
        .places
        .iter()
        .filter(|it| !it.neighbours.is_empty())
        .collect();
    if !shared.is_empty() {
        let lines = shared.iter().map(|it| {
            let group = it.group.map_or_else(String::new, |id| format!(" {id}"));
            format!(
                "{}: expected a group of its own, found group{group} with {}",
                it.bdf,
                it.neighbours.join(", ")
            )
        });
        let judged = Judged::fail(
            format!(
                "{} of {} share their IOMMU group with others, groups of their own are expected",
                shared.len(),
                seen.places.len()
            ),
            "compare the slot and the firmware's settings (ACS, SR-IOV, ARI) with those of the host that the file was made on; function.group \
             and function.acs name what opens the way",
        );
        return Some(judged.with_evidence(lines));
    }
    let without = seen.places.iter().filter(|it| it.group.is_none()).count();
    if without > 0 {
        return Some(Judged::skip(format!(
            "{without} of {} are in no IOMMU group",
            seen.places.len()
        )));
    }
    Some(Judged::pass(match seen.places.len() {
        1 => "a group of its own".to_owned(),
        count => format!("{count} functions, each in a group of its own"),
    }))
}

fn numa(expected: &Expected, seen: &Observed) -> Option<Judged> {
    let found = seen
        .numa_node
        .map_or_else(|| "none".to_owned(), |node| node.to_string());
    let mut questions = Questions::default();
    questions.ask(
        "numa_node",
        expected.numa_node,
        Some(found),
        attribute(seen, "numa_node"),
        |a, b| a.to_string() == *b,
    );
    questions.judged("put the card into a slot of that processor; 'none' means that the firmware does not say (ACPI _PXM): update it")
}

fn iommu(expected: &Expected, seen: &Observed) -> Option<Judged> {
    let asked = expected.iommu;
    let mut questions = Questions::default();
    let unit = |place: &Place| place.unit.map(kind_name);
    let (bdf, found) = odd_one(seen, unit, asked.unit.map(kind_name));
    questions.ask(
        "unit",
        asked.unit.map(kind_name),
        found,
        format!("/sys/bus/pci/devices/{bdf}/iommu"),
        |a, b| a == b,
    );
    let mode = |place: &Place| place.mode.map(super::Mode::name);
    let (bdf, found) = odd_one(seen, mode, asked.mode.map(super::Mode::name));
    questions.ask(
        "mode",
        asked.mode.map(super::Mode::name),
        found,
        format!("/sys/bus/pci/devices/{bdf}/iommu_group/type"),
        |a, b| a == b,
    );
    questions.judged(
        "start the kernel with the settings of the host that the file was made on: iommu.passthrough=1 is direct; with iommu.passthrough=0, \
         iommu.strict=1 is strict and iommu.strict=0 lazy",
    )
}

/// The first place that is not as expected, or else the first one, and what was found there.
fn odd_one<T: PartialEq + Copy>(
    seen: &Observed,
    of: impl Fn(&Place) -> Option<T>,
    expected: Option<T>,
) -> (Bdf, Option<T>) {
    let odd = seen.places.iter().find(|place| of(place) != expected);
    match odd.or(seen.places.first()) {
        Some(place) => (place.bdf, of(place)),
        None => (seen.bdf, None),
    }
}

/// As in the file.
pub(super) fn kind_name(kind: IommuKind) -> &'static str {
    match kind {
        IommuKind::Vtd => "vtd",
        IommuKind::AmdVi => "amd-vi",
        IommuKind::SmmuV3 => "smmu-v3",
        IommuKind::Smmu => "smmu",
        IommuKind::Virtio => "virtio",
        IommuKind::Other => "other",
    }
}
