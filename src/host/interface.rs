//! Whether network interfaces are up (Documentation/ABI/testing/sysfs-class-net).

use std::path::{Path, PathBuf};

use super::Host;

/// `IFF_UP` of linux/if.h.
const IFF_UP: u32 = 1;

impl Host {
    /// Whether a network interface is up, as the administrator set it.
    #[must_use]
    pub fn interface_is_up(&self, name: &str) -> bool {
        self.hex_attribute(folder(name).join("flags"))
            .is_some_and(|flags| flags & IFF_UP != 0)
    }

    /// Whether a network interface has a link; `None` while it is down.
    #[must_use]
    pub fn has_carrier(&self, name: &str) -> Option<bool> {
        Some(self.attribute(folder(name).join("carrier"))? == "1")
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}

#[cfg(test)]
mod tests {
    use crate::host::root::host_of_files as host;

    #[test]
    fn an_interface_is_up_and_has_a_link_apart_from_each_other() {
        let (_folder, host) = host(&[
            ("sys/class/net/eth0/flags", "0x1003\n"),
            ("sys/class/net/eth0/carrier", "0\n"),
            ("sys/class/net/eth1/flags", "0x1002\n"),
        ]);
        assert!(host.interface_is_up("eth0"));
        assert_eq!(host.has_carrier("eth0"), Some(false));
        assert!(!host.interface_is_up("eth1"));
        assert_eq!(host.has_carrier("eth1"), None);
    }
}
