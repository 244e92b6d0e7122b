//! Changes to the host: which driver has a device.
//!
//! Each change is planned from what the host says now, noted in a journal before it begins, read back after it, and undone
//! if a step fails or a signal comes. Undoing, restoring and finishing what was interrupted are all the same: a plan from the
//! state found to the state remembered.

mod bind;
mod driver_core;
mod error;
mod journal;
mod lock;
mod nvme;
mod plan;
mod resolve;
mod signals;
mod sriov;
mod transaction;
mod unbind;

pub use bind::{VFIO_PCI, bind, plan_bind};
pub use driver_core::{DriverCore, Kernel, StepError};
pub use error::{BindingError, Undo};
pub use journal::{Entry, FunctionsEntry, FunctionsPhase, Identity, Journal, Phase};
pub use nvme::{NvmeAction, NvmeCommand, NvmeResource};
pub use plan::{DriverState, Goal, Step};
pub use resolve::{resolve, resolve_all, resolve_one};
pub use sriov::{
    FunctionsWanted, TemporaryFunctions, VirtualFunctions, functions, new_token, node_to_open,
    plan_functions, restore_functions, set_functions, token_for, unfinished_functions,
};
pub use transaction::Outcome;
pub use unbind::{plan_unbind, unbind};
