//! `faults [--follow] [--device D]`: what devices tried and an IOMMU blocked, as the kernel's log and the interrupts tell.

use anyhow::Context as _;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::interrupt::Interrupt;
use super::nearby::Surroundings;
use super::{Context, Failure};
use crate::binding;
use crate::cli::FaultsArgs;
use crate::host::{Fault, FaultReader, FaultTrace, Host, IommuKind, KernelLog, LogEvent};
use crate::report::{FaultsReport, Followed, PlacedFault, Unlogged};
use crate::types::{Bdf, ExitClass};

/// How long the log must be quiet before the interrupts are compared with it: their messages come a little later.
const SETTLING: Duration = Duration::from_secs(1);

/// Prints the faults that the log holds, and with `--follow` those to come.
///
/// # Errors
/// There is no IOMMU, no such device, or the log cannot be read.
pub fn run(args: &FaultsArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let host = &context.host;
    let device = match &args.device {
        Some(name) => Some(binding::resolve_one(host, name)?.bdf),
        None => None,
    };
    host.require_iommu()?;
    let log = KernelLog::open(host).map_err(|error| {
        Failure::new(
            ExitClass::Failed,
            format!(
                "cannot read the kernel's log, /dev/kmsg: {error}. It needs CAP_SYSLOG (run as root); containers often have no such file"
            ),
        )
    })?;
    if !args.follow {
        let report = report(host, log, device, args.nearby)?;
        context.output.emit(&report)?;
        return Ok(ExitClass::Done);
    }
    if !host.is_live() {
        let message = "there is nothing to follow on a captured host: leave out --follow";
        return Err(Failure::new(ExitClass::Usage, message).into());
    }
    follow(host, log, device, args.nearby, context)
}

/// Counts the faults in the log, of all devices, to compare them with the interrupts.
#[derive(Debug, Default)]
struct Tally(BTreeMap<IommuKind, u64>);

impl Tally {
    fn add(&mut self, event: &LogEvent) {
        let iommu = match event {
            LogEvent::Fault(fault) => fault.iommu,
            LogEvent::OtherStatus => IommuKind::Vtd,
            LogEvent::Suppressed(_) | LogEvent::Overflow(_) => return,
        };
        *self.0.entry(iommu).or_default() += 1;
    }

    fn of(&self, iommu: IommuKind) -> u64 {
        self.0.get(&iommu).copied().unwrap_or_default()
    }
}

fn interrupts_by_kind(host: &Host) -> BTreeMap<IommuKind, u64> {
    let mut counts = BTreeMap::new();
    for interrupts in host.fault_interrupts() {
        *counts.entry(interrupts.iommu).or_default() += interrupts.count;
    }
    counts
}

fn is_wanted(fault: &Fault, device: Option<Bdf>) -> bool {
    device.is_none_or(|device| fault.device == Some(device))
}

fn report(
    host: &Host,
    mut log: KernelLog,
    device: Option<Bdf>,
    nearby: bool,
) -> anyhow::Result<FaultsReport> {
    let mut surroundings = Surroundings::new(host, nearby);
    let records = log.new_records().context("cannot read the kernel's log")?;
    let mut reader = FaultReader::default();
    let mut events: Vec<LogEvent> = records.iter().filter_map(|r| reader.read(r)).collect();
    events.extend(reader.finish());
    let events = events.into_iter().map(|event| event.located(host));

    let interrupts = host.fault_interrupts();
    let mut report = FaultsReport {
        device,
        faults: Vec::new(),
        suppressed: Vec::new(),
        overflows: Vec::new(),
        records_lost: log.lost(),
        interrupts,
        unlogged: Vec::new(),
        unread: host.unread_iommus(),
    };
    let mut tally = Tally::default();
    for event in events {
        tally.add(&event);
        match event {
            LogEvent::Fault(fault) => {
                if is_wanted(&fault, device) {
                    let nearby = surroundings.of(&fault);
                    report.faults.push(PlacedFault { fault, nearby });
                }
            }
            LogEvent::Suppressed(suppressed) => report.suppressed.push(suppressed),
            LogEvent::Overflow(overflow) => report.overflows.push(overflow),
            LogEvent::OtherStatus => {}
        }
    }
    report.unlogged = interrupts_by_kind(host)
        .into_iter()
        .filter_map(|(iommu, count)| Unlogged::new(iommu, count, tally.of(iommu)))
        .collect();
    Ok(report)
}

/// Faults that trace events told of. The log tells of most of them too, and then that is what is printed.
struct Traced {
    trace: Option<FaultTrace>,
    waiting: Vec<(Instant, Fault)>,
}

impl Traced {
    /// Starts to listen, where the kernel has such events and lets this process.
    fn start(host: &Host) -> Self {
        let trace = FaultTrace::start(host);
        if let Err(why) = &trace {
            log::info!("no trace events of faults: {why}");
        }
        Self {
            trace: trace.ok(),
            waiting: Vec::new(),
        }
    }

    /// Takes in what came since, less what the log has told by now; the log must have been read just before.
    fn read(&mut self, host: &Host, logged: &[Fault]) {
        let read = self.trace.as_mut().map(|trace| trace.new_faults(host));
        match read {
            Some(Ok(faults)) => {
                let now = Instant::now();
                self.waiting
                    .extend(faults.into_iter().map(|fault| (now, fault)));
            }
            Some(Err(error)) => {
                log::warn!("cannot read the trace events of faults any more: {error}");
                self.trace = None;
            }
            None => {}
        }
        for fault in logged {
            let same = self
                .waiting
                .iter()
                .position(|(_, traced)| traced.may_be(fault));
            if let Some(same) = same {
                self.waiting.remove(same);
            }
        }
    }

    /// Those for which the log has had time enough by now.
    fn take_unlogged(&mut self, now: Instant) -> Vec<Fault> {
        let is_due = |(came, _): &(Instant, Fault)| now.duration_since(*came) >= SETTLING;
        let due = self
            .waiting
            .iter()
            .take_while(|waiting| is_due(waiting))
            .count();
        self.waiting.drain(..due).map(|(_, fault)| fault).collect()
    }
}

/// Prints each fault as it comes, until a signal ends the program.
fn follow(
    host: &Host,
    mut log: KernelLog,
    device: Option<Bdf>,
    nearby: bool,
    context: &Context,
) -> anyhow::Result<ExitClass> {
    let output = context.output;
    // A signal ends the work in order, so that no trace instance is left behind.
    let interrupt = Interrupt::keep()?;
    let mut traced = Traced::start(host);
    let mut reader = FaultReader::default();
    let print = |event: LogEvent| {
        output.emit_line(&match event {
            LogEvent::Fault(fault) => {
                if !is_wanted(&fault, device) {
                    return Ok(());
                }
                // While a fault is fresh, what it hit is still there.
                let nearby = Surroundings::new(host, nearby).of(&fault);
                Followed::Fault(PlacedFault { fault, nearby })
            }
            LogEvent::Suppressed(suppressed) => Followed::Suppressed(suppressed),
            LogEvent::Overflow(overflow) => Followed::Overflow(overflow),
            LogEvent::OtherStatus => return Ok(()),
        })
    };
    output.emit_follow_heading()?;
    let unread = host.unread_iommus();
    if !unread.is_empty() {
        log::warn!(
            "how the kernel's log words faults of {} is not known here: nothing is told of them",
            unread.join(", ")
        );
    }

    let mut counted = interrupts_by_kind(host);
    let mut tally = Tally::default();
    let mut lost = 0;
    let mut last_fault = Instant::now();
    // What was in the log before is printed, and does not count: the interrupts are counted from now on.
    let mut is_old = true;
    while !interrupt.came() {
        let mut logged = Vec::new();
        for record in log.new_records().context("cannot read the kernel's log")? {
            let event = reader.read(&record).map(|event| event.located(host));
            if let Some(event) = event {
                if !is_old {
                    tally.add(&event);
                    if let LogEvent::Fault(fault) = &event {
                        logged.push(fault.clone());
                    }
                }
                last_fault = Instant::now();
                print(event)?;
            }
        }
        traced.read(host, &logged);
        for fault in traced.take_unlogged(Instant::now()) {
            let event = LogEvent::Fault(fault);
            tally.add(&event);
            print(event)?;
        }
        is_old = false;
        if log.lost() > lost {
            let records_lost = log.lost() - lost;
            output.emit_line(&Followed::Lost { records_lost })?;
            lost = log.lost();
        }
        if last_fault.elapsed() >= SETTLING {
            let event = reader.finish().map(|event| event.located(host));
            if let Some(event) = event {
                tally.add(&event);
                print(event)?;
            }
            let now = interrupts_by_kind(host);
            for (iommu, count) in &now {
                let before = counted.get(iommu).copied().unwrap_or_default();
                let more = count.saturating_sub(before);
                if let Some(unlogged) = Unlogged::new(*iommu, more, tally.of(*iommu)) {
                    output.emit_line(&Followed::Unlogged(unlogged))?;
                }
            }
            counted = now;
            tally = Tally::default();
        }
        log.wait(SETTLING)
            .context("cannot wait for the kernel's log")?;
    }
    Ok(ExitClass::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Access, FaultSource, Reason};
    use crate::types::Iova;

    fn fault(source: FaultSource, address: u64) -> Fault {
        Fault {
            source,
            time: Duration::ZERO,
            iommu: IommuKind::AmdVi,
            device: "0000:01:00.0".parse().ok(),
            requester: None,
            unit: None,
            access: Some(Access::Write),
            address: Some(Iova(address)),
            pasid: None,
            reason: Reason {
                code: None,
                words: String::new(),
            },
            sequence: 0,
            line: String::new(),
        }
    }

    #[test]
    fn a_traced_fault_is_told_once_and_only_if_the_log_does_not() {
        let came = Instant::now();
        let traced_fault = |address| (came, fault(FaultSource::TraceEvents, address));
        let mut traced = Traced {
            trace: None,
            waiting: [0x1000, 0x1000, 0x2000].map(traced_fault).to_vec(),
        };

        traced.read(&Host::live(), &[fault(FaultSource::KernelLog, 0x1000)]);

        assert!(traced.take_unlogged(came).is_empty(), "the log has time");
        let told = traced.take_unlogged(came + SETTLING);
        let told: Vec<_> = told.into_iter().map(|fault| fault.address).collect();
        assert_eq!(told, [Some(Iova(0x1000)), Some(Iova(0x2000))]);
        assert!(traced.take_unlogged(came + SETTLING).is_empty());
    }
}
