//! Which network interface has which IP addresses, and which packets go out by it, as procfs says. Only the main routing table of
//! IPv4 is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::Host;

/// A router with a million routes has 128 MiB of them, and the default one comes first.
const ROUTES_LIMIT: u64 = 8 << 20;

/// Flags of a route (linux/route.h, linux/ipv6_route.h).
const RTF_GATEWAY: u32 = 0x2;
const RTF_REJECT: u32 = 0x200;
const RTF_ANYCAST: u32 = 0x10_0000;
const RTF_LOCAL: u32 = 0x8000_0000;

/// The scope of link-local IPv6 addresses in if_inet6. They come by themselves, so alone they are no use of an interface.
const LINK_LOCAL: &str = "20";

/// The addresses that start alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 4),
            IpAddr::V6(v6) => (u128::from(v6), 6),
        };
        let ((ours, our_version), (theirs, version)) = (bits(self.address), bits(address));
        let differing = (ours ^ theirs).checked_shr(128 - u32::from(self.length));
        version == our_version && differing.unwrap_or(0) == 0
    }

    pub(super) fn is_default(&self) -> bool {
        self.length == 0
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) interface: String,
    pub(super) destination: Prefix,
    /// The next router; `None` if the destination itself is reached.
    pub(super) gateway: Option<IpAddr>,
}

/// All routes of the main tables, and the host's own addresses.
#[derive(Debug, Default)]
pub(super) struct Routes {
    routes: Vec<Route>,
    /// The host's IPv4 addresses; `None` if the kernel does not say them.
    local: Option<Vec<Ipv4Addr>>,
    addresses: Vec<Address>,
}

/// An IPv6 address of the host.
#[derive(Debug)]
struct Address {
    interface: String,
    address: Ipv6Addr,
    /// Of its prefix.
    length: u8,
    is_link_local: bool,
}

impl Routes {
    pub(super) fn read(host: &Host) -> Self {
        let v4 = host.text("/proc/net/route", ROUTES_LIMIT);
        let v6 = host.text("/proc/net/ipv6_route", ROUTES_LIMIT);
        let addresses = host.text("/proc/net/if_inet6", ROUTES_LIMIT);
        let local = host.text("/proc/net/fib_trie", ROUTES_LIMIT);
        Self {
            routes: v4
                .lines()
                .filter_map(parse_v4)
                .chain(v6.lines().filter_map(parse_v6))
                .collect(),
            local: (!local.is_empty()).then(|| own_addresses(&local)),
            addresses: addresses.lines().filter_map(parse_address).collect(),
        }
    }

    /// The interfaces that a connection goes by: those that have its local address, and that by which its packets leave. None if
    /// both ends are the host's own.
    pub(super) fn ways_between(&self, local: IpAddr, remote: IpAddr) -> Vec<&str> {
        let at_local = self.having(local);
        let is_own = match remote {
            // Each network may have a host of this address, so it is the host's own only where the connection is.
            IpAddr::V6(v6) if is_link_local(v6) => {
                let at_remote = self.having(remote);
                at_remote.iter().any(|name| at_local.contains(name))
            }
            IpAddr::V4(v4) => self.local.iter().flatten().any(|own| *own == v4),
            IpAddr::V6(_) => !self.having(remote).is_empty(),
        };
        if is_own || remote.is_loopback() {
            return Vec::new();
        }
        let routed = [local, remote].map(|address| self.way_to(address));
        at_local
            .into_iter()
            .chain(routed.into_iter().flatten())
            .collect()
    }

    /// The interface by which packets to an address leave, if a route leads there. To a link-local address none does: the interface
    /// goes with the address, and that of a connection is not in procfs.
    fn way_to(&self, address: IpAddr) -> Option<&str> {
        if matches!(address, IpAddr::V6(v6) if is_link_local(v6)) {
            return None;
        }
        self.routes
            .iter()
            .filter(|route| route.destination.contains(address))
            .max_by_key(|route| route.destination.length)
            .map(|route| route.interface.as_str())
    }

    /// The interfaces that have an IPv6 address. Several may have the same link-local one.
    fn having(&self, address: IpAddr) -> Vec<&str> {
        let own = self.addresses.iter();
        own.filter(|own| IpAddr::V6(own.address) == address)
            .map(|own| own.interface.as_str())
            .collect()
    }

    /// The IPv6 addresses of an interface that did not come by themselves.
    fn given(&self, interface: &str) -> impl Iterator<Item = &Address> {
        self.addresses
            .iter()
            .filter(move |own| own.interface == interface && !own.is_link_local)
    }

    /// The addresses of an interface, with the length of their prefix. Where the kernel does not say them, the networks that the
    /// interface is directly connected to. Link-local ones do not count.
    pub(super) fn addresses_of(&self, interface: &str) -> Vec<String> {
        let mut found: Vec<String> = self
            .connected(interface)
            .flat_map(|prefix| match &self.local {
                None if prefix.address.is_ipv4() => vec![format!("an address in {prefix}")],
                None => Vec::new(),
                Some(local) => local
                    .iter()
                    .filter(|own| prefix.contains(IpAddr::V4(**own)))
                    .map(|own| format!("{own}/{}", prefix.length))
                    .collect(),
            })
            .collect();
        let v6 = self.given(interface);
        found.extend(v6.map(|own| format!("{}/{}", own.address, own.length)));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The routes by an interface to beyond its own networks.
    pub(super) fn routes_by(&self, interface: &str) -> Vec<&Route> {
        let is_own_network = |prefix: &Prefix| match (prefix.address, &self.local) {
            (IpAddr::V4(_), None) => true,
            (IpAddr::V4(_), Some(local)) => {
                local.iter().any(|own| prefix.contains(IpAddr::V4(*own)))
            }
            (IpAddr::V6(_), _) => self
                .given(interface)
                .any(|own| prefix.contains(IpAddr::V6(own.address))),
        };
        self.routes
            .iter()
            .filter(|route| route.interface == interface)
            .filter(|route| {
                route.gateway.is_some()
                    || route.destination.is_default()
                    || !is_own_network(&route.destination)
            })
            .collect()
    }

    /// The networks of an interface that it reaches without a router.
    fn connected(&self, interface: &str) -> impl Iterator<Item = Prefix> + '_ {
        let interface = interface.to_owned();
        self.routes
            .iter()
            .filter(move |route| route.interface == interface && route.gateway.is_none())
            .map(|route| route.destination)
            .filter(|prefix| !prefix.is_default())
    }
}

/// A line of /proc/net/route: `eth0 0002000A 00000000 0001 0 0 0 00FFFFFF 0 0 0`; addresses are numbers in the order of the
/// processor's bytes (`fib_route_seq_show` of net/ipv4/fib_trie.c).
fn parse_v4(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |place: usize| u32::from_str_radix(fields.get(place)?, 16).ok();
    let address = |place| Some(Ipv4Addr::from(number(place)?.to_ne_bytes()));
    let (flags, mask) = (number(3)?, u32::from(address(7)?));
    if flags & RTF_REJECT != 0 {
        return None;
    }
    Some(Route {
        interface: (*fields.first()?).to_owned(),
        destination: Prefix {
            address: IpAddr::V4(address(1)?),
            length: u8::try_from(mask.leading_ones()).ok()?,
        },
        gateway: (flags & RTF_GATEWAY != 0)
            .then(|| address(2))
            .flatten()
            .map(IpAddr::V4),
    })
}

/// A line of /proc/net/ipv6_route: destination and length, source and length, next hop, metric, two counters, flags, interface
/// (`rt6_info_route`, now `ipv6_route_native_seq_show` of net/ipv6/ip6_fib.c). Multicast, link-local and the host's own are left out.
fn parse_v6(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let address = |place: usize| {
        let digits = *fields.get(place)?;
        (digits.len() == 32)
            .then(|| u128::from_str_radix(digits, 16).ok())
            .flatten()
            .map(Ipv6Addr::from)
    };
    let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
    let interface = *fields.get(9)?;
    let (destination, next) = (address(0)?, address(4)?);
    let is_own = flags & (RTF_REJECT | RTF_ANYCAST | RTF_LOCAL) != 0 || interface == "lo";
    if is_own || destination.is_multicast() || is_link_local(destination) {
        return None;
    }
    Some(Route {
        interface: interface.to_owned(),
        destination: Prefix {
            address: IpAddr::V6(destination),
            length: u8::from_str_radix(fields.get(1)?, 16).ok()?.min(128),
        },
        gateway: (flags & RTF_GATEWAY != 0).then_some(IpAddr::V6(next)),
    })
}

/// A line of /proc/net/if_inet6: address, number of the interface, length, scope, flags, interface (`if6_seq_show` of
/// net/ipv6/addrconf.c).
fn parse_address(line: &str) -> Option<Address> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let digits = fields.first().filter(|digits| digits.len() == 32)?;
    let address = Ipv6Addr::from(u128::from_str_radix(digits, 16).ok()?);
    let found = Address {
        interface: (*fields.get(5)?).to_owned(),
        address,
        length: u8::from_str_radix(fields.get(2)?, 16).ok()?,
        is_link_local: *fields.get(3)? == LINK_LOCAL,
    };
    (!address.is_loopback()).then_some(found)
}

/// Whether an address is in fe80::/10 (RFC 4291, section 2.5.6).
fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

/// The addresses in /proc/net/fib_trie: a line `|-- 10.0.2.15` and below it `/32 host LOCAL` (`fib_trie_seq_show` of
/// net/ipv4/fib_trie.c).
fn own_addresses(text: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 ") && line.ends_with(" LOCAL") {
            found.extend(last.filter(|address| !address.is_loopback()));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}
