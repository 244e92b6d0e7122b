//! The kernel's log (Documentation/ABI/testing/dev-kmsg): all of it, or what is new.

use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use super::Host;

/// Where the log is read.
const KMSG: &str = "/dev/kmsg";
/// The longest record that the kernel gives (PRINTKRB_RECORD_MAX and its prefix; kernel/printk/printk.c).
const RECORD_LIMIT: usize = 16 << 10;

/// A place in the kernel's log; what comes after it can be read.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
    /// The number of the record that comes next; `None` if it is not known.
    next: Option<u64>,
    lost: u64,
}

/// A message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRecord {
    /// Its number; they are given out in order, from 0.
    pub sequence: u64,
    /// How grave it is, 0 (emergency) to 7 (debug).
    pub level: u8,
    /// When it was logged: the time since the host started, in microseconds.
    pub time: Duration,
    /// The message.
    pub message: String,
    /// The device it is about, as `+pci:0000:01:00.0`, where the driver said so.
    pub device: Option<String>,
}

impl KernelLog {
    /// Marks the end of the live host's log as it is now.
    ///
    /// # Errors
    /// The log cannot be opened: without CAP_SYSLOG it is closed to ordinary users where `kernel.dmesg_restrict` is set.
    pub fn from_now() -> io::Result<Self> {
        let mut log = Self::open(&Host::live())?;
        log.file.seek(SeekFrom::End(0))?;
        log.next = None;
        Ok(log)
    }

    /// Starts at the oldest record that is left.
    ///
    /// # Errors
    /// As for [`KernelLog::from_now`].
    pub fn open(host: &Host) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open(host.path(KMSG))?;
        Ok(Self {
            file,
            next: Some(0),
            lost: 0,
        })
    }

    /// The records since the mark or since the last call. Never waits. Records that were overwritten before they were read are lost.
    ///
    /// # Errors
    /// What reading the log gave.
    pub fn new_records(&mut self) -> io::Result<Vec<KernelRecord>> {
        let mut text = Vec::new();
        let mut buffer = vec![0; RECORD_LIMIT];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                // One record at a time, its end included; of a captured log, as much as fits.
                Ok(length) => text.extend_from_slice(&buffer[..length]),
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EAGAIN) => break,
                    // EPIPE: older records were overwritten; the next read goes on with the oldest that is left.
                    Some(Errno::EPIPE | Errno::EINTR) => {}
                    _ => return Err(error),
                },
            }
        }
        let records = parse_all(&text);
        for record in &records {
            if let Some(next) = self.next {
                self.lost += record.sequence.saturating_sub(next);
            }
            self.next = record.sequence.checked_add(1);
        }
        Ok(records)
    }

    /// How many records were overwritten before they could be read: before the log was opened, or since.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Waits until there is a new record, or until the time is over; says which. A signal ends the wait too.
    ///
    /// # Errors
    /// What waiting gave.
    pub fn wait(&self, longest: Duration) -> io::Result<bool> {
        let timeout = PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX);
        let mut files = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut files, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The records of a text: each begins with a line that does not begin with a space. What is none is left out.
fn parse_all(text: &[u8]) -> Vec<KernelRecord> {
    let text = String::from_utf8_lossy(text);
    let mut records: Vec<KernelRecord> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix(' ') {
            None => records.extend(parse(line)),
            Some(more) => {
                if let (Some(record), Some(device)) =
                    (records.last_mut(), more.strip_prefix("DEVICE="))
                {
                    record.device = Some(device.to_owned());
                }
            }
        }
    }
    records
}

/// The first line of a record: `6,339,5140900,-;message`.
fn parse(line: &str) -> Option<KernelRecord> {
    let (prefix, message) = line.split_once(';')?;
    let mut fields = prefix.split(',');
    let priority: u64 = fields.next()?.parse().ok()?;
    let sequence = fields.next()?.parse().ok()?;
    let time = fields.next()?.parse().ok().map(Duration::from_micros)?;
    Some(KernelRecord {
        sequence,
        level: (priority & 7) as u8,
        time,
        message: unescape(message),
        device: None,
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
    fn a_record_has_a_level_a_time_a_message_and_perhaps_a_device() {
        let records = parse_all(
            b"3,512,5140900,-;DMAR: [DMA Write NO_PASID] Request device [0000:00:01.0] fault addr 0x500000\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:01.0\n6,513,5140901,-;next\n",
        );
        let [record, next] = records.as_slice() else {
            panic!("{records:?}")
        };
        assert_eq!((record.sequence, record.level), (512, 3));
        assert_eq!(record.time, Duration::from_micros(5_140_900));
        assert!(record.message.ends_with("fault addr 0x500000"));
        assert_eq!(record.device.as_deref(), Some("+pci:0000:00:01.0"));
        assert_eq!((next.message.as_str(), &next.device), ("next", &None));
    }

    #[test]
    fn odd_records_break_nothing() {
        let records = parse_all(b"30,1,2,c,caller=T1;a\\x5cb \\x09; \\xzz\\\n");
        assert_eq!(records.len(), 1);
        assert_eq!(
            (records[0].level, records[0].message.as_str()),
            (6, "a\\b \t; \\xzz\\")
        );
        assert_eq!(records[0].device, None);
        for damaged in [
            &b""[..],
            b"\n\n",
            b" DEVICE=+pci:0000:00:01.0",
            b"no semicolon",
            b"x,1,2,-;text",
            b"6;text",
            b"6,1;text",
            b"6,1,99999999999999999999,-;text",
            b"\xff\xfe;\x00",
        ] {
            assert_eq!(parse_all(damaged), []);
        }
    }

    #[test]
    fn records_that_were_overwritten_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("dev")).unwrap();
        let text = "6,3,1,-;first left\n6,4,2,-;next\n6,9,3,-;after a gap\n";
        std::fs::write(folder.path().join("dev/kmsg"), text).unwrap();

        let mut log = KernelLog::open(&Host::at(folder.path())).unwrap();
        let records = log.new_records().unwrap();

        assert_eq!(records.len(), 3);
        assert_eq!(log.lost(), 3 + 4);
        assert_eq!(log.new_records().unwrap(), []);
    }
}
