//! The end mark: how the host knows that a stream holds all that a command printed.

use std::hash::{BuildHasher, RandomState};

/// Passes a stream on up to a mark that no command can know, and holds back only what could be the mark's beginning.
pub struct MarkedStream {
    mark: Vec<u8>,
    held: Vec<u8>,
    ended: bool,
}

impl MarkedStream {
    pub fn new(mark: &str) -> MarkedStream {
        MarkedStream {
            mark: mark.into(),
            held: Vec::new(),
            ended: false,
        }
    }

    /// Whether the mark has come; what comes later is dropped.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Takes the next piece of the stream and returns what may be passed on.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        if self.ended {
            return Vec::new();
        }
        self.held.extend_from_slice(piece);
        let passed = match self
            .held
            .windows(self.mark.len())
            .position(|window| window == self.mark)
        {
            Some(position) => {
                self.ended = true;
                position
            }
            None => self.held.len() - self.beginning_of_mark(),
        };
        let rest = self.held.split_off(passed);
        std::mem::replace(&mut self.held, rest)
    }

    /// Length of the longest beginning of the mark with which the held bytes end.
    fn beginning_of_mark(&self) -> usize {
        (1..self.mark.len())
            .rev()
            .find(|&length| self.held.ends_with(&self.mark[..length]))
            .unwrap_or(0)
    }
}

/// A new mark: 128 random bits as text.
pub fn random_mark() -> String {
    let random = || RandomState::new().hash_one(());
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_found_wherever_the_stream_is_cut() {
        let stream = b"one MA MARMAR two MARK later";
        for cut in 0..stream.len() {
            for second in cut..stream.len() {
                let mut marked = MarkedStream::new("MARK");
                let pieces = [&stream[..cut], &stream[cut..second], &stream[second..]];
                let passed: Vec<u8> = pieces.iter().flat_map(|piece| marked.push(piece)).collect();
                assert_eq!(passed, b"one MA MARMAR two ", "cut at {cut} and {second}");
                assert!(marked.ended());
            }
        }
    }

    #[test]
    fn only_a_beginning_of_the_mark_is_held_back() {
        let mut marked = MarkedStream::new("MARK");
        assert_eq!(marked.push(b"text MAR"), b"text ");
        assert_eq!(marked.push(b"x"), b"MARx");
        assert!(!marked.ended());
    }

    #[test]
    fn marks_differ() {
        assert_ne!(random_mark(), random_mark());
        assert_eq!(random_mark().len(), 32);
    }
}
