//! The manifest of a host as it is.

use std::fmt::Write as _;

use super::compare::kind_name;
use super::{Id, Mode, Observed, Place, SCHEMA_VERSION};
use crate::checks::validate::MapLatency;

/// How many times as long as now mapping may take: processors change their frequency.
const RATIO_TO_STORED: f64 = 2.0;
/// How many times as long as for the first function it may take for the others; as the check that needs no file has it.
const RATIO_TO_FIRST: f64 = 1.5;

/// The text of a manifest that these devices agree with.
#[must_use]
pub fn written(observed: &[Observed], latencies: &[MapLatency]) -> String {
    let mut text = format!(
        "# What 'iommu-tool validate --expect' holds devices against, written from a host that was found fit.\n\
         # Only what stands here is checked: take out what may differ.\n\
         schema_version = {SCHEMA_VERSION}\n"
    );
    for seen in observed {
        let is_alone = observed
            .iter()
            .filter(|other| Id::from(other.id) == Id::from(seen.id))
            .count()
            == 1;
        device(&mut text, seen, is_alone, latencies);
    }
    text
}

/// Adds lines; writing to a string cannot fail.
macro_rules! line {
    ($text:expr, $($format:tt)*) => {
        let _ = writeln!($text, $($format)*);
    };
}

fn device(text: &mut String, seen: &Observed, is_alone: bool, latencies: &[MapLatency]) {
    let id = Id::from(seen.id);
    line!(text, "\n[[device]]");
    if is_alone {
        line!(
            text,
            "match = \"{id}\" # every device with these IDs; an address, as \"{}\", means one",
            seen.bdf
        );
    } else {
        line!(
            text,
            "match = \"{}\" # the device at this address; IDs, as \"{id}\", mean every device that has them",
            seen.bdf
        );
        line!(text, "id = \"{id}\"");
    }
    if let Some(subsystem) = seen.subsystem {
        line!(text, "subsystem = \"{}\" # the card", Id::from(subsystem));
    }
    match (&seen.model, &seen.listed_name) {
        (Some(model), _) => {
            line!(text, "model = {}", quoted(model));
        }
        (None, Some(name)) => {
            line!(
                text,
                "# model = {}, by the list of PCI IDs: that differs between systems",
                quoted(name)
            );
        }
        (None, None) => {}
    }
    match &seen.firmware {
        Some(firmware) => {
            line!(text, "firmware = {}", quoted(firmware));
        }
        None => {
            line!(text, "# firmware: this device does not tell it in sysfs");
        }
    }
    if let Some(node) = seen.numa_node {
        line!(text, "numa_node = {node}");
    }
    if seen
        .places
        .iter()
        .all(|place| place.group.is_some() && place.neighbours.is_empty())
    {
        line!(
            text,
            "isolated = true # each function has an IOMMU group of its own"
        );
    }
    link(text, seen);
    if seen.total_functions > 0 {
        line!(text, "\n[device.functions]");
        line!(
            text,
            "total = {} # the most that it can have",
            seen.total_functions
        );
        if let Some(count) = seen.functions {
            line!(
                text,
                "wanted = {count} # there while it is checked; as many are made unless --vfs says otherwise"
            );
        }
    }
    iommu(text, seen);
    latency(text, seen, latencies);
}

fn link(text: &mut String, seen: &Observed) {
    let Some(link) = seen.link else { return };
    line!(text, "\n[device.link] # at least: GT/s and lanes");
    if let Some(now) = link.now {
        line!(text, "speed = {:?}", now.gigatransfers);
        line!(text, "width = {}", now.width);
    }
    line!(text, "max_speed = {:?}", link.device.gigatransfers);
    line!(text, "max_width = {}", link.device.width);
}

fn iommu(text: &mut String, seen: &Observed) {
    let unit = seen.places.first().and_then(|place| place.unit);
    let mode = seen.places.first().and_then(|place| place.mode);
    let same = |as_first: fn(&Place, &Place) -> bool| {
        let first = seen.places.first();
        first.is_some_and(|first| seen.places.iter().all(|place| as_first(place, first)))
    };
    let unit = unit.filter(|_| same(|a, b| a.unit == b.unit));
    let mode = mode.filter(|_| same(|a, b| a.mode == b.mode));
    if unit.is_none() && mode.is_none() {
        return;
    }
    line!(text, "\n[device.iommu]");
    if let Some(unit) = unit {
        line!(text, "unit = \"{}\"", kind_name(unit));
    }
    if let Some(mode) = mode {
        line!(
            text,
            "mode = \"{}\" # for the host's own drivers: direct, strict or lazy",
            Mode::name(mode)
        );
    }
}

fn latency(text: &mut String, seen: &Observed, latencies: &[MapLatency]) {
    let own = |one: &&MapLatency| seen.places.iter().any(|place| place.bdf == one.bdf);
    let Some(first) = latencies.iter().find(own) else {
        return;
    };
    line!(text, "\n[device.latency]");
    line!(
        text,
        "map_ns = {} # medians of the first function, 64 KiB at a time",
        first.map_ns
    );
    line!(text, "unmap_ns = {}", first.unmap_ns);
    line!(
        text,
        "max_ratio_to_stored = {RATIO_TO_STORED:?} # the first function may take so many times as long"
    );
    line!(
        text,
        "max_ratio_to_first = {RATIO_TO_FIRST:?} # each other one so many times as long as the first"
    );
}

/// A basic string of TOML. JSON's escapes are among its own; DEL needs one here only.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.replace('\u{7f}', "\\u007f")
}
