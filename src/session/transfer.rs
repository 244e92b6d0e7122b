//! DMA by the device itself, for a user who tries it step by step.
//!
//! The bytes travel through a page or more of the holder's own, which is mapped for the transfer. Whether they arrived is known by
//! comparing memory, never from the device: many report success for DMA that the IOMMU blocked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::holding::{Holding, Settle, Step};
use super::memory::HeldBytes;
use super::protocol::{Answer, Extent, MappingInfo, Transfer, Transferred};
use super::request::piece;
use super::{Bytes, Failure};
use crate::device::VfioDevice;
use crate::engine::{
    Arena, EngineDriver, EngineLimits, EngineParts, Loaded, Reading, Seat, driver_for,
};
use crate::iommu::{AddressSpace, DmaBuffer, DmaMapping, PageKind};
use crate::types::{Bdf, ExitClass, Iova, IovaRange, Protection, Size};

/// The IOVAs set aside for an engine's rings and queues while it works, in bytes.
const ENGINE_ROOM: u64 = 1 << 20;

/// A transfer and all that it needs.
struct Job {
    space: Arc<dyn AddressSpace>,
    device: Arc<VfioDevice>,
    driver: &'static dyn EngineDriver,
    turn: Arc<Mutex<()>>,
    stop: Arc<AtomicBool>,
    range: IovaRange,
    /// Where the holder's own memory is mapped meanwhile.
    between: IovaRange,
    /// Where the engine may map memory of its own.
    engine_room: IovaRange,
    extent: Extent,
    /// The memory of the range, if all of it is mapped.
    memory: Vec<Part>,
    transfer: Transfer,
}

/// A part of the range's memory.
struct Part {
    info: MappingInfo,
    bytes: HeldBytes,
    length: usize,
}

impl Holding {
    /// Has a device read or write at an IOVA.
    pub(super) fn dma(
        &mut self,
        bdf: Bdf,
        iova: Iova,
        transfer: Transfer,
    ) -> Result<Step, Failure> {
        let size = match &transfer {
            Transfer::Read { size } => *size,
            Transfer::Write { data } => data.0.len(),
        };
        let range = piece(iova, size)?;
        let held = self.device(bdf)?;
        let driver = driver_for(&held.id).ok_or_else(|| {
            let message = format!(
                "no engine here drives {bdf} ({}): it cannot be told to do DMA",
                held.id
            );
            Failure::new(ExitClass::NoVerdict, message)
        })?;
        let (device, turn, stop) = (held.device.clone(), held.turn.clone(), held.stop.clone());
        let (extent, pieces) = self.mappings.pieces(range);
        let allowed = |protection: Protection| match transfer {
            Transfer::Read { .. } => protection.readable(),
            Transfer::Write { .. } => protection.writable(),
        };
        let extent = match extent {
            Extent::Whole if !pieces.iter().all(|piece| allowed(piece.info.protection)) => {
                Extent::Forbidden
            }
            extent => extent,
        };
        let memory = match extent {
            Extent::Whole | Extent::Forbidden => pieces
                .iter()
                .map(|piece| Part {
                    info: piece.info.clone(),
                    bytes: piece.held.bytes(piece.offset as usize),
                    length: piece.length as usize,
                })
                .collect(),
            Extent::Part | Extent::Nothing => Vec::new(),
        };
        let page = self.page();
        let between = self
            .places
            .take((size as u64).next_multiple_of(page), page)?;
        let engine_room = self.places.take(ENGINE_ROOM, page).inspect_err(|_| {
            self.places.give_back(between);
        });
        let engine_room = engine_room?;
        let job = Job {
            space: self.space.clone(),
            device,
            driver,
            turn,
            stop,
            range,
            between,
            engine_room,
            extent,
            memory,
            transfer,
        };
        Ok(Step::Long(Box::new(move || -> Settle {
            let result = job.run();
            Box::new(move |holding| {
                holding.places.give_back(between);
                holding.places.give_back(engine_room);
                result.map(Answer::Transferred)
            })
        })))
    }
}

impl Job {
    fn run(self) -> Result<Transferred, Failure> {
        // Nothing is left in disorder by a transfer that panicked.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.between.last().0 - self.between.start().0 + 1;
        let size = Size::new(room).expect("a range has at least one byte");
        let buffer = Arc::new(DmaBuffer::allocate(size, PageKind::Base)?);
        let _between = DmaMapping::new(
            &self.space,
            &buffer,
            0..room as usize,
            self.between.start(),
            Protection::ReadWrite,
        )?;
        let (arrived, data) = match &self.transfer {
            Transfer::Read { size } => self.read(&buffer, *size)?,
            Transfer::Write { data } => (self.write(&buffer, &data.0)?, None),
        };
        Ok(Transferred {
            engine: self.driver.name().to_owned(),
            mapped: self.extent,
            arrived,
            data,
        })
    }

    /// The device reads the range into the holder's memory.
    fn read(
        &self,
        buffer: &DmaBuffer,
        size: usize,
    ) -> Result<(Option<bool>, Option<Bytes>), Failure> {
        let before = self.expected()?;
        // What is there beforehand is equal to nothing that is expected.
        let unlike: Vec<u8> = match &before {
            Some(bytes) => bytes.iter().map(|byte| !byte).collect(),
            None => vec![0x5a; size],
        };
        buffer.write(0, &unlike);
        self.copy(self.range.start(), self.between.start(), size)?;
        let mut data = vec![0; size];
        buffer.read(0, &mut data);
        // Others may write to the memory at the same time.
        let after = self.expected()?;
        let arrived = before.map(|before| before == data || after.as_ref() == Some(&data));
        Ok((arrived, Some(Bytes(data))))
    }

    /// The device writes the holder's memory to the range.
    ///
    /// Bytes that are there already would be taken for bytes that arrived. Where there are any, the device first writes others.
    fn write(&self, buffer: &DmaBuffer, data: &[u8]) -> Result<Option<bool>, Failure> {
        let put = |bytes: &[u8]| -> Result<Option<bool>, Failure> {
            buffer.write(0, bytes);
            self.copy(self.between.start(), self.range.start(), bytes.len())?;
            Ok(self.expected()?.map(|memory| memory == bytes))
        };
        if self
            .expected()?
            .is_some_and(|before| share_a_byte(&before, data))
        {
            let unlike: Vec<u8> = data.iter().map(|byte| !byte).collect();
            if put(&unlike)? == Some(false) {
                return Ok(Some(false));
            }
        }
        put(data)
    }

    /// What the memory of the range holds, if all of it is mapped.
    fn expected(&self) -> Result<Option<Vec<u8>>, Failure> {
        if self.memory.is_empty() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        for part in &self.memory {
            let start = bytes.len();
            bytes.resize(start + part.length, 0);
            part.bytes.read(&part.info, &mut bytes[start..])?;
        }
        Ok(Some(bytes))
    }

    /// Has the device copy, in pieces that its engine moves.
    fn copy(&self, source: Iova, destination: Iova, size: usize) -> Result<(), Failure> {
        // Its rings lie in the room set aside for them, so no one asks where they are in memory.
        let unknown = |_| None;
        let arena = Arena::within(self.space.clone(), self.engine_room, &unknown);
        let mut engine = self.driver.open(EngineParts {
            seat: Seat {
                device: &self.device,
                arena: &arena,
            },
            peer: None,
            destructive: false,
        })?;
        let limits = engine.limits();
        check(self.driver.name(), &limits, self.range)?;
        for offset in (0..size).step_by(limits.max_size) {
            if self.stop.load(Ordering::Relaxed) {
                let message = "the transfer was broken off: the device is given back";
                return Err(Failure::new(ExitClass::Failed, message));
            }
            let at = |iova: Iova| Iova(iova.0 + offset as u64);
            let length = limits.max_size.min(size - offset);
            match engine.load(at(source), length)? {
                Loaded::Kept => engine.store(at(destination), length)?,
                Loaded::Equal | Loaded::Different => return Err(keeps_nothing(self.driver.name())),
            }
        }
        Ok(())
    }
}

fn share_a_byte(a: &[u8], b: &[u8]) -> bool {
    a.iter().zip(b).any(|(a, b)| a == b)
}

fn keeps_nothing(engine: &str) -> Failure {
    Failure::new(
        ExitClass::NoVerdict,
        format!("the {engine} engine cannot bring bytes from one address to another"),
    )
}

/// That the engine can do what is asked.
fn check(engine: &str, limits: &EngineLimits, range: IovaRange) -> Result<(), Failure> {
    if limits.reading != Reading::Kept {
        return Err(keeps_nothing(engine));
    }
    let alignment = limits.alignment.max(1) as u64;
    if range.start().0 % alignment != 0 || range.size() % u128::from(alignment) != 0 {
        return Err(Failure::usage(format!(
            "the {engine} engine moves multiples of {alignment} bytes, at IOVAs that are multiples of it"
        )));
    }
    let reach = 1u64.checked_shl(limits.register_bits);
    if reach.is_some_and(|end| range.last().0 >= end) {
        return Err(Failure::usage(format!(
            "the {engine} engine takes addresses of {} bits: {range} is beyond them",
            limits.register_bits
        )));
    }
    Ok(())
}
