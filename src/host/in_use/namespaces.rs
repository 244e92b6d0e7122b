//! Interfaces in other network namespaces that lie on one of this: the macvlans, ipvlans and VLANs of containers. Sysfs shows what
//! is on an interface only within one namespace, so each other one is entered and asked by netlink (rtnetlink(7)).

use nix::errno::Errno;
use nix::libc::{
    IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINK, IFLA_LINKINFO, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, RTM_GETLINK, RTM_GETNSID,
};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::thread;

use super::network::carried;
use super::{Usage, Use};
use crate::host::Host;
use crate::types::UseReason;

/// `IFLA_LINK_NETNSID` (linux/if_link.h), `NETNSA_NSID` and `NETNSA_PID` (linux/net_namespace.h).
const IFLA_LINK_NETNSID: u16 = 37;
const NETNSA_NSID: u16 = 1;
const NETNSA_PID: u16 = 2;

/// The sizes of `struct nlmsghdr`, `struct ifinfomsg` and `struct rtgenmsg`, the last with what aligns it (linux/netlink.h,
/// linux/rtnetlink.h).
const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const NAMESPACE_HEADER: usize = 4;

/// The kernel sends no more than 32 KiB of a list at once (`netlink_recvmsg` of net/netlink/af_netlink.c).
const ANSWER: usize = 64 << 10;

/// An interface in another network namespace, and a process there.
#[derive(Debug)]
pub(super) struct FarInterface {
    link: Link,
    pid: u32,
}

/// An interface that lies on one of another namespace.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    name: String,
    /// As `macvlan`.
    kind: String,
    /// The number of the interface that it lies on.
    below: u32,
    /// What the namespace of that one is called in its own.
    namespace: i32,
}

impl Usage<'_> {
    /// The interfaces in other namespaces that lie on that of this number. `words` say how it came to be looked at.
    pub(super) fn carried_elsewhere(&self, number: u32, words: &str) -> Vec<Use> {
        let all = self
            .far_interfaces
            .get_or_init(|| self.host.far_interfaces());
        let on_it = all.iter().filter(|far| far.link.below == number);
        on_it
            .map(|FarInterface { link, pid }| {
                let name = &link.name;
                let (reason, what) =
                    carried(&link.kind).unwrap_or((UseReason::Stacked, "interface"));
                let namespace = namespace_of(&pid.to_string());
                let enter = format!("nsenter --net={}", namespace.display());
                let process = self.host.holder(*pid, namespace).process();
                Use::new(
                    reason,
                    format!("{words} carries the {what} {name} of another network namespace, that of {process}"),
                    format!("{enter} ip link delete {name}"),
                )
            })
            .collect()
    }
}

fn namespace_of(process: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/ns/net"))
}

impl Host {
    /// The interfaces in other namespaces that lie on one of this; those that this user may see, and none on a captured host.
    fn far_interfaces(&self) -> Vec<FarInterface> {
        if !self.is_live() {
            return Vec::new();
        }
        // A thread of its own can enter a namespace without taking the others along.
        thread::scope(|scope| scope.spawn(|| self.visit_namespaces()).join()).unwrap_or_default()
    }

    fn visit_namespaces(&self) -> Vec<FarInterface> {
        let mut seen: BTreeSet<PathBuf> = self.link(namespace_of("self")).into_iter().collect();
        let mut found = Vec::new();
        for pid in self.processes() {
            let path = namespace_of(&pid.to_string());
            let Some(id) = self.link(&path).filter(|id| !seen.contains(id)) else {
                continue;
            };
            // If the process has ended, there may be others in its namespace.
            let Ok(namespace) = File::open(self.path(&path)) else {
                continue;
            };
            match links_in(&namespace) {
                Ok(links) => {
                    found.extend(links.into_iter().map(|link| FarInterface { link, pid }));
                }
                Err(errno) => log::debug!("no interfaces of {}: {errno}", path.display()),
            }
            seen.insert(id);
        }
        found
    }
}

/// Enters a namespace with this thread, and lists the interfaces there that lie on one of this process's namespace.
fn links_in(namespace: &File) -> Result<Vec<Link>, Errno> {
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let all = ask(&socket, RTM_GETLINK, NLM_F_DUMP, &[0; LINK_HEADER])?;
    let mut links: Vec<Link> = all.iter().filter_map(|body| parse_link(body)).collect();
    if links.is_empty() {
        return Ok(links);
    }
    let mut question = vec![0; NAMESPACE_HEADER];
    question.extend([8, 0]);
    question.extend(NETNSA_PID.to_ne_bytes());
    question.extend(std::process::id().to_ne_bytes());
    let answer = ask(&socket, RTM_GETNSID, 0, &question)?;
    let ours = answer.first().and_then(|body| {
        let body = body.get(NAMESPACE_HEADER..)?;
        word(attribute(body, NETNSA_NSID)?).map(i32::from_ne_bytes)
    });
    links.retain(|link| Some(link.namespace) == ours);
    Ok(links)
}

/// Sends a request; returns what is in each message of the answer.
fn ask(socket: &OwnedFd, kind: u16, flags: i32, body: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    let flags = (NLM_F_REQUEST | flags) as u16;
    let mut request = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]); // number of the request, of the sender: as the kernel likes
    request.extend(body);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut found = Vec::new();
    let mut answer = vec![0; ANSWER];
    loop {
        let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        for (kind, body) in messages(&answer[..length]) {
            match i32::from(kind) {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => {
                    let errno = word(body).map_or(0, i32::from_ne_bytes);
                    return Err(Errno::from_raw(-errno));
                }
                _ => found.push(body.to_vec()),
            }
        }
        if i32::from(flags) & NLM_F_DUMP == 0 {
            return Ok(found);
        }
    }
}

/// The messages in an answer: their kinds, and what is behind their headers.
fn messages(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (word(bytes), bytes.get(4..6)) {
        let length = u32::from_ne_bytes(length) as usize;
        let Some(body) = bytes.get(HEADER..length) else {
            break;
        };
        found.push((u16::from_ne_bytes([kind[0], kind[1]]), body));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// What is in the first attribute of a kind (`struct rtattr` of linux/rtnetlink.h).
fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
        let content = bytes.get(4..length)?;
        // The two high bits are flags.
        if u16::from_ne_bytes([bytes[2], bytes[3]]) & 0x3fff == kind {
            return Some(content);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

fn word(bytes: &[u8]) -> Option<[u8; 4]> {
    bytes.get(..4)?.try_into().ok()
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let attributes = body.get(LINK_HEADER..)?;
    let text = |bytes: &[u8]| {
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    };
    let kind =
        attribute(attributes, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_KIND));
    Some(Link {
        name: text(attribute(attributes, IFLA_IFNAME)?),
        kind: text(kind.unwrap_or_default()),
        below: u32::from_ne_bytes(word(attribute(attributes, IFLA_LINK)?)?),
        namespace: i32::from_ne_bytes(word(attribute(attributes, IFLA_LINK_NETNSID)?)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attribute, padded.
    fn attribute_of(kind: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + content.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(body);
        bytes
    }

    /// What the kernel says of `net1`, a macvlan on interface 2 of another namespace.
    fn macvlan() -> Vec<u8> {
        let mut body = vec![0; LINK_HEADER];
        body.extend(attribute_of(IFLA_IFNAME, b"net1\0"));
        body.extend(attribute_of(IFLA_LINK, &2u32.to_ne_bytes()));
        let kind = attribute_of(IFLA_INFO_KIND, b"macvlan\0");
        body.extend(attribute_of(IFLA_LINKINFO | 1 << 15, &kind));
        body.extend(attribute_of(IFLA_LINK_NETNSID, &7i32.to_ne_bytes()));
        body
    }

    #[test]
    fn an_interface_on_one_of_another_namespace_is_understood() {
        let expected = Link {
            name: "net1".to_owned(),
            kind: "macvlan".to_owned(),
            below: 2,
            namespace: 7,
        };
        assert_eq!(parse_link(&macvlan()), Some(expected));
        // A VLAN on an interface of its own namespace.
        let mut near = vec![0; LINK_HEADER];
        near.extend(attribute_of(IFLA_IFNAME, b"eth0.5\0"));
        near.extend(attribute_of(IFLA_LINK, &2u32.to_ne_bytes()));
        assert_eq!(parse_link(&near), None);
    }

    #[test]
    fn answers_fall_into_messages_and_cut_ones_break_nothing() {
        let answer = [message(16, &macvlan()), message(3, &[0; 4])].concat();
        let kinds: Vec<u16> = messages(&answer).iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [16, 3]);
        for length in 0..answer.len() {
            for (_, body) in messages(&answer[..length]) {
                parse_link(body);
            }
            parse_link(&answer[length..]);
        }
        assert_eq!(messages(&[0; 64]).len(), 0);
        assert_eq!(messages(&[0xff; 64]).len(), 0);
    }
}
