//! The memory behind a mapping: new, a file, or a copy of one.

use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::statfs::{HUGETLBFS_MAGIC, TMPFS_MAGIC, fstatfs};
use nix::unistd::{Whence, lseek64};

use super::Failure;
use super::protocol::{FileSource, MapRequest, MappingInfo};
use crate::iommu::{AddressSpace, DmaBuffer, DmaMapping, Memory, PageKind};
use crate::types::{ExitClass, IovaRange, Protection, Size};

/// How much of a file is copied at once.
const COPY: usize = 1 << 20;

/// Memory that is mapped.
pub(super) struct HeldMemory {
    pub mapping: DmaMapping,
    buffer: Arc<DmaBuffer>,
    /// Where in the buffer the mapping begins.
    start: usize,
    writable: bool,
}

impl HeldMemory {
    /// What the processor sees at an offset of the mapping.
    pub(super) fn read(
        &self,
        info: &MappingInfo,
        offset: usize,
        into: &mut [u8],
    ) -> Result<(), Failure> {
        self.bytes(offset).read(info, into)
    }

    /// Sets bytes at an offset of the mapping.
    pub(super) fn write(
        &self,
        info: &MappingInfo,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        self.check_writable(info)?;
        self.buffer
            .try_write(self.start + offset, bytes)
            .map_err(|errno| gone(info, errno))
    }

    pub(super) fn check_writable(&self, info: &MappingInfo) -> Result<(), Failure> {
        if self.writable {
            return Ok(());
        }
        let path = info.file.as_ref().map_or("", |file| &file.path);
        Err(Failure::usage(format!(
            "the mapping at {} cannot be written: {path} was opened to be read only (--protection r)",
            info.iova
        )))
    }

    /// The virtual address, in this process, of the byte at an offset of the mapping.
    pub(super) fn address(&self, offset: usize) -> u64 {
        self.buffer.address().as_ptr() as u64 + (self.start + offset) as u64
    }

    /// The bytes from an offset on, for another thread.
    pub(super) fn bytes(&self, offset: usize) -> HeldBytes {
        HeldBytes {
            buffer: self.buffer.clone(),
            start: self.start + offset,
        }
    }
}

/// Bytes of a mapping; they stay there even when it is unmapped meanwhile.
pub(super) struct HeldBytes {
    buffer: Arc<DmaBuffer>,
    start: usize,
}

impl HeldBytes {
    pub(super) fn read(&self, info: &MappingInfo, into: &mut [u8]) -> Result<(), Failure> {
        self.buffer
            .try_read(self.start, into)
            .map_err(|errno| gone(info, errno))
    }
}

fn gone(info: &MappingInfo, errno: Errno) -> Failure {
    let path = info.file.as_ref().map_or("its file", |file| &file.path);
    Failure::new(
        ExitClass::Failed,
        format!(
            "cannot reach the memory of the mapping at {}: {errno}. {path} was made shorter since it was mapped; unmap it",
            info.iova
        ),
    )
}

/// Makes the memory that is asked for, and maps it at these IOVAs.
pub(super) fn map(
    space: &Arc<dyn AddressSpace>,
    request: &MapRequest,
    file: Option<File>,
    pages: Option<PageKind>,
    range: IovaRange,
) -> Result<(MappingInfo, HeldMemory), Failure> {
    let size = Size::new(request.size).ok_or_else(|| Failure::usage("a size of 0 maps nothing"))?;
    let iova = range.start();
    let source = request.file.as_ref().zip(file);
    let is_file = source.as_ref().is_some_and(|(source, _)| !source.private);
    let protection = request.protection;
    let (mapping, buffer, start, pages, way) = match source {
        Some((source, file)) if !source.private => {
            let writable = protection != Protection::Read;
            let buffer = Arc::new(share(source, &file, size, writable)?);
            let mapping =
                DmaMapping::new(space.clone(), &buffer, 0..buffer.size(), iova, protection)?;
            (mapping, buffer, 0, "file".to_owned(), None)
        }
        source => {
            if let Some((source, file)) = &source {
                check_file(source, file, size)?;
            }
            let mut memory = Memory::new(&**space, size, pages, iova)?;
            if let Some(threads) = request.threads {
                memory = memory.with_threads(threads as usize);
            }
            let way = memory.way(&**space);
            if let Some((source, file)) = source {
                copy(source, &file, &memory)?;
            }
            let mapping = memory.map(space, iova, protection)?;
            let (buffer, pages) = (memory.buffer().clone(), memory.pages().to_string());
            (
                mapping,
                buffer,
                memory.part().start,
                pages,
                Some(way.to_string()),
            )
        }
    };
    let info = MappingInfo {
        iova,
        size: request.size,
        pages,
        way,
        protection: request.protection,
        name: request.name.clone(),
        file: request.file.clone(),
    };
    let memory = HeldMemory {
        mapping,
        buffer,
        start,
        writable: !is_file || protection != Protection::Read,
    };
    Ok((info, memory))
}

/// The file's own pages.
fn share(
    source: &FileSource,
    file: &File,
    size: Size,
    writable: bool,
) -> Result<DmaBuffer, Failure> {
    check_file(source, file, size)?;
    let path = &source.path;
    let kind = fstatfs(file).map(|found| found.filesystem_type());
    let in_memory = matches!(kind, Ok(TMPFS_MAGIC | HUGETLBFS_MAGIC));
    if writable && !in_memory {
        return Err(Failure::usage(format!(
            "{path} is not on a file system in memory (memfd, tmpfs, hugetlbfs), and the kernel lets no device write to the pages of others for long. \
             Map it to be read only (--protection r), or a copy of it (--private)"
        )));
    }
    DmaBuffer::map_file(file, source.offset, size, writable).map_err(|error| {
        let cause = match error.errno() {
            Some(Errno::EFAULT | Errno::ENOMEM | Errno::ENOSPC) => hole(source, file, size),
            _ => None,
        };
        let failure = Failure::from_chain(error.class(), &error);
        match cause {
            None => failure,
            Some(cause) => Failure {
                message: format!("{}. {cause}", failure.message),
                ..failure
            },
        }
    })
}

/// That it is a file which is long enough.
fn check_file(source: &FileSource, file: &File, size: Size) -> Result<(), Failure> {
    let path = &source.path;
    let found = file.metadata().map_err(|error| {
        let errno = super::error::errno_of(&error);
        Failure::new(ExitClass::Failed, format!("cannot look at {path}: {errno}"))
    })?;
    let kind = found.file_type();
    if !kind.is_file() {
        let what = match () {
            () if kind.is_dir() => "a folder",
            () if kind.is_block_device() => "a block device",
            () if kind.is_char_device() => "a character device",
            () => "no file",
        };
        return Err(Failure::usage(format!(
            "{path} is {what}: only files can be mapped"
        )));
    }
    let end = source.offset.checked_add(size.bytes());
    if end.is_none_or(|end| end > found.len()) {
        return Err(Failure::usage(format!(
            "{path} is too short: it has {} bytes, and {} from {:#x} on are asked for",
            found.len(),
            size.bytes(),
            source.offset
        )));
    }
    Ok(())
}

/// Says that the range has a hole which could not be filled, if it has one.
fn hole(source: &FileSource, file: &File, size: Size) -> Option<String> {
    let start = i64::try_from(source.offset).ok()?;
    let hole = lseek64(file, start, Whence::SeekHole).ok()?;
    let hole = u64::try_from(hole).ok()?;
    (hole < source.offset + size.bytes()).then(|| {
        format!(
            "{} has a hole at {hole:#x}, and its file system has no room to fill it",
            source.path
        )
    })
}

/// Fills new memory with the bytes of the file.
fn copy(source: &FileSource, file: &File, memory: &Memory) -> Result<(), Failure> {
    let mut piece = vec![0; COPY];
    let part = memory.part();
    for start in part.clone().step_by(COPY) {
        let length = COPY.min(part.end - start);
        let offset = source.offset + (start - part.start) as u64;
        file.read_exact_at(&mut piece[..length], offset)
            .map_err(|error| {
                let errno = super::error::errno_of(&error);
                let path = &source.path;
                Failure::new(
                    ExitClass::Failed,
                    format!("cannot read {path} at {offset:#x}: {errno}"),
                )
            })?;
        memory.buffer().write(start, &piece[..length]);
    }
    Ok(())
}
