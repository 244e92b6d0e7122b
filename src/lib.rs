//! VFIO and IOMMU work on real hosts: bind devices, map memory into their IOVA space, prove by DMA what they reach.
//!
//! Layers, each importing only from those below it: [`commands`] and [`cli`], [`report`], [`checks`] and [`mod@bench`], [`session`],
//! [`engine`], [`device`], [`iommu`], [`binding`], [`host`], [`sys`], and the value [`types`].

pub mod bench;
pub mod binding;
pub mod checks;
pub mod cli;
pub mod commands;
pub mod device;
pub mod engine;
pub mod host;
pub mod iommu;
pub mod report;
pub mod session;
pub mod sys;
pub mod types;
