//! Sockets that go by a network interface: TCP connections, a remote login among them, and packet sockets.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::routes::Routes;
use crate::host::{Holder, Host};

/// Some 200 000 connections.
const SOCKETS_LIMIT: u64 = 32 << 20;

/// States of a TCP socket (net/tcp_states.h).
const TCP_ESTABLISHED: &str = "01";
const TCP_LISTEN: &str = "0A";

/// The ports of remote logins: ssh, telnet, RDP.
const LOGIN_PORTS: [u16; 3] = [22, 23, 3389];

/// An established TCP connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    inode: u64,
    /// Whether the other end connected to here.
    pub(super) came_in: bool,
}

/// The sockets of the network namespace that this process is in.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    sessions: Vec<Session>,
    /// Number of the interface, inode.
    packet: Vec<(u32, u64)>,
}

impl Sockets {
    pub(super) fn read(host: &Host) -> Self {
        let mut sessions = Vec::new();
        let mut listening = BTreeSet::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let text = host.text(table, SOCKETS_LIMIT);
            for (state, session) in text.lines().filter_map(parse_tcp) {
                match state {
                    TCP_ESTABLISHED => sessions.push(session),
                    TCP_LISTEN => drop(listening.insert(session.local.1)),
                    _ => {}
                }
            }
        }
        for session in &mut sessions {
            let port = session.local.1;
            session.came_in = listening.contains(&port) || LOGIN_PORTS.contains(&port);
        }
        let packet = host.text("/proc/net/packet", SOCKETS_LIMIT);
        Self {
            sessions,
            packet: packet.lines().filter_map(parse_packet).collect(),
        }
    }

    /// The connections to other hosts whose local address is on one of these interfaces, or whose packets leave by one.
    pub(super) fn sessions_by(&self, routes: &Routes, interfaces: &[&str]) -> Vec<&Session> {
        let goes_by_one = |session: &&Session| {
            let ways = routes.ways_between(session.local.0, session.remote.0);
            ways.iter().any(|way| interfaces.contains(way))
        };
        self.sessions.iter().filter(goes_by_one).collect()
    }

    /// The packet sockets that are bound to an interface, as links in `/proc/PID/fd` name them.
    pub(super) fn packet_sockets_on(&self, index: u32) -> Vec<PathBuf> {
        self.packet
            .iter()
            .filter(|(interface, _)| *interface == index)
            .map(|(_, inode)| link(*inode))
            .collect()
    }
}

impl Session {
    /// As links in `/proc/PID/fd` name it.
    pub(super) fn link(&self) -> PathBuf {
        link(self.inode)
    }

    /// `a remote login, 192.0.2.9 to 192.0.2.1 port 22, sshd (process 812, user root)`.
    pub(super) fn words(&self, holder: Option<&Holder>) -> String {
        let process = holder.map_or_else(String::new, |holder| format!(", {}", holder.process()));
        let ((local, port), (remote, remote_port)) = (self.local, self.remote);
        if !self.came_in {
            return format!("{local} to {remote} port {remote_port}{process}");
        }
        let is_login = LOGIN_PORTS.contains(&port)
            || holder.is_some_and(|holder| holder.command.starts_with("sshd"));
        let kind = if is_login { "a remote login, " } else { "" };
        format!("{kind}{remote} to {local} port {port}{process}")
    }
}

fn link(inode: u64) -> PathBuf {
    PathBuf::from(format!("socket:[{inode}]"))
}

/// A line of /proc/net/tcp or tcp6: `0: 0F02000A:0016 0202000A:C350 01 …` and, as the tenth field, the inode (`get_tcp4_sock` of
/// net/ipv4/tcp_ipv4.c). Says its state too.
fn parse_tcp(line: &str) -> Option<(&str, Session)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let session = Session {
        local: endpoint(fields.get(1)?)?,
        remote: endpoint(fields.get(2)?)?,
        inode: fields.get(9)?.parse().ok()?,
        came_in: false,
    };
    Some((*fields.get(3)?, session))
}

/// An address, as numbers in the order of the processor's bytes, and a port.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (digits, port) = text.split_once(':')?;
    let word = |place: usize| {
        let digits = digits.get(place * 8..place * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match digits.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (place, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(place)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

/// A line of /proc/net/packet: `sk RefCnt Type Proto Iface R Rmem User Inode` (`packet_seq_show` of net/packet/af_packet.c). A socket
/// that is bound to no interface has 0, and hears all.
fn parse_packet(line: &str) -> Option<(u32, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    Some((fields.get(4)?.parse().ok()?, fields.get(8)?.parse().ok()?))
}
