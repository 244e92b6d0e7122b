//! Everything about one device.

mod text;

use serde::Serialize;
use std::io::{self, Write};

use super::group::{Device, Group};
use super::{Report, Style};
use crate::host::{
    Acs, Bar, DeviceProfile, Effect, IommuUnit, IsolationStep, KernelNames, Link, LinkRate,
    PciNames, Reach, ResetMethod, Sriov, Use,
};
use crate::types::{Bdf, Iova, IovaRange};

/// What `show` found.
#[derive(Debug, Serialize)]
pub struct ShowReport {
    device: Device,
    place: Option<String>,
    port: Option<&'static str>,
    configuration_space: ConfigurationSpace,
    group: Option<Group>,
    iommu: Option<Unit>,
    /// How the host's own drivers are translated.
    domain: Option<Domain>,
    isolation: Isolation,
    numa: Numa,
    link: Option<LinkState>,
    regions: Vec<Region>,
    interrupts: Interrupts,
    resets: Resets,
    sriov: Option<VirtualFunctions>,
    physical_function: Option<Bdf>,
    alternative_routing_ids: bool,
    ats: Option<Ats>,
    pri: Option<Pri>,
    pasid: Option<Pasid>,
    driver: Drivers,
    /// What the host itself uses it for; each name is a reason that `bind --allow` takes.
    in_use: Vec<Use>,
    vfio: Vfio,
}

/// What only an opened device tells.
#[derive(Debug, Serialize)]
pub struct OpenedDevice {
    /// The kernel interface that it was opened with.
    pub backend: String,
    /// The IOVAs that can be mapped.
    pub iova_ranges: Vec<IovaRange>,
    /// The pages that can be mapped, in bytes; iommufd tells only the smallest.
    pub page_sizes: Vec<u64>,
    /// How many more mappings the kernel lets in; `None` where it sets no limit.
    pub entries_left: Option<u32>,
    /// What user space can do with the regions.
    pub regions: Vec<OpenedRegion>,
    /// How many interrupts of each kind it can be given.
    pub interrupts: Vec<OpenedInterrupts>,
    /// Whether VFIO can reset it.
    pub resettable: bool,
}

/// A region of an opened device.
#[derive(Debug, Serialize)]
pub struct OpenedRegion {
    /// VFIO's index: 0 to 5 the BARs, 6 the ROM, 7 the configuration space.
    pub index: u32,
    /// In bytes.
    pub size: u64,
    /// Whether it can be read.
    pub readable: bool,
    /// Whether it can be written.
    pub writable: bool,
    /// The bytes of it that can be mapped.
    pub mappable: u64,
}

/// Interrupts of an opened device.
#[derive(Debug, Serialize)]
pub struct OpenedInterrupts {
    /// The kind, as `MSI-X`.
    pub kind: String,
    /// How many.
    pub count: u32,
}

#[derive(Debug, Serialize)]
struct ConfigurationSpace {
    visible: &'static str,
    /// What this user does not see, and why.
    hidden: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Unit {
    name: String,
    kind: &'static str,
    version: Option<String>,
    address_width: Option<u8>,
    page_sizes: Vec<u64>,
    levels: Vec<u8>,
    features: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Domain {
    #[serde(rename = "type")]
    kind: String,
    translated: Option<bool>,
    meaning: &'static str,
}

#[derive(Debug, Serialize)]
struct Isolation {
    /// Whether no other device, but for bridges on its way, is in its group.
    alone: Option<bool>,
    summary: String,
    path: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    bdf: Bdf,
    port: Option<&'static str>,
    acs_supported: Option<Vec<&'static str>>,
    acs_enabled: Option<Vec<&'static str>>,
    /// Whether requests can get past the IOMMU here.
    open: Option<bool>,
    effect: String,
}

#[derive(Debug, Serialize)]
struct Numa {
    node: Option<u32>,
    cpus: Option<String>,
}

#[derive(Debug, Serialize)]
struct Rate {
    gigatransfers_per_second: f32,
    width: u8,
}

#[derive(Debug, Serialize)]
struct LinkState {
    now: Option<Rate>,
    device_best: Rate,
    port_best: Option<Rate>,
    degraded: bool,
    limited_by_port: bool,
    #[serde(skip)]
    words: String,
}

#[derive(Debug, Serialize)]
struct Region {
    index: u8,
    kind: &'static str,
    prefetchable: bool,
    start: Option<Iova>,
    size: u64,
}

#[derive(Debug, Serialize)]
struct Interrupts {
    pin: Option<char>,
    msi: Option<Messages>,
    msi_x: Option<Messages>,
    in_use: usize,
}

#[derive(Debug, Serialize)]
struct Messages {
    vectors: u16,
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    table_bar: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table_offset: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Resets {
    methods: Option<Vec<Method>>,
    function_level_reset: bool,
    bus_reset_takes_along: Option<Vec<Bdf>>,
}

#[derive(Debug, Serialize)]
struct Method {
    name: String,
    meaning: &'static str,
}

#[derive(Debug, Serialize)]
struct VirtualFunctions {
    total: u16,
    active: Vec<Bdf>,
    offset: Option<u16>,
    stride: Option<u16>,
    device_id: Option<String>,
    autoprobe: Option<bool>,
    regions: Option<Vec<Region>>,
    lacks_space: bool,
}

#[derive(Debug, Serialize)]
struct Ats {
    enabled: bool,
    queue_depth: u8,
}

#[derive(Debug, Serialize)]
struct Pri {
    enabled: bool,
    capacity: u32,
}

#[derive(Debug, Serialize)]
struct Pasid {
    enabled: bool,
    width: u8,
    execute: bool,
    privileged: bool,
}

#[derive(Debug, Serialize)]
struct Drivers {
    current: Option<String>,
    host_modules: Vec<String>,
    /// Variants of vfio-pci for this device.
    vfio_modules: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Vfio {
    group_node: Option<String>,
    device_node: Option<String>,
    holders: Vec<Process>,
    opened: Option<OpenedDevice>,
    /// Why it was not opened, so that what only an opened device tells is missing.
    not_opened: Option<String>,
}

#[derive(Debug, Serialize)]
struct Process {
    pid: u32,
    command: String,
    node: String,
}

impl ShowReport {
    /// From what the host says, and what the opened device told or why it was not opened.
    #[must_use]
    pub fn new(
        profile: &DeviceProfile,
        names: &PciNames,
        kernel_names: &KernelNames,
        opened: Result<OpenedDevice, String>,
    ) -> Self {
        let (opened, not_opened) = match opened {
            Ok(opened) => (Some(opened), None),
            Err(reason) => (None, Some(reason)),
        };
        let domain = profile
            .group
            .as_ref()
            .and_then(|group| group.domain.clone());
        Self {
            device: Device::new(&profile.device, names, kernel_names),
            place: profile.place.clone(),
            port: profile.port.map(|port| port.in_words()),
            configuration_space: ConfigurationSpace::new(profile.reach),
            group: profile
                .group
                .as_ref()
                .map(|group| Group::new(group, names, kernel_names)),
            iommu: profile.unit.as_ref().map(Unit::from),
            domain: domain.map(Domain::new),
            isolation: Isolation::new(profile),
            numa: Numa {
                node: profile.device.numa_node,
                cpus: profile.near_cpus.clone(),
            },
            link: profile.link.as_ref().map(LinkState::from),
            regions: profile.bars.iter().map(Region::from).collect(),
            interrupts: Interrupts {
                pin: profile.interrupt_pin,
                msi: profile.msi.map(|msi| Messages {
                    vectors: msi.vectors,
                    enabled: msi.enabled,
                    table_bar: None,
                    table_offset: None,
                }),
                msi_x: profile.msi_x.map(|msi_x| Messages {
                    vectors: msi_x.vectors,
                    enabled: msi_x.enabled,
                    table_bar: Some(msi_x.table_bar),
                    table_offset: Some(msi_x.table_offset),
                }),
                in_use: profile.interrupts_in_use,
            },
            resets: Resets {
                methods: profile
                    .reset_methods
                    .as_ref()
                    .map(|methods| methods.iter().map(Method::from).collect()),
                function_level_reset: profile.function_level_reset,
                bus_reset_takes_along: profile.bus_companions.clone(),
            },
            sriov: profile.sriov.as_ref().map(VirtualFunctions::from),
            physical_function: profile.physical_function,
            alternative_routing_ids: profile.ari,
            ats: profile.ats.map(|ats| Ats {
                enabled: ats.enabled,
                queue_depth: ats.queue_depth,
            }),
            pri: profile.pri.map(|pri| Pri {
                enabled: pri.enabled,
                capacity: pri.capacity,
            }),
            pasid: profile.pasid.map(|pasid| Pasid {
                enabled: pasid.enabled,
                width: pasid.width,
                execute: pasid.execute,
                privileged: pasid.privileged,
            }),
            driver: Drivers {
                current: profile.device.driver.clone(),
                host_modules: profile.modules.host.clone(),
                vfio_modules: profile.modules.vfio.clone(),
            },
            in_use: profile.uses.clone(),
            vfio: Vfio {
                group_node: profile
                    .group_node
                    .as_ref()
                    .map(|node| node.display().to_string()),
                device_node: profile
                    .node
                    .cdev
                    .as_ref()
                    .map(|node| node.display().to_string()),
                holders: profile
                    .holders
                    .iter()
                    .map(|holder| Process {
                        pid: holder.pid,
                        command: holder.command.clone(),
                        node: holder.node.display().to_string(),
                    })
                    .collect(),
                opened,
                not_opened,
            },
        }
    }
}

impl ConfigurationSpace {
    fn new(reach: Reach) -> Self {
        let (visible, hidden) = match reach {
            Reach::Nothing => (
                "nothing",
                Some("the device does not answer: it is switched off, or gone"),
            ),
            Reach::Header => (
                "header",
                Some(
                    "this user sees only the first 64 bytes: run as root to see the capabilities (ACS, MSI, ATS, PASID and more)",
                ),
            ),
            Reach::Conventional => (
                "conventional",
                Some(
                    "this kernel or firmware gives no access to extended configuration space (ECAM), so ACS, ATS, PRI, PASID and SR-IOV cannot be seen or used",
                ),
            ),
            Reach::Whole => ("whole", None),
        };
        Self { visible, hidden }
    }
}

impl From<&IommuUnit> for Unit {
    fn from(unit: &IommuUnit) -> Self {
        Self {
            name: unit.name.clone(),
            kind: unit.kind.in_words(),
            version: unit.version.clone(),
            address_width: unit.address_width,
            page_sizes: unit
                .page_sizes
                .map(|sizes| sizes.iter().collect())
                .unwrap_or_default(),
            levels: unit.levels.clone(),
            features: unit.features.clone(),
        }
    }
}

impl Domain {
    fn new(kind: String) -> Self {
        let (translated, meaning) = match kind.as_str() {
            "identity" => (
                Some(false),
                "direct: with the host's own drivers the device reaches all memory",
            ),
            "DMA" => (
                Some(true),
                "translated, strict: what the host's driver unmaps is out of reach at once",
            ),
            "DMA-FQ" => (
                Some(true),
                "translated, lazy: what the host's driver unmaps stays in reach for some milliseconds",
            ),
            "blocked" => (Some(true), "the device reaches nothing"),
            "unmanaged" => (
                Some(true),
                "translated, as VFIO or a driver of its own set it up",
            ),
            _ => (None, "not known to this program"),
        };
        Self {
            kind,
            translated,
            meaning,
        }
    }
}

impl Isolation {
    fn new(profile: &DeviceProfile) -> Self {
        let path: Vec<Step> = profile.isolation.iter().map(Step::from).collect();
        let own = profile.device.bdf;
        let others = profile.group.as_ref().map(|group| {
            let devices = group.devices.iter();
            let others = devices.filter(|device| device.bdf != own && !device.is_bridge());
            others.count() + group.others.len()
        });
        let open = |step: &&IsolationStep| step.effect.is_open() == Some(true);
        let first_open = profile.isolation.iter().find(open).map(|step| step.bdf);
        let hidden = path.iter().any(|step| step.open.is_none());
        let summary = match (others, first_open) {
            (None, _) => {
                "no IOMMU group: nothing keeps its DMA from any memory or device".to_owned()
            }
            (Some(0), None) if hidden => {
                "alone in its group; whether by ACS, this user may not see".to_owned()
            }
            (Some(0), None) => "alone in its group: all its requests go to the IOMMU".to_owned(),
            (Some(0), Some(open)) => format!(
                "alone in its group: the kernel knows that {open} isolates though ACS does not say so, or nothing else is there"
            ),
            (Some(count), Some(open)) => format!(
                "shares its group with {count} other device{}: {open} may pass requests between them past the IOMMU",
                if count == 1 { "" } else { "s" }
            ),
            (Some(count), None) => format!(
                "shares its group with {count} other device{}",
                if count == 1 { "" } else { "s" }
            ),
        };
        Self {
            alone: others.map(|count| count == 0),
            summary,
            path,
        }
    }
}

impl From<&IsolationStep> for Step {
    fn from(step: &IsolationStep) -> Self {
        let names = |pick: fn(Acs) -> crate::host::AcsFlags| {
            step.acs.map(|acs| pick(acs).names().collect())
        };
        let effect = match step.effect {
            Effect::Isolates => "isolates: sends every request up to the IOMMU".to_owned(),
            Effect::NothingToIsolate => "nothing to isolate".to_owned(),
            Effect::Open(missing) => {
                format!("open: {missing} not on, so requests may pass between devices")
            }
            Effect::WithoutAcs => "open: no ACS, so requests may pass between devices".to_owned(),
            Effect::SharedBus => {
                "open: a conventional PCI bus, where devices share requester IDs".to_owned()
            }
            Effect::Hidden => "hidden from this user".to_owned(),
        };
        Self {
            bdf: step.bdf,
            port: step.port.map(|port| port.in_words()),
            acs_supported: names(|acs| acs.supported),
            acs_enabled: names(|acs| acs.enabled),
            open: step.effect.is_open(),
            effect,
        }
    }
}

impl From<LinkRate> for Rate {
    fn from(rate: LinkRate) -> Self {
        Self {
            gigatransfers_per_second: rate.gigatransfers,
            width: rate.width,
        }
    }
}

impl From<&Link> for LinkState {
    fn from(link: &Link) -> Self {
        let now = match link.now {
            None => "down".to_owned(),
            Some(now) if link.is_degraded() => format!(
                "{now}, below the {} that both ends can do (some devices slow down while idle)",
                link.best()
            ),
            Some(now) => format!("{now}, the best that both ends can do"),
        };
        let limit = if link.is_limited_by_port() {
            format!("; the device itself could do {}", link.device)
        } else {
            String::new()
        };
        Self {
            now: link.now.map(Rate::from),
            device_best: link.device.into(),
            port_best: link.port.map(Rate::from),
            degraded: link.is_degraded(),
            limited_by_port: link.is_limited_by_port(),
            words: now + &limit,
        }
    }
}

impl From<&Bar> for Region {
    fn from(bar: &Bar) -> Self {
        Self {
            index: bar.index,
            kind: bar.kind.in_words(),
            prefetchable: bar.prefetchable,
            start: bar.start.map(Iova),
            size: bar.size,
        }
    }
}

impl From<&ResetMethod> for Method {
    fn from(method: &ResetMethod) -> Self {
        Self {
            name: method.name().to_owned(),
            meaning: method.in_words(),
        }
    }
}

impl From<&Sriov> for VirtualFunctions {
    fn from(sriov: &Sriov) -> Self {
        Self {
            total: sriov.total,
            active: sriov.functions.clone(),
            offset: sriov.offset,
            stride: sriov.stride,
            device_id: sriov.device_id.map(|id| format!("{id:04x}")),
            autoprobe: sriov.autoprobe,
            regions: sriov
                .bars
                .as_ref()
                .map(|bars| bars.iter().map(Region::from).collect()),
            lacks_space: sriov.lacks_space(),
        }
    }
}

impl Report for ShowReport {
    const KIND: &'static str = "show";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        text::write(self, out, style)
    }
}
