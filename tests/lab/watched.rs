//! QEMU as a process that cannot outlive this one.

use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// QEMU, and a process that ends it and removes the guest's folder when this one is gone, however it ended.
pub struct Watched {
    qemu: Child,
    watcher: Child,
}

impl Watched {
    /// Starts QEMU. `folder` is removed if this process ends without dropping what is returned.
    pub fn start(mut command: Command, folder: &Path) -> Result<Watched> {
        let qemu = command.spawn().context("cannot start QEMU")?;
        // The pipe to the watcher closes with this process; no other process holds it.
        let watcher = Command::new("sh")
            .args([
                "-c",
                "read -r _; kill -9 \"$1\"; rm -rf \"$2\"",
                "sh",
                &qemu.id().to_string(),
            ])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match watcher {
            Ok(watcher) => Ok(Watched { qemu, watcher }),
            Err(error) => {
                let mut qemu = qemu;
                let _ = qemu.kill().and_then(|()| qemu.wait());
                Err(error).context("cannot start sh")
            }
        }
    }

    /// The status with which QEMU ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.qemu.try_wait()?)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // The watcher first: until QEMU has been waited for, nobody else can have its process id.
        for child in [&mut self.watcher, &mut self.qemu] {
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}
