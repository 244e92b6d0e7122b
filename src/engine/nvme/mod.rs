//! NVMe controllers: found in nearly every host.
//!
//! A controller has bytes of its own that it writes to memory on demand: blocks of a namespace, or its identify data
//! where it has no namespace. That proves its writes. What it reads it compares with those blocks (optional in the specification), so data on
//! the medium is never changed; only when the caller allows it, blocks are written, and put back at the end.

mod controller;
mod media;
mod queue;
mod registers;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::controller::{Controller, Queue};
use self::media::{Blocks, Media};
use self::registers::{
    BAR, COMPARE, COMPARE_FAILURE, Command, FLUSH, GET_FEATURES, IDENTIFY, IDENTIFY_CONTROLLER,
    NUMBER_OF_QUEUES, ONCS, ONCS_TIMESTAMP, READ, SET_FEATURES, TIMESTAMP, TIMESTAMP_MASK,
    TIMESTAMP_SIZE, WRITE,
};
use super::arena::PAGE;
use super::{
    DmaEngine, DmaPage, EngineDriver, EngineError, EngineLimits, EngineParts, Loaded, Pages,
    Reading,
};
use crate::device::Registers;
use crate::types::{Iova, PciId};

const NAME: &str = "nvme";

/// A drive that corrects errors or wakes up can take seconds for a command.
const PATIENCE: Duration = Duration::from_secs(10);

/// The driver.
pub struct NvmeDriver;

impl EngineDriver for NvmeDriver {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "NVMe controllers (class 010802); blocks are read and compared, never written unless allowed"
    }

    fn limits(&self) -> &'static str {
        "whole blocks, up to what the drive allows and 128 KiB, at multiples of 4 B, 64-bit addresses; writes blocks of its own to memory \
         and compares memory with them where the drive has Compare; memory to memory with --destructive only; echoes numbers"
    }

    fn drives(&self, id: &PciId) -> bool {
        // Mass storage, non-volatile memory, NVM Express I/O controller (PCI Code and ID Assignment 1.11, 1.2).
        id.class == 0x01_08_02
    }

    fn ran_on_hardware(&self) -> bool {
        true
    }

    fn open<'d>(&self, parts: EngineParts<'d>) -> Result<Box<dyn DmaEngine + 'd>, EngineError> {
        let device = parts.seat.device;
        let registers = device.map_bar(BAR)?;
        let bus_master = device.master_bus()?;
        let pages = parts.seat.arena;
        let nvme = Nvme::start(registers, bus_master, pages, parts.destructive, PATIENCE)?;
        Ok(Box::new(nvme))
    }
}

/// A controller, ready for a transfer. `M` holds what it needs while it is in use, bus mastering.
struct Nvme<R: Registers, M> {
    // Goes first, so that no DMA is possible any more when the memory goes.
    _bus_master: M,
    controller: Controller<R>,
    /// The list of pages of a transfer.
    list: DmaPage,
    /// A page for blocks on their way to or from this process.
    data: DmaPage,
    source: Source,
    /// The bytes that the device has of its own, or had before blocks were written.
    own: Vec<u8>,
    destructive: bool,
    written: bool,
    has_clock: bool,
    /// What the clock showed before it was set, and when that was.
    clock_before: Option<(u64, Instant)>,
}

/// Where the bytes that the device writes come from.
enum Source {
    /// Blocks of a namespace.
    Media(Media),
    /// The controller's identify data, as there is no namespace to read.
    Identify,
}

impl<R: Registers, M> Nvme<R, M> {
    /// Takes the controller into use and learns what it has to give.
    fn start(
        registers: R,
        bus_master: M,
        pages: &dyn Pages,
        destructive: bool,
        patience: Duration,
    ) -> Result<Self, EngineError> {
        let mut nvme = Self {
            _bus_master: bus_master,
            controller: Controller::new(registers, pages, patience)?,
            list: pages.page()?,
            data: pages.page()?,
            source: Source::Identify,
            own: Vec::new(),
            destructive,
            written: false,
            has_clock: false,
            clock_before: None,
        };
        nvme.own = nvme.identify(IDENTIFY_CONTROLLER, 0)?;
        nvme.has_clock = nvme.own[ONCS] & ONCS_TIMESTAMP != 0;
        if let Some(media) = nvme.find_media()? {
            let (media, own) = nvme.choose_window(media)?;
            nvme.source = Source::Media(media);
            nvme.own = own;
            if destructive {
                nvme.try_to_put_back()?;
            }
        }
        Ok(nvme)
    }

    /// One of the controller's structures of 4096 bytes.
    fn identify(&mut self, structure: u32, namespace: u32) -> Result<Vec<u8>, EngineError> {
        let command = Command {
            opcode: IDENTIFY,
            namespace,
            prp1: self.data.iova().0,
            dwords: [structure, 0, 0],
            ..Command::default()
        };
        // A device that writes nothing must not be taken for one that answers.
        self.data.memory().fill(0);
        self.controller
            .order(Queue::Admin, &command, "reading identify data")?;
        Ok(self.data_bytes(PAGE))
    }

    /// What lies in the data page.
    fn data_bytes(&self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.data.memory().read(0, &mut bytes);
        bytes
    }

    /// Reads, writes or compares blocks, between the medium and memory at an IOVA.
    fn transfer(
        &mut self,
        opcode: u8,
        blocks: Blocks,
        memory: Iova,
        what: &str,
    ) -> Result<u32, EngineError> {
        let (prp1, prp2) = self.pointers(memory, blocks.bytes());
        let command = Command {
            opcode,
            namespace: blocks.namespace,
            prp1,
            prp2,
            dwords: blocks.dwords(),
        };
        self.controller.run(Queue::Io, &command, what)
    }

    /// As [`Self::transfer`], which must end well.
    fn move_blocks(
        &mut self,
        opcode: u8,
        blocks: Blocks,
        memory: Iova,
        what: &str,
    ) -> Result<(), EngineError> {
        match self.transfer(opcode, blocks, memory, what)? {
            0 => Ok(()),
            status => Err(EngineError::Status {
                engine: NAME,
                what: what.to_owned(),
                status,
            }),
        }
    }

    /// The two data pointers of a command: the first page, and the second or the list of all others (Base, 4.1.1).
    fn pointers(&self, start: Iova, size: usize) -> (u64, u64) {
        let page = PAGE as u64;
        let next = (start.0 & !(page - 1)).wrapping_add(page);
        let others: Vec<u64> = (0..)
            .map(|index| next.wrapping_add(index * page))
            .take_while(|address| address.wrapping_sub(start.0) < size as u64)
            .collect();
        match others[..] {
            [] => (start.0, 0),
            [second] => (start.0, second),
            _ => {
                let entries: Vec<u8> = others.iter().flat_map(|page| page.to_le_bytes()).collect();
                self.list.memory().write(0, &entries);
                (start.0, self.list.iova().0)
            }
        }
    }

    /// The blocks that hold the first `size` of the bytes; `None` where they do not come from a medium.
    fn blocks(&self, size: usize) -> Option<Blocks> {
        match &self.source {
            Source::Media(media) => Some(media.first(size)),
            Source::Identify => None,
        }
    }

    /// Gets or sets the clock, from or to 8 bytes of memory at an IOVA.
    fn clock(&mut self, opcode: u8, memory: Iova) -> Result<(), EngineError> {
        if !self.has_clock {
            return Err(EngineError::NoClock);
        }
        let (prp1, prp2) = self.pointers(memory, TIMESTAMP_SIZE);
        let command = Command {
            opcode,
            prp1,
            prp2,
            dwords: [TIMESTAMP, 0, 0],
            ..Command::default()
        };
        let what = match opcode {
            SET_FEATURES => format!("reading its clock's time from {memory}"),
            _ => format!("writing its clock's time to {memory}"),
        };
        self.controller.order(Queue::Admin, &command, &what)
    }

    /// Remembers what the clock shows, before it is set for the first time.
    fn save_clock(&mut self) -> Result<(), EngineError> {
        if self.clock_before.is_none() {
            let now = Instant::now();
            self.clock(GET_FEATURES, self.data.iova())?;
            let mut bytes = [0; TIMESTAMP_SIZE];
            self.data.memory().read(0, &mut bytes);
            let time = u64::from_le_bytes(bytes) & TIMESTAMP_MASK;
            self.clock_before = Some((time, now));
        }
        Ok(())
    }

    /// Sets the clock to what it would show by now.
    fn put_clock_back(&mut self, time: u64, since: Instant) -> Result<(), EngineError> {
        let time = time.wrapping_add(since.elapsed().as_millis() as u64) & TIMESTAMP_MASK;
        self.data.memory().write(0, &time.to_le_bytes());
        self.clock(SET_FEATURES, self.data.iova())
    }

    /// Writes what the blocks hold to the same blocks: where that fails, they could not be put back later, so they are left alone.
    fn try_to_put_back(&mut self) -> Result<(), EngineError> {
        if let Source::Media(media) = &self.source {
            log::warn!(
                "{NAME}: {} are written, and put back at the end",
                media.first(self.own.len())
            );
        }
        self.put_back().map_err(|error| EngineError::Unusable {
            engine: NAME,
            missing: format!(
                "--destructive writes blocks and puts back what they held, and a try that changes nothing failed: {error}"
            ),
        })
    }

    /// Writes back the blocks that were there, and reads them again to be sure.
    fn put_back(&mut self) -> Result<(), EngineError> {
        let Source::Media(media) = &self.source else {
            return Ok(());
        };
        let (namespace, pieces) = (media.namespace(), media.pieces());
        let what = "putting back what the blocks held before";
        let page = self.data.iova();
        let own = self.own.clone();
        let mut rest = own.as_slice();
        for blocks in pieces {
            let (piece, after) = rest.split_at(blocks.bytes());
            rest = after;
            self.data.memory().write(0, piece);
            self.move_blocks(WRITE, blocks, page, what)?;
            self.data.memory().fill(!piece[0]);
            self.move_blocks(READ, blocks, page, what)?;
            if self.data_bytes(piece.len()) != *piece {
                return Err(EngineError::Nonsense {
                    engine: NAME,
                    found: format!("{blocks} do not read as they were written"),
                });
            }
        }
        let flush = Command {
            opcode: FLUSH,
            namespace,
            ..Command::default()
        };
        self.controller.order(Queue::Io, &flush, what)
    }
}

impl<R: Registers, M> DmaEngine for Nvme<R, M> {
    fn limits(&self) -> EngineLimits {
        let size_unit = match &self.source {
            Source::Media(media) => media.block_size(),
            Source::Identify => PAGE,
        };
        let reading = match &self.source {
            Source::Media(_) if self.destructive => Reading::Kept,
            Source::Media(media) if media.can_compare() => Reading::Compared,
            _ => Reading::Never,
        };
        EngineLimits {
            address_bits: 64,
            register_bits: 64,
            max_size: self.own.len(),
            size_unit,
            // PRP1 must be a multiple of 4 (Base, 4.1.1).
            alignment: 4,
            reading,
            echoes: true,
            has_clock: self.has_clock,
        }
    }

    fn payload(&mut self, wanted: &[u8]) -> Vec<u8> {
        if self.destructive && matches!(self.source, Source::Media(_)) {
            wanted.to_vec()
        } else {
            self.own[..wanted.len()].to_vec()
        }
    }

    fn load(&mut self, source: Iova, size: usize) -> Result<Loaded, EngineError> {
        let limits = self.limits();
        limits.check(NAME, source, size)?;
        let (Some(blocks), Reading::Kept | Reading::Compared) = (self.blocks(size), limits.reading)
        else {
            return Err(EngineError::OnlyWrites {
                engine: NAME,
                why: "it has no Compare command, or no namespace with plain blocks",
            });
        };
        if limits.reading == Reading::Kept {
            // Even a write that fails may have changed some of it.
            self.written = true;
            let what = format!("writing {size} bytes at {source} to {blocks}");
            self.move_blocks(WRITE, blocks, source, &what)?;
            return Ok(Loaded::Kept);
        }
        let what = format!("comparing {size} bytes at {source} with {blocks}");
        match self.transfer(COMPARE, blocks, source, &what)? {
            0 => Ok(Loaded::Equal),
            COMPARE_FAILURE => Ok(Loaded::Different),
            status => Err(EngineError::Status {
                engine: NAME,
                what,
                status,
            }),
        }
    }

    fn store(&mut self, destination: Iova, size: usize) -> Result<(), EngineError> {
        self.limits().check(NAME, destination, size)?;
        match self.blocks(size) {
            Some(blocks) => {
                let what = format!("reading {blocks} to {destination}");
                self.move_blocks(READ, blocks, destination, &what)
            }
            None => {
                let (prp1, prp2) = self.pointers(destination, size);
                let command = Command {
                    opcode: IDENTIFY,
                    prp1,
                    prp2,
                    dwords: [IDENTIFY_CONTROLLER, 0, 0],
                    ..Command::default()
                };
                let what = format!("writing identify data to {destination}");
                self.controller.order(Queue::Admin, &command, &what)
            }
        }
    }

    fn echo(&mut self, numbers: &[u16]) -> Result<Vec<u16>, EngineError> {
        // A harmless command that every controller with I/O queues knows; the numbers are the commands' identifiers.
        let command = Command {
            opcode: GET_FEATURES,
            dwords: [NUMBER_OF_QUEUES, 0, 0],
            ..Command::default()
        };
        self.controller
            .run_many(&command, numbers, "getting a feature")
    }

    fn finish(&mut self) -> Result<(), EngineError> {
        let failed = |what: String, error: EngineError| EngineError::NotAsFound {
            engine: NAME,
            what,
            source: Box::new(error),
        };
        if self.written {
            let blocks = self.blocks(self.own.len());
            let what = || blocks.map_or_else(String::new, |blocks| format!("what {blocks} hold"));
            self.put_back().map_err(|error| failed(what(), error))?;
            self.written = false;
        }
        if let Some((time, since)) = self.clock_before {
            let what = || "what its clock shows".to_owned();
            let done = self.put_clock_back(time, since);
            done.map_err(|error| failed(what(), error))?;
            self.clock_before = None;
        }
        Ok(())
    }

    fn set_clock(&mut self, source: Iova) -> Result<(), EngineError> {
        self.save_clock()?;
        self.clock(SET_FEATURES, source)
    }

    fn read_clock(&mut self, destination: Iova) -> Result<(), EngineError> {
        self.clock(GET_FEATURES, destination)
    }
}

impl<R: Registers, M> Drop for Nvme<R, M> {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            log::error!("{error}");
        }
        if let Err(error) = self.controller.stop() {
            log::warn!("stopping the controller: {error}");
        }
    }
}
