//! The guest's root file system: an initramfs in cpio's "newc" format (kernel: Documentation/driver-api/early-userspace/buffer-format.rst).

use super::kernel::KernelFiles;
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Writes the initramfs: the executable files by their places, busybox and the program among them, init, the demo and the kernel's modules.
pub fn write(to: &Path, files: &[(String, PathBuf)], kernel: &KernelFiles) -> Result<()> {
    let file = File::create(to).with_context(|| format!("cannot create {}", to.display()))?;
    let mut archive = Archive {
        out: BufWriter::new(file),
        entries: 0,
        written: 0,
        folders: HashSet::new(),
    };
    for folder in [
        "bin",
        "dev",
        "etc",
        "home",
        "home/user",
        "lib",
        "lib/modules",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
    ] {
        archive.folder(folder)?;
    }
    archive.add("dev/console", CHARACTER_DEVICE | 0o600, (5, 1), &[])?;
    archive.file("init", 0o755, include_bytes!("guest/init"))?;
    archive.file("bin/demo", 0o755, include_bytes!("guest/demo"))?;
    archive.file(
        "etc/passwd",
        0o644,
        b"root::0:0:root:/root:/bin/sh\nuser::1000:1000:user:/home/user:/bin/sh\n",
    )?;
    archive.file("etc/group", 0o644, b"root::0:\nuser::1000:\n")?;
    for (place, path) in files {
        archive.folders_of(place)?;
        archive.file(place, 0o755, &read(path)?)?;
    }
    let folder = format!("lib/modules/{}", kernel.release);
    archive.folder(&folder)?;
    for (name, content) in &kernel.modules {
        archive.file(&format!("{folder}/{name}"), 0o644, content)?;
    }
    archive
        .finish()
        .with_context(|| format!("cannot write {}", to.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

struct Archive<W> {
    out: W,
    entries: u32,
    written: usize,
    folders: HashSet<String>,
}

impl<W: Write> Archive<W> {
    /// Adds a folder, once.
    fn folder(&mut self, name: &str) -> std::io::Result<()> {
        if self.folders.insert(name.to_owned()) {
            self.add(name, FOLDER | 0o755, (0, 0), &[])?;
        }
        Ok(())
    }

    /// Adds the folders that lead to a file: the kernel makes none by itself.
    fn folders_of(&mut self, file: &str) -> std::io::Result<()> {
        file.match_indices('/')
            .try_for_each(|(end, _)| self.folder(&file[..end]))
    }

    fn file(&mut self, name: &str, permissions: u32, data: &[u8]) -> std::io::Result<()> {
        self.add(name, FILE | permissions, (0, 0), data)
    }

    fn add(
        &mut self,
        name: &str,
        mode: u32,
        (major, minor): (u32, u32),
        data: &[u8],
    ) -> std::io::Result<()> {
        self.entries += 1;
        let links = if mode & FOLDER != 0 { 2 } else { 1 };
        // Inode, mode, uid, gid, links, time, size, device of the file (2), device that it is (2), length of the name, checksum.
        let name_size = name.len() as u32 + 1;
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            data.len() as u32,
            0,
            0,
            major,
            minor,
            name_size,
            0,
        ];
        let header: String = fields.iter().map(|field| format!("{field:08x}")).collect();
        self.put(format!("070701{header}{name}\0").as_bytes())?;
        self.put(data)
    }

    /// Writes bytes, and zeros up to the next multiple of 4.
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len();
        let padding = self.written.next_multiple_of(4) - self.written;
        self.written += padding;
        self.out.write_all(&[0; 3][..padding])
    }

    fn finish(mut self) -> Result<()> {
        self.add("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_described_as_the_format_says() {
        let mut bytes = Vec::new();
        let mut archive = Archive {
            out: &mut bytes,
            entries: 0,
            written: 0,
            folders: HashSet::new(),
        };
        archive.file("init", 0o755, b"hello").unwrap();
        archive.finish().unwrap();
        // 110 bytes of header and the name with its zero make 115, padded to 116; 5 bytes of data, padded to 8.
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[14..22], b"000081ed");
        assert_eq!(&bytes[54..62], b"00000005");
        assert_eq!(&bytes[94..102], b"00000005");
        assert_eq!(&bytes[110..124], b"init\0\0hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(
            bytes[124..]
                .windows(10)
                .any(|window| window == b"TRAILER!!!")
        );
        assert_eq!(bytes.len() % 4, 0);
    }
}
