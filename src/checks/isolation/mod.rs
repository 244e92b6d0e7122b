//! What is not mapped for the device must be out of its reach.
//!
//! Each check sends the device where it must not get, and looks at memory only: what the device says of its own DMA is not believed.
//! All addresses are such that DMA which is not blocked hits memory of the check's own, or nothing.

mod bounds;
mod device;
mod intruder;
mod lifetime;

pub(super) use bounds::{NEIGHBOURS, PAST_END, READ_ONLY};
pub(super) use device::{BUS_MASTER, OTHER_DEVICE, RESET};
pub(super) use intruder::attempt;
pub(super) use lifetime::{NEVER_MAPPED, REMAPPED, UNMAPPED};
