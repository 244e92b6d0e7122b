//! Device files: brought up by the vfio-ioctls crate, closed here.
//!
//! That crate closes a device by panicking if anything fails, as it does once the device was unplugged. It finds what to close through
//! [`VfioOps::as_any`], so [`Attachment`] shows it the container while it attaches, and hides it from then on: its drop then does nothing.

use std::any::Any;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use vfio_ioctls::{VfioContainer, VfioDevice, VfioError, VfioIommufd, VfioOps};

use super::vfio;

/// The address space that a device is attached to, as vfio-ioctls knows it.
#[derive(Clone)]
pub enum Owner {
    /// A type1 container.
    Container(Arc<VfioContainer>),
    /// An iommufd IOAS.
    Iommufd(Arc<VfioIommufd>),
}

/// Why a device could not be attached, and the kernel's error, which vfio-ioctls drops in some cases.
#[derive(Debug)]
pub struct AttachError {
    /// The step that failed.
    pub step: VfioError,
    /// The last error of the kernel; says nothing where the step failed by itself.
    pub errno: Errno,
}

/// An opened device file, attached to an address space. Dropping it detaches and closes, and never panics.
pub struct DeviceFd {
    file: File,
    device: VfioDevice,
    detach: bool,
}

struct Attachment {
    owner: Owner,
    attaching: AtomicBool,
}

impl VfioOps for Attachment {
    fn as_any(&self) -> &dyn Any {
        match &self.owner {
            _ if !self.attaching.load(Ordering::Relaxed) => self,
            Owner::Container(container) => &**container,
            Owner::Iommufd(iommufd) => &**iommufd,
        }
    }
}

impl DeviceFd {
    /// Opens the device of this sysfs folder and attaches it.
    pub(crate) fn attach(sysfs: &Path, owner: Owner) -> Result<Self, AttachError> {
        let detach = matches!(owner, Owner::Iommufd(_));
        let attachment = Arc::new(Attachment {
            owner,
            attaching: AtomicBool::new(true),
        });
        Errno::clear();
        let device = VfioDevice::new(sysfs, attachment.clone()).map_err(|step| {
            let last = Errno::last();
            AttachError {
                errno: errno_of(&step).unwrap_or(last),
                step,
            }
        })?;
        attachment.attaching.store(false, Ordering::Relaxed);
        // SAFETY: the crate opened this file and will neither close nor use it when it is dropped, as it no longer sees its owner.
        let file = unsafe { File::from_raw_fd(device.as_raw_fd()) };
        Ok(Self {
            file,
            device,
            detach,
        })
    }

    /// The device file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The device as vfio-ioctls knows it, for interrupts.
    pub(crate) fn interrupts(&self) -> &VfioDevice {
        &self.device
    }
}

impl AsFd for DeviceFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for DeviceFd {
    fn drop(&mut self) {
        // The file is closed next, and the address space released after it, in the order of the fields.
        if self.detach {
            if let Err(errno) = vfio::detach(self.as_fd()) {
                log::debug!("detaching the device: {errno}; closing it detaches too");
            }
        }
    }
}

/// The kernel's error inside an error of vfio-ioctls, where it kept it.
fn errno_of(error: &VfioError) -> Option<Errno> {
    match error {
        VfioError::OpenContainer(error)
        | VfioError::OpenGroup(error, _)
        | VfioError::OpenDeviceCdev(error) => error.raw_os_error().map(Errno::from_raw),
        VfioError::ContainerSetIOMMU(error)
        | VfioError::GroupGetDeviceFD(error)
        | VfioError::VfioDeviceGetInfo(error)
        | VfioError::VfioDeviceBindIommufd(error)
        | VfioError::VfioDeviceAttachIommufdPt(error) => Some(Errno::from_raw(error.errno())),
        _ => None,
    }
}
