//! Whether a display device shows something.

use std::path::Path;

use super::{Usage, Use};
use crate::host::PciDevice;
use crate::types::{Bdf, UseReason};

/// The base class of display controllers (PCI Code and ID Assignment, section 1.4).
const DISPLAY: u32 = 0x03;

const CONSOLES: &str = "/sys/class/vtconsole";

impl Usage<'_> {
    /// The text console, and the pictures on its monitors.
    pub(super) fn display(&self, device: &PciDevice) -> Vec<Use> {
        if device.id.class >> 16 != DISPLAY {
            return Vec::new();
        }
        let monitors = self.monitors(device).into_iter().map(|connector| {
            Use::new(
                UseReason::Display,
                format!("the monitor at {connector} shows a picture"),
                "stop the display server, as by 'systemctl isolate multi-user.target'",
            )
        });
        self.console(device).into_iter().chain(monitors).collect()
    }

    /// The console is drawn by this device: on a frame buffer of its own, or, on the one that the firmware started with, on the
    /// firmware's or in VGA text mode.
    fn console(&self, device: &PciDevice) -> Option<Use> {
        let host = self.host;
        let boot_vga = host.attribute(device.sysfs().join("boot_vga")).as_deref() == Some("1");
        let console = host.names(CONSOLES).into_iter().find_map(|console| {
            let folder = Path::new(CONSOLES).join(&console);
            let is_bound = host.attribute(folder.join("bind")).as_deref() == Some("1");
            let name = host.attribute(folder.join("name")).filter(|_| is_bound)?;
            let screen = if name.contains("frame buffer device") {
                self.frame_buffer(device.bdf, boot_vga)?
            } else if name.contains("VGA") && boot_vga {
                "VGA text mode".to_owned()
            } else {
                return None;
            };
            Some((console, screen))
        });
        let (console, screen) = console?;
        let boot = if boot_vga {
            "the boot display"
        } else {
            "a display"
        };
        Some(Use::new(
            UseReason::Display,
            format!("it is {boot}: the console is on it ({screen})"),
            format!("echo 0 > {CONSOLES}/{console}/bind"),
        ))
    }

    fn frame_buffer(&self, bdf: Bdf, boot_vga: bool) -> Option<String> {
        let folder = Path::new("/sys/class/graphics");
        self.host.names(folder).into_iter().find_map(|name| {
            let number = name.strip_prefix("fb")?;
            if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
                return None;
            }
            let target = self.host.link(folder.join(&name))?;
            let owner: Option<Bdf> = target
                .iter()
                .rev()
                .find_map(|part| part.to_str()?.parse().ok());
            // The firmware's frame buffer belongs to no PCI device on many kernels.
            let is_ours = owner.map_or(boot_vga, |owner| owner == bdf);
            let driver = self.host.attribute(folder.join(&name).join("name"));
            let driver = driver.map_or_else(String::new, |driver| format!(", {driver}"));
            is_ours.then(|| format!("{name}{driver}"))
        })
    }

    fn monitors(&self, device: &PciDevice) -> Vec<String> {
        let folder = device.sysfs().join("drm");
        let cards = self.host.names(&folder).into_iter();
        cards
            .flat_map(|card| {
                let folder = folder.join(&card);
                let mut connectors = self.host.names(&folder);
                connectors.retain(|name| {
                    let is_connector = name.strip_prefix(&card).is_some_and(|s| s.starts_with('-'));
                    is_connector
                        && self
                            .host
                            .attribute(folder.join(name).join("enabled"))
                            .as_deref()
                            == Some("enabled")
                });
                connectors
            })
            .collect()
    }
}
