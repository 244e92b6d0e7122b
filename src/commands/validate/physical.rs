//! A physical function and its virtual ones: made, checked, removed.

use super::devices::{Devices, examine_place};
use super::examination::Examination;
use crate::binding::{self, BindOptions, BindingError, Process, TemporaryFunctions};
use crate::checks::doctor::Ground;
use crate::checks::validate::{
    self, AFTER_RESTORED, FUNCTION_ACS, FUNCTION_BOUND, FUNCTION_GROUP, Judged, MapLatency,
    VFS_COUNT, VFS_CYCLES, VFS_INTERRUPTS, VFS_READY, VFS_SPACE, VFS_STRIDE,
};
use crate::commands::Failure;
use crate::commands::target::Target;
use crate::host::{Host, PciDevice, Sriov, Use, is_vfio_driver};
use crate::types::{Bdf, ExitClass, Level};

/// Runs everything on a physical function. Returns what mapping costs for each virtual one.
///
/// # Errors
/// It can have no virtual functions or not so many, or one of those that it has is in use.
pub fn examine(
    devices: &Devices<'_>,
    examination: &Examination<'_>,
    pf: &PciDevice,
    sriov: &Sriov,
    ground: &Ground<'_>,
) -> anyhow::Result<Vec<MapLatency>> {
    examine_place(examination, ground, pf.bdf);
    let wanted = devices.args.vfs.map(|count| count.of(sriov.total));
    if sriov.count() > 0 {
        if binding::is_interrupted(examination.host, pf.bdf) {
            return Err(BindingError::UnfinishedFunctions(pf.bdf).into());
        }
        if let Some(wanted) = wanted.filter(|wanted| *wanted != sriov.count()) {
            let message = format!(
                "{} has {} virtual functions, and to make {wanted} would take those away: 'iommu-tool vfs {} 0' removes them, or leave out --vfs \
                 to check those that there are",
                pf.bdf,
                sriov.count(),
                pf.bdf
            );
            return Err(Failure::new(ExitClass::Refused, message).into());
        }
        return Ok(with_functions(devices, examination, pf, ground));
    }
    if pf.driver.as_deref().is_some_and(is_vfio_driver) {
        let message = format!(
            "{0} is with user space, whose driver must serve virtual functions before they can be checked: 'iommu-tool unbind {0}' gives it back \
             to the host's",
            pf.bdf
        );
        return Err(Failure::new(ExitClass::Refused, message).into());
    }
    let count = wanted.unwrap_or(sriov.total);
    let temporary = TemporaryFunctions::begin(examination.host, pf, count)?;
    let mut latencies = Vec::new();
    if make(examination, &temporary, pf, count) {
        latencies = with_functions(devices, examination, pf, ground);
        if devices.args.level >= Level::Full {
            cycle(devices, examination, &temporary, pf, count);
        }
    }
    end(examination, &temporary, pf);
    Ok(latencies)
}

fn make(
    examination: &Examination<'_>,
    temporary: &TemporaryFunctions<'_>,
    pf: &PciDevice,
    count: u16,
) -> bool {
    let mut notes = Vec::new();
    let made = examination.judge(VFS_COUNT, Some(pf.bdf), None, || {
        match temporary.make(count) {
            Ok(made) => {
                notes = made.notes;
                Judged::pass(format!("{} of {} made", made.functions.len(), made.total))
            }
            Err(error) => failed(examination, error),
        }
    });
    if made {
        examination.judge(VFS_READY, Some(pf.bdf), None, || {
            match notes.split_first() {
                None => Judged::pass("nothing is missing"),
                Some((note, more)) => Judged::warn(
                    note.clone(),
                    "set that right, then repeat this: what fails below may come from it",
                )
                .with_evidence(more.iter().cloned()),
            }
        });
    }
    made
}

fn failed(examination: &Examination<'_>, error: BindingError) -> Judged {
    examination.note_signal(&error);
    if let BindingError::InUse(devices) = &error {
        let uses = devices.iter().flat_map(|(_, uses)| uses);
        let advice = Use::advice(uses.clone());
        return Judged::fail("it is in use, so it was left as it is", advice)
            .with_evidence(uses.map(|one| one.evidence.clone()));
    }
    Judged::fail(
        format!("{:#}", anyhow::Error::from(error)),
        "do what the message says, then repeat this",
    )
}

/// Checks virtual functions that are there.
fn with_functions(
    devices: &Devices<'_>,
    examination: &Examination<'_>,
    pf: &PciDevice,
    ground: &Ground<'_>,
) -> Vec<MapLatency> {
    let host = examination.host;
    let Some(sriov) = host.sriov(pf.bdf) else {
        return Vec::new();
    };
    let physical = Some(pf.bdf);
    examination.judge(VFS_STRIDE, physical, None, || {
        validate::stride(pf.bdf, &sriov)
    });
    examination.judge(VFS_SPACE, physical, None, || validate::space(host, &sriov));
    examination.judge(VFS_INTERRUPTS, physical, None, || {
        validate::interrupts_offered(host, &sriov.functions)
    });
    let functions: Vec<PciDevice> = sriov
        .functions
        .iter()
        .filter_map(|bdf| host.device(*bdf).ok())
        .collect();
    let mut targets = Vec::new();
    let mut bound = Vec::new();
    for function in &functions {
        if examination.is_interrupted() {
            break;
        }
        targets.extend(take(examination, ground, function, &mut bound));
    }
    let latencies = devices.examine(examination, &targets);
    give_back(examination, &bound);
    latencies
}

/// Looks at the place of a device, and binds it.
pub fn take(
    examination: &Examination<'_>,
    ground: &Ground<'_>,
    device: &PciDevice,
    bound: &mut Vec<PciDevice>,
) -> Option<Target> {
    let host = examination.host;
    let at = Some(device.bdf);
    examination.judge(FUNCTION_ACS, at, None, || validate::acs(host, device));
    let alone = |device: &PciDevice| {
        examination.judge(FUNCTION_GROUP, at, None, || validate::apart(host, device));
    };
    // Some kernels make a device's group when it is bound.
    if device.group.is_some() {
        alone(device);
    }
    let target = bind(examination, device, bound);
    if device.group.is_none() {
        alone(target.as_ref().map_or(device, |target| &target.device));
    }
    examine_place(examination, ground, device.bdf);
    target
}

/// Binds one device by itself, so that one which cannot be bound keeps no other from being checked. What was changed is added to `bound`.
fn bind(
    examination: &Examination<'_>,
    device: &PciDevice,
    bound: &mut Vec<PciDevice>,
) -> Option<Target> {
    let host = examination.host;
    let options = BindOptions {
        run: Some(Process::own(host)),
        ..BindOptions::default()
    };
    let mut target = None;
    examination.judge(FUNCTION_BOUND, Some(device.bdf), None, || {
        let devices = std::slice::from_ref(device);
        let outcomes = match binding::bind(host, devices, &options) {
            Ok(outcomes) => outcomes,
            Err(error) => return failed(examination, error),
        };
        if outcomes.iter().any(|outcome| outcome.changed) {
            bound.push(device.clone());
        }
        match opened_as(host, device.bdf) {
            Ok(found) => {
                let driver = found.device.driver.clone().unwrap_or_default();
                target = Some(found);
                Judged::pass(format!("on {driver}"))
            }
            Err(error) => failed(examination, error),
        }
    });
    target
}

fn opened_as(host: &Host, bdf: Bdf) -> Result<Target, BindingError> {
    let device = host.device(bdf)?;
    let node = binding::node_to_open(host, &device)?;
    Ok(Target { device, node })
}

/// Gives devices back to the drivers that they had, whatever signals come.
pub fn give_back(examination: &Examination<'_>, bound: &[PciDevice]) {
    let mut left = Vec::new();
    for device in bound.iter().rev() {
        if let Err(error) = binding::restore(examination.host, std::slice::from_ref(device)) {
            left.push((device.bdf, error));
        }
    }
    for (bdf, error) in left {
        let judged = Judged::fail(
            format!("{:#}", anyhow::Error::from(error)),
            format!("iommu-tool recover {bdf}, once the cause is gone"),
        );
        examination.add_now(AFTER_RESTORED, Some(bdf), judged);
    }
}

/// Removes the functions and makes them again.
fn cycle(
    devices: &Devices<'_>,
    examination: &Examination<'_>,
    temporary: &TemporaryFunctions<'_>,
    pf: &PciDevice,
    count: u16,
) {
    let times = if devices.args.level == Level::Soak {
        20
    } else {
        3
    };
    let limit = examination.limit * times;
    examination.judge_within(limit, VFS_CYCLES, Some(pf.bdf), None, || {
        for number in 1..=times {
            let made = temporary.make(0).and_then(|_| temporary.make(count));
            if let Err(error) = made {
                let judged = failed(examination, error);
                return judged.with_evidence([format!("in cycle {number} of {times}")]);
            }
            if examination.is_interrupted() {
                break;
            }
        }
        Judged::pass(format!("{times} times to 0 and back to {count}"))
    });
}

fn end(examination: &Examination<'_>, temporary: &TemporaryFunctions<'_>, pf: &PciDevice) {
    examination.say(AFTER_RESTORED.id, Some(pf.bdf), None);
    let judged = match temporary.end() {
        Ok(count) => Judged::pass(format!("{count} virtual functions, as before")),
        Err(error) => Judged::fail(
            format!("{:#}", anyhow::Error::from(error)),
            format!("iommu-tool recover {}, once the cause is gone", pf.bdf),
        ),
    };
    examination.add_now(AFTER_RESTORED, Some(pf.bdf), judged);
}
