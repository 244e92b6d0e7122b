//! Functions of an 82576 of software, as far as the engine uses them, with a switch between them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::registers::*;
use crate::device::Registers;
use crate::engine::arena::FakeMemory;

/// What is wrong with a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Every register reads as all ones.
    Gone,
    /// Its reset never ends.
    StuckReset,
    /// No link comes up.
    NoLink,
    /// Its PHY reports an error.
    BadPhy,
    /// Its queues do not turn on.
    DeadQueues,
    /// The physical function is not there.
    NoPhysicalFunction,
    /// The physical function gives no address, and takes none.
    NoAddress,
    /// The driver of the physical function says something by itself, once, before it reads a message.
    OwnMessageFirst,
    /// The same, over its answer to the first message.
    OwnMessageOverAnswer,
    /// The driver sees the reset once more after the message of it: the next message is refused.
    ResetSeenLate,
    /// The same, and the next message is not answered.
    ResetSeenLateAndSilent,
    /// The mailbox is not granted at once.
    BusyMailbox,
    /// Frames get lost.
    LosesFrames,
    /// The frame of somebody else comes first.
    StrangeFrame,
    /// A bit of each payload is flipped.
    FlippedBit,
    /// Frames carry the receive error.
    BrokenFrames,
}

/// E1000_PF_CONTROL_MSG of the kernel's driver, cleared to send.
const OWN_MESSAGE: u32 = 0x0100 | REPLY_CLEAR_TO_SEND;

const REPLY_REFUSED: u32 = 1 << 30;

/// One function: the registers that keep what is written, and what its queues do.
pub struct FakeFunction<'m> {
    pub memory: &'m FakeMemory,
    pub fault: Cell<Fault>,
    virtual_function: bool,
    /// Where frames to others go.
    pub far: RefCell<Option<&'m FakeFunction<'m>>>,
    pub resets: Cell<u32>,
    pub phy: Cell<u16>,
    registers: RefCell<BTreeMap<u64, u32>>,
    mailbox: Cell<u32>,
    /// How often the mailbox was claimed, and messages of each kind came.
    claims: Cell<u32>,
    messages: RefCell<BTreeMap<u32, u32>>,
    /// What the physical function says its address is.
    pub assigned: Cell<Option<[u8; 6]>>,
    pub address: Cell<[u8; 6]>,
}

impl<'m> FakeFunction<'m> {
    pub fn new(memory: &'m FakeMemory, virtual_function: bool, address: [u8; 6]) -> Self {
        Self {
            memory,
            fault: Cell::new(Fault::None),
            virtual_function,
            far: RefCell::new(None),
            resets: Cell::new(0),
            phy: Cell::new(0x1140),
            registers: RefCell::default(),
            mailbox: Cell::new(0),
            claims: Cell::new(0),
            messages: RefCell::default(),
            assigned: Cell::new(Some(address)),
            address: Cell::new(address),
        }
    }

    fn value(&self, register: u64) -> u32 {
        self.registers.borrow().get(&register).copied().unwrap_or(0)
    }

    fn set(&self, register: u64, value: u32) {
        self.registers.borrow_mut().insert(register, value);
    }

    /// Whether a queue is on: nothing that the device would do DMA for otherwise.
    pub fn is_on(&self) -> bool {
        let (receive, transmit) = self.blocks();
        [receive, transmit]
            .iter()
            .any(|block| self.value(block + QUEUE_CONTROL) & QUEUE_ENABLE != 0)
    }

    fn blocks(&self) -> (u64, u64) {
        if self.virtual_function {
            (VIRTUAL_RECEIVE, VIRTUAL_TRANSMIT)
        } else {
            (PHYSICAL_RECEIVE, PHYSICAL_TRANSMIT)
        }
    }

    fn reset(&self) {
        self.resets.set(self.resets.get() + 1);
        self.registers.borrow_mut().clear();
        if self.virtual_function {
            let absent = self.fault.get() == Fault::NoPhysicalFunction;
            self.mailbox.set(if absent {
                MAILBOX_IN_RESET
            } else {
                MAILBOX_RESET_DONE
            });
        } else if let Some([a, b, c, d, e, f]) = self.assigned.get() {
            self.set(RAL, u32::from_le_bytes([a, b, c, d]));
            self.set(RAH, u32::from_le_bytes([e, f, 0, 0]) | RAH_AV);
        }
    }

    /// The kernel's driver of the physical function answers a message.
    fn answer(&self) {
        let message = [0, 4, 8].map(|at| self.value(MAILBOX_MEMORY + at));
        let mut messages = self.messages.borrow_mut();
        let count = messages.entry(message[0]).or_default();
        *count += 1;
        let first = *count == 1;
        let reply = match (message[0], self.assigned.get(), self.fault.get()) {
            (_, _, Fault::OwnMessageFirst) if first => {
                self.set(MAILBOX_MEMORY, OWN_MESSAGE);
                return self.mailbox.set(MAILBOX_MESSAGE);
            }
            (_, _, Fault::OwnMessageOverAnswer) if first => [OWN_MESSAGE, 0, 0],
            (MESSAGE_RESET, Some([a, b, c, d, e, f]), _) => [
                MESSAGE_RESET | REPLY_GRANTED,
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, 0, 0]),
            ],
            (MESSAGE_SET_ADDRESS, _, Fault::ResetSeenLate) if first => {
                [MESSAGE_SET_ADDRESS | REPLY_REFUSED, 0, 0]
            }
            (MESSAGE_SET_ADDRESS, _, Fault::ResetSeenLateAndSilent) if first => {
                return self.mailbox.set(MAILBOX_READ);
            }
            (MESSAGE_SET_ADDRESS, _, Fault::NoAddress) => {
                let cleared = REPLY_REFUSED | REPLY_CLEAR_TO_SEND;
                [MESSAGE_SET_ADDRESS | cleared, 0, 0]
            }
            (MESSAGE_SET_ADDRESS, ..) => {
                let [a, b, c, d] = message[1].to_le_bytes();
                let [e, f, ..] = message[2].to_le_bytes();
                self.address.set([a, b, c, d, e, f]);
                let granted = REPLY_GRANTED | REPLY_CLEAR_TO_SEND;
                [MESSAGE_SET_ADDRESS | granted, 0, 0]
            }
            (what, ..) => [what | REPLY_REFUSED, 0, 0],
        };
        for (at, word) in [0, 4, 8].into_iter().zip(reply) {
            self.set(MAILBOX_MEMORY + at, word);
        }
        self.mailbox.set(MAILBOX_READ | MAILBOX_MESSAGE);
    }

    /// Grants the mailbox; when it is busy, only every second time.
    fn claim(&self) {
        self.claims.set(self.claims.get() + 1);
        if self.fault.get() != Fault::BusyMailbox || self.claims.get() % 2 == 0 {
            self.mailbox.set(self.mailbox.get() | MAILBOX_OWN);
        }
    }

    fn phy_access(&self, command: u32) {
        assert_eq!(
            (command >> 21 & 0x1f, command >> 16 & 0x1f),
            (1, PHY_CONTROL)
        );
        let mut data = self.phy.get();
        if command & MDIC_WRITE == MDIC_WRITE {
            data = command as u16;
            self.phy.set(data & !(1 << 9));
        }
        let error = if self.fault.get() == Fault::BadPhy {
            MDIC_ERROR
        } else {
            0
        };
        self.set(MDIC, u32::from(data) | MDIC_READY | error);
    }

    fn ring(&self, block: u64) -> (u64, u32) {
        let address = u64::from(self.value(block)) | u64::from(self.value(block + 4)) << 32;
        (
            address,
            self.value(block + QUEUE_LENGTH) / DESCRIPTOR_SIZE as u32,
        )
    }

    /// Sends what the driver put into the transmit queue.
    fn transmit(&self) {
        let (_, block) = self.blocks();
        assert!(self.value(block + QUEUE_CONTROL) & QUEUE_ENABLE != 0);
        if !self.virtual_function {
            assert_eq!(self.value(TCTL), TCTL_ENABLE);
        }
        let (ring, descriptors) = self.ring(block);
        let mut head = self.value(block + QUEUE_HEAD);
        let mut frame = Vec::new();
        while head != self.value(block + QUEUE_TAIL) {
            let place = ring + u64::from(head) * DESCRIPTOR_SIZE as u64;
            let descriptor = self.memory.read(place, DESCRIPTOR_SIZE);
            let word = |at: usize| u64::from_le_bytes(descriptor[at..at + 8].try_into().unwrap());
            let (address, control) = (word(0), word(8));
            let length = control as usize & 0xffff;
            assert!(
                address as usize % 4096 + length <= 4096,
                "a piece crosses a page"
            );
            assert_eq!(control as u32 & 0x22f0_0000, 0x2230_0000);
            frame.extend(self.memory.read(address, length));
            if control & (1 << 24) != 0 {
                assert_eq!((control >> 46) as usize, frame.len());
                assert!(!self.virtual_function || frame.len() <= 1514);
                self.deliver(&std::mem::take(&mut frame));
            }
            head = (head + 1) % descriptors;
        }
        assert!(frame.is_empty());
        self.set(block + QUEUE_HEAD, head);
    }

    /// Brings a frame to whom it is for.
    fn deliver(&self, frame: &[u8]) {
        let far = *self.far.borrow();
        let all = [Some(self), far];
        assert_eq!(frame[6..12], self.address.get(), "spoofed");
        let target = all
            .into_iter()
            .flatten()
            .find(|one| one.address.get() == frame[..6]);
        let target = target.expect("nobody has this address");
        match self.fault.get() {
            Fault::LosesFrames | Fault::NoLink => {}
            Fault::StrangeFrame => target.receive(&[0xff; 100], 0),
            Fault::FlippedBit => {
                let mut frame = frame.to_vec();
                *frame.last_mut().unwrap() ^= 0x20;
                target.receive(&frame, 0);
            }
            Fault::BrokenFrames => target.receive(frame, RECEIVE_ERROR),
            _ => target.receive(frame, 0),
        }
    }

    fn receive(&self, frame: &[u8], errors: u32) {
        let (block, _) = self.blocks();
        assert!(self.value(block + QUEUE_CONTROL) & QUEUE_ENABLE != 0);
        let splitting = self.value(block + QUEUE_SPLIT);
        assert_eq!(splitting & !0x7f, split(0));
        let (ring, descriptors) = self.ring(block);
        let head = self.value(block + QUEUE_HEAD);
        if head == self.value(block + QUEUE_TAIL) {
            return;
        }
        let place = ring + u64::from(head) * DESCRIPTOR_SIZE as u64;
        let descriptor = self.memory.read(place, DESCRIPTOR_SIZE);
        let word = |at: usize| u64::from_le_bytes(descriptor[at..at + 8].try_into().unwrap());
        let (header, packet) = frame.split_at(HEADER_SIZE);
        assert!(packet.len() <= (splitting as usize & 0x7f) * 1024);
        self.memory.write(word(0), packet);
        self.memory.write(word(8), header);
        let mut written = [0; DESCRIPTOR_SIZE];
        let status = DONE | END_OF_PACKET | errors;
        written[8..12].copy_from_slice(&status.to_le_bytes());
        written[12..14].copy_from_slice(&(packet.len() as u16).to_le_bytes());
        self.memory.write(place, &written);
        self.set(block + QUEUE_HEAD, (head + 1) % descriptors);
    }
}

impl Registers for &FakeFunction<'_> {
    fn size(&self) -> u64 {
        if self.virtual_function {
            VIRTUAL_SIZE
        } else {
            0x2_0000
        }
    }

    fn read32(&self, offset: u64) -> u32 {
        match (self.fault.get(), offset) {
            (Fault::Gone, _) => u32::MAX,
            (Fault::StuckReset, CTRL) => self.value(CTRL) | CTRL_RST,
            (fault, STATUS) => {
                // A virtual function has the link of its port.
                let wanted = self.virtual_function || self.value(CTRL) & CTRL_SLU != 0;
                if wanted && fault != Fault::NoLink {
                    STATUS_LU
                } else {
                    0
                }
            }
            (_, MAILBOX) if self.virtual_function => {
                let state = self.mailbox.get();
                let cleared = MAILBOX_MESSAGE | MAILBOX_READ | MAILBOX_RESET_DONE;
                self.mailbox.set(state & !cleared);
                state
            }
            (Fault::DeadQueues, offset) if offset & 0xff == QUEUE_CONTROL => 0,
            _ => self.value(offset),
        }
    }

    fn write32(&self, offset: u64, value: u32) {
        let (receive, transmit) = self.blocks();
        match offset {
            _ if self.fault.get() == Fault::Gone => {}
            CTRL if value & CTRL_RST != 0 => self.reset(),
            MAILBOX if self.virtual_function => match value {
                MAILBOX_OWN => self.claim(),
                MAILBOX_REQUEST => self.answer(),
                MAILBOX_ACKNOWLEDGE => self.mailbox.set(0),
                other => panic!("mailbox {other:#x}"),
            },
            MDIC => self.phy_access(value),
            RAL | RAH => {
                self.set(offset, value);
                let [a, b, c, d] = self.value(RAL).to_le_bytes();
                let [e, f, ..] = self.value(RAH).to_le_bytes();
                self.address.set([a, b, c, d, e, f]);
            }
            offset => {
                self.set(offset, value);
                if offset == transmit + QUEUE_TAIL && value != self.value(transmit + QUEUE_HEAD) {
                    self.transmit();
                }
                assert!(offset != receive + QUEUE_HEAD || value == 0);
            }
        }
    }

    fn read64(&self, offset: u64) -> u64 {
        panic!("read of {offset:#x}: the device has registers of 4 bytes only")
    }

    fn write64(&self, offset: u64, _value: u64) {
        panic!("write of {offset:#x}: the device has registers of 4 bytes only")
    }
}
