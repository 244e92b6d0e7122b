//! What DMA engines can do.

use serde::Serialize;

/// What an engine can transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EngineLimits {
    /// Every address below 2^this is reached for certain.
    pub address_bits: u32,
    /// Addresses up to 2^this can be written to the device's registers. Some devices drop the upper bits without a word
    /// (then it is more than `address_bits`): whoever uses more must first prove that they arrive.
    pub register_bits: u32,
    /// The most bytes in one transfer.
    pub max_size: usize,
    /// Sizes are multiples of this; it is the least size.
    pub size_unit: usize,
    /// Addresses are multiples of this.
    pub alignment: usize,
    /// What becomes of bytes that the device reads.
    pub reading: Reading,
    /// Whether it reads numbers in one place of its own memory and writes them to another.
    pub echoes: bool,
    /// Whether it has a clock that is set from memory and written to memory.
    pub has_clock: bool,
}

/// What becomes of bytes that a device reads from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// It keeps them, whatever they are, and a store writes them elsewhere: memory to memory.
    Kept,
    /// It has bytes of its own, which a store writes, and compares what it reads with them.
    Compared,
    /// It reads none: it has bytes of its own and only writes them.
    Never,
}
