//! What uses a device now, so that taking it away would break something.

mod disk;
mod display;
mod namespaces;
mod network;
mod nodes;
mod routes;
mod sessions;

use std::cell::OnceCell;

use super::{Holder, Host, KernelNames, NameKind, PciDevice};
use crate::types::{Bdf, UseReason};
use disk::Volumes;
use namespaces::FarInterface;
use nodes::{CharacterDevices, OpenNodes};
use routes::Routes;
use sessions::Sockets;

/// One thing that uses a device.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Use {
    /// Why it counts.
    #[serde(rename = "name")]
    pub reason: UseReason,
    /// What was found, as `nvme0n1p2 is mounted at /`.
    pub evidence: String,
    /// What ends it, as `umount /mnt`.
    pub remedy: String,
}

impl Use {
    fn new(reason: UseReason, evidence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            reason,
            evidence: evidence.into(),
            remedy: remedy.into(),
        }
    }

    /// What ends these uses, for people: with a warning where it may end what they work through.
    pub fn advice<'u>(uses: impl IntoIterator<Item = &'u Use>) -> String {
        let mut remedies: Vec<&str> = Vec::new();
        let mut warning = "";
        for one in uses {
            remedies.push(&one.remedy);
            if matches!(one.reason, UseReason::Address | UseReason::Route) {
                warning = " (this ends remote logins through it)";
            }
        }
        remedies.dedup();
        remedies.join("; ") + warning
    }
}

/// How hard to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Only at small files of sysfs and procfs: no socket, no process, and no disk is opened.
    Glance,
    /// At everything.
    Close,
}

/// What the host says of who uses its devices; each table is read when it is first needed, and once.
#[derive(Debug)]
pub struct Usage<'a> {
    host: &'a Host,
    pub(super) names: &'a KernelNames,
    volumes: OnceCell<Volumes>,
    routes: OnceCell<Routes>,
    sockets: OnceCell<Sockets>,
    far_interfaces: OnceCell<Vec<FarInterface>>,
    character_devices: OnceCell<CharacterDevices>,
    open_nodes: OnceCell<OpenNodes>,
}

impl Host {
    /// Looks for what uses devices. `names` are those of what they provide now.
    #[must_use]
    pub fn usage<'a>(&'a self, names: &'a KernelNames) -> Usage<'a> {
        Usage {
            host: self,
            names,
            volumes: OnceCell::new(),
            routes: OnceCell::new(),
            sockets: OnceCell::new(),
            far_interfaces: OnceCell::new(),
            character_devices: OnceCell::new(),
            open_nodes: OnceCell::new(),
        }
    }

    /// Everything that uses a device now; see [`Usage::of`].
    #[must_use]
    pub fn uses(&self, device: &PciDevice) -> Vec<Use> {
        self.usage(&self.kernel_names()).of(device)
    }
}

impl Usage<'_> {
    /// Everything that uses a device now, and that taking it from its driver would break. Empty if nothing was found.
    ///
    /// Who has the device itself open through VFIO is for [`Usage::held`] to say.
    #[must_use]
    pub fn of(&self, device: &PciDevice) -> Vec<Use> {
        let mut found = self.direct(device, Look::Close);
        found.extend(self.functions(device));
        found
    }

    /// The same in a hurry, for many devices: no disk is opened, and no process, socket or virtual function looked at.
    #[must_use]
    pub fn at_a_glance(&self, device: &PciDevice) -> Vec<Use> {
        self.direct(device, Look::Glance)
    }

    fn direct(&self, device: &PciDevice, look: Look) -> Vec<Use> {
        let mut found = Vec::new();
        for name in self.names.of(device.bdf) {
            match name.kind {
                NameKind::Network => found.extend(self.interface(&name.name, look)),
                NameKind::Disk => found.extend(self.disk(&name.name, look)),
                NameKind::Nvme => {}
            }
        }
        found.extend(self.other_namespace(device));
        found.extend(self.display(device));
        if look == Look::Close {
            found.extend(self.opened(device));
        }
        found
    }

    /// The virtual functions of a physical one, and what uses those.
    fn functions(&self, device: &PciDevice) -> Vec<Use> {
        let functions: Vec<Bdf> = (0..)
            .map_while(|number| {
                self.host
                    .link_name(device.sysfs().join(format!("virtfn{number}")))
            })
            .filter_map(|name| name.parse().ok())
            .collect();
        let Some(first) = functions.first() else {
            return Vec::new();
        };
        let evidence = match functions.len() {
            1 => format!("its virtual function {first} goes away with its driver"),
            count => {
                format!("its {count} virtual functions, from {first} on, go away with its driver")
            }
        };
        let remedy = format!("iommu-tool vfs {} 0", device.bdf);
        let mut found = vec![Use::new(UseReason::Vfs, evidence, remedy)];
        let functions: Vec<PciDevice> = functions
            .iter()
            .filter_map(|bdf| self.host.device(*bdf).ok())
            .collect();
        for function in &functions {
            let of_function = self.direct(function, Look::Close).into_iter();
            found.extend(of_function.map(|mut one| {
                one.evidence = format!("virtual function {}: {}", function.bdf, one.evidence);
                one
            }));
        }
        found.extend(self.held(&functions).into_iter().map(|(bdf, mut one)| {
            one.evidence = format!("virtual function {bdf}: {}", one.evidence);
            one
        }));
        found
    }

    /// Which of these devices user space has open through VFIO.
    #[must_use]
    pub fn held<'d>(&self, devices: impl IntoIterator<Item = &'d PciDevice>) -> Vec<(Bdf, Use)> {
        let held = |(bdf, holder): (Bdf, Holder)| {
            let evidence = format!("{} has {} open", holder.process(), holder.node.display());
            let remedy = format!("end process {}", holder.pid);
            (bdf, Use::new(UseReason::Held, evidence, remedy))
        };
        let holders = self.host.vfio_holders(devices);
        holders.into_iter().map(held).collect()
    }
}

/// The first few of many, and how many more there are.
fn some(all: &[String]) -> String {
    const SHOWN: usize = 3;
    match all.len() {
        count if count > SHOWN + 1 => {
            format!("{} and {} more", all[..SHOWN].join(", "), count - SHOWN)
        }
        _ => all.join(", "),
    }
}

#[cfg(test)]
mod tests;
