//! The checks of `validate`: is a device, or a physical function with its virtual ones, fit to be handed out?
//!
//! [`ITEMS`] lists them with their stable names. To them come those of `doctor` for the host, and those of `test` for each function on each
//! kernel interface, with the names that they have there.

mod functions;
mod latency;
mod leaks;
mod load;
pub mod manifest;
mod opened;
mod outcome;
mod tables;

pub use functions::{acs, apart, interrupts_offered, space, stride};
pub use latency::{MapLatency, map_latencies, similar};
pub use leaks::Traces;
pub use load::{LoadLane, load};
pub use opened::{interrupts, regions, reset};
pub use outcome::{Checked, Fitness, Judged};
pub use tables::tables_apart;

use super::CHECKS;
use super::doctor::{DEVICE_CHECKS, HOST_CHECKS};
use crate::types::Level;

/// A check of `validate`.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// Its stable name, for scripts.
    pub id: &'static str,
    /// What it does, in a few words.
    pub title: &'static str,
    /// What is known when it passes.
    pub proves: &'static str,
    /// From which level on it is done.
    pub from: Level,
}

macro_rules! items {
    ($($name:ident = $id:literal, $level:ident, $title:literal, $proves:literal;)*) => {
        $(
            #[doc = $title]
            pub const $name: Item = Item {
                id: $id,
                title: $title,
                proves: $proves,
                from: Level::$level,
            };
        )*

        /// All checks that are of `validate` alone, in the order in which they run.
        pub static ITEMS: &[Item] = &[$($name),*];
    };
}

items! {
    VFS_COUNT = "vfs.count", Quick,
        "make the virtual functions, and have each answer",
        "the device, its driver and the firmware allow as many virtual functions as are wanted";
    VFS_READY = "vfs.ready", Quick,
        "what the virtual functions wait for: the port's link, an answer",
        "the physical function is in a state in which it serves its virtual ones";
    VFS_STRIDE = "vfs.stride", Quick,
        "each function lies where the SR-IOV capability says",
        "no function is taken for another one: the IOMMU tells them by these numbers";
    VFS_SPACE = "vfs.space", Quick,
        "each function has its regions, and no two share any",
        "no guest reaches the registers of another one's function";
    VFS_INTERRUPTS = "vfs.interrupts", Quick,
        "each function has message-signalled interrupts",
        "guests get interrupts without sharing a line";
    FUNCTION_GROUP = "function.group", Quick,
        "it is alone in its IOMMU group",
        "it can be handed out by itself, and the IOMMU keeps it apart from all others";
    FUNCTION_ACS = "function.acs", Quick,
        "every port on its way up has access control services on",
        "no request reaches another device without passing the IOMMU";
    FUNCTION_BOUND = "function.bound", Quick,
        "it is bound to vfio-pci",
        "the host lets go of it";
    FUNCTION_OPEN = "function.open", Quick,
        "it is opened and attached to an address space",
        "a user-space program can have it through this kernel interface";
    FUNCTION_REGIONS = "function.regions", Quick,
        "its regions are mapped, its configuration space read",
        "a program sees the regions that the host sees, at their sizes";
    FUNCTION_INTERRUPTS = "function.interrupts", Quick,
        "a vector is taken for each of its interrupts, and the kernel signals each in the device's place",
        "the host has vectors for all its interrupts, and each has an event of its own";
    FUNCTION_RESET = "function.reset", Quick,
        "it is reset, and answers afterwards",
        "the next user does not find what the last one left";
    FUNCTION_ENGINE = "function.engine", Quick,
        "its DMA engine is taken into use, and every check of 'test' runs",
        "the checks below say something";
    ALL_TABLES = "all.tables", Quick,
        "all are opened, each in an address space of its own, and the page table is looked up that the IOMMU walks for each, and for the physical function",
        "no function, and not the physical one either, is translated by the table of another";
    ALL_LOAD = "all.load", Full,
        "all functions transfer at the same time, each in its own address space at the same IOVAs, while memory is mapped and unmapped",
        "no function's data gets to another one, or is lost, when all of them work";
    ALL_MAP_LATENCY = "all.map-latency", Full,
        "mapping and unmapping for each function, in turns, against the first function",
        "the last function is served as fast as the first";
    VFS_CYCLES = "vfs.cycles", Full,
        "the virtual functions are removed and made again, several times",
        "a host can change their number while it runs";
    EXPECT_MODEL = "expect.model", Quick,
        "with --expect: the device is the expected one, by its IDs and the name of its model",
        "the host has the hardware that it was ordered with";
    EXPECT_FIRMWARE = "expect.firmware", Quick,
        "with --expect: its firmware has the expected version",
        "it runs what was tested before";
    EXPECT_LINK = "expect.link", Quick,
        "with --expect: its link is at least as fast and wide as expected",
        "it is in a good slot, and sits well in it";
    EXPECT_FUNCTIONS = "expect.functions", Quick,
        "with --expect: it can have, and has, the expected number of virtual functions",
        "as many guests find their place as are planned for";
    EXPECT_ISOLATION = "expect.isolation", Quick,
        "with --expect: each function has an IOMMU group of its own",
        "the firmware's settings for isolation are as on the host that the file was made on";
    EXPECT_NUMA = "expect.numa", Quick,
        "with --expect: it is at the expected NUMA node",
        "guests that are placed by the plan are near to it";
    EXPECT_IOMMU = "expect.iommu", Quick,
        "with --expect: the expected kind of IOMMU translates for it, in the expected mode",
        "the kernel was started with the same settings";
    EXPECT_LATENCY = "expect.latency", Full,
        "with --expect: mapping memory takes no longer than the stored figures allow",
        "the host is as fast as the one that the file was made on";
    AFTER_RESTORED = "after.restored", Quick,
        "the number of virtual functions and the drivers are what they were",
        "the host is as it was before";
    AFTER_LEAKS = "after.leaks", Quick,
        "files, pinned memory and IOMMU groups are what they were",
        "nothing is left behind, however often it is done";
}

/// `1 device`, `2 devices`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A check as it is listed: those of `validate`, of `doctor` for the host, and of `test`.
#[derive(Debug, Clone, Copy)]
pub struct Listed {
    /// Its stable name.
    pub id: &'static str,
    /// What it does.
    pub title: &'static str,
    /// What is known when it passes; `None` where the title says it.
    pub proves: Option<&'static str>,
    /// From which level on it is done.
    pub from: Level,
}

/// The checks of `doctor` that concern a device which is handed out; the others are asked more thoroughly here.
pub const OF_DOCTOR: [&str; 3] = ["device.reserved", "device.denylist", "device.link"];

/// The same for a physical function that is handed out as virtual ones.
pub const OF_DOCTOR_FOR_PHYSICAL: [&str; 4] = [
    "device.reserved",
    "device.denylist",
    "device.link",
    "device.vf-space",
];

/// Every check that `validate` may report.
#[must_use]
pub fn listed() -> Vec<Listed> {
    let host = HOST_CHECKS.iter().map(|check| Listed {
        id: check.id,
        title: check.title,
        proves: None,
        from: Level::Quick,
    });
    let place = DEVICE_CHECKS
        .iter()
        .filter(|check| OF_DOCTOR_FOR_PHYSICAL.contains(&check.id))
        .map(|check| Listed {
            id: check.id,
            title: check.title,
            proves: None,
            from: Level::Quick,
        });
    let own = ITEMS.iter().map(|item| Listed {
        id: item.id,
        title: item.title,
        proves: Some(item.proves),
        from: item.from,
    });
    let tested = CHECKS.iter().map(|check| Listed {
        id: check.id,
        title: check.title,
        proves: Some(check.proves),
        from: check.level,
    });
    host.chain(place).chain(own).chain(tested).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_checks_have_the_same_name() {
        let listed = listed();
        let names: BTreeSet<&str> = listed.iter().map(|check| check.id).collect();
        assert_eq!(names.len(), listed.len());
    }
}
