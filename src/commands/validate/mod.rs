//! `validate PF` and `validate DEVICE...`: is this fit to be handed out?

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Instant;

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

mod devices;
mod examination;
mod expectation;
mod files;
mod physical;

use self::devices::Devices;
use self::examination::{Examination, Watch};
use self::expectation::Expectation;
use super::interrupt::Interrupt;
use super::{Context, Failure, output_file};
use crate::binding::{self, BindOptions, BindingError};
use crate::checks::doctor::Ground;
use crate::checks::validate::{AFTER_LEAKS, AFTER_RESTORED, Judged, MapLatency, Traces};
use crate::cli::ValidateArgs;
use crate::engine;
use crate::host::{Host, PciDevice, Sriov, Use};
use crate::report::{Progress, ValidateList, ValidateReport, Validated, ValidatedDevice};
use crate::types::{Bdf, ExitClass, FunctionCount, Level};

/// Runs all checks, and leaves the host as it was.
///
/// # Errors
/// A name means no device, the device can have no virtual functions, or something is in use; nothing was changed then.
pub fn run(args: &ValidateArgs, context: &Context) -> anyhow::Result<ExitClass> {
    if args.list {
        context.output.emit(&ValidateList::all())?;
        return Ok(ExitClass::Done);
    }
    if args.duration.is_some() && args.level != Level::Soak {
        let message = "--duration is for --level soak";
        return Err(Failure::new(ExitClass::Usage, message).into());
    }
    let host = &context.host;
    let named = binding::resolve_all(host, &args.devices)?;
    let expectation = Expectation::begin(args, host, &named)?;
    let args = &ValidateArgs {
        vfs: args.vfs.or(expectation.function_count(host, &named)),
        ..args.clone()
    };
    let physical = physical_function(args, host, &named)?;
    if !host.is_live() {
        let message =
            "a captured host (--sysroot) can be looked at, but nothing of it can be validated";
        return Err(Failure::new(ExitClass::Usage, message).into());
    }
    host.require_iommu()?;
    refuse_in_use(host, &named, physical.is_some())?;
    raise_open_files();
    output_file::may_write([&args.junit, &args.prometheus, &args.html])?;
    let interrupt = Interrupt::keep()?;
    let examination = Examination::new(
        host,
        &interrupt,
        Progress::spinner(context.output.progress()),
        args.limit.into(),
    );
    let begin = Instant::now();
    let traces = Traces::of(host);
    let drivers = drivers(host, &named);
    let latencies = examine(args, &examination, &expectation, &named, physical.as_ref())?;
    if !examination.is_interrupted() {
        expectation.compare(&examination, &latencies, args.level)?;
    }
    after(&examination, &drivers, traces);
    let (checks, interrupted) = examination.end();
    let report = ValidateReport::new(Validated {
        devices: named.iter().map(|device| described(host, device)).collect(),
        level: args.level,
        functions: physical.is_some(),
        latencies: latencies.clone(),
        checks,
        interrupted,
        seconds: begin.elapsed().as_secs_f64(),
    });
    let mut written = files::write(args, &report);
    if let Some(path) = &args.write_expect {
        if report.class() == ExitClass::Done {
            written = written.and(expectation.write(path, &latencies));
        } else {
            log::warn!(
                "{} is not written: it is made of what was found fit only",
                path.display()
            );
        }
    }
    context.output.emit(&report)?;
    Ok(output_file::told(written, report.class()))
}

/// Allows as many open files as this process may: each interrupt is one, and so are all functions at once.
fn raise_open_files() {
    let files = Resource::RLIMIT_NOFILE;
    let raised = getrlimit(files).and_then(|(_, hard)| setrlimit(files, hard, hard));
    if let Err(errno) = raised {
        log::info!("the limit of open files stays as it is: {errno}");
    }
}

/// What SR-IOV says of the one device that was named, if its virtual functions are meant.
fn physical_function(
    args: &ValidateArgs,
    host: &Host,
    named: &[PciDevice],
) -> anyhow::Result<Option<Sriov>> {
    let usage = |message: String| Err(Failure::new(ExitClass::Usage, message).into());
    match (named, args.vfs) {
        (_, Some(FunctionCount::Number(0))) => Ok(None),
        ([one], Some(count)) => {
            let there = binding::functions(host, one)?;
            let wanted = count.of(there.total);
            if wanted > there.total {
                return usage(format!(
                    "{} can have {} virtual functions, not {wanted}",
                    one.bdf, there.total
                ));
            }
            Ok(host.sriov(one.bdf))
        }
        ([one], None) => Ok(host.sriov(one.bdf)),
        (_, None) => Ok(None),
        (_, Some(_)) => usage("--vfs is for one physical function".to_owned()),
    }
}

fn examine(
    args: &ValidateArgs,
    examination: &Examination<'_>,
    expectation: &Expectation,
    named: &[PciDevice],
    sriov: Option<&Sriov>,
) -> anyhow::Result<Vec<MapLatency>> {
    let host = examination.host;
    let ground = Ground::new(host, host.pci_devices()?, None, false);
    let watch = Watch::begin();
    for examined in ground.examine_host() {
        let judged = Judged::from(examined.diagnosis);
        examination.add(watch.part(examined.id, None, judged));
    }
    let devices = Devices {
        args,
        expectation,
        seed: RandomState::new().build_hasher().finish(),
    };
    if let (Some(sriov), [pf]) = (sriov, named) {
        return physical::examine(&devices, examination, pf, sriov, &ground);
    }
    let (mut targets, mut bound) = (Vec::new(), Vec::new());
    for device in named {
        if !examination.is_interrupted() {
            targets.extend(physical::take(examination, &ground, device, &mut bound));
        }
    }
    let latencies = devices.examine(examination, &targets);
    physical::give_back(examination, &bound);
    Ok(latencies)
}

/// What is held, and what `bind` would refuse, is refused before anything is begun: that it is used says nothing about how fit it is.
///
/// A physical function itself is not bound. Of its virtual functions each is judged by itself, so that one that is used keeps no other from
/// being checked.
fn refuse_in_use(host: &Host, named: &[PciDevice], is_physical: bool) -> anyhow::Result<()> {
    let names = host.kernel_names();
    let mut held: BTreeMap<Bdf, Vec<Use>> = BTreeMap::new();
    for (bdf, one) in host.usage(&names).held(named) {
        held.entry(bdf).or_default().push(one);
    }
    if !held.is_empty() {
        return Err(BindingError::InUse(held.into_iter().collect())).context(
            "nothing was checked or changed: who holds a device must let go of it before it is validated",
        );
    }
    if is_physical {
        return Ok(());
    }
    match binding::plan_bind(host, named, &BindOptions::default()) {
        Ok(_) => Ok(()),
        Err(error @ BindingError::InUse(_)) => Err(error).context(
            "nothing was checked or changed: end what uses the device, or take it away yourself (iommu-tool bind) before it is validated",
        ),
        Err(error) => Err(error.into()),
    }
}

fn drivers(host: &Host, named: &[PciDevice]) -> Vec<(Bdf, Option<String>)> {
    let functions = named
        .iter()
        .filter_map(|device| host.sriov(device.bdf))
        .flat_map(|sriov| sriov.functions);
    named
        .iter()
        .map(|device| device.bdf)
        .chain(functions)
        .map(|bdf| (bdf, host.driver(bdf)))
        .collect()
}

/// Whether all is as it was.
fn after(examination: &Examination<'_>, drivers: &[(Bdf, Option<String>)], traces: Traces) {
    let host = examination.host;
    for (bdf, before) in drivers {
        let now = host.driver(*bdf);
        let name = |driver: &Option<String>| match driver {
            Some(driver) => format!("on {driver}"),
            None => "without a driver".to_owned(),
        };
        let judged = if now == *before {
            Judged::pass(format!("{}, as before", name(before)))
        } else {
            Judged::fail(
                format!("{}, and it was {}", name(&now), name(before)),
                format!("iommu-tool recover, or iommu-tool unbind {bdf}"),
            )
        };
        examination.add_now(AFTER_RESTORED, Some(*bdf), judged);
    }
    let judged = Traces::of(host).compared_with(traces);
    examination.add_now(AFTER_LEAKS, None, judged);
}

fn described(host: &Host, device: &PciDevice) -> ValidatedDevice {
    ValidatedDevice {
        bdf: device.bdf,
        id: device.id.to_string(),
        name: host
            .pci_names([device.id])
            .device(&device.id)
            .map(str::to_owned),
        driver: device.driver.clone(),
        engine: engine::driver_for(&device.id).map(|driver| driver.name()),
    }
}
