//! The lab: a real Linux kernel in QEMU, with a virtual IOMMU and emulated PCI devices, and the program in it.
//!
//! [`Guest::boot`] sets up what a [`Machine`] needs (QEMU, a kernel, busybox), once, in the user's cache folder, and boots it.
//! [`Guest::run`] runs a shell script in it and keeps stdout, stderr and exit status apart. Dropping the guest ends it.
//!
//! ```ignore
//! let mut guest = Guest::boot(&Machine { kernel: Kernel::Lab, iommu: Iommu::Virtio, ..Machine::default() }, &binary()?)?;
//! let output = guest.run("iommu-tool list --json")?;
//! assert_eq!(output.status, 0, "{output}\n{}", guest.console());
//! ```

mod busybox;
mod cache;
mod debian;
mod guest;
mod initramfs;
mod kernel;
mod life;
mod machine;
mod mark;
mod modules;
mod options;
mod process;
mod qemu;
mod watched;

pub use guest::{Guest, Output, open_shell};
pub use options::{DeviceKind, Iommu, Kernel, Machine, Options};
pub use process::{Stopped, stop_on_signals};

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Says on stderr what the lab is doing.
macro_rules! progress {
    ($($text:tt)*) => { eprintln!("lab: {}", format_args!($($text)*)) };
}
pub(crate) use progress;

/// The program to run in the guest: `iommu-tool` as cargo built it beside the running executable (an example or a test).
///
/// # Errors
/// There is none, or it needs shared libraries, which the guest does not have.
pub fn binary() -> Result<PathBuf> {
    let executable = std::env::current_exe().context("cannot find the running executable")?;
    let binary = executable
        .parent()
        .and_then(Path::parent)
        .context("the running executable is not in a build folder")?
        .join("iommu-tool");
    ensure!(
        is_static(&binary)?,
        "{} needs shared libraries, which the guest does not have: build it with RUSTFLAGS=\"-C target-feature=+crt-static\" and --target",
        binary.display()
    );
    Ok(binary)
}

/// Whether a 64-bit ELF executable runs without a dynamic linker: it has no PT_INTERP program header (elf(5)).
fn is_static(executable: &Path) -> Result<bool> {
    const PT_INTERP: u32 = 3;
    let bytes = std::fs::read(executable)
        .with_context(|| format!("cannot read {}", executable.display()))?;
    let field = |at: usize, len: usize| -> Option<u64> {
        let mut value = [0; 8];
        value[..len].copy_from_slice(bytes.get(at..at + len)?);
        Some(u64::from_le_bytes(value))
    };
    let headers = || -> Option<Vec<u32>> {
        let (offset, size, count) = (field(0x20, 8)?, field(0x36, 2)?, field(0x38, 2)?);
        (0..count)
            .map(|i| field((offset + i * size) as usize, 4).map(|kind| kind as u32))
            .collect()
    };
    ensure!(
        bytes.starts_with(b"\x7fELF\x02"),
        "{} is not a 64-bit ELF executable",
        executable.display()
    );
    let headers = headers().with_context(|| format!("{} is cut short", executable.display()))?;
    Ok(!headers.contains(&PT_INTERP))
}
