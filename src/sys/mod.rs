//! Kernel interfaces and nothing else: safe types above what needs `unsafe`.
#![allow(unsafe_code)]

mod patient_write;

pub use patient_write::{WriteOutcome, write_patiently};
