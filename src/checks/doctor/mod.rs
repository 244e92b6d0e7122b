//! The checks of `doctor`: is this host ready to hand devices to user space, and is this device?
//!
//! Each is a named item of one of two tables. All but `device.attach` only look; that one opens a device if it takes it from no one.

mod attach;
mod device;
mod diagnosis;
mod firmware;
mod kernel;
mod memory;
mod translation;
mod vfio;

pub use diagnosis::{Diagnosis, Health};

use crate::host::{
    CommandLineChange, DeviceProfile, Distribution, Host, IommuGroup, KernelOption, PciDevice,
    Usage, is_vfio_driver,
};
use crate::types::{Bdf, Size};

/// A check of the whole host.
pub struct HostCheck {
    /// Its stable name, for scripts.
    pub id: &'static str,
    /// What it asks, in a few words.
    pub title: &'static str,
    run: fn(&Ground<'_>) -> Diagnosis,
}

/// A check of one device.
pub struct DeviceCheck {
    /// Its stable name, for scripts.
    pub id: &'static str,
    /// What it asks, in a few words.
    pub title: &'static str,
    run: fn(&Ground<'_>, &DeviceProfile) -> Diagnosis,
}

/// All checks of the host, in the order in which a cause comes before its effects.
pub static HOST_CHECKS: &[HostCheck] = &[
    firmware::TABLES,
    firmware::IOMMU,
    firmware::PARAMETERS,
    firmware::INTERRUPT_REMAPPING,
    translation::DOMAINS,
    translation::ADDRESS_WIDTH,
    kernel::VFIO_MODULES,
    kernel::IOMMUFD,
    kernel::LOCKDOWN,
    vfio::NO_IOMMU,
    vfio::DENYLIST,
    vfio::NODES,
    memory::LOCKED,
    memory::CONTROL_GROUPS,
    memory::AVAILABLE,
    memory::HUGE_PAGES,
    memory::ENTRIES,
    device::VF_SPACE,
];

/// All checks of a device.
pub static DEVICE_CHECKS: &[DeviceCheck] = &[
    device::GROUP,
    device::IN_USE,
    device::ISOLATION,
    device::RESERVED,
    device::RESET,
    device::LINK,
    device::DENYLISTED,
    device::OWN_VF_SPACE,
    attach::ATTACH,
];

/// What the checks look at.
pub struct Ground<'h> {
    host: &'h Host,
    distribution: Distribution,
    parameters: Vec<String>,
    options: Vec<KernelOption>,
    groups: Vec<IommuGroup>,
    devices: Vec<PciDevice>,
    /// How much memory is to be mapped, if the user said.
    memory: Option<Size>,
    /// Whether a device may be opened, to see whether it works.
    may_open: bool,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The check's stable name.
    pub id: &'static str,
    /// What it asks.
    pub title: &'static str,
    /// The device, for a check of a device.
    pub device: Option<Bdf>,
    /// What was found.
    pub diagnosis: Diagnosis,
}

impl<'h> Ground<'h> {
    /// Reads what several checks need. `memory` is how much is to be mapped for devices, `may_open` whether
    /// they may be opened.
    #[must_use]
    pub fn new(
        host: &'h Host,
        devices: Vec<PciDevice>,
        memory: Option<Size>,
        may_open: bool,
    ) -> Self {
        Self {
            host,
            distribution: host.distribution(),
            parameters: host.kernel_parameters(),
            options: host.kernel_options(),
            groups: host.groups(),
            devices,
            memory,
            may_open,
        }
    }

    /// Runs all checks of the host.
    #[must_use]
    pub fn examine_host(&self) -> Vec<Examined> {
        HOST_CHECKS
            .iter()
            .map(|check| Examined {
                id: check.id,
                title: check.title,
                device: None,
                diagnosis: (check.run)(self),
            })
            .collect()
    }

    /// Runs all checks of a device. `usage` is for all devices of the host.
    #[must_use]
    pub fn examine_device(&self, device: &PciDevice, usage: &Usage<'_>) -> Vec<Examined> {
        let profile = self.host.profile(device, &self.devices, usage);
        DEVICE_CHECKS
            .iter()
            .map(|check| Examined {
                id: check.id,
                title: check.title,
                device: Some(device.bdf),
                diagnosis: (check.run)(self, &profile),
            })
            .collect()
    }

    /// The value of a kernel parameter, as `pt` of `iommu=pt`; the last one counts.
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .rev()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// The options on the kernel's command line that begin in one of these ways.
    fn options(&self, beginnings: &[&str]) -> Vec<&KernelOption> {
        let is = |option: &&KernelOption| {
            let text = &option.text;
            beginnings
                .iter()
                .any(|beginning| text.starts_with(beginning))
        };
        self.options.iter().filter(is).collect()
    }

    fn add_parameter(&self, words: &str) -> String {
        self.distribution
            .change_command_line(CommandLineChange::Add(words))
    }

    /// How to take options out, and leave the others in their words.
    fn remove_options(&self, gone: &[&KernelOption]) -> String {
        let mut words: Vec<&str> = gone.iter().map(|option| option.word.as_str()).collect();
        words.dedup();
        let rest = |word: &&str| {
            let (name, _) = word.split_once('=')?;
            let left = self.options.iter().filter(|option| option.word == *word);
            let left = left.filter(|option| !gone.contains(option));
            let items: Vec<&str> = left
                .filter_map(|option| option.text.strip_prefix(name)?.strip_prefix('='))
                .collect();
            (!items.is_empty()).then(|| format!("{name}={}", items.join(",")))
        };
        let rests: Vec<String> = words.iter().filter_map(rest).collect();
        let (old, new) = (words.join(" "), rests.join(" "));
        self.distribution.change_command_line(if new.is_empty() {
            CommandLineChange::Remove(&old)
        } else {
            CommandLineChange::Replace(&old, &new)
        })
    }
}

fn is_on_vfio(profile: &DeviceProfile) -> bool {
    profile.device.driver.as_deref().is_some_and(is_vfio_driver)
}

/// `1 device`, `2 devices`.
fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// A size in the unit that reads best: `24G`, `1.5M`.
fn size(bytes: u64) -> String {
    let units = [
        (1 << 40, "T"),
        (1 << 30, "G"),
        (1 << 20, "M"),
        (1 << 10, "K"),
    ];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) if bytes % unit == 0 => format!("{}{name}", bytes / unit),
        Some((unit, name)) => {
            let number = format!("{:.1}", bytes as f64 / unit as f64);
            format!("{}{name}", number.trim_end_matches(".0"))
        }
        None => bytes.to_string(),
    }
}
