//! SR-IOV: the virtual functions of a physical one (Documentation/ABI/testing/sysfs-bus-pci).

use super::Host;
use super::pci::sysfs;
use super::regions::Bar;
use crate::types::Bdf;

/// What a physical function says about its virtual functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sriov {
    /// The most virtual functions it can have.
    pub total: u16,
    /// Those that exist, in order.
    pub functions: Vec<Bdf>,
    /// How far the first one's routing ID is from that of the physical function.
    pub offset: Option<u16>,
    /// How far apart the routing IDs of two of them are.
    pub stride: Option<u16>,
    /// The device ID of the virtual functions.
    pub device_id: Option<u16>,
    /// Whether the host's own drivers take new virtual functions at once.
    pub autoprobe: Option<bool>,
    /// The regions of one virtual function, at their place for the first; empty if no address space was found for them.
    /// `None` if sysfs does not say.
    pub bars: Option<Vec<Bar>>,
}

impl Sriov {
    /// How many virtual functions there are.
    #[must_use]
    pub fn count(&self) -> u16 {
        // No more than `total`, which is a u16.
        self.functions.len() as u16
    }

    /// Where as many virtual functions as there can be would lie, for those on bus numbers that exist (SR-IOV 1.1, section 2.1.2).
    #[must_use]
    pub fn places(&self, physical: Bdf) -> Vec<Bdf> {
        let (Some(offset), Some(stride)) = (self.offset, self.stride) else {
            return Vec::new();
        };
        let first = u32::from(physical.routing_id()) + u32::from(offset);
        (0..u32::from(self.total))
            .map(|number| first + number * u32::from(stride))
            .map_while(|id| u16::try_from(id).ok())
            .map(|id| physical.with_routing_id(id))
            .collect()
    }

    /// Whether no memory space was found for the virtual functions, so that none can be made.
    #[must_use]
    pub fn lacks_space(&self) -> bool {
        self.bars
            .as_ref()
            .is_some_and(|bars| bars.is_empty() || bars.iter().any(|bar| bar.start.is_none()))
    }
}

impl Host {
    /// What a function says about its virtual functions; `None` if it cannot have any.
    ///
    /// Leaves `sriov_numvfs` alone: the kernel takes the device's lock for it, so it waits while functions are being made.
    #[must_use]
    pub fn sriov(&self, bdf: Bdf) -> Option<Sriov> {
        let folder = sysfs(bdf);
        let total: u16 = self
            .parsed(folder.join("sriov_totalvfs"))
            .filter(|total| *total > 0)?;
        let functions = (0..total)
            .map_while(|number| self.link_name(folder.join(format!("virtfn{number}"))))
            .filter_map(|name| name.parse().ok())
            .collect();
        // The space is for as many as the hardware can have, even if the driver allows fewer. Where this user may not see how many
        // those are, it helps that each region is a power of two.
        let hardware_total = self.config_space(bdf).total_virtual_functions();
        let mut bars = self.vf_space(bdf);
        for bar in bars.iter_mut().flatten() {
            let most = bar.size / u64::from(hardware_total.unwrap_or(total).max(1));
            bar.size = most.checked_ilog2().map_or(0, |log2| 1 << log2);
        }
        Some(Sriov {
            total,
            functions,
            offset: self.parsed(folder.join("sriov_offset")),
            stride: self.parsed(folder.join("sriov_stride")),
            device_id: self
                .hex_attribute(folder.join("sriov_vf_device"))
                .and_then(|id| u16::try_from(id).ok()),
            autoprobe: self
                .parsed::<u8>(folder.join("sriov_drivers_autoprobe"))
                .map(|on| on != 0),
            bars,
        })
    }

    /// The physical function that a virtual one belongs to; `None` if it is no virtual one.
    #[must_use]
    pub fn physical_function(&self, bdf: Bdf) -> Option<Bdf> {
        self.link_name(sysfs(bdf).join("physfn"))?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn virtual_functions_are_counted_and_their_space_is_shared_out() {
        let folder = tempfile::tempdir().unwrap();
        let devices = folder.path().join("sys/bus/pci/devices");
        let (pf, vf) = (devices.join("0000:01:00.0"), devices.join("0000:01:10.0"));
        for path in [&pf, &vf] {
            fs::create_dir_all(path).unwrap();
        }
        symlink("../0000:01:00.0", vf.join("physfn")).unwrap();
        symlink("../0000:01:10.0", pf.join("virtfn0")).unwrap();
        let none = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
        let resource = |line: &str| {
            fs::write(pf.join("resource"), none.repeat(7) + line + &none.repeat(5)).unwrap();
        };
        resource("0x0000004000000000 0x000000400001ffff 0x000000000014220c\n");
        for (name, text) in [
            ("sriov_totalvfs", "7\n"),
            ("sriov_offset", "128\n"),
            ("sriov_stride", "2\n"),
            ("sriov_vf_device", "10ca\n"),
            ("sriov_drivers_autoprobe", "1\n"),
        ] {
            fs::write(pf.join(name), text).unwrap();
        }
        let host = Host::at(folder.path());
        let (pf_bdf, vf_bdf) = ("01:00.0".parse().unwrap(), "01:10.0".parse().unwrap());

        let sriov = host.sriov(pf_bdf).unwrap();
        assert_eq!(
            (sriov.total, sriov.functions.as_slice()),
            (7, &[vf_bdf][..])
        );
        assert_eq!((sriov.offset, sriov.stride), (Some(128), Some(2)));
        assert_eq!(
            (sriov.device_id, sriov.autoprobe),
            (Some(0x10ca), Some(true))
        );
        assert_eq!(sriov.bars.as_ref().unwrap()[0].size, 0x4000);
        assert!(!sriov.lacks_space());
        assert_eq!(host.physical_function(vf_bdf), Some(pf_bdf));
        let places: Vec<String> = sriov.places(pf_bdf).iter().map(Bdf::to_string).collect();
        assert_eq!((places.len(), &*places[0]), (7, "0000:01:10.0"));
        assert_eq!(&*places[6], "0000:01:11.4");
        assert_eq!(host.sriov(vf_bdf), None);

        resource(none);
        assert!(host.sriov(pf_bdf).unwrap().lacks_space());
        resource("0x0000000000000000 0x000000000001ffff 0x000000002014220c\n");
        assert!(host.sriov(pf_bdf).unwrap().lacks_space());
    }
}
