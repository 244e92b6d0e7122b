//! The registers of QEMU's edu device, in BAR0 (QEMU, docs/specs/edu.rst).

/// BAR0, 1 MiB.
pub const BAR: u8 = 0;

/// Identification, 32 bits, read only: 0xRRrr00ed for version RR.rr ("MMIO area spec", 0x00).
pub const IDENTIFICATION: u64 = 0x00;
/// What [`IDENTIFICATION`] reads in the only version there is.
pub const VERSION_1_0: u32 = 0x0100_00ed;

/// Source of the transfer, 64 bits (0x80).
pub const DMA_SOURCE: u64 = 0x80;
/// Destination of the transfer, 64 bits (0x88).
pub const DMA_DESTINATION: u64 = 0x88;
/// Bytes to transfer, 64 bits (0x90).
pub const DMA_COUNT: u64 = 0x90;
/// Command, 64 bits (0x98).
pub const DMA_COMMAND: u64 = 0x98;

/// Command: start; reads 1 for as long as the transfer runs. Until then other writes to the transfer's registers are ignored.
pub const START: u64 = 1 << 0;
/// Command: from the device's buffer to memory; otherwise from memory to the buffer.
pub const TO_MEMORY: u64 = 1 << 1;

/// The device's address of its buffer.
pub const BUFFER: u64 = 0x40000;
/// Bytes of the buffer. Transfers beyond it make QEMU access its own memory out of bounds.
pub const BUFFER_SIZE: usize = 4096;
