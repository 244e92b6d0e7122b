//! Interrupts, delivered through eventfds.

/// The ways in which a PCI device can signal (VFIO's interrupt indexes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InterruptKind {
    /// The interrupt pin.
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

/// How many interrupts the device has of each kind; 0 where it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupts {
    /// INTx, 0 or 1.
    pub intx: u32,
    /// MSI vectors.
    pub msi: u32,
    /// MSI-X vectors.
    pub msix: u32,
    /// Error report, 0 or 1.
    pub error: u32,
    /// Request to give the device back, 0 or 1.
    pub request: u32,
}
