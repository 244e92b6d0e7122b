//! How many message-signalled interrupts a function can send (sections 7.7.1 and 7.7.2).

use super::ConfigSpace;

const MSI_ID: u8 = 0x05;
const MSI_X_ID: u8 = 0x11;
const CONTROL: usize = 0x02;
const MSI_X_TABLE: usize = 0x04;

/// The MSI capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msi {
    /// The most interrupts it can send, 1 to 32.
    pub vectors: u16,
    /// Whether it is in use.
    pub enabled: bool,
    /// Whether single interrupts can be masked.
    pub maskable: bool,
}

/// The MSI-X capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiX {
    /// The most interrupts it can send, 1 to 2048.
    pub vectors: u16,
    /// Whether it is in use.
    pub enabled: bool,
    /// The BAR that holds the table, 0 to 5.
    pub table_bar: u8,
    /// Where in the BAR the table begins, in bytes.
    pub table_offset: u32,
}

impl ConfigSpace {
    /// The MSI capability.
    #[must_use]
    pub fn msi(&self) -> Option<Msi> {
        let control = self.word(self.capability(MSI_ID)? + CONTROL)?;
        Some(Msi {
            // The values 6 and 7 are reserved.
            vectors: 1 << (control >> 1 & 7).min(5),
            enabled: control & 1 != 0,
            maskable: control & 1 << 8 != 0,
        })
    }

    /// The MSI-X capability.
    #[must_use]
    pub fn msi_x(&self) -> Option<MsiX> {
        let at = self.capability(MSI_X_ID)?;
        let control = self.word(at + CONTROL)?;
        let table = self.dword(at + MSI_X_TABLE)?;
        Some(MsiX {
            vectors: (control & 0x7ff) + 1,
            enabled: control & 1 << 15 != 0,
            table_bar: (table & 7) as u8,
            table_offset: table & !7,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::space;

    #[test]
    fn counts_are_read() {
        let space = space(
            256,
            &[
                (0x05, 0x50, &[0x80 | 0x3 << 1, 0x01]),
                (0x11, 0x70, &[0x09, 0x80, 0x03, 0x20, 0, 0]),
            ],
            &[],
        );
        let msi = space.msi().unwrap();
        assert_eq!((msi.vectors, msi.enabled, msi.maskable), (8, false, true));
        let msi_x = space.msi_x().unwrap();
        assert_eq!((msi_x.vectors, msi_x.enabled), (10, true));
        assert_eq!((msi_x.table_bar, msi_x.table_offset), (3, 0x2000));
    }
}
