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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ExitClass;
    use clap::ValueEnum;
    use nix::errno::Errno;

    fn node() -> VfioNode {
        VfioNode {
            bdf: "01:00.0".parse().unwrap(),
            sysfs: "/nowhere".into(),
            group: None,
            cdev: None,
        }
    }

    fn entry(backend: Backend, usable: fn(&VfioNode) -> Result<(), IommuError>) -> BackendEntry {
        BackendEntry {
            backend,
            about: "",
            open: || Err(IommuError::NoType1),
            usable,
        }
    }

    fn closed(_: &VfioNode) -> Result<(), IommuError> {
        Err(IommuError::Open {
            node: "/dev/iommu".into(),
            errno: Errno::EACCES,
            cause: "It is closed".into(),
        })
    }

    fn no_group(node: &VfioNode) -> Result<(), IommuError> {
        Err(IommuError::NoGroup { bdf: node.bdf })
    }

    #[test]
    fn the_table_lists_every_backend() {
        for backend in Backend::value_variants() {
            assert!(BACKENDS.iter().any(|entry| entry.backend == *backend));
        }
    }

    #[test]
    fn the_first_usable_backend_is_chosen_and_the_reason_names_what_was_passed_over() {
        let table = [
            entry(Backend::Iommufd, closed),
            entry(Backend::Type1, |_| Ok(())),
        ];
        let choice = first_usable(&table, &node()).unwrap();
        assert_eq!(choice.backend, Backend::Type1);
        assert_eq!(
            choice.reason,
            "it is usable for 0000:01:00.0; not iommufd: cannot open /dev/iommu: EACCES: Permission denied. It is closed"
        );
        let named = choose(BackendChoice::Iommufd, &node()).unwrap();
        assert_eq!(named.backend, Backend::Iommufd);
    }

    #[test]
    fn no_usable_backend_is_no_verdict_unless_a_node_is_only_closed() {
        let neither = [
            entry(Backend::Iommufd, no_group),
            entry(Backend::Type1, no_group),
        ];
        let error = first_usable(&neither, &node()).unwrap_err();
        assert_eq!(error.class(), ExitClass::NoVerdict);
        let text = error.to_string();
        assert!(
            text.contains("iommufd: ") && text.contains("type1: "),
            "{text}"
        );
        let closed = [
            entry(Backend::Iommufd, closed),
            entry(Backend::Type1, no_group),
        ];
        let error = first_usable(&closed, &node()).unwrap_err();
        assert_eq!(error.class(), ExitClass::Failed);
    }
}
