//! The speed and width of a PCI Express link, now and at best (Link Capabilities and Link Status, as sysfs decodes them).

use std::fmt;

use super::Host;
use super::pci::sysfs;
use crate::types::Bdf;

/// The rate of a link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkRate {
    /// Transfers a second in units of 10^9, on each lane: 2.5, 5, 8, 16, 32, 64.
    pub gigatransfers: f32,
    /// The number of lanes, 1 to 32.
    pub width: u8,
}

/// What a link does and could do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Now; `None` while it is down.
    pub now: Option<LinkRate>,
    /// The best that the device can do.
    pub device: LinkRate,
    /// The best that the port at its other end can do.
    pub port: Option<LinkRate>,
}

impl LinkRate {
    /// The lower of two rates in each respect.
    fn limited_by(self, other: Self) -> Self {
        Self {
            gigatransfers: self.gigatransfers.min(other.gigatransfers),
            width: self.width.min(other.width),
        }
    }

    /// Whether it is below another one in any respect.
    fn is_below(self, other: Self) -> bool {
        self.gigatransfers < other.gigatransfers || self.width < other.width
    }
}

impl fmt::Display for LinkRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} GT/s x{}", self.gigatransfers, self.width)
    }
}

impl Link {
    /// The best that both ends can do.
    #[must_use]
    pub fn best(&self) -> LinkRate {
        self.port
            .map_or(self.device, |port| self.device.limited_by(port))
    }

    /// Whether it runs below what both ends can do. Many devices lower the speed while they are idle.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.now.is_some_and(|now| now.is_below(self.best()))
    }

    /// Whether the slot holds the device back.
    #[must_use]
    pub fn is_limited_by_port(&self) -> bool {
        self.best().is_below(self.device)
    }
}

impl Host {
    /// The link of a device; `None` for conventional PCI, devices inside the processor or chipset, and virtual functions.
    #[must_use]
    pub fn link_of(&self, bdf: Bdf) -> Option<Link> {
        let device = self.rate(bdf, "max")?;
        let port = self.bridges_above(bdf).first().copied();
        Some(Link {
            now: self.rate(bdf, "current"),
            device,
            port: port.and_then(|port| self.rate(port, "max")),
        })
    }

    /// Both attributes are missing, or say `Unknown` or 0, where there is no link.
    fn rate(&self, bdf: Bdf, which: &str) -> Option<LinkRate> {
        let folder = sysfs(bdf);
        let speed = self.attribute(folder.join(format!("{which}_link_speed")))?;
        let width = self.parsed(folder.join(format!("{which}_link_width")))?;
        let gigatransfers: f32 = speed.split_whitespace().next()?.parse().ok()?;
        (gigatransfers.is_finite() && gigatransfers > 0.0 && (1..=32).contains(&width)).then_some(
            LinkRate {
                gigatransfers,
                width,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_is_held_against_what_both_ends_can_do() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("sys/devices/pci0000:00/0000:00:01.0");
        let devices = folder.path().join("sys/bus/pci/devices");
        fs::create_dir_all(real.join("0000:01:00.0")).unwrap();
        fs::create_dir_all(&devices).unwrap();
        for place in ["0000:00:01.0", "0000:00:01.0/0000:01:00.0"] {
            let target = format!("../../../devices/pci0000:00/{place}");
            symlink(target, devices.join(place.rsplit('/').next().unwrap())).unwrap();
        }
        let write = |bdf: &str, name: &str, text: &str| {
            fs::write(devices.join(bdf).join(name), text).unwrap();
        };
        write("0000:01:00.0", "max_link_speed", "16.0 GT/s PCIe\n");
        write("0000:01:00.0", "max_link_width", "16\n");
        write("0000:01:00.0", "current_link_speed", "8.0 GT/s PCIe\n");
        write("0000:01:00.0", "current_link_width", "4\n");
        write("0000:00:01.0", "max_link_speed", "8.0 GT/s PCIe\n");
        write("0000:00:01.0", "max_link_width", "8\n");
        let host = Host::at(folder.path());
        let bdf = "01:00.0".parse().unwrap();

        let link = host.link_of(bdf).unwrap();
        assert_eq!(link.best().to_string(), "8 GT/s x8");
        assert!(link.is_degraded() && link.is_limited_by_port());

        write("0000:01:00.0", "current_link_width", "8\n");
        assert!(!host.link_of(bdf).unwrap().is_degraded());
        write("0000:01:00.0", "current_link_speed", "Unknown\n");
        assert_eq!(host.link_of(bdf).unwrap().now, None);
        write("0000:01:00.0", "max_link_width", "255\n");
        assert_eq!(host.link_of(bdf), None);
    }
}
