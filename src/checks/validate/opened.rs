//! What an opened device does, DMA aside.

use nix::errno::Errno;

use super::{Judged, counted};
use crate::device::{DeviceError, InterruptKind, VfioDevice};
use crate::host::Bar;

/// Where the class code lies in configuration space; a virtual function's vendor and device IDs read as ones.
const REVISION_AND_CLASS: u64 = 0x08;
const BARS: u32 = 6;

/// Maps each BAR, and holds the regions against what sysfs says of them.
#[must_use]
pub fn regions(device: &VfioDevice, bars: &[Bar]) -> Judged {
    judged(
        regions_seen(device, bars),
        "the device or its driver does not work: the kernel log may say more",
    )
}

fn regions_seen(device: &VfioDevice, bars: &[Bar]) -> Result<Judged, DeviceError> {
    let mut class = [0; 4];
    device.read_config(REVISION_AND_CLASS, &mut class)?;
    if class == [0xff; 4] {
        return Ok(Judged::fail(
            "its configuration space reads as ones: it does not answer",
            "look whether it has power, and whether its physical function was reset",
        ));
    }
    let (mut seen, mut wrong) = (Vec::new(), Vec::new());
    for region in device.regions().iter().filter(|r| r.index < BARS) {
        // A BAR's index is below 6.
        let index = region.index as u8;
        match bars.iter().find(|bar| bar.index == index) {
            Some(bar) if bar.size == region.size => {}
            Some(bar) => wrong.push(format!(
                "BAR{index} has {:#x} bytes by VFIO, {:#x} by sysfs",
                region.size, bar.size
            )),
            None => wrong.push(format!("sysfs knows no BAR{index}")),
        }
        if region.mappable.is_empty() {
            seen.push(format!("BAR{index} {:#x} (not mappable)", region.size));
        } else {
            device.map_bar(index)?;
            seen.push(format!("BAR{index} {:#x}", region.size));
        }
    }
    if !wrong.is_empty() {
        let judged = Judged::fail(
            "its regions are not those of the host",
            "remove the device and rescan the bus, or restart the host",
        );
        return Ok(judged.with_evidence(wrong));
    }
    Ok(Judged::pass(format!("mapped {}", seen.join(", "))))
}

/// Takes a vector and an event for each interrupt, has the kernel signal each as its own handler would, and looks which event that sets off.
///
/// That says nothing of the way from the device to the vector: no interrupt is sent, so nothing is remapped.
#[must_use]
pub fn interrupts(device: &VfioDevice) -> Judged {
    let kind = [InterruptKind::Msix, InterruptKind::Msi]
        .into_iter()
        .find(|kind| device.interrupts(*kind) > 0);
    match kind {
        Some(kind) => match signal_all(device, kind) {
            Err(DeviceError::Interrupts {
                errno: Errno::EMFILE | Errno::ENFILE,
                ..
            }) => Judged::skip(format!(
                "each of its {} {kind} interrupts needs an open file, and there may be no more: raise the limit (ulimit -Hn), and repeat this",
                device.interrupts(kind)
            )),
            result => judged(
                result,
                "look how many vectors are left (/proc/interrupts), and at the kernel log",
            ),
        },
        None => Judged::not_here("it has no message-signalled interrupts"),
    }
}

fn signal_all(device: &VfioDevice, kind: InterruptKind) -> Result<Judged, DeviceError> {
    let count = device.interrupts(kind);
    let events = device.enable_interrupts(kind, count)?;
    let mut wrong = Vec::new();
    for number in 0..count {
        device.trigger_interrupt(kind, number)?;
        let fired: Vec<u32> = (0..count)
            .zip(&events)
            // An event that was not set off gives EAGAIN.
            .filter(|(_, event)| event.read().is_ok())
            .map(|(index, _)| index)
            .collect();
        if fired != [number] {
            wrong.push(format!("{kind} interrupt {number} set off {fired:?}"));
        }
    }
    device.disable_interrupts(kind)?;
    if wrong.is_empty() {
        return Ok(Judged::pass(format!(
            "{} could be had, each with an event of its own (signalled by the kernel, not by the device)",
            counted(count as usize, &format!("{kind} vector"))
        )));
    }
    let judged = Judged::fail(
        "interrupts do not have events of their own",
        "the kernel log may say more",
    );
    Ok(judged.with_evidence(wrong))
}

/// Resets the device some times. `required` for what must be able to: each virtual function (SR-IOV 1.1, section 2.2.2).
#[must_use]
pub fn reset(device: &VfioDevice, times: u32, required: bool) -> Judged {
    if !device.can_reset() {
        let why = "the kernel knows no way to reset it alone";
        let remedy = "give it to one user only, or restart the host in between";
        return if required {
            Judged::fail(why, remedy)
        } else {
            Judged::warn(why, remedy)
        };
    }
    judged(
        reset_times(device, times),
        "the device does not come back from a reset: update its firmware, and do not hand it out",
    )
}

fn reset_times(device: &VfioDevice, times: u32) -> Result<Judged, DeviceError> {
    for _ in 0..times {
        device.set_bus_master(true)?;
        device.reset()?;
        let mut class = [0; 4];
        device.read_config(REVISION_AND_CLASS, &mut class)?;
        if class == [0xff; 4] {
            return Ok(Judged::fail(
                "it does not answer after the reset",
                "update its firmware, and do not hand it out",
            ));
        }
    }
    device.set_bus_master(false)?;
    Ok(Judged::pass(match times {
        1 => "reset, and it answers".to_owned(),
        _ => format!("reset {times} times, and it answers"),
    }))
}

fn judged(result: Result<Judged, DeviceError>, remedy: &str) -> Judged {
    result.unwrap_or_else(|error| Judged::fail(error.to_string(), remedy))
}
