//! QEMU's edu device: a buffer of 4 KiB that it fills from memory, and writes to memory, on demand.
//!
//! Each transfer takes about 100 ms, which is a timer of QEMU's. Addresses are silently cut to 28 bits, unless QEMU was started with
//! `-device edu,dma_mask=0xffffffffffffffff`; the registers keep and show all bits either way, so the device cannot tell.

mod registers;

use std::sync::atomic::{Ordering, fence};
use std::thread::sleep;
use std::time::{Duration, Instant};

use self::registers::{
    BAR, BUFFER, BUFFER_SIZE, DMA_COMMAND, DMA_COUNT, DMA_DESTINATION, DMA_SOURCE, IDENTIFICATION,
    START, TO_MEMORY, VERSION_1_0,
};
use super::{DmaEngine, EngineDriver, EngineError, EngineLimits, EngineParts, Loaded, Reading};
use crate::device::Registers;
use crate::types::{Iova, PciId};

const NAME: &str = "edu";

/// A transfer takes 100 ms of the guest's time; a host that is overloaded can stretch that.
const TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);

/// The driver.
pub struct EduDriver;

impl EngineDriver for EduDriver {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "QEMU's teaching device (1234:11e8), 4 KiB at a time"
    }

    fn limits(&self) -> &'static str {
        "1 B to 4 KiB at any address of 28 bits (of 64 where QEMU has dma_mask); memory to memory; about 100 ms for each transfer"
    }

    fn drives(&self, id: &PciId) -> bool {
        (id.vendor, id.device) == (0x1234, 0x11e8)
    }

    fn ran_on_hardware(&self) -> bool {
        true
    }

    fn open<'d>(&self, parts: EngineParts<'d>) -> Result<Box<dyn DmaEngine + 'd>, EngineError> {
        let device = parts.seat.device;
        let registers = device.map_bar(BAR)?;
        let bus_master = device.master_bus()?;
        Ok(Box::new(Edu::start(registers, bus_master, TIMEOUT)?))
    }
}

/// The device, ready for a transfer. `M` holds what it needs while it is in use, bus mastering.
struct Edu<R, M> {
    _bus_master: M,
    registers: R,
    timeout: Duration,
}

impl<R: Registers, M> Edu<R, M> {
    /// Takes the device into use, after whatever transfer still runs.
    fn start(registers: R, bus_master: M, timeout: Duration) -> Result<Self, EngineError> {
        match registers.read32(IDENTIFICATION) {
            VERSION_1_0 => {}
            u32::MAX => return Err(EngineError::Gone { engine: NAME }),
            other => {
                return Err(EngineError::Unknown {
                    engine: NAME,
                    found: u64::from(other),
                    expected: u64::from(VERSION_1_0),
                });
            }
        }
        let edu = Self {
            _bus_master: bus_master,
            registers,
            timeout,
        };
        edu.wait(|| "a transfer that was started before".to_owned())?;
        Ok(edu)
    }

    fn transfer(
        &self,
        source: u64,
        destination: u64,
        size: usize,
        direction: u64,
        what: impl Fn() -> String,
    ) -> Result<(), EngineError> {
        self.registers.write64(DMA_SOURCE, source);
        self.registers.write64(DMA_DESTINATION, destination);
        self.registers.write64(DMA_COUNT, size as u64);
        self.registers.ring64(DMA_COMMAND, START | direction);
        self.wait(what)
    }

    /// Waits until no transfer runs.
    fn wait(&self, what: impl Fn() -> String) -> Result<(), EngineError> {
        let begin = Instant::now();
        loop {
            // Taken first, so that a process that slept for long still looks once more.
            let late = begin.elapsed() >= self.timeout;
            match self.registers.read64(DMA_COMMAND) {
                u64::MAX => return Err(EngineError::Gone { engine: NAME }),
                command if command & START == 0 => {
                    // What the device wrote before it was done is read after this.
                    fence(Ordering::SeqCst);
                    return Ok(());
                }
                _ if late => {
                    return Err(EngineError::Timeout {
                        engine: NAME,
                        what: what(),
                        limit: self.timeout,
                    });
                }
                _ => sleep(POLL),
            }
        }
    }
}

impl<R: Registers, M> DmaEngine for Edu<R, M> {
    fn limits(&self) -> EngineLimits {
        EngineLimits {
            address_bits: 28,
            register_bits: 64,
            max_size: BUFFER_SIZE,
            size_unit: 1,
            alignment: 1,
            reading: Reading::Kept,
            echoes: false,
            has_clock: false,
        }
    }

    fn load(&mut self, source: Iova, size: usize) -> Result<Loaded, EngineError> {
        // Transfers beyond the buffer make QEMU access its own memory out of bounds.
        self.limits().check(NAME, source, size)?;
        let what = || format!("reading {size} bytes at {source}");
        self.transfer(source.0, BUFFER, size, 0, what)?;
        Ok(Loaded::Kept)
    }

    fn store(&mut self, destination: Iova, size: usize) -> Result<(), EngineError> {
        self.limits().check(NAME, destination, size)?;
        let what = || format!("writing {size} bytes to {destination}");
        self.transfer(BUFFER, destination.0, size, TO_MEMORY, what)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// An edu device, as QEMU's hw/misc/edu.c has it, with a memory of its own.
    struct FakeEdu {
        identification: u32,
        values: [Cell<u64>; 4],
        buffer: RefCell<[u8; BUFFER_SIZE]>,
        memory: RefCell<Vec<u8>>,
        /// How often the command must be read until a transfer is done; `None` for never.
        pace: Option<u32>,
        reads_left: Cell<u32>,
        /// After so many transfers the device is pulled out.
        lifetime: Cell<u32>,
    }

    const MEMORY_START: u64 = 0x10_0000;

    impl FakeEdu {
        fn new() -> Self {
            Self {
                identification: VERSION_1_0,
                values: Default::default(),
                buffer: RefCell::new([0; BUFFER_SIZE]),
                memory: RefCell::new((0..0x4000_u32).map(|at| (at % 251) as u8).collect()),
                pace: Some(3),
                reads_left: Cell::new(0),
                lifetime: Cell::new(u32::MAX),
            }
        }

        fn value(&self, offset: u64) -> &Cell<u64> {
            assert!((0x80..0xa0).contains(&offset), "{offset:#x}");
            &self.values[(offset as usize - 0x80) / 8]
        }

        fn finish(&self) {
            let command = self.value(DMA_COMMAND).get();
            let (source, destination) = (self.value(DMA_SOURCE), self.value(DMA_DESTINATION));
            let size = self.value(DMA_COUNT).get() as usize;
            let (inside, outside) = if command & TO_MEMORY != 0 {
                (source.get(), destination.get())
            } else {
                (destination.get(), source.get())
            };
            let inside = (inside - BUFFER) as usize;
            let outside = (outside - MEMORY_START) as usize;
            let mut buffer = self.buffer.borrow_mut();
            let mut memory = self.memory.borrow_mut();
            if command & TO_MEMORY != 0 {
                memory[outside..outside + size].copy_from_slice(&buffer[inside..inside + size]);
            } else {
                buffer[inside..inside + size].copy_from_slice(&memory[outside..outside + size]);
            }
            self.value(DMA_COMMAND).set(command & !START);
            self.lifetime.set(self.lifetime.get() - 1);
        }
    }

    impl Registers for &FakeEdu {
        fn size(&self) -> u64 {
            1 << 20
        }

        fn read32(&self, offset: u64) -> u32 {
            assert_eq!(offset, IDENTIFICATION);
            self.identification
        }

        fn write32(&self, offset: u64, _value: u32) {
            panic!("a 32-bit write to {offset:#x} clears the upper half")
        }

        fn read64(&self, offset: u64) -> u64 {
            if self.lifetime.get() == 0 {
                return u64::MAX;
            }
            let running = self.value(DMA_COMMAND).get() & START != 0;
            if offset == DMA_COMMAND && running && self.pace.is_some() {
                match self.reads_left.get() {
                    0 => self.finish(),
                    left => self.reads_left.set(left - 1),
                }
            }
            self.value(offset).get()
        }

        fn write64(&self, offset: u64, value: u64) {
            if self.value(DMA_COMMAND).get() & START != 0 {
                return;
            }
            self.value(offset).set(value);
            if offset == DMA_COMMAND && value & START != 0 {
                self.reads_left.set(self.pace.unwrap_or(0));
            }
        }
    }

    fn start(device: &FakeEdu) -> Result<Edu<&FakeEdu, ()>, EngineError> {
        Edu::start(device, (), Duration::from_millis(50))
    }

    #[test]
    fn every_size_and_alignment_arrives() {
        let device = FakeEdu::new();
        let mut edu = start(&device).unwrap();
        for (size, from, to) in [
            (1, 0, 0x2000),
            (4096, 0x7ff, 0x2001),
            (333, 3, 0x3ffd - 333),
        ] {
            let before = device.memory.borrow().clone();
            edu.load(Iova(MEMORY_START + from), size).unwrap();
            edu.store(Iova(MEMORY_START + to), size).unwrap();
            let (from, to) = (from as usize, to as usize);
            let after = device.memory.borrow();
            assert_eq!(after[to..to + size], before[from..from + size]);
            assert_eq!(after[..to], before[..to]);
            assert_eq!(after[to + size..], before[to + size..]);
        }
    }

    #[test]
    fn what_the_device_cannot_do_is_never_started() {
        let device = FakeEdu::new();
        let mut edu = start(&device).unwrap();
        for size in [0, 4097, usize::MAX] {
            let error = edu.load(Iova(MEMORY_START), size).unwrap_err();
            assert!(matches!(error, EngineError::Size { .. }), "{error}");
        }
        let error = edu.store(Iova(u64::MAX - 7), 9).unwrap_err();
        assert!(matches!(error, EngineError::Range { .. }), "{error}");
        assert!(device.values.iter().all(|value| value.get() == 0));
    }

    #[test]
    fn another_device_is_refused() {
        let mut device = FakeEdu::new();
        device.identification = 0x1d0f;
        let error = start(&device).err().unwrap();
        assert!(matches!(error, EngineError::Unknown { found: 0x1d0f, .. }));
    }

    #[test]
    fn a_device_that_is_gone_is_noticed_at_the_start_and_between_transfers() {
        let mut device = FakeEdu::new();
        device.identification = u32::MAX;
        let error = start(&device).err().unwrap();
        assert!(matches!(error, EngineError::Gone { .. }), "{error}");

        let device = FakeEdu::new();
        device.lifetime.set(1);
        let mut edu = start(&device).unwrap();
        edu.load(Iova(MEMORY_START), 8).unwrap();
        let error = edu.store(Iova(MEMORY_START), 8).unwrap_err();
        assert!(matches!(error, EngineError::Gone { .. }), "{error}");
    }

    #[test]
    fn a_transfer_that_never_ends_is_given_up() {
        let mut device = FakeEdu::new();
        device.pace = None;
        let mut edu = start(&device).unwrap();
        let error = edu.load(Iova(MEMORY_START), 64).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the edu device did not finish reading 64 bytes at 0x100000 within 0.05 s. Reset it, or unplug it"
        );
    }

    #[test]
    fn a_transfer_of_someone_before_is_waited_for() {
        let device = FakeEdu::new();
        let earlier = &device;
        earlier.write64(DMA_SOURCE, MEMORY_START);
        earlier.write64(DMA_DESTINATION, BUFFER);
        earlier.write64(DMA_COUNT, 16);
        earlier.write64(DMA_COMMAND, START);
        let mut edu = start(&device).unwrap();
        edu.store(Iova(MEMORY_START + 0x1000), 16).unwrap();
        assert_eq!(
            device.memory.borrow()[0x1000..0x1010],
            device.memory.borrow()[..16]
        );
    }
}
