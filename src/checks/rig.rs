//! What the checks work with: an address space, the device's engine, room for test mappings, and eyes on the host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Problem;
use super::controls::{Controls, Other};
use super::observer::Observer;
use super::placement::{Placement, last_address};
use crate::engine::{DmaEngine, EngineError, EngineLimits, Loaded, Reading};
use crate::host::IommuKind;
use crate::iommu::{AddressSpace, DmaBuffer, IommuError, PageKind};
use crate::types::{Bdf, Iova, IovaRange, Size};

/// What a run of the checks is made of.
pub struct Equipment<'a> {
    /// The address space that the device is attached to.
    pub space: Arc<dyn AddressSpace>,
    /// The device, and what makes it do DMA.
    pub controls: &'a dyn Controls<'a>,
    /// A second device, if there is one.
    pub other: Option<Other>,
    /// Eyes on the host.
    pub observer: &'a dyn Observer,
    /// Whether the user wants the run to end.
    pub stop: &'a dyn Fn() -> bool,
    /// Shows how far a long check is.
    pub progress: &'a dyn Fn(&str),
    /// What kind of IOMMU translates for the device, if that is known.
    pub iommu: Option<IommuKind>,
    /// How long random loops go on.
    pub soak: Duration,
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
    pub(super) other: Option<Other>,
    pub(super) observer: &'a dyn Observer,
    pub(super) seed: u64,
    pub(super) iommu: Option<IommuKind>,
    pub(super) soak: Duration,
    pub(super) progress: &'a dyn Fn(&str),
    controls: &'a dyn Controls<'a>,
    engine: Option<Box<dyn DmaEngine + 'a>>,
    stop: &'a dyn Fn() -> bool,
    usable: Vec<IovaRange>,
    reserved: Vec<IovaRange>,
    physical_top: Option<u64>,
    chosen: Option<Iova>,
    placement: Placement,
    page: usize,
    turn: u64,
    work: Work,
}

/// What a device did for a check.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    /// How many times it read or wrote memory.
    pub transfers: u64,
    /// How many bytes that was.
    pub bytes: u64,
    /// How long this took, from the command until the device was done.
    pub time: Duration,
}

impl<'a> Rig<'a> {
    /// Sets the equipment up.
    ///
    /// # Errors
    /// The engine does not start, or the address space cannot be asked for its ranges and page sizes, or has no room where the user
    /// wants it.
    pub fn new(equipment: Equipment<'a>) -> Result<Self, Problem> {
        let Equipment {
            space,
            controls,
            other,
            observer,
            stop,
            progress,
            iommu,
            soak,
            physical_top,
            lowest_iova: chosen,
            seed,
        } = equipment;
        let engine = controls.open_engine()?;
        let reserved = controls.engine_memory();
        let usable = space.iova_ranges()?;
        let page = space.page_sizes()?.smallest().unwrap_or(4096);
        let bits = engine
            .as_ref()
            .map_or(64, |engine| engine.limits().register_bits);
        let placement =
            Placement::new(&usable, last_address(bits), physical_top, chosen, &reserved)?;
        Ok(Self {
            space,
            other,
            observer,
            seed,
            iommu,
            soak,
            progress,
            controls,
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
            work: Work::default(),
        })
    }

    /// What the engine can transfer; `None` if no engine drives the device.
    pub fn engine_limits(&self) -> Option<EngineLimits> {
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

    /// A range of IOVAs of this size and alignment in bytes.
    pub(super) fn aligned_iovas(
        &mut self,
        size: u64,
        alignment: u64,
    ) -> Result<IovaRange, Problem> {
        Ok(self.placement.allocate(size, alignment)?)
    }

    /// Takes exactly the page at this IOVA; `false` if it is not usable, out of the engine's certain reach, or taken.
    pub(super) fn take_page(&mut self, iova: Iova) -> bool {
        let reach = last_address(self.limits().address_bits);
        IovaRange::new(iova, self.page as u64)
            .is_ok_and(|range| range.last() <= reach && self.placement.take(range))
    }

    /// Takes exactly the page at this IOVA for DMA that must be blocked; `false` if it is not usable, out of the engine's reach,
    /// taken, or lower than all test mappings.
    pub(super) fn take_stray_page(&mut self, iova: Iova) -> bool {
        IovaRange::new(iova, self.page as u64).is_ok_and(|range| self.placement.take_stray(range))
    }

    /// Takes this many pages from this IOVA on, wherever it is; only after the gate. `None` if they are not usable, out of reach, taken,
    /// or below where the user wants all test mappings.
    pub(super) fn take_place(&mut self, start: Iova, pages: usize) -> Option<IovaRange> {
        let range = IovaRange::new(start, (pages * self.page) as u64).ok()?;
        let wanted = self.chosen.is_none_or(|lowest| lowest <= start);
        (wanted && self.placement.take(range)).then_some(range)
    }

    /// Takes this many pages from the last one below 4 GiB on; `None` if they cannot be had. The first page is `page`.
    pub(super) fn take_border(&mut self) -> Option<Iova> {
        let border = self.placement.take_border()?;
        let middle = border.start().0 + (border.last().0 - border.start().0).div_ceil(2);
        Some(Iova(middle - self.page as u64))
    }

    /// Takes a range back, to be given out again. Nothing may be mapped there.
    pub(super) fn give_back(&mut self, range: IovaRange) {
        self.placement.free(range);
    }

    /// The usable ranges as far as the engine reaches, by rising IOVA.
    pub(super) fn within_reach(&self) -> Vec<IovaRange> {
        self.placement.within_reach().to_vec()
    }

    /// The usable ranges, whatever the engine reaches, by rising IOVA.
    pub(super) fn usable(&self) -> &[IovaRange] {
        &self.usable
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

    /// The device's address.
    pub(super) fn device(&self) -> Bdf {
        self.controls.bdf()
    }

    /// Does `work` while the device may not start transactions.
    pub(super) fn without_bus_master<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        self.controls.set_bus_master(false)?;
        let done = work(self);
        self.controls.set_bus_master(true)?;
        done
    }

    /// Whether [`Self::reset`] can be done.
    pub(super) fn can_reset(&self) -> bool {
        self.controls.can_reset()
    }

    /// Resets the device, and takes its engine into use again. Nothing may be mapped.
    pub(super) fn reset(&mut self) -> Result<(), Problem> {
        self.finish()?;
        self.engine = None;
        self.controls.reset()?;
        self.engine = self.controls.open_engine()?;
        self.reserved = self.controls.engine_memory();
        for range in &self.reserved {
            // `false` where the engine had it before.
            self.placement.take(*range);
        }
        Ok(())
    }

    /// Has the engine put back what it changed in the device.
    ///
    /// # Errors
    /// It could not.
    pub fn finish(&mut self) -> Result<(), Problem> {
        Ok(self
            .engine
            .as_mut()
            .map_or(Ok(()), |engine| engine.finish())?)
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

    /// The device reads 8 bytes and sets its clock by them.
    pub(super) fn set_clock(&mut self, source: Iova) -> Result<(), Problem> {
        self.transfer(8, |engine| engine.set_clock(source))
    }

    /// The device writes its clock to memory, 8 bytes.
    pub(super) fn read_clock(&mut self, destination: Iova) -> Result<(), Problem> {
        self.transfer(8, |engine| engine.read_clock(destination))
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
        self.work.transfers += 1;
        self.work.bytes += size as u64;
        let begin = Instant::now();
        let done = go(engine.as_mut());
        self.work.time += begin.elapsed();
        Ok(done?)
    }

    /// What the device did since the last call.
    pub(super) fn take_work(&mut self) -> Work {
        std::mem::take(&mut self.work)
    }
}
