//! What is checked of devices that are bound, virtual functions or not.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::examination::{Examination, Watch};
use super::expectation::Expectation;
use crate::checks::doctor::{Ground, Health};
use crate::checks::validate::{
    self, ALL_LOAD, ALL_MAP_LATENCY, ALL_TABLES, FUNCTION_ENGINE, FUNCTION_INTERRUPTS,
    FUNCTION_OPEN, FUNCTION_REGIONS, FUNCTION_RESET, Judged, LoadLane, MapLatency,
};
use crate::checks::{CHECKS, End, Event, Outcome, Role, Verdict};
use crate::cli::ValidateArgs;
use crate::commands::target::Target;
use crate::commands::test::{Plan, open_and_check};
use crate::device::VfioDevice;
use crate::engine::{self, EngineDriver};
use crate::host::Host;
use crate::iommu::{self, BACKENDS};
use crate::types::{Backend, Bdf, Iova, Level, TestScope};

/// How long all devices work at once, at the level full.
const LOAD_TIME: Duration = Duration::from_secs(3);

const OPEN_REMEDY: &str = "end what holds it, or look at what the message names";

/// Runs those of the checks of `doctor` for a device.
pub fn examine_place(
    examination: &Examination<'_>,
    ground: &Ground<'_>,
    device: Bdf,
    checks: &[&str],
) {
    let host = examination.host;
    let Ok(found) = host.device(device) else {
        return;
    };
    for examined in ground.examine_device(&found, &host.usage(&host.kernel_names())) {
        if checks.contains(&examined.id) {
            let watch = Watch::begin();
            let judged = Judged::from(examined.diagnosis);
            examination.add(watch.end(examined.id, Some(device), None, judged));
        }
    }
}

/// What the checks of devices need beside them.
pub struct Devices<'d> {
    pub args: &'d ValidateArgs,
    pub expectation: &'d Expectation,
    pub seed: u64,
}

impl Devices<'_> {
    /// Runs everything on devices that are bound. Returns what mapping costs for each.
    pub fn examine(&self, examination: &Examination<'_>, targets: &[Target]) -> Vec<MapLatency> {
        self.expectation.see(examination.host);
        let mut latencies = Vec::new();
        let mut engines_through = usable_backends(examination, targets);
        let mut sound = true;
        let mut opened = Vec::new();
        for backend in &engines_through {
            opened.push((*backend, self.open_all(examination, targets, *backend)));
        }
        if self.args.level == Level::Quick {
            engines_through.truncate(1);
        }
        for (backend, openable) in opened {
            if !engines_through.contains(&backend) {
                continue;
            }
            let able: Vec<Target> = openable.iter().map(|at| targets[*at].clone()).collect();
            if able.is_empty() {
                continue;
            }
            let apart = one_of_each_group(&able);
            tables(examination, &apart, backend);
            for target in &able {
                sound &= self.test(examination, target, &able, backend);
            }
            if self.args.level >= Level::Full && !examination.is_interrupted() {
                if sound {
                    self.load(examination, &apart, backend);
                }
                if latencies.is_empty() {
                    latencies = measure(examination, &apart, backend);
                }
            }
        }
        latencies
    }

    /// Opens each device by itself, and looks at all but DMA. Returns the places of those that could be opened.
    fn open_all(
        &self,
        examination: &Examination<'_>,
        targets: &[Target],
        backend: Backend,
    ) -> Vec<usize> {
        let mut openable = Vec::new();
        for (at, target) in targets.iter().enumerate() {
            if let Some(device) = open(examination, target, backend) {
                self.look(examination, target, backend, &device);
                openable.push(at);
            }
        }
        openable
    }

    fn look(
        &self,
        examination: &Examination<'_>,
        target: &Target,
        backend: Backend,
        device: &VfioDevice,
    ) {
        let (bdf, through) = (Some(target.device.bdf), Some(backend));
        let bars = examination.host.bars(target.device.bdf);
        examination.judge(FUNCTION_REGIONS, bdf, through, || {
            validate::regions(device, &bars)
        });
        examination.judge(FUNCTION_INTERRUPTS, bdf, through, || {
            validate::interrupts(device)
        });
        let times = match self.args.level {
            Level::Quick => 1,
            Level::Full => 3,
            Level::Soak => 20,
        };
        let is_virtual = examination
            .host
            .physical_function(target.device.bdf)
            .is_some();
        examination.judge(FUNCTION_RESET, bdf, through, || {
            validate::reset(device, times, is_virtual)
        });
    }

    /// Runs the checks of `test`. Returns whether DMA reaches nothing but what it is to reach, as far as is known.
    fn test(
        &self,
        examination: &Examination<'_>,
        target: &Target,
        targets: &[Target],
        backend: Backend,
    ) -> bool {
        let bdf = target.device.bdf;
        let driver = engine::driver_for(&target.device.id);
        if driver.is_none() {
            examination.judge(FUNCTION_ENGINE, Some(bdf), Some(backend), || {
                self.without_engine()
            });
        }
        if examination.is_interrupted() {
            return false;
        }
        let scope = TestScope {
            level: self.args.level,
            soak: self.args.duration.unwrap_or_default(),
            ..TestScope::default()
        };
        let (begin, now) = (Cell::new(Instant::now()), Cell::new(None));
        let is_late = || begin.get().elapsed() > examination.limit + scope.soak.into();
        let stop = || examination.is_interrupted() || is_late();
        let plan = Plan {
            driver,
            lowest_iova: None,
            seed: self.seed,
            scope: &scope,
            stop: &stop,
            progress: &|text| examination.progress.say(&format!("{bdf} {backend} {text}")),
        };
        let mut found = Vec::new();
        let mut watch = Some(Watch::begin());
        let whole = Watch::begin();
        let tell = |event: Event<'_>| match event {
            Event::Started(check) => {
                begin.set(Instant::now());
                now.set(Some(check.id));
                watch = Some(Watch::begin());
                examination.say(check.id, Some(bdf), Some(backend));
            }
            Event::Finished(outcome) => {
                let judged = self.judged(outcome, driver);
                let watch = watch.take().unwrap_or_else(Watch::begin);
                found.push(watch.end(outcome.id, Some(bdf), Some(backend), judged));
            }
        };
        let tested = open_and_check(
            examination.host,
            target,
            targets,
            backend,
            &plan,
            || Ok(()),
            tell,
        );
        let late = is_late() && !examination.is_interrupted();
        let sound = found
            .iter()
            .all(|checked| checked.judged.verdict != Health::Fail);
        for checked in found {
            examination.add(checked);
        }
        match tested {
            Ok(tested) if tested.end == End::Interrupted && late => {
                let id = now.get().unwrap_or(FUNCTION_ENGINE.id);
                let judged = Judged::fail(
                    format!("it did not end within {} s", examination.limit.as_secs()),
                    "look at the kernel log; --limit allows more",
                );
                examination.add(whole.end(id, Some(bdf), Some(backend), judged));
                false
            }
            Ok(tested) => sound && tested.end == End::Complete,
            Err(error) => {
                let judged = Judged::fail(
                    format!("{error:#}"),
                    "do what the message says, or repeat it alone: iommu-tool bind, iommu-tool test -v",
                );
                examination.add(whole.end(FUNCTION_ENGINE.id, Some(bdf), Some(backend), judged));
                false
            }
        }
    }

    fn without_engine(&self) -> Judged {
        let why = "no engine drives this device, so nothing is proved by DMA";
        if self.args.allow_no_dma {
            Judged::not_here(why)
        } else {
            Judged::skip(why)
        }
    }

    fn judged(&self, outcome: &Outcome, driver: Option<&dyn EngineDriver>) -> Judged {
        let mut judged = Judged::from(outcome.finding.clone());
        let check = CHECKS.iter().find(|check| check.id == outcome.id);
        let is_dma = check.is_some_and(|check| check.role != Role::WithoutDma);
        // One line says that there is no engine: the others are not held against the device a second time.
        if driver.is_none() && is_dma && outcome.finding.verdict == Verdict::Skip {
            judged.optional = true;
        }
        judged
    }

    /// All devices at once. Engines that work between two take them in pairs; one that is left over is the first of a pair in a second round.
    fn load(&self, examination: &Examination<'_>, targets: &[Target], backend: Backend) {
        let mut order: Vec<&Target> = targets.iter().collect();
        let (first, is_one_left) = lanes(&order);
        let mut rounds = vec![first];
        if is_one_left {
            order.rotate_right(1);
            rounds.push(lanes(&order).0);
        }
        let time = match self.args.level {
            Level::Quick | Level::Full => LOAD_TIME,
            Level::Soak => self.args.duration.unwrap_or_default().into(),
        };
        let top = examination.host.physical_top();
        let lowest = top.and_then(|top| top.checked_next_multiple_of(1 << 30));
        let stop = || examination.is_interrupted();
        let limit = examination.limit + time;
        for lanes in rounds {
            examination.judge_within(limit, ALL_LOAD, None, Some(backend), || {
                validate::load(&lanes, backend, lowest.map(Iova), time, &stop)
            });
        }
    }
}

/// The first device of each group: devices of one group are in one address space, whoever has them.
fn one_of_each_group(targets: &[Target]) -> Vec<Target> {
    let mut groups = BTreeSet::new();
    let first = |target: &&Target| groups.insert(target.device.group);
    targets.iter().filter(first).cloned().collect()
}

/// Whether the IOMMU has a page table for each.
fn tables(examination: &Examination<'_>, targets: &[Target], backend: Backend) {
    let nodes: Vec<_> = targets.iter().map(|target| &target.node).collect();
    examination.judge(ALL_TABLES, None, Some(backend), || {
        validate::tables_apart(examination.host, &nodes, backend)
    });
}

fn measure(examination: &Examination<'_>, targets: &[Target], backend: Backend) -> Vec<MapLatency> {
    if targets.len() < 2 {
        return Vec::new();
    }
    let nodes: Vec<_> = targets.iter().map(|target| &target.node).collect();
    let mut latencies = Vec::new();
    examination.judge(
        ALL_MAP_LATENCY,
        None,
        Some(backend),
        || match validate::map_latencies(&nodes, backend) {
            Ok(measured) => {
                latencies = measured;
                validate::similar(&latencies)
            }
            Err(why) => Judged::fail(why, OPEN_REMEDY),
        },
    );
    latencies
}

/// Who works with whom, and whether one that should have a partner has none.
fn lanes<'t>(targets: &[&'t Target]) -> (Vec<LoadLane<'t>>, bool) {
    let mut lanes: Vec<LoadLane<'_>> = Vec::new();
    let mut waiting: Option<&Target> = None;
    for &target in targets {
        let driver = engine::driver_for(&target.device.id);
        match (driver.filter(|driver| driver.takes_peer()), waiting) {
            (None, _) => lanes.push(LoadLane {
                near: &target.node,
                far: None,
                driver,
            }),
            (Some(_), None) => waiting = Some(target),
            (Some(driver), Some(near)) => {
                waiting = None;
                lanes.push(LoadLane {
                    near: &near.node,
                    far: Some(&target.node),
                    driver: Some(driver),
                });
            }
        }
    }
    let is_one_left = waiting.is_some() && !lanes.is_empty();
    // One alone: between itself and itself it works only on some cards.
    lanes.extend(waiting.map(|target| LoadLane {
        near: &target.node,
        far: None,
        driver: engine::driver_for(&target.device.id).filter(|_| lanes.is_empty()),
    }));
    (lanes, is_one_left)
}

/// The kernel interfaces that work for any of the devices, the preferred one first. What is not there is told.
fn usable_backends(examination: &Examination<'_>, targets: &[Target]) -> Vec<Backend> {
    let mut usable = Vec::new();
    for entry in BACKENDS {
        let refusals = targets
            .iter()
            .map(|target| (entry.usable)(&target.node).err());
        let refusals: Vec<_> = refusals.collect();
        if refusals.iter().any(Option::is_none) {
            usable.push(entry.backend);
        } else if let Some(Some(why)) = refusals.first() {
            examination.judge(FUNCTION_OPEN, None, Some(entry.backend), || {
                Judged::not_here(why.to_string())
            });
        }
    }
    if let ([], Some(target)) = (usable.as_slice(), targets.first()) {
        examination.judge(FUNCTION_OPEN, Some(target.device.bdf), None, || {
            Judged::fail("no kernel interface works for it", "see why above")
        });
    }
    usable
}

/// Opens a device by itself.
fn open(examination: &Examination<'_>, target: &Target, backend: Backend) -> Option<VfioDevice> {
    let bdf = target.device.bdf;
    let mut opened = None;
    let host = examination.host;
    examination.judge(
        FUNCTION_OPEN,
        Some(bdf),
        Some(backend),
        || match open_through(target, backend) {
            Ok(device) => {
                opened = Some(device);
                Judged::pass("opened, and attached to an address space of its own")
            }
            Err(error) => refused(host, target, &error),
        },
    );
    opened
}

fn open_through(target: &Target, backend: Backend) -> Result<VfioDevice, anyhow::Error> {
    let space = iommu::open(backend)?;
    Ok(VfioDevice::open(&space, &target.node)?)
}

fn refused(host: &Host, target: &Target, error: &anyhow::Error) -> Judged {
    let holders = host.holders(&host.vfio_nodes(&target.device));
    let held = holders.iter().map(|holder| format!("held by {holder}"));
    Judged::fail(format!("{error:#}"), OPEN_REMEDY).with_evidence(held)
}
