//! Device registers, accessed through a mapped BAR.

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{Ordering, fence};

use memmap2::MmapRaw;

use super::VfioDevice;

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

    /// As [`Self::ring64`], in 4 bytes.
    fn ring32(&self, offset: u64, value: u32) {
        fence(Ordering::SeqCst);
        self.write32(offset, value);
    }

    /// Tells the device to start: what was written to memory before is there when the device looks.
    fn ring64(&self, offset: u64, value: u64) {
        fence(Ordering::SeqCst);
        self.write64(offset, value);
    }
}

/// A BAR mapped into this process; unmapped on drop.
///
/// Registers are little-endian (PCI), as [`Registers`]' values are the processor's.
pub struct MappedBar<'d> {
    size: u64,
    parts: Vec<(u64, MmapRaw)>,
    /// The mapping would keep the device open after it was closed.
    device: PhantomData<&'d VfioDevice>,
}

impl MappedBar<'_> {
    /// A BAR of `size` bytes, of which these parts are mapped, each from its offset on.
    pub(super) fn new(size: u64, parts: Vec<(u64, MmapRaw)>) -> Self {
        Self {
            size,
            parts,
            device: PhantomData,
        }
    }

    /// The address of a register.
    fn at<T>(&self, offset: u64) -> *mut T {
        let width = size_of::<T>() as u64;
        assert!(
            offset % width == 0,
            "register {offset:#x} is not aligned to its {width} bytes"
        );
        let place = self.parts.iter().find_map(|(start, part)| {
            let within = offset.checked_sub(*start)?;
            let fits = within.checked_add(width)? <= part.len() as u64;
            // It is less than the part's length, which is a usize.
            fits.then(|| part.as_mut_ptr().wrapping_add(within as usize))
        });
        let place = place.unwrap_or_else(|| panic!("register {offset:#x} is not mapped"));
        place.cast()
    }
}

impl Registers for MappedBar<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read32(&self, offset: u64) -> u32 {
        // SAFETY: `at` gives an aligned address within a mapping that lives as long as `self`.
        u32::from_le(unsafe { ptr::read_volatile(self.at(offset)) })
    }

    fn write32(&self, offset: u64, value: u32) {
        // SAFETY: as for `read32`.
        unsafe { ptr::write_volatile(self.at(offset), value.to_le()) }
    }

    fn read64(&self, offset: u64) -> u64 {
        // SAFETY: as for `read32`.
        u64::from_le(unsafe { ptr::read_volatile(self.at(offset)) })
    }

    fn write64(&self, offset: u64, value: u64) {
        // SAFETY: as for `read32`.
        unsafe { ptr::write_volatile(self.at(offset), value.to_le()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memmap2::MmapOptions;

    fn bar(parts: &[u64]) -> MappedBar<'static> {
        let part = |offset: &u64| {
            let memory = MmapOptions::new().len(0x1000).map_anon().unwrap();
            (*offset, MmapRaw::from(memory))
        };
        MappedBar::new(0x4000, parts.iter().map(part).collect())
    }

    #[test]
    fn registers_are_found_in_every_mapped_part() {
        let bar = bar(&[0, 0x2000]);
        bar.write64(0xff8, 0x1122_3344_5566_7788);
        bar.write32(0x2000, 7);
        assert_eq!(bar.read32(0xffc), 0x1122_3344);
        assert_eq!(bar.read64(0xff8), 0x1122_3344_5566_7788);
        assert_eq!(bar.read32(0x2000), 7);
        assert_eq!(bar.size(), 0x4000);
    }

    #[test]
    #[should_panic(expected = "0x1000 is not mapped")]
    fn a_register_between_the_parts_is_a_mistake() {
        bar(&[0, 0x2000]).read32(0x1000);
    }

    #[test]
    #[should_panic(expected = "0xffc is not aligned")]
    fn a_misaligned_register_is_a_mistake() {
        bar(&[0]).read64(0xffc);
    }

    #[test]
    #[should_panic(expected = "is not mapped")]
    fn a_register_at_the_end_of_the_address_space_is_a_mistake() {
        bar(&[0]).read64(u64::MAX - 7);
    }
}
