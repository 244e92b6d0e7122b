//! The proof: the device is opened, attached, memory is mapped and unmapped, and it is closed again.

use std::sync::Arc;

use super::device::fits;
use super::{DeviceCheck, Diagnosis, Ground, is_on_vfio};
use crate::device::{DeviceError, VfioDevice};
use crate::host::DeviceProfile;
use crate::iommu::{self, BACKENDS, DmaBuffer, DmaMapping, IommuError, IovaAllocator, PageKind};
use crate::types::{Backend, ExitClass, Protection, Size, VfioNode};

pub(super) const ATTACH: DeviceCheck = DeviceCheck {
    id: "device.attach",
    title: "it opens, attaches, maps and unmaps",
    run: attach,
};

fn attach(ground: &Ground<'_>, profile: &DeviceProfile) -> Diagnosis {
    let bdf = profile.device.bdf;
    if !ground.host.is_live() {
        return Diagnosis::skip("this is a captured host");
    }
    if !ground.may_open {
        return Diagnosis::skip("not asked to (--no-open)");
    }
    if !is_on_vfio(profile) {
        return Diagnosis::skip(format!(
            "not tried, as it is not bound to VFIO: 'iommu-tool bind {bdf}' does that"
        ));
    }
    if let Some(holder) = profile.holders.first() {
        return Diagnosis::skip(format!("not tried, as it is held by {holder}"));
    }
    let mut worked = Vec::new();
    let mut unusable = Vec::new();
    for entry in BACKENDS {
        if let Err(error) = (entry.usable)(&profile.node) {
            unusable.push(error.to_string());
            continue;
        }
        match try_out(entry.backend, &profile.node, ground.memory) {
            Ok(words) => worked.push(format!("{}: {words}", entry.backend)),
            // Someone opened it meanwhile, or someone whose files this user may not see.
            Err(trouble) if trouble.is_busy => {
                return Diagnosis::skip(format!("not tried, as it is in use: {}", trouble.words));
            }
            Err(trouble) => {
                return Diagnosis::fail(
                    format!("{}: {}", entry.backend, trouble.words),
                    "the checks above may name the cause; dmesg may say more",
                );
            }
        }
    }
    if worked.is_empty() {
        Diagnosis::fail(unusable.join("; "), "see kernel.vfio and vfio.nodes")
    } else {
        Diagnosis::pass(worked.join("; "))
    }
}

struct Trouble {
    words: String,
    is_busy: bool,
}

impl From<IommuError> for Trouble {
    fn from(error: IommuError) -> Self {
        Self {
            is_busy: error.class() == ExitClass::Refused,
            words: error.to_string(),
        }
    }
}

impl From<DeviceError> for Trouble {
    fn from(error: DeviceError) -> Self {
        Self {
            is_busy: error.class() == ExitClass::Refused,
            words: error.to_string(),
        }
    }
}

impl From<String> for Trouble {
    fn from(words: String) -> Self {
        Self {
            words,
            is_busy: false,
        }
    }
}

/// Opens the device with a backend, and maps one page for it.
fn try_out(backend: Backend, node: &VfioNode, memory: Option<Size>) -> Result<String, Trouble> {
    let space = iommu::open(backend)?;
    let device = VfioDevice::open(&space, node)?;
    let usable = space.iova_ranges()?;
    let page = space.page_sizes()?.smallest().unwrap_or(4096);
    let mut free = IovaAllocator::new(&usable);
    fits(free.largest_free(), memory)?;
    let length = Size::new(page).ok_or_else(|| "the kernel reports no page size".to_owned())?;
    let buffer = Arc::new(DmaBuffer::allocate(length, PageKind::Base)?);
    let range = free
        .allocate(page, page)
        .map_err(|error| error.to_string())?;
    let part = 0..buffer.size();
    DmaMapping::new(&space, &buffer, part, range.start(), Protection::ReadWrite)?.unmap()?;
    drop(device);
    let ranges: Vec<String> = usable
        .iter()
        .map(|range| format!("{}-{}", range.start(), range.last()))
        .collect();
    Ok(format!("works, IOVAs {}", ranges.join(" and ")))
}
