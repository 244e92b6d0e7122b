//! `bench DEVICE`: what mapping and unmapping memory costs.

use anyhow::Context as _;
use std::ops::ControlFlow;
use std::time::Duration;

use super::interrupt::Interrupt;
use super::pages::page_kind;
use super::target::{Target, target_of};
use super::{Context, Failure, write_file};
use crate::bench::{self, Amount, Configuration, Plan, Step};
use crate::cli::{BenchArgs, PagesChoice};
use crate::host::Host;
use crate::iommu::{self, BACKENDS, DmaBuffer, IommuError, PageKind};
use crate::report::{BenchReport, Progress, bench_page};
use crate::types::{Backend, BackendChoice, ExitClass, Size, VfioNode};

/// How many samples each combination gets where the user does not say.
const DEFAULT_AMOUNT: Amount = Amount::Within {
    most: bench::SAMPLES_FOR_P99,
    least: 200,
    time: Duration::from_millis(1500),
};

/// Measures, and prints the figures.
///
/// # Errors
/// The device is not there, not on a VFIO driver, or cannot be opened; a size does not fit.
pub fn run(args: &BenchArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let Target { device, node } = target_of(&context.host, &args.device)?;
    let plan = plan(args, &node, &context.host)?;
    let interrupt = Interrupt::keep()?;
    let progress = Progress::bar(context.output.progress());
    let watch = |step: Step<'_>| {
        let Configuration {
            backend,
            size,
            pages,
        } = step.configuration;
        progress.say(&format!("{backend} {size} of {pages} pages"));
        progress.set(step.done);
        if interrupt.came() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let (measured, end) = bench::run(&node, &plan, watch)
        .with_context(|| format!("cannot measure {}", device.bdf))?;
    drop(progress);
    let report = BenchReport::new(
        device.bdf,
        device.id.to_string(),
        end.is_continue(),
        context.host.is_virtual_machine(),
        &measured,
    );
    if let Some(path) = &args.html {
        write_file(path, &bench_page(&report, &measured))?;
    }
    context.output.emit(&report)?;
    Ok(if end.is_continue() {
        ExitClass::Done
    } else {
        ExitClass::Failed
    })
}

/// All combinations of the backends, sizes and kinds of pages that make sense.
fn plan(args: &BenchArgs, node: &VfioNode, host: &Host) -> anyhow::Result<Plan> {
    let base = page_size(PageKind::Base)?;
    for size in &args.sizes {
        if size.bytes() % base != 0 {
            return Err(usage(format!(
                "{size} cannot be mapped: a size is a multiple of the page size, {base} bytes"
            )));
        }
    }
    let kinds = usable_kinds(&args.pages)?;
    let mut shapes = Vec::new();
    for (kind, page) in kinds {
        // Less than a page of its kind would be measured as a part of a larger one.
        let sizes = args.sizes.iter().filter(|size| size.bytes() >= page);
        shapes.extend(sizes.map(|size| (*size, kind)));
    }
    if shapes.is_empty() {
        return Err(usage(
            "nothing to measure: every size is smaller than a page of the kind that was asked for",
        ));
    }
    shapes.sort_by_key(|(size, _)| *size);
    check_memory(&shapes, host)?;
    let row = |backend| {
        shapes.iter().map(move |(size, pages)| Configuration {
            backend,
            size: *size,
            pages: *pages,
        })
    };
    Ok(Plan {
        configurations: backends(&args.backend, node)?
            .into_iter()
            .flat_map(row)
            .collect(),
        amount: args
            .samples
            .map_or(DEFAULT_AMOUNT, |count| Amount::Exactly(count as usize)),
        iova: args.iova,
    })
}

fn usage(message: impl Into<String>) -> anyhow::Error {
    Failure::new(ExitClass::Usage, message).into()
}

/// The backends that were named; for `auto` all that are usable for the device.
fn backends(choices: &[BackendChoice], node: &VfioNode) -> Result<Vec<Backend>, IommuError> {
    let mut backends: Vec<Backend> = choices.iter().filter_map(|choice| choice.named()).collect();
    if choices.contains(&BackendChoice::Auto) {
        // With none usable, this says why.
        iommu::choose(BackendChoice::Auto, node)?;
        for entry in BACKENDS {
            match (entry.usable)(node) {
                Ok(()) => backends.push(entry.backend),
                Err(why) => log::info!("not measured through {}: {why}", entry.backend),
            }
        }
    }
    let mut seen = Vec::new();
    backends.retain(|backend| {
        let is_new = !seen.contains(backend);
        seen.push(*backend);
        is_new
    });
    Ok(backends)
}

/// The kinds of pages that this host has, each with the size of such a page in bytes.
fn usable_kinds(choices: &[PagesChoice]) -> Result<Vec<(PageKind, u64)>, IommuError> {
    let mut usable: Vec<(PageKind, u64)> = Vec::new();
    let mut missing = Vec::new();
    for choice in choices {
        let kind = page_kind(*choice);
        match page_size(kind) {
            Ok(_) if usable.iter().any(|(known, _)| *known == kind) => {}
            Ok(page) => usable.push((kind, page)),
            Err(error @ IommuError::NoPages { .. }) => missing.push(error),
            Err(error) => return Err(error),
        }
    }
    if usable.is_empty() && !missing.is_empty() {
        return Err(missing.swap_remove(0));
    }
    for error in missing {
        log::warn!("not measured: {error}");
    }
    Ok(usable)
}

const TWO_MEBIBYTES: Size = Size::new(2 << 20).unwrap();

/// The size of a page of this kind in bytes: that of the smallest memory which is made of them.
fn page_size(kind: PageKind) -> Result<u64, IommuError> {
    let smallest = match kind {
        PageKind::Base => const { Size::new(1).unwrap() },
        // 2 MiB with base pages of 4 KiB, more with larger ones.
        PageKind::Transparent => TWO_MEBIBYTES,
        PageKind::Huge(size) => size,
    };
    Ok(DmaBuffer::allocate(smallest, kind)?.size() as u64)
}

/// Memory that is not there would be taken from other processes, by force in the end.
fn check_memory(shapes: &[(Size, PageKind)], host: &Host) -> anyhow::Result<()> {
    let ordinary = shapes
        .iter()
        .filter(|(_, kind)| !matches!(kind, PageKind::Huge(_)));
    let needed = ordinary.map(|(size, _)| size.bytes()).sum();
    match (Size::new(needed), host.available_memory()) {
        (Some(needed), Some(available)) if needed.bytes() > available => Err(usage(format!(
            "these sizes need {needed} of memory, and {} MiB are available: leave out the largest",
            available >> 20
        ))),
        _ => Ok(()),
    }
}
