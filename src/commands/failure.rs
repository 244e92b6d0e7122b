//! Errors become exit statuses here and nowhere else.

use crate::bench::BenchError;
use crate::binding::BindingError;
use crate::checks::{Problem, SelectionError};
use crate::device::DeviceError;
use crate::engine::EngineError;
use crate::host::{CaptureError, HostError};
use crate::iommu::IommuError;
use crate::session::{self, SessionError};
use crate::types::ExitClass;

/// An error of a command itself, with the exit status it leads to.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    class: ExitClass,
    message: String,
}

impl Failure {
    /// An error of this class.
    pub fn new(class: ExitClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
        }
    }
}

/// The exit status for an error: that of the first cause which knows it.
#[must_use]
pub fn class_of(error: &anyhow::Error) -> ExitClass {
    // One error type of each layer that a command calls. An error that wraps another one transparently answers for it.
    let known = |cause: &(dyn std::error::Error + 'static)| {
        None.or_else(|| cause.downcast_ref().map(|failure: &Failure| failure.class))
            .or_else(|| cause.downcast_ref().map(HostError::class))
            .or_else(|| cause.downcast_ref().map(CaptureError::class))
            .or_else(|| cause.downcast_ref().map(IommuError::class))
            .or_else(|| cause.downcast_ref().map(DeviceError::class))
            .or_else(|| cause.downcast_ref().map(EngineError::class))
            .or_else(|| cause.downcast_ref().map(Problem::class))
            .or_else(|| cause.downcast_ref().map(SelectionError::class))
            .or_else(|| cause.downcast_ref().map(BenchError::class))
            .or_else(|| cause.downcast_ref().map(BindingError::class))
            .or_else(|| cause.downcast_ref().map(SessionError::class))
            .or_else(|| {
                cause
                    .downcast_ref()
                    .map(|failure: &session::Failure| failure.class)
            })
    };
    error.chain().find_map(known).unwrap_or(ExitClass::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn the_class_is_found_below_added_context() {
        let error = Err::<(), _>(Failure::new(ExitClass::Refused, "held"))
            .context("cannot bind")
            .unwrap_err();
        assert_eq!(class_of(&error), ExitClass::Refused);
        assert_eq!(class_of(&anyhow::anyhow!("anything")), ExitClass::Failed);
    }
}
