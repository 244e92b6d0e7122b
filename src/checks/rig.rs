//! What the checks work with: an address space, the device's engine, room for test mappings, and eyes on the host.

use std::ptr::NonNull;
use std::sync::Arc;

use super::Problem;
use super::placement::{Placement, last_address};
use crate::engine::{DmaEngine, EngineError, EngineLimits, Loaded, Reading};
use crate::iommu::{AddressSpace, DmaBuffer, IommuError, PageKind};
use crate::types::{Iova, IovaRange, Size};

/// What the checks ask of the host, beside the kernel's interface for IOMMUs.
pub trait Observer {
    /// The physical address behind an address of this process.
    ///
    /// # Errors
    /// Why it cannot be known, in words.
    fn physical_address(&self, address: NonNull<u8>) -> Result<u64, String>;

    /// Remembers where the kernel log ends now.
    ///
    /// # Errors
    /// Why the log cannot be read, in words.
    fn mark_log(&self) -> Result<(), String>;

    /// What the kernel logged since the mark; gives it the time it needs to log a fault.
    ///
    /// # Errors
    /// Why the log cannot be read, in words.
    fn log_since_mark(&self) -> Result<Vec<String>, String>;
}

/// What a run of the checks is made of.
pub struct Equipment<'a> {
    /// The address space that the device is attached to.
    pub space: Arc<dyn AddressSpace>,
    /// What makes the device do DMA; `None` if no engine drives it.
    pub engine: Option<Box<dyn DmaEngine + 'a>>,
    /// IOVAs in use by the engine's own memory.
    pub reserved: Vec<IovaRange>,
    /// Eyes on the host.
    pub observer: &'a dyn Observer,
    /// Whether the user wants the run to end.
    pub stop: &'a dyn Fn() -> bool,
    /// The first address above all memory and all devices of the host; `None` if it is not known.
    pub physical_top: Option<u64>,
    /// The lowest IOVA for test mappings, if the user chose one.
    pub lowest_iova: Option<Iova>,
    /// Where pseudo-random contents start from.
    pub seed: u64,
}

/// The equipment in use.
pub struct Rig<'a> {
    pub(super) space: Arc<dyn AddressSpace>,
    pub(super) observer: &'a dyn Observer,
    pub(super) seed: u64,
    engine: Option<Box<dyn DmaEngine + 'a>>,
    stop: &'a dyn Fn() -> bool,
    usable: Vec<IovaRange>,
    reserved: Vec<IovaRange>,
    physical_top: Option<u64>,
    chosen: Option<Iova>,
    placement: Placement,
    page: usize,
    turn: u64,
    transfers: u64,
    bytes: u64,
}

impl<'a> Rig<'a> {
    /// Sets the equipment up.
    ///
    /// # Errors
    /// The address space cannot be asked for its ranges and page sizes, or has no room where the user wants it.
    pub fn new(equipment: Equipment<'a>) -> Result<Self, Problem> {
        let Equipment {
            space,
            engine,
            reserved,
            observer,
            stop,
            physical_top,
            lowest_iova: chosen,
            seed,
        } = equipment;
        let usable = space.iova_ranges()?;
        let page = space.page_sizes()?.smallest().unwrap_or(4096);
        let bits = engine
            .as_ref()
            .map_or(64, |engine| engine.limits().register_bits);
        let placement =
            Placement::new(&usable, last_address(bits), physical_top, chosen, &reserved)?;
        Ok(Self {
            space,
            observer,
            seed,
            engine,
            stop,
            usable,
            reserved,
            physical_top,
            chosen,
            placement,
            // The smallest page of an IOMMU fits any usize.
            page: page as usize,
            turn: 0,
            transfers: 0,
            bytes: 0,
        })
    }

    /// What the engine can transfer; `None` if no engine drives the device.
    pub(super) fn engine_limits(&self) -> Option<EngineLimits> {
        self.engine.as_ref().map(|engine| engine.limits())
    }

    /// What the engine can transfer. Checks that ask run only where there is an engine.
    pub(super) fn limits(&self) -> EngineLimits {
        self.engine_limits()
            .expect("checks that do DMA run only where there is an engine")
    }

    /// The most bytes of one transfer, at most a page.
    pub(super) fn largest_transfer(&self) -> usize {
        self.limits().max_size.min(self.page)
    }

    /// The least size from `least` on that the engine transfers.
    pub(super) fn size_from(&self, least: usize) -> usize {
        least.next_multiple_of(self.limits().size_unit)
    }

    /// The unit of mapping in bytes.
    pub(super) fn page(&self) -> usize {
        self.page
    }

    /// Pages of memory, each of its own: not part of a huge page.
    pub(super) fn memory(&self, pages: usize) -> Result<Arc<DmaBuffer>, IommuError> {
        let size = Size::new((pages * self.page) as u64).expect("checks ask for at least one page");
        DmaBuffer::allocate(size, PageKind::Base).map(Arc::new)
    }

    /// A range of IOVAs for this many pages.
    pub(super) fn iovas(&mut self, pages: usize) -> Result<IovaRange, Problem> {
        let (size, page) = ((pages * self.page) as u64, self.page as u64);
        Ok(self.placement.allocate(size, page)?)
    }

    /// Takes exactly the page at this IOVA; `false` if it is not usable, out of the engine's certain reach, or taken.
    pub(super) fn take_page(&mut self, iova: Iova) -> bool {
        let reach = last_address(self.limits().address_bits);
        IovaRange::new(iova, self.page as u64)
            .is_ok_and(|range| range.last() <= reach && self.placement.take(range))
    }

    /// IOVAs for this many pages at which DMA harms nobody whatever happens to it, and those which the device may make of
    /// them; as [`Placement::harmless`].
    pub(super) fn harmless_iovas(
        &mut self,
        pages: usize,
    ) -> Option<(IovaRange, Option<IovaRange>)> {
        let limits = self.limits();
        let size = (pages * self.page) as u64;
        self.placement
            .harmless(size, limits.address_bits, limits.register_bits)
    }

    /// Keeps from now on to the addresses that the engine reaches for certain. Nothing may be mapped.
    pub(super) fn keep_within_certain_reach(&mut self) -> Result<(), Problem> {
        let reach = last_address(self.limits().address_bits);
        self.placement = Placement::new(
            &self.usable,
            reach,
            self.physical_top,
            self.chosen,
            &self.reserved,
        )?;
        Ok(())
    }

    /// A number that grows with each call, to make contents differ.
    pub(super) fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// The bytes to loop: these, or as many of the device's own where it cannot keep others.
    pub(super) fn payload(&mut self, wanted: &[u8]) -> Vec<u8> {
        self.engine
            .as_mut()
            .map_or_else(|| wanted.to_vec(), |engine| engine.payload(wanted))
    }

    /// Whether the device can show that a read of about this size was blocked. One that compares cannot where its own
    /// bytes are those that a blocked read gives: zeros or ones.
    pub(super) fn shows_reads(&mut self, size: usize) -> bool {
        match self.limits().reading {
            Reading::Kept => true,
            Reading::Never => false,
            Reading::Compared => {
                let size = self.size_from(size);
                let own = self.payload(&vec![0; size]);
                own.iter().any(|byte| !matches!(byte, 0 | 0xff))
            }
        }
    }

    /// The device reads memory. `false` if it says that it found other bytes than the payload there. Devices that only
    /// write are not asked.
    pub(super) fn load(&mut self, source: Iova, size: usize) -> Result<bool, Problem> {
        if self.limits().reading == Reading::Never {
            return Ok(true);
        }
        let loaded = self.transfer(size, |engine| engine.load(source, size))?;
        Ok(loaded != Loaded::Different)
    }

    /// The device writes what it read to memory.
    pub(super) fn store(&mut self, destination: Iova, size: usize) -> Result<(), Problem> {
        self.transfer(size, |engine| engine.store(destination, size))
    }

    /// The device reads numbers and writes them elsewhere, both in the engine's own memory; returns what arrived.
    pub(super) fn echo(&mut self, numbers: &[u16]) -> Result<Vec<u16>, Problem> {
        self.transfer(size_of_val(numbers), |engine| engine.echo(numbers))
    }

    fn transfer<T>(
        &mut self,
        size: usize,
        go: impl FnOnce(&mut dyn DmaEngine) -> Result<T, EngineError>,
    ) -> Result<T, Problem> {
        if (self.stop)() {
            return Err(Problem::Interrupted);
        }
        let engine = self
            .engine
            .as_mut()
            .expect("checks that do DMA run only where there is an engine");
        self.transfers += 1;
        self.bytes += size as u64;
        Ok(go(engine.as_mut())?)
    }

    /// The transfers and their bytes since the last call.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        (
            std::mem::take(&mut self.transfers),
            std::mem::take(&mut self.bytes),
        )
    }
}
