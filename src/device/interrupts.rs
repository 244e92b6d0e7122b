//! Interrupts, delivered through eventfds.

use std::fmt;

use nix::errno::Errno;
use vfio_bindings::bindings::vfio::{
    VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_REQ_IRQ_INDEX,
};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::{DeviceError, VfioDevice};

/// The ways in which a PCI device, or the kernel on its behalf, can signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InterruptKind {
    /// The interrupt pin. The kernel masks it when it fires.
    Intx,
    /// Message signalled interrupts.
    Msi,
    /// Message signalled interrupts with a table in a BAR.
    Msix,
    /// The kernel reports a PCIe error of the device.
    Error,
    /// The kernel asks for the device back.
    Request,
}

impl InterruptKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Intx,
        Self::Msi,
        Self::Msix,
        Self::Error,
        Self::Request,
    ];

    /// VFIO's index (linux/vfio.h, "vfio-pci interrupt indexes").
    fn index(self) -> u32 {
        match self {
            Self::Intx => VFIO_PCI_INTX_IRQ_INDEX,
            Self::Msi => VFIO_PCI_MSI_IRQ_INDEX,
            Self::Msix => VFIO_PCI_MSIX_IRQ_INDEX,
            Self::Error => VFIO_PCI_ERR_IRQ_INDEX,
            Self::Request => VFIO_PCI_REQ_IRQ_INDEX,
        }
    }
}

impl fmt::Display for InterruptKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intx => "INTx",
            Self::Msi => "MSI",
            Self::Msix => "MSI-X",
            Self::Error => "error",
            Self::Request => "request",
        })
    }
}

impl VfioDevice {
    /// How many interrupts of this kind the device has, 0 if none.
    #[must_use]
    pub fn interrupts(&self, kind: InterruptKind) -> u32 {
        let info = self.fd().interrupts().get_irq_info(kind.index());
        info.map_or(0, |info| info.count)
    }

    /// Turns on the first `count` interrupts of a kind; each signals the eventfd of its number, which does not block.
    pub fn enable_interrupts(
        &self,
        kind: InterruptKind,
        count: u32,
    ) -> Result<Vec<EventFd>, DeviceError> {
        let available = self.interrupts(kind);
        if count == 0 || count > available {
            return Err(DeviceError::TooFewInterrupts {
                bdf: self.bdf(),
                kind,
                available,
                wanted: count,
            });
        }
        let failed = |errno| DeviceError::Interrupts {
            bdf: self.bdf(),
            switch: "on",
            kind,
            errno,
        };
        let events = (0..count)
            .map(|_| EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| failed(Errno::from_raw(error.raw_os_error().unwrap_or(0))))?;
        // The crate keeps no kernel error here, but nothing comes between its ioctl and this.
        self.fd()
            .interrupts()
            .enable_irq(kind.index(), events.iter().collect())
            .map_err(|_| failed(Errno::last()))?;
        self.note_interrupts(kind, true);
        Ok(events)
    }

    /// Has the kernel signal the eventfd of this interrupt, which is on, as it does when the interrupt comes (`vfio_pci_set_msi_trigger` of
    /// drivers/vfio/pci/vfio_pci_intrs.c). Nothing passes the device, or the IOMMU that remaps interrupts.
    pub fn trigger_interrupt(&self, kind: InterruptKind, number: u32) -> Result<(), DeviceError> {
        self.fd()
            .interrupts()
            .trigger_irq(kind.index(), number)
            .map_err(|_| DeviceError::Interrupts {
                bdf: self.bdf(),
                switch: "off and on",
                kind,
                errno: Errno::last(),
            })
    }

    /// Turns off all interrupts of a kind.
    pub fn disable_interrupts(&self, kind: InterruptKind) -> Result<(), DeviceError> {
        self.fd()
            .interrupts()
            .disable_irq(kind.index())
            .map_err(|_| DeviceError::Interrupts {
                bdf: self.bdf(),
                switch: "off",
                kind,
                errno: Errno::last(),
            })?;
        self.note_interrupts(kind, false);
        Ok(())
    }
}
