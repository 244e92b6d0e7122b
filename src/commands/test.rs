//! `test DEVICE...`: prove by DMA that a device reaches the memory mapped for it, and nothing else.

use anyhow::Context as _;
use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::sync::Arc;

mod in_holder;
mod live;

pub use in_holder::run_checks;

use live::{LiveDevice, LiveHost};

use super::failure::Failure;
use super::interrupt::Interrupt;
use super::target::{Target, targets};
use super::{Context, output_file};
use crate::checks::{self, Conclusion, End, Equipment, Event, Observer, Other, Outcome, Rig};
use crate::cli::TestArgs;
use crate::device::VfioDevice;
use crate::engine::{Arena, EngineDriver, EngineLimits, EngineParts, Seat};
use crate::host::{Host, PciDevice};
use crate::iommu::AddressSpace;
use crate::report::{
    CheckList, DeviceReport, ListedEngine, Progress, Rate, Style, Subject, TestReport,
    outcome_text, print, test_junit,
};
use crate::types::{Backend, Bdf, ExitClass, Iova, Level, TestScope};
use crate::{engine, iommu};

/// Runs the checks on each device in turn.
///
/// # Errors
/// A device is not there, not on a VFIO driver, or cannot be opened.
pub fn run(args: &TestArgs, context: &Context) -> anyhow::Result<ExitClass> {
    if args.list {
        let engines = engine::ENGINES.iter().map(|driver| listed(*driver));
        context.output.emit(&CheckList::new(engines.collect()))?;
        return Ok(ExitClass::Done);
    }
    let scope = scope(args)?;
    let targets = targets(&context.host, &args.devices)?;
    let seed = args
        .seed
        .unwrap_or_else(|| RandomState::new().build_hasher().finish());
    if args.in_holder {
        return in_holder::run(&targets, seed, scope, context);
    }
    output_file::may_write([&args.junit])?;
    let interrupt = Interrupt::keep()?;
    let screen = Screen::new(context);
    let mut devices = Vec::new();
    for target in &targets {
        let report = test(target, &targets, args, &scope, seed, &screen, &interrupt)
            .with_context(|| format!("cannot test {}", target.device.bdf))?;
        devices.push(report);
        if interrupt.came() {
            break;
        }
    }
    let class = class_of_all(devices.iter().map(|device| device.conclusion.class()));
    let report = TestReport { devices };
    let written = output_file::write(args.junit.as_ref(), || Ok(test_junit(&report.devices)?));
    screen.end()?;
    if context.output.json() {
        context.output.emit(&report)?;
    }
    Ok(output_file::told(written, class))
}

fn listed(driver: &dyn EngineDriver) -> ListedEngine {
    ListedEngine {
        name: driver.name(),
        about: driver.about(),
        limits: driver.limits(),
        ran_on_hardware: driver.ran_on_hardware(),
    }
}

/// What the arguments ask for; refused where no check is so called.
fn scope(args: &TestArgs) -> anyhow::Result<TestScope> {
    let scope = TestScope {
        level: args.level,
        only: args.only.clone(),
        skip: args.skip.clone(),
        destructive: args.destructive,
        soak: args.duration.unwrap_or_default(),
    };
    let checks = checks::select(&scope)?;
    if args.duration.is_some() && !checks.iter().any(|check| check.level == Level::Soak) {
        let message = "--duration is for --level soak, or --only loopback.soak";
        return Err(Failure::new(ExitClass::Usage, message).into());
    }
    Ok(scope)
}

/// A failure outweighs what was not done, and that outweighs what passed.
fn class_of_all(classes: impl Iterator<Item = ExitClass>) -> ExitClass {
    let classes: Vec<ExitClass> = classes.collect();
    [ExitClass::Failed, ExitClass::NoVerdict]
        .into_iter()
        .find(|class| classes.contains(class))
        .unwrap_or(ExitClass::Done)
}

fn test(
    target: &Target,
    targets: &[Target],
    args: &TestArgs,
    scope: &TestScope,
    seed: u64,
    screen: &Screen<'_>,
    interrupt: &Interrupt,
) -> anyhow::Result<DeviceReport> {
    let Target { device: pci, node } = target;
    let choice = iommu::choose(args.backend, node)?;
    log::info!("{}: {} ({})", pci.bdf, choice.backend, choice.reason);
    let driver = engine::driver_for(&pci.id);
    let host = &screen.context.host;
    let subject = subject(host, pci, choice.backend, seed);

    let tell = |event: Event<'_>| match event {
        Event::Started(check) => screen.progress.say(check.id),
        Event::Finished(outcome) => screen.print(|out, style| outcome_text(outcome, out, style)),
    };
    let stop = || interrupt.came();
    let progress = |text: &str| screen.progress.say(text);
    let plan = Plan {
        driver,
        lowest_iova: args.iova,
        seed,
        scope,
        stop: &stop,
        progress: &progress,
    };
    let opened = || {
        screen.print(|out, style| subject.text(out, style));
        Ok(())
    };
    let tested = open_and_check(host, target, targets, choice.backend, &plan, opened, tell)?;
    let report = device_report(subject, scope.clone(), limits(host, pci.bdf), tested);
    screen.print(|out, style| report.conclusion_text(out, style));
    Ok(report)
}

/// Opens a device, and a second one of the others where that helps, and runs the checks. `opened` is called once they are open.
pub(super) fn open_and_check(
    host: &Host,
    target: &Target,
    targets: &[Target],
    backend: Backend,
    plan: &Plan<'_>,
    opened: impl FnOnce() -> anyhow::Result<()>,
    tell: impl FnMut(Event<'_>),
) -> anyhow::Result<Tested> {
    let Target { device: pci, node } = target;
    let driver = plan.driver;
    // What is made first goes last: the engine stops before the device closes, and the device before its address space.
    let space = iommu::open(backend)?;
    let device = VfioDevice::open(&space, node)?;
    let peer = driver.and_then(|driver| peer(driver, target, targets));
    let in_other_group = |other: &&Target| other.device.group != pci.group;
    let second = peer.or_else(|| targets.iter().find(in_other_group));
    // A group cannot be in two address spaces; otherwise the second device has one of its own, where nothing is mapped for `device`.
    let second_space = match second {
        Some(second) if in_other_group(&second) => iommu::open(backend)?,
        _ => space.clone(),
    };
    let second_device = second
        .map(|second| VfioDevice::open(&second_space, &second.node))
        .transpose()?;
    let both = Opened {
        other: second.filter(in_other_group).map(|second| Other {
            bdf: second.device.bdf,
            space: second_space.clone(),
        }),
        space,
        device: &device,
        peer: second_device
            .as_ref()
            .filter(|_| peer.is_some())
            .map(|device| (second_space, device)),
    };
    opened()?;
    both.check(host, plan, tell)
}

/// What is reported of a device.
fn device_report(
    subject: Subject,
    scope: TestScope,
    limits: Vec<String>,
    tested: Tested,
) -> DeviceReport {
    let Tested {
        outcomes,
        end,
        engine_limits,
    } = tested;
    DeviceReport {
        subject,
        scope,
        conclusion: Conclusion::of(&outcomes, end),
        limits,
        engine_limits,
        rate: Rate::of(&outcomes),
        checks: outcomes,
    }
}

/// What is known of a device before it is tested.
fn subject(host: &Host, pci: &PciDevice, backend: Backend, seed: u64) -> Subject {
    let driver = engine::driver_for(&pci.id);
    Subject {
        bdf: pci.bdf,
        id: pci.id.to_string(),
        name: host.pci_names([pci.id]).device(&pci.id).map(str::to_owned),
        backend,
        engine: driver.map(|driver| driver.name()),
        engine_ran_on_hardware: driver.map(|driver| driver.ran_on_hardware()),
        group: pci.group,
        domain_type: pci.group.and_then(|group| host.group(group).ok()?.domain),
        seed,
    }
}

/// What no check can prove, with this device as it is set up now.
fn limits(host: &Host, device: Bdf) -> Vec<String> {
    let ats = host.config_space(device).ats();
    let is_on = ats.is_some_and(|ats| ats.enabled);
    is_on
        .then(|| {
            "ATS is on: the device may keep translations of its own and send addresses as already translated. The IOMMU lets those \
             pass, so that what is proved here holds only as long as the device keeps to what the IOMMU told it"
                .to_owned()
        })
        .into_iter()
        .collect()
}

/// A device that is open, and the far end for engines that need one, each with the address space it is attached to.
struct Opened<'o> {
    space: Arc<dyn AddressSpace>,
    device: &'o VfioDevice,
    peer: Option<(Arc<dyn AddressSpace>, &'o VfioDevice)>,
    other: Option<Other>,
}

/// How a device is tested.
pub(super) struct Plan<'p> {
    pub driver: Option<&'static dyn EngineDriver>,
    pub lowest_iova: Option<Iova>,
    pub seed: u64,
    pub scope: &'p TestScope,
    pub stop: &'p dyn Fn() -> bool,
    pub progress: &'p dyn Fn(&str),
}

/// What came of it.
pub(super) struct Tested {
    pub outcomes: Vec<Outcome>,
    pub end: End,
    engine_limits: Option<EngineLimits>,
}

impl Opened<'_> {
    /// Runs the checks.
    fn check(
        self,
        host: &Host,
        plan: &Plan<'_>,
        tell: impl FnMut(Event<'_>),
    ) -> anyhow::Result<Tested> {
        let checks = checks::select(plan.scope)?;
        let bdf = self.device.bdf();
        if let Some(driver) = plan.driver {
            log::info!("{bdf}: engine {}: {}", driver.name(), driver.limits());
        }
        let observer = LiveHost::new(host, self.device.bdf());
        let physical = |address| observer.physical_address(address).ok();
        let top = host
            .physical_top()
            .and_then(|top| top.checked_next_multiple_of(1 << 30));
        let lowest = plan.lowest_iova.or(top.map(Iova));
        let arena = Arena::new(self.space.clone(), lowest, &physical)?;
        let peer_arena = match &self.peer {
            Some((space, _)) if !Arc::ptr_eq(&self.space, space) => {
                Some(Arena::new(space.clone(), lowest, &physical)?)
            }
            _ => None,
        };
        let parts = EngineParts {
            seat: Seat {
                device: self.device,
                arena: &arena,
            },
            peer: self.peer.as_ref().map(|(_, device)| Seat {
                device,
                arena: peer_arena.as_ref().unwrap_or(&arena),
            }),
            destructive: plan.scope.destructive,
        };
        let controls = LiveDevice {
            device: self.device,
            driver: plan.driver,
            parts,
            arena: &arena,
        };
        let mut rig = Rig::new(Equipment {
            space: self.space.clone(),
            controls: &controls,
            other: self.other,
            observer: &observer,
            stop: plan.stop,
            progress: plan.progress,
            iommu: host.iommu_unit(bdf).map(|unit| unit.kind),
            soak: plan.scope.soak.into(),
            physical_top: host.physical_top(),
            lowest_iova: plan.lowest_iova,
            seed: plan.seed,
        })?;
        let engine_limits = rig.engine_limits();
        let (outcomes, end) = checks::run(&mut rig, &checks, tell);
        rig.finish()?;
        Ok(Tested {
            outcomes,
            end,
            engine_limits,
        })
    }
}

/// Another of the devices, for engines that work between two.
fn peer<'t>(
    driver: &dyn EngineDriver,
    target: &Target,
    targets: &'t [Target],
) -> Option<&'t Target> {
    let other = |other: &&Target| {
        let of_kind = driver.takes_peer() && driver.drives(&other.device.id);
        of_kind && other.device.bdf != target.device.bdf
    };
    targets.iter().find(other)
}

/// Text as it comes, and progress between the lines. What cannot be printed ends no test.
struct Screen<'c> {
    context: &'c Context,
    progress: Progress,
    printed: Cell<io::Result<()>>,
}

impl<'c> Screen<'c> {
    fn new(context: &'c Context) -> Self {
        Self {
            context,
            progress: Progress::spinner(context.output.progress()),
            printed: Cell::new(Ok(())),
        }
    }

    /// Prints text at once; nothing where a JSON document is to come.
    fn print(&self, text: impl FnOnce(&mut dyn Write, Style) -> io::Result<()>) {
        if self.context.output.json() {
            return;
        }
        let style = self.context.output.style();
        let printed = self.progress.around(|| print(|out| text(out, style)));
        self.printed.set(self.printed.replace(Ok(())).and(printed));
    }

    /// Whether all could be printed.
    fn end(self) -> io::Result<()> {
        self.printed.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device whose ATS Extended Capability (PCI Express 4.0, section 10.5.1) has this control register.
    fn host_with_ats(control: u16) -> (tempfile::TempDir, Host, Bdf) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("sys/bus/pci/devices/0000:01:00.0");
        std::fs::create_dir_all(&folder).unwrap();
        let mut config = vec![0; 4096];
        config[0x100..0x104].copy_from_slice(&0x0001_000f_u32.to_le_bytes());
        config[0x106..0x108].copy_from_slice(&control.to_le_bytes());
        std::fs::write(folder.join("config"), config).unwrap();
        let host = Host::at(root.path());
        (root, host, "0000:01:00.0".parse().unwrap())
    }

    #[test]
    fn a_device_with_ats_on_limits_what_is_proved() {
        let (_on, host, device) = host_with_ats(1 << 15);
        assert!(limits(&host, device)[0].starts_with("ATS is on"));
        let (_off, host, device) = host_with_ats(0);
        assert!(limits(&host, device).is_empty());
    }
}
