//! Bytes for people: hexadecimal digits beside the characters they may stand for.

use std::io::{self, Write};

use crate::types::Iova;

const LINE: usize = 16;

/// Prints bytes as they come, 16 a line, each line with its address. Lines that repeat the one before are left out, with a `*`.
pub struct HexDump<W> {
    out: W,
    address: Iova,
    line: Vec<u8>,
    last: Vec<u8>,
    repeated: bool,
}

impl<W: Write> HexDump<W> {
    /// A dump of bytes that begin at `address`.
    pub fn new(out: W, address: Iova) -> Self {
        Self {
            out,
            address,
            line: Vec::new(),
            last: Vec::new(),
            repeated: false,
        }
    }

    /// Prints more bytes.
    ///
    /// # Errors
    /// What writing gave.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            self.line.push(*byte);
            if self.line.len() == LINE {
                self.print()?;
            }
        }
        Ok(())
    }

    /// Prints what is left, and the address after the last byte.
    ///
    /// # Errors
    /// What writing gave.
    pub fn finish(mut self) -> io::Result<()> {
        if !self.line.is_empty() {
            self.print()?;
        }
        writeln!(self.out, "{:#010x}", self.address.0)?;
        self.out.flush()
    }

    fn print(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let same = line == self.last;
        if !same {
            let digits: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let is_plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
            let text: String = line
                .iter()
                .map(|byte| {
                    if is_plain(*byte) {
                        char::from(*byte)
                    } else {
                        '.'
                    }
                })
                .collect();
            writeln!(
                self.out,
                "{:#010x}  {:<47}  |{text}|",
                self.address.0,
                digits.join(" ")
            )?;
        } else if !self.repeated {
            writeln!(self.out, "*")?;
        }
        self.repeated = same;
        // At the very end of the address space the last address is said instead of the next.
        let next = self.address.0.saturating_add(line.len() as u64);
        self.address = Iova(next);
        self.last = line;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_lines_are_left_out_and_the_end_is_said() {
        let mut out = Vec::new();
        let mut dump = HexDump::new(&mut out, Iova(0x10_0000));
        dump.write(b"iommu").unwrap();
        dump.write(&[0; 11 + 48]).unwrap();
        dump.write(&[0xff, b'x']).unwrap();
        dump.finish().unwrap();
        let expected = "\
0x00100000  69 6f 6d 6d 75 00 00 00 00 00 00 00 00 00 00 00  |iommu...........|
0x00100010  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  |................|
*
0x00100040  ff 78                                            |.x|
0x00100042
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
