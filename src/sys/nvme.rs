//! Admin commands to an NVMe controller that the kernel's own driver has (linux/nvme_ioctl.h).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// The private ioctl: its argument is made by [`admin`] alone.
mod ioctl {
    /// `struct nvme_passthru_cmd`.
    #[repr(C)]
    #[derive(Default)]
    #[allow(non_camel_case_types)]
    pub struct nvme_passthru_cmd {
        pub opcode: u8,
        pub flags: u8,
        pub rsvd1: u16,
        pub nsid: u32,
        pub cdw2: u32,
        pub cdw3: u32,
        pub metadata: u64,
        pub addr: u64,
        pub metadata_len: u32,
        pub data_len: u32,
        pub cdw10: u32,
        pub cdw11: u32,
        pub cdw12: u32,
        pub cdw13: u32,
        pub cdw14: u32,
        pub cdw15: u32,
        pub timeout_ms: u32,
        pub result: u32,
    }

    nix::ioctl_readwrite!(admin_command, b'N', 0x41, nvme_passthru_cmd);
}

/// Identify (NVM Express Base 2.0, section 5.17).
const IDENTIFY: u8 = 0x06;
/// Virtualization Management (section 5.28).
const VIRTUALIZATION_MANAGEMENT: u8 = 0x1c;
/// The size of every structure that Identify gives.
const IDENTIFY_SIZE: usize = 4096;
/// A drive may take seconds; the kernel resets one that takes longer.
const TIMEOUT_MS: u32 = 30_000;

/// Why an admin command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The kernel did not pass it on.
    #[error("{0}")]
    Kernel(Errno),
    /// The controller refused it, with this status (Base 2.0, figure 92: code type and code, 11 bits).
    #[error("the controller answered with status {0:#x}")]
    Status(u32),
}

/// Reads one of the controller's identify structures; `controller` is the first controller of a list.
///
/// # Errors
/// The kernel or the controller refused it.
pub fn identify(
    node: BorrowedFd<'_>,
    structure: u8,
    controller: u16,
) -> Result<Vec<u8>, AdminError> {
    let mut data = vec![0; IDENTIFY_SIZE];
    let dwords = [u32::from(structure) | u32::from(controller) << 16, 0];
    admin(node, IDENTIFY, dwords, &mut data)?;
    Ok(data)
}

/// Sends a Virtualization Management command with these two dwords, 10 and 11.
///
/// # Errors
/// The kernel or the controller refused it.
pub fn manage_virtualization(node: BorrowedFd<'_>, dwords: [u32; 2]) -> Result<(), AdminError> {
    admin(node, VIRTUALIZATION_MANAGEMENT, dwords, &mut [])
}

fn admin(
    node: BorrowedFd<'_>,
    opcode: u8,
    [cdw10, cdw11]: [u32; 2],
    data: &mut [u8],
) -> Result<(), AdminError> {
    let mut command = ioctl::nvme_passthru_cmd {
        opcode,
        cdw10,
        cdw11,
        addr: if data.is_empty() {
            0
        } else {
            data.as_mut_ptr() as u64
        },
        // The one structure that is read has 4096 bytes.
        data_len: data.len() as u32,
        timeout_ms: TIMEOUT_MS,
        ..Default::default()
    };
    // SAFETY: the struct is the ioctl's own; the kernel writes at most `data_len` bytes at `addr`, which are those of `data`.
    match unsafe { ioctl::admin_command(node.as_raw_fd(), &mut command) } {
        Ok(0) => Ok(()),
        // Bits 10:0 are the status; above stand "do not retry" and the like.
        Ok(status) => Err(AdminError::Status(status.unsigned_abs() & 0x7ff)),
        Err(errno) => Err(AdminError::Kernel(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_code_is_the_kernels() {
        // NVME_IOCTL_ADMIN_CMD as a C compiler gives it.
        let code = nix::request_code_readwrite!(b'N', 0x41, size_of::<ioctl::nvme_passthru_cmd>());
        assert_eq!(code, 0xc048_4e41);
    }
}
