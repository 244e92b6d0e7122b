//! Everything that a host says about one device, gathered.

use super::config_space::{Ats, Msi, MsiX, Pasid, PortType, Pri, Reach};
use super::{
    Bar, DriverModules, Holder, Host, IommuGroup, IommuUnit, IsolationStep, Link, PciDevice,
    ResetMethod, Sriov, Usage, Use, is_vfio_driver,
};
use crate::types::{Bdf, VfioNode};
use std::path::PathBuf;

/// Everything that a host says about one device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceProfile {
    /// What it is and where.
    pub device: PciDevice,
    /// Its place in the hierarchy of buses.
    pub place: Option<String>,
    /// The names of what it provides, as `eth0`.
    pub kernel_names: Vec<String>,
    /// How much of its configuration space this user sees; what lies beyond is `None` below.
    pub reach: Reach,
    /// What it is in the PCI Express hierarchy.
    pub port: Option<PortType>,
    /// Its IOMMU group.
    pub group: Option<IommuGroup>,
    /// The IOMMU that translates for it.
    pub unit: Option<IommuUnit>,
    /// What keeps it apart from others.
    pub isolation: Vec<IsolationStep>,
    /// The processors nearest to it, as `0-15,32-47`.
    pub near_cpus: Option<String>,
    /// Its link.
    pub link: Option<Link>,
    /// Its regions.
    pub bars: Vec<Bar>,
    /// The pin of its legacy interrupt.
    pub interrupt_pin: Option<char>,
    /// Message-signalled interrupts.
    pub msi: Option<Msi>,
    /// Message-signalled interrupts with a table.
    pub msi_x: Option<MsiX>,
    /// How many message-signalled interrupts its driver has set up.
    pub interrupts_in_use: usize,
    /// Whether its configuration space says that it can be reset alone.
    pub function_level_reset: bool,
    /// How the kernel can reset it; `None` if sysfs does not say.
    pub reset_methods: Option<Vec<ResetMethod>>,
    /// The devices that a reset of its bus takes along; `None` if its bus cannot be reset.
    pub bus_companions: Option<Vec<Bdf>>,
    /// Its virtual functions, if it can have any.
    pub sriov: Option<Sriov>,
    /// The physical function that it belongs to, if it is a virtual one.
    pub physical_function: Option<Bdf>,
    /// Whether it has alternative routing IDs.
    pub ari: bool,
    /// Whether it can keep translations itself.
    pub ats: Option<Ats>,
    /// Whether it can ask for pages.
    pub pri: Option<Pri>,
    /// Whether it can use several address spaces.
    pub pasid: Option<Pasid>,
    /// The kernel's modules that know it.
    pub modules: DriverModules,
    /// How user space reaches it.
    pub node: VfioNode,
    /// The node of its group, if it is there: not before a device of the group is bound to VFIO.
    pub group_node: Option<PathBuf>,
    /// Who has it or its group open.
    pub holders: Vec<Holder>,
    /// What the host itself uses it for.
    pub uses: Vec<Use>,
}

impl Host {
    /// Gathers everything about a device. `all` are the host's PCI devices, `usage` knows what they provide and who uses it.
    ///
    /// This reads configuration space, which wakes a device that the kernel has put to sleep.
    #[must_use]
    pub fn profile(
        &self,
        device: &PciDevice,
        all: &[PciDevice],
        usage: &Usage<'_>,
    ) -> DeviceProfile {
        let bdf = device.bdf;
        let space = self.config_space(bdf);
        let group = device.group.and_then(|id| self.group(id).ok());
        // Without a device on VFIO there is no node to hold, and no need to look at every process.
        let has_node = group
            .iter()
            .flat_map(|group| &group.devices)
            .any(|device| device.driver.as_deref().is_some_and(is_vfio_driver));
        let holders = if has_node {
            self.holders(&self.vfio_nodes(device))
        } else {
            Vec::new()
        };
        DeviceProfile {
            device: device.clone(),
            place: self.place(bdf),
            kernel_names: usage.names.of(bdf).map(|name| name.name.clone()).collect(),
            reach: space.reach(),
            port: space.express().map(|express| express.port),
            group,
            unit: self.iommu_unit(bdf),
            isolation: self.isolation(device),
            near_cpus: self.attribute(device.sysfs().join("local_cpulist")),
            link: self.link_of(bdf),
            bars: self.bars(bdf),
            interrupt_pin: space.interrupt_pin(),
            msi: space.msi(),
            msi_x: space.msi_x(),
            interrupts_in_use: self.names(device.sysfs().join("msi_irqs")).len(),
            function_level_reset: space.has_function_level_reset(),
            reset_methods: self.reset_methods(bdf),
            bus_companions: self.bus_companions(bdf, all),
            sriov: self.sriov(bdf),
            physical_function: self.physical_function(bdf),
            ari: space.has_ari(),
            ats: space.ats(),
            pri: space.pri(),
            pasid: space.pasid(),
            modules: self.driver_modules(bdf),
            node: self.vfio_node(device),
            group_node: device
                .group
                .map(|group| PathBuf::from(format!("/dev/vfio/{group}")))
                .filter(|node| self.exists(node)),
            holders,
            uses: usage.of(device),
        }
    }
}
