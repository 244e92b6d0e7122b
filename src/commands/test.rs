//! `test DEVICE...`: prove by DMA that a device reaches the memory mapped for it, and nothing else.

use anyhow::Context as _;
use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::ptr::NonNull;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

mod in_holder;

pub use in_holder::run_checks;

use super::Context;
use super::interrupt::Interrupt;
use super::target::{Target, targets};
use crate::checks::{self, Conclusion, End, Equipment, Event, Observer, Outcome, Rig};
use crate::cli::TestArgs;
use crate::device::VfioDevice;
use crate::engine::{Arena, EngineDriver, EngineParts, Seat};
use crate::host::{Host, KernelLog, PciDevice, physical_address};
use crate::iommu::AddressSpace;
use crate::report::{CheckList, DeviceReport, Progress, Subject, TestReport, outcome_text};
use crate::types::{Backend, ExitClass, Iova};
use crate::{engine, iommu};

/// Runs the checks on each device in turn.
///
/// # Errors
/// A device is not there, not on a VFIO driver, or cannot be opened.
pub fn run(args: &TestArgs, context: &Context) -> anyhow::Result<ExitClass> {
    if args.list {
        context.output.emit(&CheckList::all())?;
        return Ok(ExitClass::Done);
    }
    let targets = targets(&context.host, &args.devices)?;
    let seed = args
        .seed
        .unwrap_or_else(|| RandomState::new().build_hasher().finish());
    if args.in_holder {
        return in_holder::run(&targets, seed, context);
    }
    let interrupt = Interrupt::keep()?;
    let mut devices = Vec::new();
    for target in &targets {
        let report = test(target, &targets, args, seed, context, &interrupt)
            .with_context(|| format!("cannot test {}", target.device.bdf))?;
        devices.push(report);
        if interrupt.came() {
            break;
        }
    }
    let class = class_of_all(devices.iter().map(|device| device.conclusion.class()));
    if context.output.json() {
        context.output.emit(&TestReport { devices })?;
    }
    Ok(class)
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
    seed: u64,
    context: &Context,
    interrupt: &Interrupt,
) -> anyhow::Result<DeviceReport> {
    let Target { device: pci, node } = target;
    let choice = iommu::choose(args.backend, node)?;
    log::info!("{}: {} ({})", pci.bdf, choice.backend, choice.reason);
    let driver = engine::driver_for(&pci.id);
    let host = &context.host;
    let subject = subject(host, pci, choice.backend, seed);

    // What is made first goes last: the engine stops before the device closes, and the device before its address space.
    let space = iommu::open(choice.backend)?;
    let device = VfioDevice::open(&space, node)?;
    let peer = driver.and_then(|driver| peer(driver, target, targets));
    // A group cannot be in two address spaces; otherwise the peer has one of its own, where nothing is mapped for `device`.
    let peer_space = match peer {
        Some(peer) if peer.device.group != pci.group => iommu::open(choice.backend)?,
        _ => space.clone(),
    };
    let peer_device = peer
        .map(|peer| VfioDevice::open(&peer_space, &peer.node))
        .transpose()?;
    let opened = Opened {
        space,
        device: &device,
        peer: peer_device.as_ref().map(|device| (peer_space, device)),
    };

    let screen = Screen::new(context);
    screen.print(|out, style| subject.text(out, style))?;
    let mut printed = Ok(());
    let tell = |event: Event<'_>| match event {
        Event::Started(check) => screen.progress.say(check.id),
        Event::Finished(outcome) => {
            let line = screen.print(|out, style| outcome_text(outcome, out, style));
            printed = std::mem::replace(&mut printed, Ok(())).and(line);
        }
    };
    let stop = || interrupt.came();
    let (outcomes, end) = opened.check(host, driver, args.iova, seed, &stop, tell)?;
    printed?;
    let report = DeviceReport {
        subject,
        conclusion: Conclusion::of(&outcomes, end),
        checks: outcomes,
    };
    screen.print(|out, style| report.conclusion_text(out, style))?;
    Ok(report)
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

/// A device that is open, and the far end for engines that need one, each with the address space it is attached to.
struct Opened<'o> {
    space: Arc<dyn AddressSpace>,
    device: &'o VfioDevice,
    peer: Option<(Arc<dyn AddressSpace>, &'o VfioDevice)>,
}

impl Opened<'_> {
    /// Runs all checks.
    fn check(
        self,
        host: &Host,
        driver: Option<&'static dyn EngineDriver>,
        lowest_iova: Option<Iova>,
        seed: u64,
        stop: &dyn Fn() -> bool,
        tell: impl FnMut(Event<'_>),
    ) -> anyhow::Result<(Vec<Outcome>, End)> {
        let observer = LiveHost::default();
        let physical = |address| observer.physical_address(address).ok();
        let top = host
            .physical_top()
            .and_then(|top| top.checked_next_multiple_of(1 << 30));
        let lowest = lowest_iova.or(top.map(Iova));
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
            destructive: false,
        };
        let engine = driver.map(|driver| driver.open(parts)).transpose()?;
        let mut rig = Rig::new(Equipment {
            space: self.space.clone(),
            engine,
            reserved: arena.taken(),
            observer: &observer,
            stop,
            physical_top: host.physical_top(),
            lowest_iova,
            seed,
        })?;
        Ok(checks::run(&mut rig, tell))
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

/// Text as it comes, and progress between the lines.
struct Screen<'c> {
    context: &'c Context,
    progress: Progress,
}

impl<'c> Screen<'c> {
    fn new(context: &'c Context) -> Self {
        Self {
            context,
            progress: Progress::spinner(context.output.progress()),
        }
    }

    /// Prints text at once; nothing where a JSON document is to come.
    fn print(
        &self,
        text: impl FnOnce(&mut dyn Write, crate::report::Style) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.context.output.json() {
            return Ok(());
        }
        self.progress.around(|| {
            let mut out = io::stdout().lock();
            text(&mut out, self.context.output.style())?;
            out.flush()
        })
    }
}

/// The host that this process runs on.
#[derive(Default)]
struct LiveHost {
    log: RefCell<Option<KernelLog>>,
}

/// How long the kernel may take to log a fault; 30 ms were always enough.
const FAULT_LOG_DELAY: Duration = Duration::from_millis(100);

impl Observer for LiveHost {
    fn physical_address(&self, address: NonNull<u8>) -> Result<u64, String> {
        physical_address(address.as_ptr() as usize).map_err(|error| error.to_string())
    }

    fn mark_log(&self) -> Result<(), String> {
        let log = KernelLog::from_now().map_err(|error| error.to_string())?;
        self.log.replace(Some(log));
        Ok(())
    }

    fn log_since_mark(&self) -> Result<Vec<String>, String> {
        thread::sleep(FAULT_LOG_DELAY);
        let mut log = self.log.borrow_mut();
        let records = log.as_mut().map_or(Ok(Vec::new()), KernelLog::new_records);
        let messages = records.map(|records| records.into_iter().map(|r| r.message).collect());
        messages.map_err(|error| error.to_string())
    }
}
