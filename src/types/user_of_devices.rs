//! The programs that take devices.

use clap::ValueEnum;
use serde::Serialize;

/// A program that a device is handed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserOfDevices {
    /// QEMU: arguments
    Qemu,
    /// libvirt: an element for the domain's XML
    Libvirt,
    /// Cloud Hypervisor: arguments
    CloudHypervisor,
    /// DPDK: arguments of the environment abstraction layer
    Dpdk,
}

impl UserOfDevices {
    /// Whether the program can show the token that a virtual function asks for while its physical function is with user space too.
    #[must_use]
    pub fn shows_tokens(self) -> bool {
        match self {
            Self::Qemu | Self::Dpdk => true,
            Self::Libvirt | Self::CloudHypervisor => false,
        }
    }
}
