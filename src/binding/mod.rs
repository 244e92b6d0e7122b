//! Changes to the host: which driver has a device.
//!
//! Each change is planned from what the host says now, noted in a journal before it begins, read back after it, and undone
//! if a step fails or a signal comes. Undoing, restoring and finishing what was interrupted are all the same: a plan from the
//! state found to the state remembered.

mod bind;
mod driver;
mod driver_core;
mod error;
mod foreground;
mod journal;
mod lock;
mod nodes;
mod nvme;
mod options;
mod plan;
mod process;
mod recover;
mod refusal;
mod resolve;
mod signals;
mod sleep;
mod sriov;
mod transaction;
mod unbind;

pub use bind::{VFIO_PCI, bind, plan_bind, plan_run};
pub use driver_core::{DriverCore, Kernel, StepError};
pub use error::{BindingError, Undo};
pub use foreground::{Foreground, status_of};
pub use journal::{Entry, FunctionsEntry, FunctionsPhase, Identity, Journal, Phase};
pub use nodes::{NodeState, Owner, closed_to};
pub use nvme::{Flexible, NvmeAction, NvmeCommand, NvmeResource};
pub use options::BindOptions;
pub use plan::{DriverState, Goal, Step, shell_word};
pub use process::Process;
pub use recover::{
    Interrupted, Recovered, Recovery, interrupted, is_interrupted, plan_recover, recover,
};
pub use refusal::Refusal;
pub use resolve::{resolve, resolve_all, resolve_one, with_groups};
pub use sriov::{
    FunctionsWanted, TemporaryFunctions, VirtualFunctions, functions, new_token, node_to_open,
    plan_functions, set_functions, token_for,
};
pub use transaction::Outcome;
pub use unbind::{plan_unbind, restore, unbind};
