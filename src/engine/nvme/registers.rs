//! What an NVMe controller looks like to its host: registers in BAR0, commands, completions, and the parts of identify
//! data that matter here.
//!
//! "Base" is the NVM Express Base Specification 2.0, "PCIe" the NVMe over PCIe Transport Specification 1.0, "NVM" the NVM
//! Command Set Specification 1.0.

/// BAR0 and BAR1 hold one 64-bit address of all registers (PCIe, 2.1).
pub const BAR: u8 = 0;

/// Capabilities, 64 bits (Base, 3.1.3.1).
pub const CAP: u64 = 0x00;
/// Version (Base, 3.1.3.2): major 31:16, minor 15:8.
pub const VS: u64 = 0x08;
/// Masks interrupts: each bit that is set (Base, 3.1.3.3).
pub const INTMS: u64 = 0x0c;
/// Configuration (Base, 3.1.3.5).
pub const CC: u64 = 0x14;
/// Status (Base, 3.1.3.6).
pub const CSTS: u64 = 0x1c;
/// Entries of the admin queues, less one: completion 27:16, submission 11:0 (Base, 3.1.3.8).
pub const AQA: u64 = 0x24;
/// Address of the admin submission queue, 64 bits (Base, 3.1.3.9).
pub const ASQ: u64 = 0x28;
/// Address of the admin completion queue, 64 bits (Base, 3.1.3.10).
pub const ACQ: u64 = 0x30;
/// The first doorbell: tail of submission queue 0, head of completion queue 0, then queue 1 (PCIe, 3.1.2).
pub const DOORBELLS: u64 = 0x1000;

/// The fields of [`CAP`].
#[derive(Debug, Clone, Copy)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// The most entries of an I/O queue: MQES 15:0, less one.
    pub fn queue_entries(self) -> u32 {
        (self.0 & 0xffff) as u32 + 1
    }

    /// How long the controller may take to get ready, or to stop, in half seconds: TO 31:24.
    pub fn half_seconds_to_ready(self) -> u32 {
        (self.0 >> 24) as u32 & 0xff
    }

    /// Bytes from one doorbell to the next: 4 << DSTRD 35:32.
    pub fn doorbell_stride(self) -> u64 {
        4 << ((self.0 >> 32) & 0xf)
    }

    /// Whether it has the NVM command set: CSS bit 37.
    pub fn has_nvm_commands(self) -> bool {
        self.0 & (1 << 37) != 0
    }

    /// The least memory page in bytes: 4096 << MPSMIN 51:48.
    pub fn least_page(self) -> u64 {
        4096 << ((self.0 >> 48) & 0xf)
    }
}

/// [`CC`]: enable.
pub const CC_EN: u32 = 1 << 0;
/// [`CC`]: the NVM command set (CSS 0), pages of 4096 bytes (MPS 0), submission entries of 2^6 bytes (IOSQES 19:16) and
/// completion entries of 2^4 (IOCQES 23:20).
pub const CC_FORMAT: u32 = 6 << 16 | 4 << 20;
/// [`CSTS`]: ready.
pub const CSTS_RDY: u32 = 1 << 0;
/// [`CSTS`]: fatal error.
pub const CSTS_CFS: u32 = 1 << 1;

/// Bytes of a command (Base, 3.3.3.1).
pub const COMMAND_SIZE: usize = 64;
/// Bytes of a completion (Base, 3.3.3.2).
pub const COMPLETION_SIZE: usize = 16;

/// A command (Base, 3.3.3.1, "Common Command Format").
#[derive(Debug, Clone, Copy, Default)]
pub struct Command {
    /// Opcode: dword 0, 7:0.
    pub opcode: u8,
    /// Namespace: dword 1.
    pub namespace: u32,
    /// The first data address, PRP1: dwords 6 and 7.
    pub prp1: u64,
    /// The second data address or the address of the list of them, PRP2: dwords 8 and 9.
    pub prp2: u64,
    /// Dwords 10 to 12: what the opcode needs.
    pub dwords: [u32; 3],
}

impl Command {
    /// The command as it lies in the queue, with its identifier: dword 0, 31:16.
    pub fn encode(&self, identifier: u16) -> [u8; COMMAND_SIZE] {
        let mut bytes = [0; COMMAND_SIZE];
        bytes[0] = self.opcode;
        bytes[2..4].copy_from_slice(&identifier.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.namespace.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.prp1.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.prp2.to_le_bytes());
        for (place, dword) in bytes[40..52].chunks_exact_mut(4).zip(self.dwords) {
            place.copy_from_slice(&dword.to_le_bytes());
        }
        bytes
    }
}

/// A completion (Base, 3.3.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// The identifier of the command: dword 3, 15:0.
    pub identifier: u16,
    /// How it ended, 0 for well: status code type 10:8 and status code 7:0, from dword 3, 27:17.
    pub status: u32,
}

/// The byte of a completion with the phase bit: dword 3, bit 16.
pub const PHASE_BYTE: usize = 14;

impl Completion {
    /// Reads a completion as it lies in the queue.
    pub fn decode(bytes: &[u8; COMPLETION_SIZE]) -> Self {
        let dword = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        Self {
            identifier: dword as u16,
            status: dword >> 17 & 0x7ff,
        }
    }
}

/// Status: the data read and the data stored are not the same (type 2h, code 85h; Base, figure "Media and Data Integrity
/// Errors").
pub const COMPARE_FAILURE: u32 = 0x285;

/// Admin: make an I/O submission queue (Base, 5.5). Dword 10: entries less one 31:16, queue 15:0; dword 11: completion
/// queue 31:16, contiguous bit 0.
pub const CREATE_SUBMISSION_QUEUE: u8 = 0x01;
/// Admin: make an I/O completion queue (Base, 5.4). Dword 10 as above; dword 11: contiguous bit 0, interrupts bit 1.
pub const CREATE_COMPLETION_QUEUE: u8 = 0x05;
/// Admin: identify (Base, 5.17). Dword 10: which structure, 7:0. It is 4096 bytes.
pub const IDENTIFY: u8 = 0x06;
/// Admin: set a feature (Base, 5.27). Dword 10: which, 7:0.
pub const SET_FEATURES: u8 = 0x09;
/// Admin: get a feature (Base, 5.15). Dword 10: which, 7:0.
pub const GET_FEATURES: u8 = 0x0a;
/// I/O: make written data permanent (Base, 7.1).
pub const FLUSH: u8 = 0x00;
/// I/O: write (NVM, 3.2.6). Dwords 10 and 11: first block; dword 12: blocks less one, 15:0.
pub const WRITE: u8 = 0x01;
/// I/O: read (NVM, 3.2.4). Dwords as for a write.
pub const READ: u8 = 0x02;
/// I/O: read both the memory and the blocks, and say whether they are the same (NVM, 3.2.1). Dwords as for a write.
pub const COMPARE: u8 = 0x05;

/// [`IDENTIFY`]: a namespace.
pub const IDENTIFY_NAMESPACE: u32 = 0;
/// [`IDENTIFY`]: the controller.
pub const IDENTIFY_CONTROLLER: u32 = 1;
/// [`IDENTIFY`]: the numbers of active namespaces, ascending dwords, ended by 0.
pub const IDENTIFY_ACTIVE: u32 = 2;

/// Feature: how many I/O queues; every controller with I/O queues has it (Base, 5.27.1.5). Dword 11: completion queues less one 31:16,
/// submission queues less one 15:0.
pub const NUMBER_OF_QUEUES: u32 = 0x07;

/// Feature: the clock (Base, 5.27.1.11). 8 bytes of data: milliseconds since 1970 47:0, where they come from 51:49.
pub const TIMESTAMP: u32 = 0x0e;
/// Bytes of [`TIMESTAMP`].
pub const TIMESTAMP_SIZE: usize = 8;
/// [`TIMESTAMP`]: the milliseconds.
pub const TIMESTAMP_MASK: u64 = (1 << 48) - 1;

/// Controller data: most bytes of a transfer, as a power of two of [`Capabilities::least_page`]; 0 for no limit (Base, 5.17.2.1).
pub const MDTS: usize = 77;
/// Controller data: optional commands, 16 bits; bit 0 is [`COMPARE`], bit 6 [`TIMESTAMP`] (Base, 5.17.2.1).
pub const ONCS: usize = 520;
/// [`ONCS`]: has compare.
pub const ONCS_COMPARE: u8 = 1 << 0;
/// [`ONCS`]: has [`TIMESTAMP`].
pub const ONCS_TIMESTAMP: u8 = 1 << 6;

/// Namespace data: blocks, 64 bits (NVM, 4.1.5.1).
pub const NSZE: usize = 0;
/// Namespace data: the format in use, 3:0 (NVM, 4.1.5.1).
pub const FLBAS: usize = 26;
/// Namespace data: the formats, 4 bytes each: metadata bytes 15:0, block size as a power of two 23:16 (NVM, 4.1.5.1).
pub const LBAF: usize = 128;
