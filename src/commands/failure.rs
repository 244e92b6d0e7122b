//! Errors become exit statuses here and nowhere else.

use crate::bench::BenchError;
use crate::binding::{BindingError, Refusal};
use crate::checks::{Problem, SelectionError};
use crate::device::DeviceError;
use crate::engine::EngineError;
use crate::host::{CaptureError, HostError};
use crate::iommu::IommuError;
use crate::session::{self, SessionError};
use crate::types::{ExitClass, ExitStatus};

use super::run::RunError;

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

/// The exit status for an error.
#[must_use]
pub fn status_of(error: &anyhow::Error) -> ExitStatus {
    error
        .downcast_ref()
        .map_or_else(|| class_of(error).into(), RunError::status)
}

/// The reasons of a refusal by their stable names: those of the first cause that knows any.
#[must_use]
pub fn refusals_of(error: &anyhow::Error) -> Vec<Refusal> {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes
        .map(BindingError::refusals)
        .find(|refusals| !refusals.is_empty())
        .unwrap_or_default()
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
