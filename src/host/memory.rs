//! The host's memory: how much is free, and how far physical addresses go.

use super::Host;
use super::pagemap::page_size;

const MEMINFO: &str = "/proc/meminfo";
const MEMINFO_LIMIT: u64 = 64 << 10;
const ZONES: &str = "/proc/zoneinfo";
const ZONES_LIMIT: u64 = 4 << 20;
const CPUINFO_LIMIT: u64 = 64 << 10;
const DEVICES: &str = "/sys/bus/pci/devices";
const RESOURCES_LIMIT: u64 = 16 << 10;

impl Host {
    /// How many bytes of memory can be taken without pushing anything out; `None` if the host does not say.
    #[must_use]
    pub fn available_memory(&self) -> Option<u64> {
        self.memory_figure("MemAvailable:")
    }

    /// All memory that the kernel manages, in bytes; `None` if the host does not say.
    #[must_use]
    pub fn total_memory(&self) -> Option<u64> {
        self.memory_figure("MemTotal:")
    }

    fn memory_figure(&self, name: &str) -> Option<u64> {
        let text = self.text(MEMINFO, MEMINFO_LIMIT);
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        kibibytes.checked_mul(1024)
    }

    /// The first physical address above all memory and all windows of PCI devices; `None` if the host does not say.
    ///
    /// /proc/iomem would say it too, but only to root.
    #[must_use]
    pub fn physical_top(&self) -> Option<u64> {
        let zones = self.read(ZONES, ZONES_LIMIT).ok()?;
        let memory = memory_top(&String::from_utf8_lossy(&zones), page_size())?;
        let windows = self.names(DEVICES).into_iter().filter_map(|device| {
            let path = format!("{DEVICES}/{device}/resource");
            let resources = self.read(path, RESOURCES_LIMIT).ok()?;
            windows_top(&String::from_utf8_lossy(&resources))
        });
        windows.chain([memory]).max()
    }
}

impl Host {
    /// The bits of a physical address, as wide as the processor can make them; only x86 says.
    #[must_use]
    pub fn physical_address_bits(&self) -> Option<u8> {
        let cpuinfo = self.text("/proc/cpuinfo", CPUINFO_LIMIT);
        let (_, rest) = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("address sizes")?.split_once(':'))?;
        rest.split_whitespace().next()?.parse().ok()
    }
}

/// The end of the highest zone of memory (`zoneinfo_show_print` in mm/vmstat.c): `spanned` pages from `start_pfn`.
fn memory_top(zoneinfo: &str, page_size: u64) -> Option<u64> {
    let mut spanned = 0_u64;
    let mut top = None;
    for line in zoneinfo.lines() {
        let mut words = line.split_whitespace();
        let (name, value) = (
            words.next(),
            words.next().and_then(|word| word.parse().ok()),
        );
        match (name, value) {
            (Some("spanned"), Some(pages)) => spanned = pages,
            (Some("start_pfn:"), Some(first)) if spanned > 0 => {
                let end = spanned.checked_add(first)?.checked_mul(page_size)?;
                top = top.max(Some(end));
            }
            _ => {}
        }
    }
    top
}

/// The end of the highest window in a device's `resource` file: lines of first address, last address, flags.
fn windows_top(resources: &str) -> Option<u64> {
    let last = |line: &str| {
        let word = line.split_whitespace().nth(1)?;
        u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
    };
    resources.lines().filter_map(last).max()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const ZONEINFO: &str = "\
Node 0, zone      DMA
  pages free     3840
        spanned  4095
        present  3998
  start_pfn:           1
Node 0, zone   Normal
        spanned  1048576
        protection: (0, 0, 0, 0, 0)
  start_pfn:           1048576
Node 0, zone  Movable
        spanned  0
  start_pfn:           0
";

    #[test]
    fn the_top_is_the_end_of_the_highest_zone_or_window() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        assert_eq!(host.physical_top(), None);

        fs::create_dir_all(folder.path().join("proc")).unwrap();
        fs::write(folder.path().join("proc/zoneinfo"), ZONEINFO).unwrap();
        assert_eq!(host.physical_top(), Some((2 << 20) * page_size()));

        let device = folder.path().join("sys/bus/pci/devices/0000:00:01.0");
        fs::create_dir_all(&device).unwrap();
        fs::write(
            device.join("resource"),
            "0x00000000fe000000 0x00000000fe0fffff 0x0000000000040200\n\
             0x000000fe00000000 0x000000fe0000ffff 0x000000000014220c\n\
             0x0000000000000000 0x0000000000000000 0x0000000000000000\n",
        )
        .unwrap();
        assert_eq!(host.physical_top(), Some(0xfe_0001_0000));
    }

    #[test]
    fn available_memory_is_what_the_kernel_says() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        assert_eq!(host.available_memory(), None);

        fs::create_dir_all(folder.path().join("proc")).unwrap();
        let meminfo = "MemTotal:  1000 kB\nMemFree:   10 kB\nMemAvailable:    600 kB\n";
        fs::write(folder.path().join("proc/meminfo"), meminfo).unwrap();
        assert_eq!(host.available_memory(), Some(600 << 10));
    }

    #[test]
    fn processors_say_how_wide_their_addresses_are() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("proc")).unwrap();
        let cpuinfo = "flags\t: fpu\naddress sizes\t: 46 bits physical, 48 bits virtual\n";
        fs::write(folder.path().join("proc/cpuinfo"), cpuinfo).unwrap();
        let host = Host::at(folder.path());
        assert_eq!(host.physical_address_bits(), Some(46));
        fs::write(folder.path().join("proc/cpuinfo"), "address sizes\n").unwrap();
        assert_eq!(host.physical_address_bits(), None);
    }

    #[test]
    fn odd_numbers_break_nothing() {
        assert_eq!(memory_top("spanned x\n start_pfn: 1", 4096), None);
        assert_eq!(
            memory_top(
                "spanned 18446744073709551615\n start_pfn: 18446744073709551615",
                4096
            ),
            None
        );
        assert_eq!(windows_top("0x0 0xffffffffffffffff 0x0"), None);
        assert_eq!(windows_top("\n0x0\nrubbish here\n"), None);
    }
}
