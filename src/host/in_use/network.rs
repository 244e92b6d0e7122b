//! What uses a network interface: addresses, routes, other interfaces on it, sockets.

use std::path::{Path, PathBuf};

use super::routes::Routes;
use super::sessions::Sockets;
use super::{Look, Usage, Use, some};
use crate::host::{Holder, Host, PciDevice, is_vfio_driver};
use crate::types::UseReason;

const NET: &str = "/sys/class/net";

/// An interface, and how it came to be looked at.
struct Layer {
    name: String,
    /// `br0 on eth0`.
    words: String,
}

impl Usage<'_> {
    fn routes(&self) -> &Routes {
        self.routes.get_or_init(|| Routes::read(self.host))
    }

    fn sockets(&self) -> &Sockets {
        self.sockets.get_or_init(|| Sockets::read(self.host))
    }

    pub(super) fn interface(&self, name: &str, look: Look) -> Vec<Use> {
        let mut found = Vec::new();
        let mut layers = vec![Layer {
            name: name.to_owned(),
            words: name.to_owned(),
        }];
        // Bonds, bridges, VLANs on it, and those on them; each once.
        let mut next = 0;
        while let Some(below) = layers.get(next) {
            let mut on_it = Vec::new();
            for above in self.host.uppers(&below.name) {
                found.push(self.stacked(&below.name, &below.words, &above));
                if layers.iter().all(|layer| layer.name != above) {
                    on_it.push(Layer {
                        words: format!("{above} on {}", below.words),
                        name: above,
                    });
                }
            }
            layers.extend(on_it);
            next += 1;
        }
        for layer in &layers {
            found.extend(self.addressed(layer));
            found.extend(self.routed(layer));
        }
        if look == Look::Close {
            let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
            found.extend(self.sessions(&names));
            for layer in &layers {
                found.extend(self.packet_sockets(layer));
                if let Some(number) = self.number(&layer.name) {
                    found.extend(self.carried_elsewhere(number, &layer.words));
                }
            }
        }
        found
    }

    fn stacked(&self, below: &str, words: &str, above: &str) -> Use {
        let part = |reason, what: &str| {
            Use::new(
                reason,
                format!("{words} is part of the {what} {above}"),
                format!("ip link set {below} nomaster"),
            )
        };
        let carries = |reason, what: &str| {
            Use::new(
                reason,
                format!("{words} carries the {what} {above}"),
                format!("ip link delete {above}"),
            )
        };
        let folder = Path::new(NET).join(above);
        let kind = self.host.interface_kind(above);
        if let Some((reason, what)) = kind.as_deref().and_then(carried) {
            return carries(reason, what);
        }
        match kind.as_deref() {
            Some("bond") => part(UseReason::Bond, "bond"),
            Some("team") => part(UseReason::Bond, "team"),
            Some("bridge") => part(UseReason::Bridge, "bridge"),
            _ if self.host.exists(folder.join("bonding")) => part(UseReason::Bond, "bond"),
            _ if self.host.exists(folder.join("bridge")) => part(UseReason::Bridge, "bridge"),
            _ if above == "ovs-system" => Use::new(
                UseReason::Bridge,
                format!("{words} is part of an Open vSwitch bridge"),
                format!("ovs-vsctl del-port {below}"),
            ),
            // These say nothing of their kind (but ipvlan), only which interface they send by.
            None if self.host.sends_by(above, below) => carries(UseReason::Macvlan, "macvlan"),
            _ => Use::new(
                UseReason::Stacked,
                format!("{words} carries the interface {above}"),
                format!("ip link set {below} nomaster, or ip link delete {above}"),
            ),
        }
    }

    fn addressed(&self, layer: &Layer) -> Option<Use> {
        let addresses = self.routes().addresses_of(&layer.name);
        (!addresses.is_empty() && self.host.interface_is_up(&layer.name)).then(|| {
            Use::new(
                UseReason::Address,
                format!("{} is up and has {}", layer.words, some(&addresses)),
                format!("ip address flush dev {}", layer.name),
            )
        })
    }

    fn routed(&self, layer: &Layer) -> Option<Use> {
        let mut words: Vec<String> = Vec::new();
        for route in self.routes().routes_by(&layer.name) {
            let what = if route.destination.is_default() {
                "the default route".to_owned()
            } else {
                format!("the route to {}", route.destination)
            };
            words.push(match route.gateway {
                Some(gateway) => format!("{what} by {gateway}"),
                None => what,
            });
        }
        words.sort_unstable(); // the default one comes first
        words.dedup();
        (!words.is_empty() && self.host.interface_is_up(&layer.name)).then(|| {
            let go = if words.len() == 1 { "goes" } else { "go" };
            Use::new(
                UseReason::Route,
                format!("{} {go} out by {}", some(&words), layer.words),
                format!("ip route flush dev {}", layer.name),
            )
        })
    }

    fn sessions(&self, interfaces: &[&str]) -> Option<Use> {
        let sessions = self.sockets().sessions_by(self.routes(), interfaces);
        if sessions.is_empty() {
            return None;
        }
        let holders = self.host.holders(
            &sessions
                .iter()
                .map(|session| session.link())
                .collect::<Vec<PathBuf>>(),
        );
        let mut words: Vec<(bool, String)> = sessions
            .iter()
            .map(|session| {
                let link = session.link();
                let holder = holders.iter().find(|holder| holder.node == link);
                (!session.came_in, session.words(holder))
            })
            .collect();
        words.sort();
        let words: Vec<String> = words.into_iter().map(|(_, words)| words).collect();
        Some(Use::new(
            UseReason::Session,
            format!(
                "TCP sessions go by {}: {}",
                interfaces.join(", "),
                some(&words)
            ),
            "end them, and reach the host another way",
        ))
    }

    fn number(&self, interface: &str) -> Option<u32> {
        let file = Path::new(NET).join(interface).join("ifindex");
        self.host.parsed(file)
    }

    fn packet_sockets(&self, layer: &Layer) -> Option<Use> {
        let links = self.sockets().packet_sockets_on(self.number(&layer.name)?);
        if links.is_empty() {
            return None;
        }
        let holders = self.host.holders(&links);
        let names: Vec<String> = holders.iter().map(Holder::process).collect();
        let who = match names.as_slice() {
            [] => "a process".to_owned(),
            names => some(names),
        };
        Some(Use::new(
            UseReason::Packet,
            format!("{who} reads {} by a packet socket (AF_PACKET)", layer.words),
            match holders.first() {
                Some(holder) => format!("end process {}", holder.pid),
                None => "end the DHCP client or capture".to_owned(),
            },
        ))
    }

    /// An interface in another network namespace is not seen, but the folder for it is there.
    pub(super) fn other_namespace(&self, device: &PciDevice) -> Option<Use> {
        let folder = device.sysfs();
        // Interfaces go with their driver. That of virtio has them in a folder of its own.
        let below = match device.driver.as_deref()? {
            "pcieport" => return None,
            driver if is_vfio_driver(driver) => return None,
            "virtio-pci" => self.host.names(&folder),
            _ => Vec::new(),
        };
        let mut places = below
            .into_iter()
            .filter(|name| name.starts_with("virtio"))
            .map(|name| folder.join(name))
            .chain([folder.clone()]);
        let is_elsewhere = places.any(|place| {
            self.host
                .entries(place.join("net"))
                .is_ok_and(|names| names.is_empty())
        });
        is_elsewhere.then(|| {
            Use::new(
                UseReason::Namespace,
                "its network interface is in another network namespace, as that of a container",
                "'lsns -t net' lists them; there: ip link set NAME netns 1",
            )
        })
    }
}

/// What an interface of this kind counts as, and is called, where it is carried by another one.
pub(super) fn carried(kind: &str) -> Option<(UseReason, &str)> {
    match kind {
        "vlan" => Some((UseReason::Vlan, "VLAN")),
        "macvlan" | "macvtap" | "ipvlan" | "ipvtap" => Some((UseReason::Macvlan, kind)),
        _ => None,
    }
}

impl Host {
    /// The interfaces right above one.
    fn uppers(&self, interface: &str) -> Vec<String> {
        self.names(Path::new(NET).join(interface))
            .into_iter()
            .filter_map(|entry| Some(entry.strip_prefix("upper_")?.to_owned()))
            .collect()
    }

    /// Whether an interface sends by another one, which is not its port.
    fn sends_by(&self, above: &str, below: &str) -> bool {
        let number = |name: &str, file| self.parsed::<u32>(Path::new(NET).join(name).join(file));
        let master = self.link_name(Path::new(NET).join(below).join("master"));
        let sends_by = number(above, "iflink");
        sends_by.is_some()
            && sends_by == number(below, "ifindex")
            && master.as_deref() != Some(above)
    }

    /// What kind of virtual interface one is, as its driver says (`DEVTYPE`); most real ones say nothing.
    fn interface_kind(&self, interface: &str) -> Option<String> {
        let text = self.attribute(Path::new(NET).join(interface).join("uevent"))?;
        let kind = text
            .lines()
            .find_map(|line| line.strip_prefix("DEVTYPE="))?;
        Some(kind.to_owned())
    }
}
