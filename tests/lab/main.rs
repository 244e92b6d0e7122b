//! Boots a guest with a virtual IOMMU and runs a command in it.
fn main() {}
