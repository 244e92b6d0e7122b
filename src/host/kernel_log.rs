//! The kernel's log from now on (Documentation/ABI/testing/dev-kmsg), for quoting what it said about a fault.

use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

/// The longest record that the kernel gives (PRINTKRB_RECORD_MAX and its prefix; kernel/printk/printk.c).
const RECORD_LIMIT: usize = 16 << 10;

/// A place in the kernel's log; what comes after it can be read.
#[derive(Debug)]
pub struct KernelLog(File);

/// A message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRecord {
    /// Its number; they are given out in order.
    pub sequence: u64,
    /// How grave it is, 0 (emergency) to 7 (debug).
    pub level: u8,
    /// The message.
    pub message: String,
    /// The device it is about, as `+pci:0000:01:00.0`, where the driver said so.
    pub device: Option<String>,
}

impl KernelLog {
    /// Marks the end of the log as it is now.
    ///
    /// # Errors
    /// The log cannot be opened: without CAP_SYSLOG it is closed to ordinary users where `kernel.dmesg_restrict` is set.
    pub fn from_now() -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    /// The records since the mark or since the last call. Never waits. Records that were overwritten before they were read are lost.
    ///
    /// # Errors
    /// What reading the log gave.
    pub fn new_records(&mut self) -> io::Result<Vec<KernelRecord>> {
        let mut records = Vec::new();
        let mut buffer = vec![0; RECORD_LIMIT];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return Ok(records),
                Ok(length) => records.extend(parse(&buffer[..length])),
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EAGAIN) => return Ok(records),
                    // EPIPE: older records were overwritten; the next read goes on with the oldest that is left.
                    Some(Errno::EPIPE | Errno::EINTR) => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

/// A record: `6,339,5140900,-;message`, then lines that begin with a space, as ` DEVICE=+pci:0000:01:00.0`.
fn parse(record: &[u8]) -> Option<KernelRecord> {
    let text = String::from_utf8_lossy(record);
    let (prefix, rest) = text.split_once(';')?;
    let mut fields = prefix.split(',');
    let priority: u64 = fields.next()?.parse().ok()?;
    let sequence = fields.next()?.parse().ok()?;
    let mut lines = rest.lines();
    Some(KernelRecord {
        sequence,
        level: (priority & 7) as u8,
        message: unescape(lines.next()?),
        device: lines
            .find_map(|line| line.strip_prefix(" DEVICE="))
            .map(str::to_owned),
    })
}

/// The kernel writes what is not printable ASCII, and the backslash, as `\x5c`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = after
            .strip_prefix(b"x")
            .filter(|_| *first == b'\\')
            .and_then(|digits| digits.get(..2))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() {
            &after[3..]
        } else {
            after
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_a_level_a_message_and_perhaps_a_device() {
        let record = parse(
            b"3,512,5140900,-;DMAR: [DMA Write NO_PASID] Request device [0000:00:01.0] fault addr 0x500000\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:01.0\n",
        )
        .unwrap();
        assert_eq!((record.sequence, record.level), (512, 3));
        assert!(record.message.ends_with("fault addr 0x500000"));
        assert_eq!(record.device.as_deref(), Some("+pci:0000:00:01.0"));
    }

    #[test]
    fn odd_records_break_nothing() {
        let record = parse(b"30,1,2,c,caller=T1;a\\x5cb \\x09; \\xzz\\").unwrap();
        assert_eq!(
            (record.level, record.message.as_str()),
            (6, "a\\b \t; \\xzz\\")
        );
        assert_eq!(record.device, None);
        for damaged in [
            &b""[..],
            b"no semicolon",
            b"x,1,2,-;text",
            b"6;text",
            b"6,1,2,-;",
        ] {
            assert_eq!(parse(damaged), None);
        }
    }
}
