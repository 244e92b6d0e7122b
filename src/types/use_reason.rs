//! Why a device counts as in use, by names that scripts can rely on.

use std::fmt;

/// Why a device counts as in use. Each name is stable: `--allow NAME` lifts this one and no other.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum UseReason {
    /// A file system on the disk, or on an array or mapping that uses it, is mounted
    Mounted,
    /// The disk, or an array or mapping that uses it, is swap space
    Swap,
    /// The disk is part of a RAID array (md)
    Md,
    /// A device-mapper device is on the disk: LVM, LUKS, multipath
    Dm,
    /// Something else has claimed the disk for itself: it cannot be opened with O_EXCL (ZFS, btrfs, bcache, DRBD)
    Claimed,
    /// A process has a node of the device in /dev open: a disk, or of a driver for graphics, RDMA, sound, UIO or anything else
    Open,
    /// A network interface has an IP address
    Address,
    /// The default route, or another one, goes out by a network interface
    Route,
    /// The network interface is part of a bond or team
    Bond,
    /// The network interface is part of a bridge
    Bridge,
    /// A VLAN interface is on the network interface
    Vlan,
    /// A macvlan, macvtap or ipvlan interface is on the network interface
    Macvlan,
    /// Another kind of interface is on the network interface
    Stacked,
    /// A process reads the network interface directly (AF_PACKET): a DHCP client, a packet capture
    Packet,
    /// TCP connections go through a network interface: a remote login among them
    Session,
    /// The network interface is in another network namespace, as that of a container
    Namespace,
    /// The display shows the console or a picture
    Display,
    /// The device has virtual functions, which go away with its driver
    Vfs,
    /// User space has a virtual function of the device open through VFIO; this cannot be overridden, as the kernel would wait for it
    #[value(skip)]
    Held,
}

impl UseReason {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mounted => "mounted",
            Self::Swap => "swap",
            Self::Md => "md",
            Self::Dm => "dm",
            Self::Claimed => "claimed",
            Self::Open => "open",
            Self::Address => "address",
            Self::Route => "route",
            Self::Bond => "bond",
            Self::Bridge => "bridge",
            Self::Vlan => "vlan",
            Self::Macvlan => "macvlan",
            Self::Stacked => "stacked",
            Self::Packet => "packet",
            Self::Session => "session",
            Self::Namespace => "namespace",
            Self::Display => "display",
            Self::Vfs => "vfs",
            Self::Held => "held",
        }
    }

    /// Whether a user may override it.
    #[must_use]
    pub fn may_be_allowed(self) -> bool {
        self != Self::Held
    }
}

impl fmt::Display for UseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn the_names_are_the_same_everywhere() {
        for reason in UseReason::value_variants() {
            let offered = reason.to_possible_value().unwrap();
            assert_eq!(offered.get_name(), reason.name());
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
            assert!(offered.get_help().is_some() && reason.may_be_allowed());
        }
        assert!(UseReason::from_str("held", false).is_err());
    }
}
