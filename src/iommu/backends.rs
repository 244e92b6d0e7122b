//! The table of backends, and the choice between them.

use std::sync::Arc;

use super::{AddressSpace, IommuError, iommufd, type1};
use crate::types::{Backend, BackendChoice, VfioNode};

/// A kernel interface for address spaces.
pub struct BackendEntry {
    /// Its name.
    pub backend: Backend,
    /// One line about it.
    pub about: &'static str,
    /// Makes an empty address space.
    pub open: fn() -> Result<Arc<dyn AddressSpace>, IommuError>,
    /// Whether it can be used for this device; the error says why not.
    pub usable: fn(&VfioNode) -> Result<(), IommuError>,
}

/// All kernel interfaces, the preferred one first.
pub static BACKENDS: &[BackendEntry] = &[
    BackendEntry {
        backend: Backend::Iommufd,
        about: "/dev/iommu with a node for each device: newer, no limit on mappings",
        open: || iommufd::Ioas::open().map(|space| Arc::new(space) as _),
        usable: iommufd::usable,
    },
    BackendEntry {
        backend: Backend::Type1,
        about: "/dev/vfio/vfio with a node for each IOMMU group: in every kernel with VFIO",
        open: || type1::Container::open().map(|space| Arc::new(space) as _),
        usable: type1::usable,
    },
];

/// Makes an empty address space.
pub fn open(backend: Backend) -> Result<Arc<dyn AddressSpace>, IommuError> {
    let entry = BACKENDS.iter().find(|entry| entry.backend == backend);
    (entry.expect("the table lists every backend").open)()
}

/// A backend, and why it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The backend.
    pub backend: Backend,
    /// Why, in words.
    pub reason: String,
}

/// Chooses the backend for a device: the one asked for, else the first of [`BACKENDS`] that is usable.
pub fn choose(choice: BackendChoice, node: &VfioNode) -> Result<Choice, IommuError> {
    if let Some(backend) = choice.named() {
        let reason = "it was asked for".to_owned();
        return Ok(Choice { backend, reason });
    }
    first_usable(BACKENDS, node)
}

fn first_usable(table: &[BackendEntry], node: &VfioNode) -> Result<Choice, IommuError> {
    let mut refused = Vec::new();
    for entry in table {
        match (entry.usable)(node) {
            Err(reason) => refused.push((entry.backend, reason)),
            Ok(()) => {
                let others: Vec<_> = refused
                    .iter()
                    .map(|(backend, reason)| format!("; not {backend}: {reason}"))
                    .collect();
                return Ok(Choice {
                    backend: entry.backend,
                    reason: format!("it is usable for {}{}", node.bdf, others.concat()),
                });
            }
        }
    }
    Err(IommuError::NoBackend {
        bdf: node.bdf,
        reasons: refused,
    })
}
