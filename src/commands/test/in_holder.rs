//! `test --in-holder`: the checks inside the process that holds the device.

use std::sync::atomic::Ordering;

use super::super::holder::nothing_mapped;
use super::super::{Context, class_of};
use super::{Opened, Plan, class_of_all, device_report, limits, subject};
use crate::engine;
use crate::host::Host;
use crate::report::{HeldTestReport, Progress, Report, Style, TestReport, print};
use crate::session::protocol::{Answer, Request, TestRequest, Tested};
use crate::session::{Client, Failure, TestSite};
use crate::types::{ExitClass, TestScope};

use super::Target;

/// Has each device tested by its holder.
pub fn run(
    targets: &[Target],
    seed: u64,
    scope: TestScope,
    context: &Context,
) -> anyhow::Result<ExitClass> {
    let mut classes = Vec::new();
    let mut reports = Vec::new();
    for target in targets {
        let bdf = target.device.bdf;
        let group = target.node.group.ok_or_else(|| nothing_mapped(bdf))?;
        let mut client = Client::find(group)?.ok_or_else(|| nothing_mapped(bdf))?;
        let request = TestRequest {
            device: bdf,
            seed,
            physical_top: context.host.physical_top(),
            scope: scope.clone(),
        };
        let progress = Progress::spinner(context.output.progress());
        progress.say(&format!(
            "{bdf} is tested by process {}",
            client.hello().pid
        ));
        let answer = client.ask(Request::Test(request), None)?;
        drop(progress);
        let Answer::Tested(tested) = answer else {
            return Err(client.strange().into());
        };
        if !context.output.json() {
            print(|out| out.write_all(tested.text.as_bytes()))?;
        }
        classes.push(tested.class);
        reports.push(tested.report);
    }
    if context.output.json() {
        context.output.emit(&HeldTestReport { devices: reports })?;
    }
    Ok(class_of_all(classes.into_iter()))
}

/// Runs the checks, as a thread of the holder.
///
/// # Errors
/// The device is gone, or the checks cannot be set up.
pub fn run_checks(site: TestSite) -> Result<Tested, Failure> {
    check(site).map_err(|error| Failure::from_chain(class_of(&error), error.as_ref()))
}

fn check(site: TestSite) -> anyhow::Result<Tested> {
    let host = Host::live();
    let TestRequest {
        device,
        seed,
        scope,
        ..
    } = site.request;
    let pci = host.device(device)?;
    let subject = subject(&host, &pci, site.space.backend(), seed);
    let opened = Opened {
        space: site.space,
        device: &site.device,
        peer: None,
        // What others hold is left alone.
        other: None,
    };
    let stop = || site.stop.load(Ordering::Relaxed);
    let plan = Plan {
        driver: engine::driver_for(&pci.id),
        lowest_iova: None,
        seed,
        scope: &scope,
        stop: &stop,
        progress: &|_| (),
    };
    let tested = opened.check(&host, &plan, |_| {})?;
    let report = device_report(subject, scope.clone(), limits(&host, device), tested);
    let class = class_of_all([report.conclusion.class()].into_iter());
    let json = serde_json::to_value(&report)?;
    let mut text = Vec::new();
    let devices = vec![report];
    TestReport { devices }.text(&mut text, Style::new(false))?;
    Ok(Tested {
        class,
        text: String::from_utf8(text)?,
        report: json,
    })
}
