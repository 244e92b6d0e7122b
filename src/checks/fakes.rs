//! Software stand-ins for the address space, the device and the host, each able to be wrong in one chosen way:
//! a check is only believed after it was seen to fail.

use nix::errno::Errno;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Controls, Equipment, Observer, Other, Rig, Signs, Translations};
use crate::device::DeviceError;
use crate::engine::{DmaEngine, EngineError, EngineLimits, Loaded, Reading};
use crate::host::{self, IommuKind, Leaf, Reason};
use crate::iommu::{AddressSpace, DeviceFd, IommuError};
use crate::types::{Backend, Bdf, Iova, IovaRange, PageSizes, Protection, VfioNode};

const PAGE: u64 = 4096;

/// The address bits of x86-64 user space: this process has no memory above.
const PHYSICAL_TOP: u64 = 1 << 47;

/// What is wrong with the hardware or the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// IOVAs are physical addresses: nothing is translated.
    NotTranslated,
    /// The device's DMA goes nowhere.
    DeadDma,
    /// The device drops the address bits from 28 on.
    DropsUpperBits,
    /// Both of these at once.
    NotTranslatedAndDropsUpperBits,
    /// The third bit of the last byte of each transfer comes out wrong.
    FlippedBit,
    /// A bit of the data path always reads as one.
    StuckBit,
    /// Writes are a byte longer than they should be.
    OneByteTooMany,
    /// Transfers of one byte are not done.
    IgnoresSingleBytes,
    /// The lowest three bits of addresses are dropped.
    AlignsAddresses,
    /// A transfer over the end of a page goes on at the start of the same page.
    WrapsAtPageEnd,
    /// Only the first page of a transfer is translated; it goes on where that page lies in memory.
    TranslatesFirstPageOnly,
    /// The device reads memory once, and sends that ever after.
    SendsOldData,
    /// The address does not carry into its upper half within a transfer.
    CarriesWithin32Bits,
    /// The first page of the IOVA space is not translated.
    FirstPageIsDead,
    /// The highest bit of IOVAs is not looked at.
    IgnoresTopBit,
    /// The range of interrupts begins a page too early.
    ReservesOnePageTooMany,
    /// A transfer from the last byte of a page is translated by what follows.
    LooksPastLastByte,
    /// The second half of a huge page is a page off.
    HugePagesAreOff,
    /// A second IOVA for a page leads nowhere.
    OneIovaForEachPage,
    /// With an unmap, all other IOVAs of the memory go too.
    UnmapTakesAllIovas,
    /// Mappings beyond a thousand are acknowledged and not made.
    TableIsSmall,
    /// From the sixth read on the device does not answer.
    Hangs,
    /// From the sixth read on a bit comes out wrong.
    WearsOut,
    /// The unmap is acknowledged and not done.
    IgnoresUnmap,
    /// After an unmap the device can still read (a stale translation for reads).
    StaleReads,
    /// After an unmap the device can still write.
    StaleWrites,
    /// A mapping over another one is let in.
    AcceptsOverlap,
    /// Once an address leads to other memory, the device still reaches the old.
    ServesOldPage,
    /// A bit of addresses is not looked at.
    IgnoresAddressBit,
    /// A mapping reaches a page further than it should.
    MapsOnePageTooMany,
    /// What may only be read can be written.
    IgnoresProtection,
    /// What may only be read cannot be read.
    ReadOnlyIsUnreadable,
    /// Devices are all in one address space.
    SharesSpaces,
    /// The device does DMA whether it may or not.
    IgnoresBusMaster,
    /// The device reads whether it may or not.
    ReadsWithoutBusMaster,
    /// A reset brings old translations back.
    ResetRestoresMappings,
    /// The device does not come back from a reset.
    ResetFails,
    /// The IOMMU's tables have other pages than were mapped.
    TranslatesToOtherPages,
    /// The IOMMU's tables let the device write everything.
    TablePermitsAll,
}

/// An address space of software: a table from IOVA to memory.
pub(super) struct FakeSpace {
    fault: Fault,
    live: Mutex<BTreeMap<u64, Mapped>>,
    stale: Mutex<BTreeMap<u64, Mapped>>,
    may_start: AtomicBool,
    was_reset: AtomicBool,
    /// The address space of another device.
    other: Option<Arc<FakeSpace>>,
    /// The addresses of accesses that were blocked.
    blocked: Mutex<Vec<u64>>,
}

#[derive(Debug, Clone, Copy)]
struct Mapped {
    size: u64,
    memory: u64,
    protection: Protection,
}

impl FakeSpace {
    fn new(fault: Fault, other: Option<Arc<FakeSpace>>) -> Self {
        Self {
            fault,
            live: Mutex::default(),
            stale: Mutex::default(),
            may_start: AtomicBool::new(true),
            was_reset: AtomicBool::default(),
            other,
            blocked: Mutex::default(),
        }
    }

    /// The address in this process behind an IOVA; `None` if the access is blocked.
    fn translate(&self, iova: u64, writing: bool) -> Option<u64> {
        let iova = match self.fault {
            Fault::IgnoresAddressBit => iova & !(1 << 29),
            Fault::IgnoresTopBit => iova & !(1 << 51),
            Fault::FirstPageIsDead if iova < PAGE => return None,
            Fault::ReservesOnePageTooMany if iova / PAGE == 0xf_edff => return None,
            _ => iova,
        };
        let live = self.find(&self.live, iova, writing);
        let stale = || self.find(&self.stale, iova, writing);
        let found = match self.fault {
            Fault::NotTranslated | Fault::NotTranslatedAndDropsUpperBits => Some(iova),
            Fault::StaleReads if !writing => live.or_else(stale),
            Fault::StaleWrites if writing => live.or_else(stale),
            Fault::ServesOldPage if live.is_some() => stale().or(live),
            Fault::ResetRestoresMappings if self.was_reset.load(Ordering::Relaxed) => {
                live.or_else(stale)
            }
            Fault::SharesSpaces => live.or_else(|| self.other.as_ref()?.translate(iova, writing)),
            _ => live,
        };
        if found.is_none() {
            self.blocked.lock().unwrap().push(iova);
        }
        found
    }

    fn find(&self, table: &Mutex<BTreeMap<u64, Mapped>>, iova: u64, writing: bool) -> Option<u64> {
        let table = table.lock().unwrap();
        let (start, mapped) = table.range(..=iova).next_back()?;
        let allowed = match (self.fault, writing) {
            (Fault::IgnoresProtection, true) => true,
            (Fault::ReadOnlyIsUnreadable, false) => mapped.protection.writable(),
            (_, true) => mapped.protection.writable(),
            (_, false) => mapped.protection.readable(),
        };
        let size = match self.fault {
            Fault::MapsOnePageTooMany => mapped.size + PAGE,
            _ => mapped.size,
        };
        let off = match self.fault {
            Fault::HugePagesAreOff if mapped.size >= 1 << 21 && iova - start >= mapped.size / 2 => {
                PAGE
            }
            _ => 0,
        };
        (iova - start < size && allowed).then(|| mapped.memory + (iova - start) - off)
    }

    /// The number of mappings.
    pub(super) fn live_mappings(&self) -> usize {
        self.live.lock().unwrap().len()
    }
}

impl AddressSpace for FakeSpace {
    fn backend(&self) -> Backend {
        Backend::Type1
    }

    fn attach(&self, _node: &VfioNode) -> Result<DeviceFd, IommuError> {
        unreachable!("the checks attach nothing")
    }

    #[allow(unsafe_code)] // The trait's; this one touches no memory.
    unsafe fn map(
        &self,
        range: IovaRange,
        memory: NonNull<u8>,
        protection: Protection,
    ) -> Result<(), IommuError> {
        let mut live = self.live.lock().unwrap();
        let overlaps = live.iter().any(|(start, mapped)| {
            *start <= range.last().0 && range.start().0 < start + mapped.size
        });
        if overlaps && self.fault != Fault::AcceptsOverlap {
            return Err(IommuError::Overlap {
                range,
                errno: Errno::EEXIST,
            });
        }
        let mapped = Mapped {
            size: u64::try_from(range.size()).unwrap(),
            memory: memory.as_ptr() as u64,
            protection,
        };
        let is_known = live.values().any(|other| other.memory == mapped.memory);
        let is_lost = match self.fault {
            Fault::OneIovaForEachPage => is_known,
            Fault::TableIsSmall => live.len() >= 1000,
            _ => false,
        };
        if !is_lost {
            live.insert(range.start().0, mapped);
        }
        Ok(())
    }

    fn unmap(&self, range: IovaRange) -> Result<u64, IommuError> {
        let mut live = self.live.lock().unwrap();
        if self.fault == Fault::IgnoresUnmap {
            return Ok(u64::try_from(range.size()).unwrap());
        }
        let inside: Vec<u64> = live
            .range(range.start().0..=range.last().0)
            .map(|(start, _)| *start)
            .collect();
        let mut size = 0;
        for start in inside {
            let mapped = live.remove(&start).unwrap();
            if self.fault == Fault::UnmapTakesAllIovas {
                live.retain(|_, other| other.memory != mapped.memory);
            }
            size += mapped.size;
            self.stale.lock().unwrap().insert(start, mapped);
        }
        Ok(size)
    }

    fn unmap_all(&self) -> Result<u64, IommuError> {
        self.unmap(IovaRange::from_ends(Iova(0), Iova(u64::MAX)).unwrap())
    }

    fn iova_ranges(&self) -> Result<Vec<IovaRange>, IommuError> {
        let range = |start, last| IovaRange::from_ends(Iova(start), Iova(last)).unwrap();
        Ok(vec![
            range(0, 0xfedf_ffff),
            range(0xfef0_0000, (1 << 52) - 1),
        ])
    }

    fn page_sizes(&self) -> Result<PageSizes, IommuError> {
        Ok(PageSizes(PAGE))
    }

    fn entries_left(&self) -> Result<Option<u32>, IommuError> {
        Ok(None)
    }
}

/// A device of software. It reaches memory as a device does, from outside the program: through /proc/self/mem.
pub(super) struct FakeEngine {
    space: Arc<FakeSpace>,
    memory: File,
    buffer: Vec<u8>,
    reading: Reading,
    has_loaded: bool,
    transfers: u32,
    clock: [u8; 8],
    /// Each write that went somewhere: the address in this process and the size.
    pub(super) written: Arc<Mutex<Vec<(u64, usize)>>>,
}

impl FakeEngine {
    /// Its own bytes, where it does not keep others, are neither zeros nor ones.
    pub(super) fn new(space: &Arc<FakeSpace>, reading: Reading) -> Self {
        Self {
            reading,
            space: Arc::clone(space),
            memory: OpenOptions::new()
                .read(true)
                .write(true)
                .open("/proc/self/mem")
                .unwrap(),
            buffer: match reading {
                // A byte more than a page, for a device that writes too much.
                Reading::Kept => vec![0; PAGE as usize + 1],
                _ => (0..=PAGE).map(|at| (1 + at % 251) as u8).collect(),
            },
            has_loaded: false,
            transfers: 0,
            clock: [0; 8],
            written: Arc::default(),
        }
    }

    fn fault(&self) -> Fault {
        self.space.fault
    }

    fn drops_upper_bits(&self) -> bool {
        let droppers = [Fault::DropsUpperBits, Fault::NotTranslatedAndDropsUpperBits];
        droppers.contains(&self.fault())
    }

    /// Where byte `index` of a transfer from `start` goes.
    fn target(&self, start: Iova, index: u64, writing: bool) -> Option<u64> {
        let may_start = self.space.may_start.load(Ordering::Relaxed);
        let starts_anyway = match self.fault() {
            Fault::IgnoresBusMaster => true,
            Fault::ReadsWithoutBusMaster => !writing,
            _ => false,
        };
        if !may_start && !starts_anyway {
            return None;
        }
        let start = match self.fault() {
            _ if self.drops_upper_bits() => start.0 & ((1 << 28) - 1),
            Fault::AlignsAddresses => start.0 & !7,
            _ => start.0,
        };
        match self.fault() {
            Fault::DeadDma => None,
            Fault::CarriesWithin32Bits => {
                let low = (start as u32).wrapping_add(index as u32);
                self.space
                    .translate(start >> 32 << 32 | u64::from(low), writing)
            }
            Fault::LooksPastLastByte if start % PAGE == PAGE - 1 && index == 0 => {
                Some(self.space.translate(start + 1, writing)? - 1)
            }
            Fault::WrapsAtPageEnd => {
                let offset = (start + index) % PAGE;
                self.space.translate(start - start % PAGE + offset, writing)
            }
            Fault::TranslatesFirstPageOnly => Some(self.space.translate(start, writing)? + index),
            _ => self.space.translate(start + index, writing),
        }
    }
}

impl DmaEngine for FakeEngine {
    fn limits(&self) -> EngineLimits {
        EngineLimits {
            address_bits: if self.drops_upper_bits() { 28 } else { 64 },
            register_bits: 64,
            max_size: PAGE as usize,
            size_unit: if self.reading == Reading::Kept {
                1
            } else {
                512
            },
            alignment: if self.reading == Reading::Kept { 1 } else { 4 },
            reading: self.reading,
            echoes: true,
            has_clock: true,
        }
    }

    fn payload(&mut self, wanted: &[u8]) -> Vec<u8> {
        match self.reading {
            Reading::Kept => wanted.to_vec(),
            _ => self.buffer[..wanted.len()].to_vec(),
        }
    }

    fn load(&mut self, source: Iova, size: usize) -> Result<Loaded, EngineError> {
        assert_ne!(self.reading, Reading::Never);
        let sends_old_data = self.fault() == Fault::SendsOldData && self.has_loaded;
        self.has_loaded = true;
        let mut bytes = vec![0; size];
        for (index, byte) in (0..).zip(&mut bytes) {
            if let Some(address) = self.target(source, index, false) {
                // Where this process has no memory, a bus would give nothing either.
                let _ = self
                    .memory
                    .read_exact_at(std::slice::from_mut(byte), address);
            }
            if self.fault() == Fault::StuckBit {
                *byte |= 0x10;
            }
        }
        self.transfers += 1;
        if self.fault() == Fault::Hangs && self.transfers > 5 {
            return Err(EngineError::Gone { engine: "fake" });
        }
        let wears_out = self.fault() == Fault::WearsOut && self.transfers > 5;
        if self.fault() == Fault::FlippedBit || wears_out {
            bytes[size - 1] ^= 4;
        }
        match self.reading {
            Reading::Compared if bytes == self.buffer[..size] => Ok(Loaded::Equal),
            Reading::Compared => Ok(Loaded::Different),
            _ if sends_old_data => Ok(Loaded::Kept),
            _ => {
                self.buffer[..size].copy_from_slice(&bytes);
                Ok(Loaded::Kept)
            }
        }
    }

    fn echo(&mut self, numbers: &[u16]) -> Result<Vec<u16>, EngineError> {
        Ok(match self.fault() {
            Fault::DeadDma => Vec::new(),
            Fault::FlippedBit => numbers.iter().map(|number| number ^ 4).collect(),
            _ => numbers.iter().rev().copied().collect(),
        })
    }

    fn set_clock(&mut self, source: Iova) -> Result<(), EngineError> {
        for (index, byte) in (0..).zip(&mut self.clock) {
            if let Some(address) = self.space.translate(source.0 + index, false) {
                let place = std::slice::from_mut(byte);
                self.memory.read_exact_at(place, address).unwrap();
            }
        }
        if self.fault() == Fault::FlippedBit {
            self.clock[5] ^= 4;
        }
        Ok(())
    }

    fn read_clock(&mut self, destination: Iova) -> Result<(), EngineError> {
        let size = match self.fault() {
            Fault::DeadDma => 0,
            Fault::OneByteTooMany => 9,
            _ => 8,
        };
        for index in 0..size {
            let place = destination.0 + index as u64;
            if let Some(address) = self.space.translate(place, true) {
                let byte = self.clock.get(index).copied().unwrap_or(0);
                self.memory.write_all_at(&[byte], address).unwrap();
            }
        }
        Ok(())
    }

    fn store(&mut self, destination: Iova, size: usize) -> Result<(), EngineError> {
        let size = match (self.fault(), size) {
            (Fault::OneByteTooMany, size) => (size + 1).min(self.buffer.len()),
            (Fault::IgnoresSingleBytes, 1) => 0,
            (_, size) => size,
        };
        for index in 0..size {
            if let Some(address) = self.target(destination, index as u64, true) {
                self.written.lock().unwrap().push((address, 1));
                let _ = self.memory.write_all_at(&[self.buffer[index]], address);
            }
        }
        Ok(())
    }
}

/// A host of software: a virtual address is its own physical address.
pub(super) struct FakeHost {
    space: Arc<FakeSpace>,
    /// Why physical addresses are not told, if they are not.
    pub(super) hides_physical: Option<&'static str>,
    /// Why the IOMMU's tables are not shown, if they are not.
    pub(super) hides_tables: Option<&'static str>,
    /// Whether the log tells of accesses that were blocked.
    pub(super) logs_faults: bool,
    /// Whether they are counted.
    pub(super) counts_faults: bool,
}

impl FakeHost {
    fn new(space: &Arc<FakeSpace>) -> Self {
        Self {
            space: Arc::clone(space),
            hides_physical: None,
            hides_tables: None,
            logs_faults: false,
            counts_faults: false,
        }
    }
}

impl Observer for FakeHost {
    fn physical_address(&self, address: NonNull<u8>) -> Result<u64, String> {
        match self.hides_physical {
            None => Ok(address.as_ptr() as u64),
            Some(why) => Err(why.to_owned()),
        }
    }

    fn mark_faults(&self) {
        self.space.blocked.lock().unwrap().clear();
    }

    fn signs_since_mark(&self) -> Signs {
        let blocked = self.space.blocked.lock().unwrap();
        let mut pages: Vec<u64> = blocked.iter().map(|iova| iova & !(PAGE - 1)).collect();
        pages.dedup();
        let faults = pages
            .iter()
            .filter(|_| self.logs_faults)
            .map(|page| host::Fault {
                source: host::FaultSource::KernelLog,
                time: Duration::ZERO,
                iommu: IommuKind::Vtd,
                device: Some(bdf()),
                requester: None,
                access: None,
                address: Some(Iova(*page)),
                pasid: None,
                reason: Reason {
                    code: None,
                    words: "blocked".into(),
                },
                sequence: 0,
                line: format!("fault at {page:#x}"),
            });
        Signs {
            faults: Ok(faults.collect()),
            interrupts: if self.counts_faults {
                pages.len() as u64
            } else {
                0
            },
            suppressed: 0,
        }
    }

    fn watch_mappings(&self) -> Result<(), String> {
        self.hides_tables.map_or(Ok(()), |why| Err(why.to_owned()))
    }

    fn translations(&self, range: IovaRange) -> Result<Translations, String> {
        let fault = self.space.fault;
        let live = self.space.live.lock().unwrap();
        let pages = live.iter().map(|(start, mapped)| Leaf {
            iova: Iova(*start),
            size: mapped.size,
            physical: match fault {
                Fault::TranslatesToOtherPages => mapped.memory + PAGE,
                _ => mapped.memory,
            },
            readable: mapped.protection.readable(),
            writable: mapped.protection.writable() || fault == Fault::TablePermitsAll,
        });
        Ok(Translations {
            pages: pages
                .filter(|page| page.range().is_some_and(|own| own.overlaps(range)))
                .collect(),
            source: "the table",
            with_permissions: true,
        })
    }
}

/// The address of the device.
fn bdf() -> Bdf {
    "0000:00:03.0".parse().unwrap()
}

/// A complete set of stand-ins.
pub(super) struct Fakes {
    pub(super) space: Arc<FakeSpace>,
    pub(super) host: FakeHost,
    pub(super) physical_top: Option<u64>,
    pub(super) iommu: Option<IommuKind>,
    pub(super) has_engine: bool,
    pub(super) has_other: bool,
    pub(super) can_reset: bool,
    /// What the device does with what it reads.
    pub(super) reading: Reading,
    pub(super) stop_after: u64,
    polls: std::cell::Cell<u64>,
    /// What the device wrote, as [`FakeEngine::written`].
    pub(super) written: Arc<Mutex<Vec<(u64, usize)>>>,
}

impl Fakes {
    pub(super) fn with(fault: Fault) -> Self {
        let other = Arc::new(FakeSpace::new(Fault::None, None));
        let space = Arc::new(FakeSpace::new(fault, Some(other)));
        Self {
            host: FakeHost::new(&space),
            space,
            physical_top: Some(PHYSICAL_TOP),
            iommu: None,
            has_engine: true,
            has_other: true,
            can_reset: true,
            reading: Reading::Kept,
            stop_after: u64::MAX,
            polls: std::cell::Cell::default(),
            written: Arc::default(),
        }
    }

    /// Runs `use_it` on a rig of these stand-ins.
    pub(super) fn rig<T>(&self, use_it: impl FnOnce(&mut Rig<'_>) -> T) -> T {
        let stop = || {
            self.polls.set(self.polls.get() + 1);
            self.polls.get() > self.stop_after
        };
        let other = self.space.other.clone().filter(|_| self.has_other);
        let mut rig = Rig::new(Equipment {
            space: Arc::clone(&self.space) as Arc<dyn AddressSpace>,
            controls: self,
            other: other.map(|space| Other {
                bdf: "0000:00:04.0".parse().unwrap(),
                space,
            }),
            observer: &self.host,
            stop: &stop,
            progress: &|_| (),
            iommu: self.iommu,
            soak: Duration::ZERO,
            physical_top: self.physical_top,
            lowest_iova: None,
            seed: 42,
        })
        .unwrap();
        use_it(&mut rig)
    }
}

impl<'a> Controls<'a> for Fakes {
    fn bdf(&self) -> Bdf {
        bdf()
    }

    fn set_bus_master(&self, on: bool) -> Result<(), DeviceError> {
        self.space.may_start.store(on, Ordering::Relaxed);
        Ok(())
    }

    fn can_reset(&self) -> bool {
        self.can_reset
    }

    fn reset(&self) -> Result<(), DeviceError> {
        if self.space.fault == Fault::ResetFails {
            let (bdf, errno) = (bdf(), Errno::ENOTTY);
            return Err(DeviceError::Reset { bdf, errno });
        }
        self.space.was_reset.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn open_engine(&self) -> Result<Option<Box<dyn DmaEngine + 'a>>, EngineError> {
        let engine = || {
            let mut engine = FakeEngine::new(&self.space, self.reading);
            engine.written = Arc::clone(&self.written);
            Box::new(engine) as Box<dyn DmaEngine>
        };
        Ok(self.has_engine.then(engine))
    }

    fn engine_memory(&self) -> Vec<IovaRange> {
        Vec::new()
    }
}
