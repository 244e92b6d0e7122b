//! Software stand-ins for the address space, the device and the host, each able to be wrong in one chosen way:
//! a check is only believed after it was seen to fail.

use nix::errno::Errno;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use super::{Equipment, Observer, Rig};
use crate::engine::{DmaEngine, EngineError, EngineLimits, Loaded, Reading};
use crate::iommu::{AddressSpace, DeviceFd, IommuError};
use crate::types::{Backend, Iova, IovaRange, PageSizes, Protection, VfioNode};

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
    /// The unmap is acknowledged and not done.
    IgnoresUnmap,
    /// After an unmap the device can still read (a stale translation for reads).
    StaleReads,
    /// After an unmap the device can still write.
    StaleWrites,
    /// A mapping over another one is let in.
    AcceptsOverlap,
}

/// An address space of software: a table from IOVA to memory.
pub(super) struct FakeSpace {
    fault: Fault,
    live: Mutex<BTreeMap<u64, Mapped>>,
    stale: Mutex<BTreeMap<u64, Mapped>>,
}

#[derive(Debug, Clone, Copy)]
struct Mapped {
    size: u64,
    memory: u64,
    protection: Protection,
}

impl FakeSpace {
    /// The address in this process behind an IOVA; `None` if the access is blocked.
    fn translate(&self, iova: u64, writing: bool) -> Option<u64> {
        let find = |table: &BTreeMap<u64, Mapped>| {
            let (start, mapped) = table.range(..=iova).next_back()?;
            let allowed = if writing {
                mapped.protection.writable()
            } else {
                mapped.protection.readable()
            };
            (iova - start < mapped.size && allowed).then(|| mapped.memory + (iova - start))
        };
        match self.fault {
            Fault::NotTranslated | Fault::NotTranslatedAndDropsUpperBits => Some(iova),
            Fault::StaleReads if !writing => {
                find(&self.live.lock().unwrap()).or_else(|| find(&self.stale.lock().unwrap()))
            }
            Fault::StaleWrites if writing => {
                find(&self.live.lock().unwrap()).or_else(|| find(&self.stale.lock().unwrap()))
            }
            _ => find(&self.live.lock().unwrap()),
        }
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
        live.insert(range.start().0, mapped);
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
                Reading::Kept => vec![0; PAGE as usize],
                _ => (0..PAGE).map(|at| (1 + at % 251) as u8).collect(),
            },
            has_loaded: false,
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
        let start = match self.fault() {
            _ if self.drops_upper_bits() => start.0 & ((1 << 28) - 1),
            Fault::AlignsAddresses => start.0 & !7,
            _ => start.0,
        };
        match self.fault() {
            Fault::DeadDma => None,
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
        if self.fault() == Fault::FlippedBit {
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
    /// Why physical addresses are not told, if they are not.
    pub(super) hides_physical: Option<&'static str>,
    /// What the kernel logs after each mark.
    pub(super) log: RefCell<Vec<String>>,
}

impl FakeHost {
    pub(super) fn new() -> Self {
        Self {
            hides_physical: None,
            log: RefCell::default(),
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

    fn mark_log(&self) -> Result<(), String> {
        Ok(())
    }

    fn log_since_mark(&self) -> Result<Vec<String>, String> {
        Ok(self.log.borrow().clone())
    }
}

/// A complete set of stand-ins.
pub(super) struct Fakes {
    pub(super) space: Arc<FakeSpace>,
    pub(super) host: FakeHost,
    pub(super) physical_top: Option<u64>,
    pub(super) has_engine: bool,
    /// What the device does with what it reads.
    pub(super) reading: Reading,
    pub(super) stop_after: u64,
    polls: std::cell::Cell<u64>,
    /// What the device wrote, as [`FakeEngine::written`].
    pub(super) written: Arc<Mutex<Vec<(u64, usize)>>>,
}

impl Fakes {
    pub(super) fn with(fault: Fault) -> Self {
        Self {
            space: Arc::new(FakeSpace {
                fault,
                live: Mutex::default(),
                stale: Mutex::default(),
            }),
            host: FakeHost::new(),
            physical_top: Some(PHYSICAL_TOP),
            has_engine: true,
            reading: Reading::Kept,
            stop_after: u64::MAX,
            polls: std::cell::Cell::default(),
            written: Arc::default(),
        }
    }

    /// Runs `use_it` on a rig of these stand-ins.
    pub(super) fn rig<T>(&self, use_it: impl FnOnce(&mut Rig<'_>) -> T) -> T {
        let mut engine = FakeEngine::new(&self.space, self.reading);
        engine.written = Arc::clone(&self.written);
        let stop = || {
            self.polls.set(self.polls.get() + 1);
            self.polls.get() > self.stop_after
        };
        let mut rig = Rig::new(Equipment {
            space: Arc::clone(&self.space) as Arc<dyn AddressSpace>,
            engine: self
                .has_engine
                .then(|| Box::new(engine) as Box<dyn DmaEngine>),
            observer: &self.host,
            stop: &stop,
            physical_top: self.physical_top,
            reserved: Vec::new(),
            lowest_iova: None,
            seed: 42,
        })
        .unwrap();
        use_it(&mut rig)
    }
}
