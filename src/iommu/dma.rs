//! Memory that devices reach by DMA.

mod bare;
pub(super) mod mapping;

pub use bare::BareMapping;
pub use mapping::DmaMapping;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use memmap2::{Advice, MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::pages::transparent_bytes;
use super::{IommuError, PageKind, Pinner};
use crate::types::Size;

const WORD: usize = size_of::<u64>();

/// The least memory that is worth a call of its own when pages are populated.
const LEAST: usize = 8 << 20;

/// Less memory than this, in bytes, is left to one thread: where processors are busy, to wait for another one costs more than it brings.
pub const SHARED: usize = 64 << 20;

/// How many pieces each thread gets, where they are not too small.
const PIECES: usize = 64;

/// Memory for devices to reach, its pages populated: new memory, or a part of a file.
///
/// Devices may read and write it at any time while it is mapped, so it is only accessed by volatile copies, never by reference.
/// It is not passed on to child processes.
pub struct DmaBuffer {
    mapping: MmapRaw,
    start: usize,
    size: usize,
    /// Whether others can take its pages away, by making the file shorter.
    shrinks: bool,
    /// The memfd that it is, from its first byte on, where it is one; nobody else has it.
    file: Option<File>,
}

impl DmaBuffer {
    /// Memory of at least `size` bytes, rounded up to whole pages of that kind, and aligned to them.
    /// [`IommuError::NoPages`] if this host cannot give all of it in such pages.
    pub fn allocate(size: Size, pages: PageKind) -> Result<Self, IommuError> {
        let buffer = Self::reserve(size, pages)?;
        buffer.populate(0..buffer.size, pages, processors())?;
        let first = buffer.address().as_ptr() as usize;
        let all_huge = || transparent_bytes(first, first + buffer.size) == buffer.size as u64;
        if pages == PageKind::Transparent && !all_huge() {
            return Err(pages.exhausted(size));
        }
        Ok(buffer)
    }

    /// As [`Self::allocate`], but where transparent huge pages are scarce, the rest is made of base pages; and no page is there before
    /// [`Self::populate`] is told to make it.
    pub fn reserve(size: Size, pages: PageKind) -> Result<Self, IommuError> {
        let page = pages.page(size)?;
        let failed = |error: io::Error| not_given(size, pages, &error);
        let too_large = || failed(Errno::ENOMEM.into());
        let rounded = size.bytes().checked_next_multiple_of(page);
        let room = rounded.and_then(|bytes| bytes.checked_add(page));
        let (Some(rounded), Some(room)) = (rounded, room) else {
            return Err(too_large());
        };
        let (Ok(rounded), Ok(room), Ok(page)) = (
            usize::try_from(rounded),
            usize::try_from(room),
            usize::try_from(page),
        ) else {
            return Err(too_large());
        };
        // The kernel places memory at base pages, and memory of the huge page reserve at its own.
        let mut options = MmapOptions::new();
        options.len(match pages {
            PageKind::Transparent => room,
            PageKind::Base | PageKind::Huge(_) => rounded,
        });
        let file = match pages {
            PageKind::Huge(_) => Some(reserved_file(rounded as u64, page).map_err(failed)?),
            PageKind::Transparent | PageKind::Base => None,
        };
        let mapping = match &file {
            Some(file) => options.map_raw(file),
            None => options.map_anon().map(MmapRaw::from),
        };
        let mapping = mapping.map_err(failed)?;
        let start = mapping.as_mut_ptr().align_offset(page);
        let advise = |advice| mapping.advise_range(advice, start, rounded);
        advise(Advice::DontFork).map_err(failed)?;
        match pages {
            PageKind::Transparent => advise(Advice::HugePage).map_err(failed)?,
            // Kernels without transparent huge pages do not know the advice, and need none.
            PageKind::Base => advise(Advice::NoHugePage).unwrap_or_default(),
            PageKind::Huge(_) => {}
        }
        Ok(Self {
            mapping,
            start,
            size: rounded,
            shrinks: false,
            file,
        })
    }

    /// Puts pages of this kind, which the buffer was reserved for, behind a part of it, by this many threads at most.
    pub fn populate(
        &self,
        part: Range<usize>,
        pages: PageKind,
        threads: usize,
    ) -> Result<(), IommuError> {
        let Some(size) = Size::new(part.len() as u64) else {
            return Ok(());
        };
        let page = pages.page(size)? as usize; // The buffer has whole pages.
        let start = self.start + part.start / page * page;
        let end = self.start + part.end.next_multiple_of(page).min(self.size);
        populate(
            &self.mapping,
            start..end,
            page,
            Advice::PopulateWrite,
            threads,
        )
        .map_err(|error| not_given(size, pages, &error))
    }

    /// Has the kernel pin its first `size` bytes, as a map does, until [`Pinner::unpin`].
    ///
    /// # Errors
    /// The kernel's error.
    ///
    /// # Panics
    /// If the buffer is shorter.
    pub fn pin(&self, pinner: &Pinner, size: usize) -> io::Result<()> {
        assert!(size <= self.size(), "there is no more than the buffer");
        pinner.pin(self.address(), size)
    }

    /// Whether it is a memfd that the kernel can map as such.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// A part of a file, shared with all who map or write it; for devices to read, and to write if it is `writable`.
    ///
    /// Offset and size are multiples of the file's page size, and the file has as many bytes.
    pub fn map_file(
        file: &File,
        offset: u64,
        size: Size,
        writable: bool,
    ) -> Result<Self, IommuError> {
        let failed = |error: io::Error| IommuError::MapFile {
            size,
            offset,
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        };
        let length = usize::try_from(size.bytes()).map_err(|_| failed(Errno::ENOMEM.into()))?;
        let mut options = MmapOptions::new();
        options.offset(offset).len(length);
        let (mapping, advice) = if writable {
            (options.map_raw(file), Advice::PopulateWrite)
        } else {
            (options.map_raw_read_only(file), Advice::PopulateRead)
        };
        let mapping = mapping.map_err(failed)?;
        mapping.advise(Advice::DontFork).map_err(failed)?;
        populate(&mapping, 0..length, LEAST, advice, processors()).map_err(failed)?;
        Ok(Self {
            mapping,
            start: 0,
            size: length,
            shrinks: true,
            file: None,
        })
    }

    /// The same new memory, of base pages, at two addresses of this process.
    pub fn allocate_twice(size: Size) -> Result<[Self; 2], IommuError> {
        let failed = |error: io::Error| IommuError::Memory {
            size,
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
            cause: "There is not enough free memory",
        };
        let file = memfd_create(c"dma", MFdFlags::MFD_CLOEXEC)
            .map(File::from)
            .map_err(|errno| failed(errno.into()))?;
        file.set_len(size.bytes()).map_err(failed)?;
        let first = Self::map_file(&file, 0, size, true)?;
        Ok([first, Self::map_file(&file, 0, size, true)?])
    }

    /// The length in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The first byte.
    #[must_use]
    pub fn address(&self) -> NonNull<u8> {
        // SAFETY: `start` lies within the mapping, which is not at address 0.
        unsafe { NonNull::new_unchecked(self.mapping.as_mut_ptr().add(self.start)) }
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let place = self.place(offset, bytes.len());
        // SAFETY: `place` is valid for as many bytes as there are, and our own.
        unsafe { write_volatile(place, bytes) }
    }

    /// Copies what is at `offset` to `into`.
    ///
    /// # Panics
    /// If the buffer ends before.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        let place = self.place(offset, into.len());
        // SAFETY: `place` is valid for as many bytes as there are, and our own.
        unsafe { read_volatile(place, into) }
    }

    /// As [`Self::write`], with an error where the pages are gone, because the file was made shorter, or must not be written.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn try_write(&self, offset: usize, bytes: &[u8]) -> nix::Result<()> {
        if !self.shrinks {
            self.write(offset, bytes);
            return Ok(());
        }
        let place = self.place(offset, bytes.len());
        let between = between()?;
        nix::sys::uio::pwrite(&between, bytes, 0)?;
        // SAFETY: the kernel writes to at most as many bytes as `place` is valid for; where there is no page it gives EFAULT.
        let length = unsafe { libc::pread(between.as_raw_fd(), place.cast(), bytes.len(), 0) };
        all(length, bytes.len())
    }

    /// As [`Self::read`], with an error where the pages are gone, because the file was made shorter.
    ///
    /// # Panics
    /// If the buffer ends before.
    pub fn try_read(&self, offset: usize, into: &mut [u8]) -> nix::Result<()> {
        if !self.shrinks {
            self.read(offset, into);
            return Ok(());
        }
        let place = self.place(offset, into.len());
        let between = between()?;
        // SAFETY: the kernel reads at most as many bytes as `place` is valid for; where there is no page it gives EFAULT.
        let length = unsafe { libc::pwrite(between.as_raw_fd(), place.cast(), into.len(), 0) };
        all(length, into.len())?;
        all(
            nix::sys::uio::pread(&between, into, 0)? as isize,
            into.len(),
        )
    }

    /// Sets every byte.
    pub fn fill(&self, byte: u8) {
        let place = self.place(0, self.size).cast::<u64>();
        let word = u64::from_ne_bytes([byte; WORD]);
        for index in 0..self.size / WORD {
            // SAFETY: the buffer is whole pages, so it is aligned to words and made up of them.
            unsafe { place.add(index).write_volatile(word) }
        }
    }

    #[inline]
    fn place(&self, offset: usize, length: usize) -> *mut u8 {
        let end = offset.checked_add(length);
        assert!(
            end.is_some_and(|end| end <= self.size),
            "{length} bytes at {offset} are not within a buffer of {} bytes",
            self.size
        );
        self.address().as_ptr().wrapping_add(offset)
    }
}

/// Why the kernel gave no memory.
fn not_given(size: Size, pages: PageKind, error: &io::Error) -> IommuError {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    match errno {
        Errno::ENOMEM if matches!(pages, PageKind::Huge(_)) => pages.exhausted(size),
        _ => IommuError::Memory {
            size,
            errno,
            cause: match errno {
                Errno::ENOMEM => "There is not enough free memory",
                Errno::EINVAL => "Kernels before 5.14 cannot populate memory in advance",
                Errno::EMFILE | Errno::ENFILE => "Too many open files: raise the limit (ulimit -n)",
                _ => "The kernel log (dmesg) may say more",
            },
        },
    }
}

/// How many threads run at the same time.
pub(super) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The bytes of the pieces that several threads share memory out by.
///
/// They take one after the other, as none knows how soon the next one starts: a kernel that is not preempted lets a new thread wait on
/// its processor until the first one comes back from a piece.
pub(super) fn piece(bytes: usize, threads: usize) -> usize {
    let piece = bytes / PIECES / threads.max(1);
    piece.next_multiple_of(LEAST).max(LEAST)
}

/// Does `count` pieces of work by this many threads at most, each taking the next one; after a failure the rest is not begun. Where the kernel
/// gives no more threads, those that there are do it all.
pub(super) fn share_out<E: Send>(
    count: usize,
    threads: usize,
    one: impl Fn(usize) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), E> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return Ok(());
            }
            one(at).inspect_err(|_| next.store(count, Ordering::Relaxed))?;
        }
    };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, work);
        let refused = |error: &io::Error| log::debug!("no more threads: {error}");
        let others: Vec<_> = (1..threads.min(count))
            .map_while(|at| start(at).inspect_err(refused).ok())
            .collect();
        others.into_iter().fold(work(), |result, other| {
            result.and(other.join().expect("the work does not panic"))
        })
    })
}

/// Puts pages behind memory, in pieces by several threads. Pieces are multiples of `page`.
fn populate(
    mapping: &MmapRaw,
    memory: Range<usize>,
    page: usize,
    advice: Advice,
    threads: usize,
) -> io::Result<()> {
    let threads = if memory.len() < SHARED { 1 } else { threads };
    let piece = match threads {
        1 => memory.len().max(page),
        _ => piece(memory.len(), threads).next_multiple_of(page),
    };
    share_out(memory.len().div_ceil(piece), threads, |at| {
        let start = memory.start + at * piece;
        mapping.advise_range(advice, start, piece.min(memory.end - start))
    })
}

/// A memfd of this many bytes, in pages of the kernel's reserve (memfd_create(2)).
fn reserved_file(bytes: u64, page: usize) -> io::Result<File> {
    let page_bits = page.trailing_zeros() << libc::MAP_HUGE_SHIFT;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_HUGETLB;
    let flags = flags | MFdFlags::from_bits_retain(page_bits);
    let file = File::from(memfd_create(c"dma", flags)?);
    file.set_len(bytes)?;
    Ok(file)
}

/// A file without a name. Copies through it are made by the kernel, which gives an error where a plain access would end the process.
fn between() -> nix::Result<OwnedFd> {
    memfd_create(c"copy", MFdFlags::MFD_CLOEXEC)
}

/// Whether the kernel copied all bytes; it ends early where pages are missing.
fn all(copied: isize, wanted: usize) -> nix::Result<()> {
    match usize::try_from(copied) {
        Ok(length) if length == wanted => Ok(()),
        Ok(_) => Err(Errno::EFAULT),
        Err(_) => Err(Errno::last()),
    }
}

/// Copies to memory that a device may reach, in words where it can.
///
/// # Safety
/// `to` is valid for writes of as many bytes as there are.
unsafe fn write_volatile(to: *mut u8, bytes: &[u8]) {
    let (head, rest) = bytes.split_at(to.align_offset(WORD).min(bytes.len()));
    let words = rest.chunks_exact(WORD);
    let tail = words.remainder();
    let mut at = to;
    // SAFETY: `at` advances by what was written, so it stays within the bytes that the caller vouches for; after the head it is aligned.
    unsafe {
        for byte in head {
            at.write_volatile(*byte);
            at = at.add(1);
        }
        for word in words {
            let word = word.try_into().expect("a chunk is as long as a word");
            at.cast::<u64>().write_volatile(u64::from_ne_bytes(word));
            at = at.add(WORD);
        }
        for byte in tail {
            at.write_volatile(*byte);
            at = at.add(1);
        }
    }
}

/// Copies from memory that a device may reach, in words where it can.
///
/// # Safety
/// `from` is valid for reads of as many bytes as there is room for.
unsafe fn read_volatile(from: *const u8, into: &mut [u8]) {
    let head_length = from.align_offset(WORD).min(into.len());
    let (head, rest) = into.split_at_mut(head_length);
    let mut words = rest.chunks_exact_mut(WORD);
    let mut at = from;
    // SAFETY: `at` advances by what was read, so it stays within the bytes that the caller vouches for; after the head it is aligned.
    unsafe {
        for byte in head {
            *byte = at.read_volatile();
            at = at.add(1);
        }
        for word in &mut words {
            word.copy_from_slice(&at.cast::<u64>().read_volatile().to_ne_bytes());
            at = at.add(WORD);
        }
        for byte in words.into_remainder() {
            *byte = at.read_volatile();
            at = at.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(size: &str) -> DmaBuffer {
        DmaBuffer::allocate(size.parse().unwrap(), PageKind::Base).unwrap()
    }

    #[test]
    fn a_buffer_is_whole_pages_and_zero() {
        let buffer = buffer("5000");
        assert_eq!(buffer.size(), 8192);
        assert_eq!(buffer.address().as_ptr() as usize % 4096, 0);
        let mut all = vec![1; 8192];
        buffer.read(0, &mut all);
        assert!(all.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn bytes_arrive_at_every_alignment_and_nowhere_else() {
        let buffer = buffer("4K");
        for offset in 0..9 {
            for length in 0..27 {
                let bytes: Vec<u8> = (1..=length).collect();
                buffer.fill(0xee);
                buffer.write(offset, &bytes);
                let mut all = [0; 4096];
                buffer.read(0, &mut all);
                let end = offset + bytes.len();
                assert_eq!(all[offset..end], bytes);
                assert!(all[..offset].iter().chain(&all[end..]).all(|b| *b == 0xee));
                let mut back = vec![0; bytes.len()];
                buffer.read(offset, &mut back);
                assert_eq!(back, bytes);
            }
        }
    }

    #[test]
    #[should_panic(expected = "2 bytes at 4095 are not within a buffer of 4096 bytes")]
    fn writing_past_the_end_is_a_mistake() {
        buffer("4K").write(4095, &[1, 2]);
    }

    #[test]
    #[should_panic(expected = "are not within")]
    fn an_offset_that_overflows_is_a_mistake() {
        buffer("4K").read(usize::MAX, &mut [0; 2]);
    }

    #[test]
    fn memory_at_two_addresses_is_the_same_memory() {
        let [one, other] = DmaBuffer::allocate_twice("8K".parse().unwrap()).unwrap();
        assert_ne!(one.address(), other.address());
        one.write(5000, b"seen twice");
        let mut seen = [0; 10];
        other.read(5000, &mut seen);
        assert_eq!(&seen, b"seen twice");
    }

    #[test]
    fn memory_that_cannot_be_had_is_an_error() {
        let size = Size::new(u64::MAX).unwrap();
        let error = DmaBuffer::allocate(size, PageKind::Base).err().unwrap();
        assert_eq!(error.errno(), Some(Errno::ENOMEM));
        let odd = PageKind::Huge("12K".parse().unwrap());
        let error = DmaBuffer::allocate("4K".parse().unwrap(), odd)
            .err()
            .unwrap();
        assert_eq!(
            error.to_string(),
            "no 12K pages for 4K of memory: this kernel has no huge pages of 12K; /sys/kernel/mm/hugepages lists the sizes it has"
        );
    }
}
