//! Devices that vfio-pci refuses for known faults, unless it is told otherwise (`vfio_pci_dev_in_denylist` of drivers/vfio/pci/vfio_pci.c).

use super::PciDevice;

const INTEL: u16 = 0x8086;

/// QuickAssist C3xxx, C62x, DH895xCC and their virtual functions; Data Streaming and In-Memory Analytics Accelerators of Sapphire Rapids.
const DENIED: [u16; 8] = [
    0x19e2, 0x19e3, 0x37c8, 0x37c9, 0x0435, 0x0443, 0x0b25, 0x0cfe,
];

impl PciDevice {
    /// Whether vfio-pci refuses it unless its parameter `disable_denylist` is set.
    #[must_use]
    pub fn is_on_vfio_denylist(&self) -> bool {
        self.id.vendor == INTEL && DENIED.contains(&self.id.device)
    }
}
