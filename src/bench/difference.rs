//! What can make two records differ beside the program: the host, its settings, the device.

use serde::Serialize;

use super::environment::{Environment, MeasuredDevice, MeasuredIommu, MeasuredSpace};
use super::record::Record;
use crate::types::{Backend, Size};

/// By how much a bare reading of the clock may differ before it says something about the processor.
const CLOCK_VARIES: f64 = 1.2;

/// One thing that is not the same in two records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is, as `kernel`.
    pub field: String,
    /// What it was in the first record.
    pub before: String,
    /// What it is in the second.
    pub after: String,
}

/// Everything that differs and can change times. What differs by chance alone is left out, as the load or the time.
pub(super) fn differences(before: &Record, after: &Record) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut push = |field: String, before: String, after: String| {
        if before != after {
            found.push(Difference {
                field,
                before,
                after,
            });
        }
    };
    for (field, value) in FIELDS {
        push(
            (*field).to_owned(),
            value(&before.environment),
            value(&after.environment),
        );
    }
    let (a, b) = (&before.environment, &after.environment);
    push(
        "kernel parameters".to_owned(),
        without(&a.kernel_parameters, &b.kernel_parameters),
        without(&b.kernel_parameters, &a.kernel_parameters),
    );
    for backend in [Backend::Type1, Backend::Iommufd] {
        let spaces = (space(a, backend), space(b, backend));
        if let (Some(one), Some(other)) = spaces {
            push(
                format!("page sizes of {backend}"),
                sizes(&one.page_sizes),
                sizes(&other.page_sizes),
            );
        }
    }
    let (one, other) = (before.method.clock, after.method.clock);
    if one > 0.0 && other > 0.0 && !(1.0 / CLOCK_VARIES..=CLOCK_VARIES).contains(&(other / one)) {
        // It does nothing with the IOMMU: if it changed, then the processor did.
        push(
            "reading the clock".to_owned(),
            format!("{one:.0} ns"),
            format!("{other:.0} ns"),
        );
    }
    let end = |record: &Record| {
        if record.complete {
            "complete"
        } else {
            "interrupted"
        }
        .to_owned()
    };
    push("run".to_owned(), end(before), end(after));
    found
}

/// A field of the environment: its name, and its value as a person reads it.
type Field = (&'static str, fn(&Environment) -> String);

const FIELDS: &[Field] = &[
    ("iommu-tool", |host| host.version.clone()),
    ("kernel", |host| known(host.kernel.as_ref())),
    ("processor", |host| known(host.processor.as_ref())),
    ("processors", |host| host.processors.to_string()),
    ("NUMA node of the processor", |host| known(host.node)),
    ("scaling governor", |host| known(host.governor.as_ref())),
    ("clock source", |host| known(host.clock_source.as_ref())),
    ("virtual machine", |host| yes_no(host.virtual_machine)),
    ("transparent huge pages", |host| {
        known(host.transparent_huge_pages.as_ref())
    }),
    ("reserved huge pages", |host| {
        let reserves = host.huge_pages.iter().filter(|reserve| reserve.total > 0);
        list(reserves.map(|reserve| format!("{} of {}", reserve.total, size(reserve.size))))
    }),
    ("limit on locked memory", |host| {
        host.locked_memory.map_or_else(|| "none".to_owned(), size)
    }),
    ("devices", |host| {
        list(host.devices.iter().map(|device| device.bdf.to_string()))
    }),
    ("device", |host| of_device(host, |device| device.id.clone())),
    ("driver", |host| {
        of_device(host, |device| known(device.driver.as_ref()))
    }),
    ("NUMA node of the device", |host| {
        of_device(host, |device| known(device.node))
    }),
    ("type of the default domain", |host| {
        of_device(host, |device| known(device.domain.as_ref()))
    }),
    ("IOMMU", |host| {
        of_iommu(host, |iommu| iommu.kind.to_string())
    }),
    ("version of the IOMMU", |host| {
        of_iommu(host, |iommu| known(iommu.version.as_ref()))
    }),
    ("address width of the IOMMU", |host| {
        of_iommu(host, |iommu| known(iommu.address_width))
    }),
    ("page sizes of the IOMMU", |host| {
        of_iommu(host, |iommu| sizes(&iommu.page_sizes))
    }),
    ("features of the IOMMU", |host| {
        of_iommu(host, |iommu| list(iommu.features.iter().cloned()))
    }),
];

fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn list(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.collect();
    if values.is_empty() {
        "none".to_owned()
    } else {
        values.join(", ")
    }
}

fn size(bytes: u64) -> String {
    Size::new(bytes).map_or_else(|| "0".to_owned(), |size| size.to_string())
}

fn sizes(bytes: &[u64]) -> String {
    list(bytes.iter().map(|bytes| size(*bytes)))
}

fn of_device(host: &Environment, value: fn(&MeasuredDevice) -> String) -> String {
    host.devices
        .first()
        .map_or_else(|| "none".to_owned(), value)
}

fn of_iommu(host: &Environment, value: fn(&MeasuredIommu) -> String) -> String {
    let iommu = host
        .devices
        .first()
        .and_then(|device| device.iommu.as_ref());
    iommu.map_or_else(|| "none".to_owned(), value)
}

fn space(host: &Environment, backend: Backend) -> Option<&MeasuredSpace> {
    host.spaces.iter().find(|space| space.backend == backend)
}

/// Those that the other list does not have.
fn without(these: &[String], others: &[String]) -> String {
    list(these.iter().filter(|own| !others.contains(own)).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::example::record;

    #[test]
    fn the_same_host_has_no_differences_whatever_its_load() {
        let before = record(0);
        let mut after = record(1);
        after.environment.load = Some(7.0);
        after.environment.huge_pages[0].free = 3;
        after.method.started += 3600;
        after.method.clock *= 1.1;
        assert_eq!(differences(&before, &after), []);
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let before = record(0);
        let mut after = record(0);
        after.complete = false;
        after.method.clock = 30.0;
        let host = &mut after.environment;
        host.version = "0.2.0".to_owned();
        host.kernel = None;
        host.governor = Some("powersave".to_owned());
        host.kernel_parameters.push("iommu.strict=0".to_owned());
        host.huge_pages.clear();
        host.spaces[1].page_sizes.truncate(1);
        host.devices[0].domain = Some("DMA".to_owned());
        host.devices[0].iommu.as_mut().unwrap().features.clear();

        let found: Vec<String> = differences(&before, &after)
            .iter()
            .map(|one| format!("{}: {} -> {}", one.field, one.before, one.after))
            .collect();

        assert_eq!(
            found,
            [
                "iommu-tool: 0.1.0 -> 0.2.0",
                "kernel: 7.2.12 -> unknown",
                "scaling governor: performance -> powersave",
                "reserved huge pages: 128 of 2M -> none",
                "type of the default domain: DMA-FQ -> DMA",
                "features of the IOMMU: queued invalidation -> none",
                "kernel parameters: none -> iommu.strict=0",
                "page sizes of iommufd: 4K, 2M, 1G -> 4K",
                "reading the clock: 21 ns -> 30 ns",
                "run: complete -> interrupted",
            ]
        );
    }
}
