//! `bench DEVICE...`: what mapping and unmapping memory costs, and what belongs to it.

use anyhow::Context as _;
use std::thread;

use super::interrupt::Interrupt;
use super::launch;
use super::pages::page_kind;
use super::target::{Target, targets};
use super::{Context, Failure, output_file};
use crate::bench::{self, Environment, Job, Outcome, Plan, PlannedDevice, PlannedPages};
use crate::cli::{BenchArgs, PagesChoice, SuiteChoice};
use crate::host::Host;
use crate::iommu::{self, BACKENDS, DmaBuffer, IommuError, PageKind};
use crate::report::{bench_csv, bench_page};
use crate::types::{Backend, BackendChoice, ExitClass, Iova, Size, Suite, VfioNode};

/// Measures, and prints the figures.
///
/// # Errors
/// The device is not there, not on a VFIO driver, or cannot be opened; a size does not fit.
pub fn run(args: &BenchArgs, context: &Context) -> anyhow::Result<ExitClass> {
    if launch::is_asked_for() {
        return launch::measure(context);
    }
    let targets = targets(&context.host, &args.devices)?;
    let plan = plan(args, &targets, &context.host)?;
    output_file::may_write([&args.html, &args.csv])?;
    let devices: Vec<_> = targets.iter().map(|target| target.device.clone()).collect();
    let environment = Environment::of(&context.host, &devices);
    let interrupt = Interrupt::keep()?;
    let mut measure = |job: &Job| launch::in_process(job, &interrupt);
    let cannot = || format!("cannot measure {}", devices[0].bdf);
    let Outcome { record, error } =
        bench::run(&plan, environment, &mut measure).with_context(cannot)?;
    let written = output_file::write(args.html.as_ref(), || Ok(bench_page(&record)))
        .and_then(|()| output_file::write(args.csv.as_ref(), || Ok(bench_csv(&record))));
    context.output.emit(&record)?;
    let class = match error {
        Some(error) => {
            log::error!("{}: {error}", cannot());
            error.class()
        }
        None if record.complete => ExitClass::Done,
        None => ExitClass::Failed,
    };
    Ok(output_file::told(written, class))
}

/// What to measure, and what the host has for it.
fn plan(args: &BenchArgs, targets: &[Target], host: &Host) -> anyhow::Result<Plan> {
    let base = page_size(PageKind::Base)?;
    for size in args.sizes.iter().flatten().chain(&args.size) {
        if size.bytes() % base != 0 {
            return Err(usage(format!(
                "{size} cannot be mapped: a size is a multiple of the page size, {base} bytes"
            )));
        }
    }
    let suites = suites(&args.suite);
    if args.size.is_some() && !suites.contains(&Suite::Cold) {
        return Err(usage(
            "--size is for the suite cold, which is not asked for",
        ));
    }
    if args.raw && !suites.contains(&Suite::Map) {
        return Err(usage("--raw is for the suite map, which is not asked for"));
    }
    let pages = usable_kinds(&args.pages)?;
    let fits = |size: &Size| pages.iter().any(|pages| pages.bytes <= size.bytes());
    if args
        .sizes
        .as_ref()
        .is_some_and(|sizes| !sizes.iter().any(fits))
    {
        return Err(usage(
            "nothing to measure: every size is smaller than a page of the kind that was asked for",
        ));
    }
    let limit = host.locked_memory().filter(|limit| !limit.exempt);
    Ok(Plan {
        backends: backends(&args.backend, &targets[0].node)?,
        devices: targets
            .iter()
            .map(|target| PlannedDevice {
                node: target.node.clone(),
                id: target.device.id,
            })
            .collect(),
        suites,
        sizes: args.sizes.clone(),
        guest: args.size,
        pages,
        threads: args.threads.clone().unwrap_or_else(thread_counts),
        samples: args.samples,
        duration: args.duration.map(Into::into),
        iova: args.iova,
        bare: args.raw,
        keep_samples: args.all_samples,
        available: host.available_memory(),
        reserved: host
            .huge_pages()
            .iter()
            .filter_map(|pages| Some((Size::new(pages.size)?, pages.size * pages.free)))
            .collect(),
        lockable: limit.and_then(|limit| limit.soft),
        physical_top: host
            .physical_top()
            .and_then(|top| top.checked_next_multiple_of(1 << 30))
            .map(Iova),
    })
}

fn usage(message: impl Into<String>) -> anyhow::Error {
    Failure::new(ExitClass::Usage, message).into()
}

/// The suites in their own order, each once.
fn suites(choices: &[SuiteChoice]) -> Vec<Suite> {
    let all = <Suite as clap::ValueEnum>::value_variants();
    let wanted = |suite: &&Suite| {
        choices.contains(&SuiteChoice::All) || choices.contains(&SuiteChoice::One(**suite))
    };
    all.iter().filter(wanted).copied().collect()
}

/// 1, 2, 4 and so on, up to the number of processors, which is the last.
fn thread_counts() -> Vec<u32> {
    let all = thread::available_parallelism().map_or(1, usize::from) as u32;
    let mut counts: Vec<u32> = (0..=8)
        .map(|power| 1 << power)
        .filter(|count| *count < all)
        .collect();
    counts.push(all.min(256));
    counts
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

/// The kinds of pages that this host has.
fn usable_kinds(choices: &[PagesChoice]) -> Result<Vec<PlannedPages>, IommuError> {
    let mut usable: Vec<PlannedPages> = Vec::new();
    let mut missing = Vec::new();
    for choice in choices {
        let kind = page_kind(*choice);
        match page_size(kind) {
            Ok(_) if usable.iter().any(|known| known.kind == kind) => {}
            Ok(bytes) => usable.push(PlannedPages { kind, bytes }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_come_in_their_order_and_once() {
        let one = SuiteChoice::One;
        let chosen = suites(&[one(Suite::Open), one(Suite::Map), one(Suite::Open)]);
        assert_eq!(chosen, [Suite::Map, Suite::Open]);
        assert_eq!(suites(&[SuiteChoice::All]).len(), 8);
    }
}
