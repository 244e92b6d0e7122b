//! Device registers, accessed through a mapped BAR.

/// Registers of a device. Offsets must be aligned to the access and lie within the size: anything else is a mistake in the program, and panics.
///
/// A device that is gone reads as all ones.
pub trait Registers {
    /// Bytes of register space.
    fn size(&self) -> u64;
    /// Reads 4 bytes.
    fn read32(&self, offset: u64) -> u32;
    /// Writes 4 bytes.
    fn write32(&self, offset: u64, value: u32);
    /// Reads 8 bytes in one access.
    fn read64(&self, offset: u64) -> u64;
    /// Writes 8 bytes in one access.
    fn write64(&self, offset: u64, value: u64);
}

/// A BAR mapped into this process; unmapped on drop.
pub struct MappedBar;

impl Registers for MappedBar {
    fn size(&self) -> u64 {
        unimplemented!()
    }
    fn read32(&self, _offset: u64) -> u32 {
        unimplemented!()
    }
    fn write32(&self, _offset: u64, _value: u32) {
        unimplemented!()
    }
    fn read64(&self, _offset: u64) -> u64 {
        unimplemented!()
    }
    fn write64(&self, _offset: u64, _value: u64) {
        unimplemented!()
    }
}
