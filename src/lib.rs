//! VFIO and IOMMU work on real hosts: bind devices, map memory into their IOVA space, prove by DMA what they reach.

pub mod types;
