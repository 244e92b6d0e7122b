//! Contents for DMA, such that a wrong byte is noticed.

/// What fills the source of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Counts from 1 to 251 and again. 251 is prime, so no two pages or lines of a page look alike; 0 and 0xff do not occur.
    Counter,
    /// One bit set in each byte, moving up.
    WalkingOne,
    /// Nothing but zeros.
    Zeros,
    /// Nothing but ones.
    Ones,
    /// Bytes from a pseudo-random sequence with this seed.
    Random(u64),
}

impl Pattern {
    /// `size` bytes of the pattern. `turn` shifts the counter and continues the random sequence, so that a device which
    /// sends again what it sent the turn before is found out.
    pub(super) fn bytes(self, size: usize, turn: u64) -> Vec<u8> {
        let by_index = |byte: fn(u64) -> u8| {
            (0..size as u64)
                .map(|index| byte(index.wrapping_add(turn)))
                .collect()
        };
        match self {
            Self::Counter => by_index(|index| 1 + (index % 251) as u8),
            Self::WalkingOne => by_index(|index| 1 << (index % 8)),
            Self::Zeros => vec![0; size],
            Self::Ones => vec![0xff; size],
            Self::Random(seed) => {
                let mut sequence = SplitMix(seed ^ turn.wrapping_mul(0xd6e8_feb8_6659_fd93));
                let words = std::iter::repeat_with(|| sequence.next().to_le_bytes());
                words.flatten().take(size).collect()
            }
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
pub(super) struct SplitMix(pub(super) u64);

impl SplitMix {
    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// Every bit the other way round: no byte is equal to the given one.
pub(super) fn inverted(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_differs_between_turns_at_each_byte_and_between_pages() {
        let (one, two) = (
            Pattern::Counter.bytes(8192, 1),
            Pattern::Counter.bytes(8192, 2),
        );
        assert!(one.iter().zip(&two).all(|(a, b)| a != b));
        assert!(one[..4096].iter().zip(&one[4096..]).all(|(a, b)| a != b));
        assert!(!one.contains(&0) && !one.contains(&0xff));
    }

    #[test]
    fn random_bytes_follow_from_seed_and_turn() {
        let bytes = |seed, turn| Pattern::Random(seed).bytes(100, turn);
        assert_eq!(bytes(1, 0), bytes(1, 0));
        assert_ne!(bytes(1, 0), bytes(2, 0));
        assert_ne!(bytes(1, 0), bytes(1, 1));
    }

    #[test]
    fn the_walking_bit_visits_all_eight() {
        let seen = Pattern::WalkingOne
            .bytes(8, 3)
            .iter()
            .fold(0, |all, byte| all | byte);
        assert_eq!(seen, 0xff);
    }
}
