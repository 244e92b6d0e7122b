//! A device of software.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::{FakeSpace, Fault, PAGE};
use crate::engine::{DmaEngine, EngineError, EngineLimits, Loaded, Reading};
use crate::types::Iova;

/// A device of software. It reaches memory as a device does, from outside the program: through /proc/self/mem.
pub(in crate::checks) struct FakeEngine {
    space: Arc<FakeSpace>,
    memory: File,
    buffer: Vec<u8>,
    reading: Reading,
    has_loaded: bool,
    transfers: u32,
    clock: [u8; 8],
    /// Each write that went somewhere: the address in this process and the size.
    pub(in crate::checks) written: Arc<Mutex<Vec<(u64, usize)>>>,
}

impl FakeEngine {
    /// Its own bytes, where it does not keep others, are neither zeros nor ones.
    pub(in crate::checks) fn new(space: &Arc<FakeSpace>, reading: Reading) -> Self {
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
