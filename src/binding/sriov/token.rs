//! What whoever opens a virtual function must show, where the physical function is with user space too (`vfio_pci_validate_vf_token` of
//! drivers/vfio/pci/vfio_pci_core.c).
//!
//! The kernel takes the token as a part of the device's name (`0000:02:10.0 vf_token=UUID`), and the library that opens devices makes the name
//! of the last part of the device's folder. So each function gets a folder of such a name, a link to its own.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use crate::binding::journal::failed;
use crate::binding::{BindingError, Journal};
use crate::host::{Host, PciDevice};
use crate::types::{Bdf, VfioNode};

/// Where the kernel gives a new random UUID with each read (Documentation/admin-guide/sysctl/kernel.rst, "random").
const NEW: &str = "/proc/sys/kernel/random/uuid";
const FOLDER: &str = "tokens";

/// A new token: a random UUID.
///
/// # Errors
/// The kernel gives none.
pub fn new_token() -> Result<String, BindingError> {
    let text = fs::read_to_string(NEW).map_err(|error| failed("read", Path::new(NEW), &error))?;
    Ok(text.trim().to_owned())
}

/// Lets the functions be opened with the token.
pub(super) fn keep(journal: &Journal, functions: &[Bdf], token: &str) -> Result<(), BindingError> {
    let folder = journal.folder().join(FOLDER);
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder);
    made.map_err(|error| failed("make", &folder, &error))?;
    for function in functions {
        let link = link(journal, *function, token);
        remove(&link)?;
        symlink(format!("/sys/bus/pci/devices/{function}"), &link)
            .map_err(|error| failed("make", &link, &error))?;
    }
    Ok(())
}

/// Forgets the token of functions that are gone.
pub(super) fn forget(
    journal: &Journal,
    functions: &[Bdf],
    token: &str,
) -> Result<(), BindingError> {
    functions
        .iter()
        .try_for_each(|bdf| remove(&link(journal, *bdf, token)))
}

/// How a device is opened: by its token if it needs one.
///
/// # Errors
/// The journal cannot be read.
pub fn node_to_open(host: &Host, device: &PciDevice) -> Result<VfioNode, BindingError> {
    let mut node = host.vfio_node(device);
    if let Some(token) = super::token_for(host, device)? {
        node.sysfs = link(&Journal::of(host), device.bdf, &token);
        // This way of opening takes no token.
        node.cdev = None;
    }
    Ok(node)
}

fn link(journal: &Journal, bdf: Bdf, token: &str) -> PathBuf {
    let name = format!("{bdf} vf_token={token}");
    journal.folder().join(FOLDER).join(name)
}

fn remove(link: &Path) -> Result<(), BindingError> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", link, &error))
        }
        _ => Ok(()),
    }
}
