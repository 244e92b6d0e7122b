//! A receive and a transmit queue, a ring of descriptors each.

use std::sync::atomic::{Ordering, fence};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::arena::PAGE;
use super::super::{DmaPage, EngineError, Pages};
use super::registers::{
    DESCRIPTOR_SIZE, DONE, HEADER_SIZE, QUEUE_ADDRESS_HIGH, QUEUE_ADDRESS_LOW, QUEUE_CONTROL,
    QUEUE_ENABLE, QUEUE_HEAD, QUEUE_LENGTH, QUEUE_SPLIT, QUEUE_TAIL, Received, STATUS_BYTE,
    receive_descriptor, split, transmit_descriptor,
};
use crate::device::Registers;
use crate::types::Iova;

/// Descriptors of a ring.
const DESCRIPTORS: usize = PAGE / DESCRIPTOR_SIZE;

/// How long a queue may take to turn on.
const TO_ENABLE: Duration = Duration::from_millis(100);

/// Where the header of a frame to send lies in the page of headers, and where that of a received one.
const SENT: usize = 0;
const GOT: usize = PAGE / 2;

/// The two queues of one function, and a page for the headers of frames.
pub struct Queues {
    engine: &'static str,
    receive_block: u64,
    transmit_block: u64,
    packet_kib: u32,
    receive: DmaPage,
    transmit: DmaPage,
    headers: DmaPage,
    receive_tail: usize,
    transmit_tail: usize,
}

impl Queues {
    /// The queues whose registers begin at these blocks, for packets of at most `packet_kib` KiB; not on yet.
    pub fn new(
        engine: &'static str,
        (receive_block, transmit_block): (u64, u64),
        packet_kib: u32,
        pages: &dyn Pages,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            engine,
            receive_block,
            transmit_block,
            packet_kib,
            receive: pages.page()?,
            transmit: pages.page()?,
            headers: pages.page()?,
            receive_tail: 0,
            transmit_tail: 0,
        })
    }

    /// Turns both on, empty. The device was reset before.
    pub fn start(&mut self, registers: &impl Registers) -> Result<(), EngineError> {
        self.receive.memory().fill(0);
        self.transmit.memory().fill(0);
        (self.receive_tail, self.transmit_tail) = (0, 0);
        registers.write32(self.receive_block + QUEUE_SPLIT, split(self.packet_kib));
        for (block, ring) in [
            (self.receive_block, &self.receive),
            (self.transmit_block, &self.transmit),
        ] {
            let address = ring.iova().0;
            registers.write32(block + QUEUE_ADDRESS_LOW, address as u32);
            registers.write32(block + QUEUE_ADDRESS_HIGH, (address >> 32) as u32);
            registers.write32(block + QUEUE_LENGTH, PAGE as u32);
            registers.write32(block + QUEUE_HEAD, 0);
            registers.write32(block + QUEUE_TAIL, 0);
            let control = registers.read32(block + QUEUE_CONTROL);
            registers.ring32(block + QUEUE_CONTROL, control | QUEUE_ENABLE);
            self.wait_enabled(registers, block + QUEUE_CONTROL)?;
        }
        Ok(())
    }

    fn wait_enabled(&self, registers: &impl Registers, control: u64) -> Result<(), EngineError> {
        let engine = self.engine;
        let begin = Instant::now();
        loop {
            let late = begin.elapsed() >= TO_ENABLE;
            match registers.read32(control) {
                u32::MAX => return Err(EngineError::Gone { engine }),
                value if value & QUEUE_ENABLE != 0 => return Ok(()),
                _ if late => {
                    return Err(EngineError::Timeout {
                        engine,
                        what: "turning a queue on".to_owned(),
                        limit: TO_ENABLE,
                    });
                }
                _ => sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Has the next frame's header written to our own page, and what follows it to `packet`.
    pub fn expect(&mut self, registers: &impl Registers, packet: Iova) {
        let header = self.headers.iova().0 + GOT as u64;
        let descriptor = receive_descriptor(packet.0, header);
        self.headers.memory().write(GOT, &[0; HEADER_SIZE]);
        self.receive
            .memory()
            .write(self.receive_tail * DESCRIPTOR_SIZE, &descriptor);
        self.receive_tail = (self.receive_tail + 1) % DESCRIPTORS;
        registers.ring32(self.receive_block + QUEUE_TAIL, self.receive_tail as u32);
    }

    /// Sends a frame: the header, and after it what lies at `packet`.
    pub fn send(
        &mut self,
        registers: &impl Registers,
        header: &[u8; HEADER_SIZE],
        packet: Iova,
        size: usize,
    ) {
        self.headers.memory().write(SENT, header);
        let frame = HEADER_SIZE + size;
        let header = self.headers.iova().0 + SENT as u64;
        let mut pieces = vec![(header, HEADER_SIZE)];
        // One piece a page: a request on PCIe never crosses 4096 bytes (PCIe Base 5.0, 2.2.7), and QEMU sends no frame
        // with a piece that crosses to a page elsewhere in memory.
        let (mut at, mut left) = (packet.0, size);
        while left > 0 {
            let piece = left.min(PAGE - at as usize % PAGE);
            pieces.push((at, piece));
            (at, left) = (at.wrapping_add(piece as u64), left - piece);
        }
        let last = pieces.len() - 1;
        for (index, (address, length)) in pieces.into_iter().enumerate() {
            let descriptor = transmit_descriptor(address, length, frame, index == last);
            self.transmit
                .memory()
                .write(self.transmit_tail * DESCRIPTOR_SIZE, &descriptor);
            self.transmit_tail = (self.transmit_tail + 1) % DESCRIPTORS;
        }
        registers.ring32(self.transmit_block + QUEUE_TAIL, self.transmit_tail as u32);
    }

    /// What became of the frame that was expected last: its descriptor and its header; `None` if it did not come yet.
    pub fn received(&self) -> Option<(Received, [u8; HEADER_SIZE])> {
        let last = (self.receive_tail + DESCRIPTORS - 1) % DESCRIPTORS;
        let memory = self.receive.memory();
        let mut status = [0];
        memory.read(last * DESCRIPTOR_SIZE + STATUS_BYTE, &mut status);
        // Before the device writes it back, the byte is the lowest of the header's address: a multiple of 64.
        if u32::from(status[0]) & DONE == 0 {
            return None;
        }
        // This bit comes last: the rest, and the frame, came before it.
        fence(Ordering::Acquire);
        let mut descriptor = [0; DESCRIPTOR_SIZE];
        memory.read(last * DESCRIPTOR_SIZE, &mut descriptor);
        let mut header = [0; HEADER_SIZE];
        self.headers.memory().read(GOT, &mut header);
        Some((Received::decode(&descriptor), header))
    }
}
