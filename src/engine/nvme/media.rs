//! Blocks of a namespace: which there are, and which of them an engine works with.

use std::fmt;

use super::super::EngineError;
use super::super::arena::PAGE;
use super::Nvme;
use super::registers::{
    FLBAS, IDENTIFY_ACTIVE, IDENTIFY_CONTROLLER, IDENTIFY_NAMESPACE, LBAF, MDTS, NSZE, ONCS,
    ONCS_COMPARE, READ,
};
use crate::device::Registers;

/// The most bytes in one transfer. Drives mostly can do more; a list of pages needs no second page up to here.
const MOST: u64 = 128 << 10;

/// Places of the namespace that are looked at, evenly spread.
const CANDIDATES: u64 = 32;

/// Blocks that follow each other.
#[derive(Debug, Clone, Copy)]
pub struct Blocks {
    /// The namespace.
    pub namespace: u32,
    first: u64,
    count: u32,
    block_size: usize,
}

impl Blocks {
    /// How many bytes they hold.
    pub fn bytes(self) -> usize {
        self.count as usize * self.block_size
    }

    /// The three dwords that name them in a command.
    pub fn dwords(self) -> [u32; 3] {
        [self.first as u32, (self.first >> 32) as u32, self.count - 1]
    }
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.first + u64::from(self.count) - 1;
        write!(
            f,
            "blocks {}-{last} of namespace {}",
            self.first, self.namespace
        )
    }
}

/// The part of a namespace that an engine works with.
pub struct Media {
    namespace: u32,
    block_size: usize,
    blocks: u64,
    first: u64,
    count: u32,
    compares: bool,
}

impl Media {
    /// Bytes of a block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Whether the controller compares memory with blocks.
    pub fn can_compare(&self) -> bool {
        self.compares
    }

    /// The namespace.
    pub fn namespace(&self) -> u32 {
        self.namespace
    }

    /// The blocks of the first `size` bytes, which are whole blocks.
    pub fn first(&self, size: usize) -> Blocks {
        self.some(self.first, (size / self.block_size) as u32)
    }

    /// All blocks, in pieces of at most a page.
    pub fn pieces(&self) -> Vec<Blocks> {
        let step = (PAGE / self.block_size) as u32;
        (0..self.count)
            .step_by(step as usize)
            .map(|at| {
                let first = self.first + u64::from(at);
                self.some(first, step.min(self.count - at))
            })
            .collect()
    }

    fn some(&self, first: u64, count: u32) -> Blocks {
        Blocks {
            namespace: self.namespace,
            first,
            count,
            block_size: self.block_size,
        }
    }
}

/// A little-endian number in a structure.
fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    let digits = bytes[at..at + size].iter().rev();
    digits.fold(0, |value, byte| value << 8 | u64::from(*byte))
}

impl<R: Registers, M> Nvme<R, M> {
    /// The first namespace whose blocks can be used; `None` if there is none.
    pub(super) fn find_media(&mut self) -> Result<Option<Media>, EngineError> {
        let controller = self.identify(IDENTIFY_CONTROLLER, 0)?;
        let compares = controller[ONCS] & ONCS_COMPARE != 0;
        let most = match u32::from(controller[MDTS]) {
            0 => MOST,
            power => self
                .controller
                .page()
                .checked_shl(power)
                .map_or(MOST, |limit| limit.min(MOST)),
        };
        let active = self.identify(IDENTIFY_ACTIVE, 0)?;
        let namespaces: Vec<u32> = (0..PAGE / 4)
            .map(|index| number(&active, 4 * index, 4) as u32)
            .take_while(|namespace| *namespace != 0)
            .collect();
        for namespace in namespaces {
            let data = self.identify(IDENTIFY_NAMESPACE, namespace)?;
            let format = LBAF + 4 * usize::from(data[FLBAS] & 0xf);
            let (metadata, power) = (number(&data, format, 2), data[format + 2]);
            let blocks = number(&data, NSZE, 8);
            // Blocks of 512 to 4096 bytes without metadata, and at least one page of them.
            let fits = (9..=12).contains(&power) && metadata == 0;
            let count = |bytes: u64| bytes >> power;
            if !fits || blocks < count(PAGE as u64) {
                continue;
            }
            return Ok(Some(Media {
                namespace,
                block_size: 1 << power,
                blocks,
                first: 0,
                count: count(most).min(blocks) as u32,
                compares,
            }));
        }
        Ok(None)
    }

    /// Chooses where in the namespace to work, and reads what is there.
    ///
    /// Bytes that can be mistaken for those of a blocked read, all zeros or all ones, prove least, so the place with the fewest of them is
    /// taken; but where blocks are to be written, the place with the most: it is the least likely to hold data.
    pub(super) fn choose_window(
        &mut self,
        mut media: Media,
    ) -> Result<(Media, Vec<u8>), EngineError> {
        let step = ((media.blocks - u64::from(media.count)) / CANDIDATES).max(1);
        let last = media.blocks - u64::from(media.count);
        let mut best = None;
        for first in (0..=last)
            .step_by(step as usize)
            .take(CANDIDATES as usize + 1)
        {
            media.first = first;
            let page =
                self.read_own(media.first(PAGE.min(media.count as usize * media.block_size)))?;
            let telling = page.iter().filter(|byte| !matches!(byte, 0 | 0xff)).count();
            let worth = if self.destructive {
                PAGE - telling
            } else {
                telling
            };
            if best.is_none_or(|(most, _)| worth > most) {
                best = Some((worth, first));
            }
            if worth >= PAGE - PAGE / 64 {
                break;
            }
        }
        media.first = best.map_or(0, |(_, first)| first);
        let mut own = Vec::new();
        for blocks in media.pieces() {
            own.extend(self.read_own(blocks)?);
        }
        Ok((media, own))
    }

    /// Reads at most a page of blocks.
    fn read_own(&mut self, blocks: Blocks) -> Result<Vec<u8>, EngineError> {
        let page = self.data.iova();
        self.move_blocks(READ, blocks, page, &format!("reading {blocks}"))?;
        Ok(self.data_bytes(blocks.bytes()))
    }
}
