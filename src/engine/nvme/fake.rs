//! An NVMe controller of software, as far as the engine uses one.

use std::cell::{Cell, RefCell};

use super::registers::*;
use crate::device::Registers;
use crate::engine::arena::{FakeMemory, PAGE};

/// What is wrong with the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Every register reads as all ones.
    Gone,
    /// It never gets ready.
    NeverReady,
    /// It says that it cannot start.
    FatalAtStart,
    /// Version 0.9.
    OldVersion,
    /// It completes no I/O command.
    SilentIo,
    /// It ends with a fatal error when the first I/O command comes.
    FatalAtIo,
    /// It completes a command that was not given.
    WrongIdentifier,
    /// It refuses to write.
    WriteProtected,
    /// What is written is kept with its first bit the other way round.
    WritesWrong,
    /// The next I/O command ends with this status.
    Status(u16),
}

pub const BLOCK: usize = 512;

pub struct FakeController<'m> {
    pub memory: &'m FakeMemory,
    pub fault: Cell<Fault>,
    pub media: RefCell<Vec<u8>>,
    pub knows_compare: bool,
    pub metadata: u16,
    /// What its clock shows. It stands still.
    pub clock: Cell<u64>,
    /// How often it was enabled.
    pub starts: Cell<u32>,
    /// The opcodes of the I/O commands it got.
    pub commands: RefCell<Vec<u8>>,
    configuration: Cell<u32>,
    status: Cell<u32>,
    admin: Cell<(u32, u64, u64)>,
    queues: [Cell<Queue>; 2],
}

#[derive(Debug, Clone, Copy, Default)]
struct Queue {
    entries: u32,
    commands: u64,
    completions: u64,
    head: u32,
    tail: u32,
    phase: bool,
}

impl<'m> FakeController<'m> {
    pub fn new(memory: &'m FakeMemory, media: Vec<u8>) -> Self {
        Self {
            memory,
            fault: Cell::new(Fault::None),
            media: RefCell::new(media),
            knows_compare: true,
            metadata: 0,
            clock: Cell::new(1_700_000_000_000),
            starts: Cell::new(0),
            commands: RefCell::default(),
            configuration: Cell::new(0),
            status: Cell::new(0),
            admin: Cell::default(),
            queues: Default::default(),
        }
    }

    pub fn enabled(&self) -> bool {
        self.configuration.get() & CC_EN != 0
    }

    fn enable(&self) {
        self.starts.set(self.starts.get() + 1);
        let (sizes, commands, completions) = self.admin.get();
        assert_eq!(sizes & 0xfff, sizes >> 16);
        self.queues[0].set(Queue {
            entries: (sizes & 0xfff) + 1,
            commands,
            completions,
            phase: true,
            ..Queue::default()
        });
        self.queues[1].set(Queue::default());
        self.status.set(match self.fault.get() {
            Fault::NeverReady => 0,
            Fault::FatalAtStart => CSTS_CFS,
            _ => CSTS_RDY,
        });
    }

    fn ring(&self, number: usize, tail: u32) {
        let mut queue = self.queues[number].get();
        assert!(
            queue.entries > 1 && tail < queue.entries,
            "{queue:?} {tail}"
        );
        while queue.tail != tail {
            let place = queue.commands + u64::from(queue.tail) * COMMAND_SIZE as u64;
            let command = self.memory.read(place, COMMAND_SIZE);
            queue.tail = (queue.tail + 1) % queue.entries;
            let Some(status) = self.execute(number, &command) else {
                continue;
            };
            let mut completion = [0; COMPLETION_SIZE];
            completion[12..14].copy_from_slice(&command[2..4]);
            if self.fault.get() == Fault::WrongIdentifier && number == 1 {
                completion[12] ^= 1;
            }
            let last = status << 1 | u16::from(queue.phase);
            completion[14..16].copy_from_slice(&last.to_le_bytes());
            let place = queue.completions + u64::from(queue.head) * COMPLETION_SIZE as u64;
            self.memory.write(place, &completion);
            queue.head = (queue.head + 1) % queue.entries;
            queue.phase ^= queue.head == 0;
        }
        self.queues[number].set(queue);
    }

    /// Returns the status; `None` if there is no completion.
    fn execute(&self, number: usize, command: &[u8]) -> Option<u16> {
        let dword = |at: usize| u32::from_le_bytes(command[at..at + 4].try_into().unwrap());
        let address = |at: usize| u64::from_le_bytes(command[at..at + 8].try_into().unwrap());
        let namespace = dword(4);
        if number == 0 {
            let entries = (dword(40) >> 16) + 1;
            let mut io = self.queues[1].get();
            match command[0] {
                IDENTIFY => {
                    let data = self.identify(dword(40), namespace);
                    self.move_data(command, PAGE, |at, piece| {
                        self.memory.write(at, &data[piece]);
                    });
                }
                GET_FEATURES if dword(40) == TIMESTAMP => {
                    let time = self.clock.get().to_le_bytes();
                    self.move_data(command, TIMESTAMP_SIZE, |at, piece| {
                        self.memory.write(at, &time[piece]);
                    });
                }
                SET_FEATURES if dword(40) == TIMESTAMP => {
                    let mut time = [0; TIMESTAMP_SIZE];
                    self.move_data(command, TIMESTAMP_SIZE, |at, piece| {
                        time[piece.clone()].copy_from_slice(&self.memory.read(at, piece.len()));
                    });
                    self.clock.set(u64::from_le_bytes(time));
                }
                GET_FEATURES | SET_FEATURES => assert_eq!(dword(40), NUMBER_OF_QUEUES),
                CREATE_COMPLETION_QUEUE => {
                    (io.completions, io.phase) = (address(24), true);
                    assert_eq!(dword(44), 1);
                }
                CREATE_SUBMISSION_QUEUE => {
                    (io.commands, io.entries) = (address(24), entries);
                    assert_eq!(dword(44), 1 << 16 | 1);
                }
                other => panic!("admin command {other:#x}"),
            }
            self.queues[1].set(io);
            return Some(0);
        }
        self.commands.borrow_mut().push(command[0]);
        match self.fault.get() {
            Fault::SilentIo => return None,
            Fault::FatalAtIo => {
                self.status.set(CSTS_RDY | CSTS_CFS);
                return None;
            }
            Fault::Status(status) => {
                self.fault.set(Fault::None);
                return Some(status);
            }
            _ => {}
        }
        assert_eq!(namespace, 1);
        let first = address(40) as usize * BLOCK;
        let size = ((dword(48) & 0xffff) as usize + 1) * BLOCK;
        let mut media = self.media.borrow_mut();
        let mut same = true;
        match command[0] {
            FLUSH => {}
            READ => self.move_data(command, size, |at, piece| {
                self.memory
                    .write(at, &media[first + piece.start..first + piece.end]);
            }),
            COMPARE => self.move_data(command, size, |at, piece| {
                let read = self.memory.read(at, piece.len());
                same &= read == media[first + piece.start..first + piece.end];
            }),
            // "Namespace is Write Protected" (Base, "Generic Command Status Values").
            WRITE if self.fault.get() == Fault::WriteProtected => return Some(0x20),
            WRITE => self.move_data(command, size, |at, piece| {
                let mut read = self.memory.read(at, piece.len());
                if self.fault.get() == Fault::WritesWrong {
                    read[0] ^= 1;
                }
                media[first + piece.start..first + piece.end].copy_from_slice(&read);
            }),
            other => panic!("I/O command {other:#x}"),
        }
        Some(if same { 0 } else { COMPARE_FAILURE as u16 })
    }

    /// Walks the data pointers of a command.
    fn move_data(
        &self,
        command: &[u8],
        size: usize,
        mut each: impl FnMut(u64, std::ops::Range<usize>),
    ) {
        let address = |at: usize| u64::from_le_bytes(command[at..at + 8].try_into().unwrap());
        let (first, second) = (address(24), address(32));
        assert_eq!(first % 4, 0);
        let mut done = size.min(PAGE - first as usize % PAGE);
        each(first, 0..done);
        let pages = (size - done).div_ceil(PAGE);
        for index in 0..pages {
            let page = match pages {
                1 => second,
                _ => {
                    let entry = self.memory.read(second + 8 * index as u64, 8);
                    u64::from_le_bytes(entry.try_into().unwrap())
                }
            };
            assert_eq!(page % PAGE as u64, 0);
            let piece = done..size.min(done + PAGE);
            each(page, piece.clone());
            done = piece.end;
        }
    }

    fn identify(&self, structure: u32, namespace: u32) -> Vec<u8> {
        let mut data = vec![0; PAGE];
        let blocks = (self.media.borrow().len() / BLOCK) as u64;
        match structure {
            IDENTIFY_CONTROLLER => {
                data[..4].copy_from_slice(b"fake");
                data[MDTS] = 4;
                data[ONCS] = u8::from(self.knows_compare) | ONCS_TIMESTAMP;
            }
            IDENTIFY_ACTIVE => data[0] = u8::from(blocks > 0),
            IDENTIFY_NAMESPACE => {
                assert_eq!(namespace, 1);
                data[NSZE..NSZE + 8].copy_from_slice(&blocks.to_le_bytes());
                data[FLBAS] = 1;
                data[LBAF + 4..LBAF + 6].copy_from_slice(&self.metadata.to_le_bytes());
                data[LBAF + 6] = 9;
            }
            other => panic!("identify {other}"),
        }
        data
    }
}

impl Registers for &FakeController<'_> {
    fn size(&self) -> u64 {
        0x4000
    }

    fn read32(&self, offset: u64) -> u32 {
        if self.fault.get() == Fault::Gone {
            return u32::MAX;
        }
        match offset {
            VS if self.fault.get() == Fault::OldVersion => 0x900,
            VS => 0x1_0400,
            CC => self.configuration.get(),
            CSTS => self.status.get(),
            other => panic!("read of {other:#x}"),
        }
    }

    fn write32(&self, offset: u64, value: u32) {
        if self.fault.get() == Fault::Gone {
            return;
        }
        match offset {
            INTMS => assert_eq!(value, u32::MAX),
            AQA => {
                let (_, commands, completions) = self.admin.get();
                self.admin.set((value, commands, completions));
            }
            CC => {
                let was = self.enabled();
                self.configuration.set(value);
                match (was, self.enabled()) {
                    (false, true) => self.enable(),
                    (true, false) => self.status.set(0),
                    _ => {}
                }
            }
            doorbell => {
                // The stride is 8 bytes.
                let index = (doorbell - DOORBELLS) / 8;
                if index % 2 == 0 {
                    self.ring(index as usize / 2, value);
                }
            }
        }
    }

    fn read64(&self, offset: u64) -> u64 {
        assert_eq!(offset, CAP);
        match self.fault.get() {
            Fault::Gone => u64::MAX,
            // 16 entries, half a second, a stride of 8, the NVM command set.
            _ => 15 | 1 << 24 | 1 << 32 | 1 << 37,
        }
    }

    fn write64(&self, offset: u64, value: u64) {
        let (sizes, commands, completions) = self.admin.get();
        self.admin.set(match offset {
            ASQ => (sizes, value, completions),
            ACQ => (sizes, commands, value),
            other => panic!("write of {other:#x}"),
        });
    }
}
