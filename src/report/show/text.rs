//! The form for people: rows under short headings.

use std::io::{self, Write};

use super::{Messages, OpenedDevice, Region, ShowReport, Step, VirtualFunctions};
use crate::report::Style;
use crate::types::Size;

/// Rows under a heading, each a label and its text.
struct Section {
    heading: &'static str,
    rows: Vec<(&'static str, String)>,
}

impl Section {
    fn new(heading: &'static str) -> Self {
        Self {
            heading,
            rows: Vec::new(),
        }
    }

    fn row(mut self, label: &'static str, text: impl Into<String>) -> Self {
        self.rows.push((label, text.into()));
        self
    }

    fn maybe(self, label: &'static str, text: Option<String>) -> Self {
        match text {
            Some(text) => self.row(label, text),
            None => self,
        }
    }

    /// Rows that share a label, which stands before the first.
    fn list(mut self, label: &'static str, lines: impl IntoIterator<Item = String>) -> Self {
        for (place, line) in lines.into_iter().enumerate() {
            self.rows.push((if place == 0 { label } else { "" }, line));
        }
        self
    }
}

/// Writes all sections.
pub fn write(report: &ShowReport, out: &mut dyn Write, style: Style) -> io::Result<()> {
    let title = report.device.bdf.to_string();
    writeln!(
        out,
        "{}  {}",
        style.heading(&title),
        report.device.description()
    )?;
    for section in sections(report) {
        if section.rows.is_empty() {
            continue;
        }
        writeln!(out, "\n{}", style.heading(section.heading))?;
        for (label, text) in &section.rows {
            writeln!(out, "  {:<13} {text}", style.faint(label))?;
        }
    }
    Ok(())
}

fn sections(report: &ShowReport) -> Vec<Section> {
    vec![
        device(report),
        iommu(report),
        isolation(report),
        regions(report),
        interrupts(report),
        resets(report),
        virtual_functions(report),
        translation_services(report),
        vfio(report),
    ]
}

fn device(report: &ShowReport) -> Section {
    let numa = match (&report.numa.node, &report.numa.cpus) {
        (Some(node), Some(cpus)) => Some(format!("node {node}, CPUs {cpus}")),
        (Some(node), None) => Some(format!("node {node}")),
        (None, Some(cpus)) => Some(format!("the firmware names no node; CPUs {cpus}")),
        (None, None) => None,
    };
    let known = |modules: &[String]| (!modules.is_empty()).then(|| modules.join(", "));
    Section::new("Device")
        .row("IDs", report.device.identity())
        .maybe(
            "Names",
            Some(report.device.names()).filter(|names| !names.is_empty()),
        )
        .row("Driver", report.driver.current.as_deref().unwrap_or("none"))
        .maybe("Known to", known(&report.driver.host_modules))
        .maybe(
            "VFIO variant",
            known(&report.driver.vfio_modules)
                .map(|modules| format!("{modules} (does more than vfio-pci for this device)")),
        )
        .list(
            "In use",
            report
                .in_use
                .iter()
                .map(|one| format!("{} ({})", one.evidence, one.reason)),
        )
        .maybe("Place", report.place.clone())
        .maybe("Kind", report.port.map(str::to_owned))
        .maybe("NUMA", numa)
        .maybe("Link", report.link.as_ref().map(|link| link.words.clone()))
        .maybe(
            "Hidden",
            report.configuration_space.hidden.map(str::to_owned),
        )
}

fn iommu(report: &ShowReport) -> Section {
    let mut section = Section::new("IOMMU");
    match &report.iommu {
        Some(unit) => {
            let mut words = vec![format!("{}, {}", unit.name, unit.kind)];
            words.extend(unit.version.clone());
            section = section.row("Unit", words.join(" "));
            let mut limits = Vec::new();
            limits.extend(unit.address_width.map(|bits| format!("{bits}-bit IOVAs")));
            if !unit.page_sizes.is_empty() {
                limits.push(format!("pages of {}", sizes(&unit.page_sizes)));
            }
            if let (Some(least), Some(most)) = (unit.levels.first(), unit.levels.last()) {
                limits.push(if least == most {
                    format!("page tables of {least} levels")
                } else {
                    format!("page tables of {least} to {most} levels")
                });
            }
            section = if limits.is_empty() {
                section.row("Limits", "its driver does not tell; an opened device does")
            } else {
                section.row("Limits", limits.join(", "))
            };
            if !unit.features.is_empty() {
                section = section.row("Can do", unit.features.join(", "));
            }
        }
        None if report.group.is_some() => {
            section = section.row("Unit", "its driver does not tell which");
        }
        None => {}
    }
    let domain = report
        .domain
        .as_ref()
        .map(|domain| format!("{}: {}", domain.kind, domain.meaning));
    let Some(group) = &report.group else {
        return section.row("Group", "none: no IOMMU translates for this device");
    };
    let others = group
        .devices
        .iter()
        .filter(|device| device.bdf != report.device.bdf)
        .map(|device| {
            format!(
                "{} {} {}, {}",
                device.bdf,
                device.ids(),
                device.driver(),
                device.description()
            )
        })
        .chain(group.other_devices.iter().map(|other| {
            let driver = other.driver.as_deref().unwrap_or("-");
            format!("{} {driver}, not a PCI device", other.name)
        }));
    section
        .maybe("Domain", domain)
        .row("Group", format!("{}, {}", group.group, group.state()))
        .list("Shared with", others)
        .list(
            "Reserved",
            group.reserved_regions.iter().map(ToString::to_string),
        )
}

fn isolation(report: &ShowReport) -> Section {
    let step = |step: &Step| {
        let acs = match (&step.acs_enabled, &step.acs_supported) {
            (Some(enabled), Some(supported)) => {
                format!("; ACS on: {}, has: {}", join(enabled), join(supported))
            }
            _ => String::new(),
        };
        let port = step
            .port
            .map(|port| format!("{port}, "))
            .unwrap_or_default();
        format!("{} {port}{}{acs}", step.bdf, step.effect)
    };
    Section::new("Isolation")
        .row("Result", report.isolation.summary.clone())
        .list("Path up", report.isolation.path.iter().map(step))
}

fn regions(report: &ShowReport) -> Section {
    Section::new("Regions").list("BARs", report.regions.iter().map(region))
}

fn region(region: &Region) -> String {
    let place = match region.start {
        Some(start) => format!("at {start}"),
        None => "without an address".to_owned(),
    };
    let number = match region.index {
        6 => "ROM".to_owned(),
        index => format!("{index}: {}", region.kind),
    };
    let prefetchable = if region.prefetchable && region.index < 6 {
        ", prefetchable"
    } else {
        ""
    };
    format!("{number}, {}{prefetchable}, {place}", size(region.size))
}

fn interrupts(report: &ShowReport) -> Section {
    let interrupts = &report.interrupts;
    let messages = |messages: &Messages| {
        let state = if messages.enabled { "on" } else { "off" };
        let table = match (messages.table_bar, messages.table_offset) {
            (Some(bar), Some(offset)) => format!(", table in BAR {bar} at {offset:#x}"),
            _ => String::new(),
        };
        format!("up to {}, {state}{table}", messages.vectors)
    };
    Section::new("Interrupts")
        .maybe("Pin", interrupts.pin.map(|pin| format!("INT{pin}")))
        .maybe("MSI", interrupts.msi.as_ref().map(messages))
        .maybe("MSI-X", interrupts.msi_x.as_ref().map(messages))
        .maybe(
            "In use",
            (interrupts.in_use > 0).then(|| interrupts.in_use.to_string()),
        )
}

fn resets(report: &ShowReport) -> Section {
    let resets = &report.resets;
    let section = Section::new("Resets");
    let section = match &resets.methods {
        Some(methods) => section.list(
            "Methods",
            methods
                .iter()
                .map(|method| format!("{}: {}", method.name, method.meaning)),
        ),
        None if resets.function_level_reset => section.row(
            "Methods",
            "function-level reset; the kernel does not tell which it would use",
        ),
        None => section.row(
            "Methods",
            "none that the kernel tells of: the device keeps its state from one user to the next",
        ),
    };
    let companions = match &resets.bus_reset_takes_along {
        None => "not possible: no bridge above the device".to_owned(),
        Some(companions) if companions.is_empty() => "resets this device only".to_owned(),
        Some(companions) => format!("takes along {}", join(companions)),
    };
    section.row("Bus reset", companions)
}

fn virtual_functions(report: &ShowReport) -> Section {
    let section = Section::new("SR-IOV");
    if let Some(physical) = report.physical_function {
        return section.row("Belongs to", format!("physical function {physical}"));
    }
    let Some(functions) = &report.sriov else {
        return section;
    };
    let VirtualFunctions {
        total,
        active,
        offset: Some(offset),
        stride: Some(stride),
        ..
    } = functions
    else {
        return section.row(
            "Functions",
            format!("{} of {}", functions.active.len(), functions.total),
        );
    };
    let autoprobe = match functions.autoprobe {
        Some(true) => Some("the host's drivers take new functions at once".to_owned()),
        Some(false) => Some("new functions stay without a driver".to_owned()),
        None => None,
    };
    let section = section
        .row("Functions", format!("{} of {total}", active.len()))
        .list("", active.chunks(6).map(join))
        .maybe("Device ID", functions.device_id.clone())
        .row(
            "Routing IDs",
            format!("first offset {offset}, stride {stride}"),
        )
        .maybe("Autoprobe", autoprobe);
    match &functions.regions {
        None => section,
        Some(_) if functions.lacks_space => section.row(
            "BARs of a VF",
            "no address space was found for them, so no functions can be made",
        ),
        Some(regions) => section.list("BARs of a VF", regions.iter().map(region)),
    }
}

fn translation_services(report: &ShowReport) -> Section {
    let state = |enabled| if enabled { "on" } else { "off" };
    Section::new("Translation by the device")
        .maybe(
            "ATS",
            report.ats.as_ref().map(|ats| {
                format!(
                    "{}, queues {} invalidations; while on, the device's word is trusted for what is translated",
                    state(ats.enabled),
                    ats.queue_depth
                )
            }),
        )
        .maybe(
            "PRI",
            report.pri.as_ref().map(|pri| {
                format!("{}, up to {} page requests", state(pri.enabled), pri.capacity)
            }),
        )
        .maybe(
            "PASID",
            report
                .pasid
                .as_ref()
                .map(|pasid| format!("{}, {} bits", state(pasid.enabled), pasid.width)),
        )
        .maybe(
            "ARI",
            report
                .alternative_routing_ids
                .then(|| "up to 256 functions".to_owned()),
        )
}

fn vfio(report: &ShowReport) -> Section {
    let vfio = &report.vfio;
    let nodes: Vec<String> = [&vfio.group_node, &vfio.device_node]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    let holders = vfio.holders.iter().map(|process| {
        format!(
            "{} (process {}) through {}",
            process.command, process.pid, process.node
        )
    });
    let section = Section::new("VFIO")
        .maybe("Nodes", (!nodes.is_empty()).then(|| nodes.join(", ")))
        .list("Held by", holders);
    match (&vfio.opened, &vfio.not_opened) {
        (Some(device), _) => opened(section, device),
        (None, Some(reason)) => section.row(
            "Not opened",
            format!("{reason}. IOVA ranges and what VFIO offers of the device are not known"),
        ),
        (None, None) => section,
    }
}

fn opened(section: Section, device: &OpenedDevice) -> Section {
    let regions = device.regions.iter().map(|region| {
        let name = match region.index {
            index @ 0..=5 => format!("BAR {index}"),
            6 => "ROM".to_owned(),
            7 => "configuration space".to_owned(),
            index => format!("region {index}"),
        };
        let access = match (region.readable, region.writable) {
            (true, true) => "read and write",
            (true, false) => "read",
            (false, true) => "write",
            (false, false) => "no access",
        };
        let mapping = match region.mappable {
            0 => String::new(),
            all if all == region.size => ", mappable".to_owned(),
            part => format!(", {} of it mappable", size(part)),
        };
        format!("{name}: {}, {access}{mapping}", size(region.size))
    });
    let interrupts: Vec<String> = device
        .interrupts
        .iter()
        .map(|interrupts| format!("{} {}", interrupts.count, interrupts.kind))
        .collect();
    let mut pages = sizes(&device.page_sizes);
    if device.page_sizes.len() == 1 {
        pages += " and larger: this interface tells only the smallest";
    }
    let entries = device
        .entries_left
        .map_or_else(|| "no limit".to_owned(), |count| format!("{count} left"));
    section
        .row("Opened by", device.backend.clone())
        .list(
            "IOVAs",
            device
                .iova_ranges
                .iter()
                .map(|range| format!("{}-{}", range.start(), range.last())),
        )
        .row("Pages", pages)
        .row("Mappings", entries)
        .list("Regions", regions)
        .row("Interrupts", interrupts.join(", "))
        .row("Reset", if device.resettable { "yes" } else { "no" })
}

/// A size as a user would write it.
fn size(bytes: u64) -> String {
    Size::new(bytes).map_or_else(|| "0".to_owned(), |size| size.to_string())
}

fn sizes(all: &[u64]) -> String {
    let all: Vec<String> = all.iter().map(|bytes| size(*bytes)).collect();
    all.join(" ")
}

fn join<T: ToString>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(" ")
}
