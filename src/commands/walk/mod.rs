//! `walk DEVICE IOVA`: how the IOMMU translates an address of a device, step by step.

mod held;
mod own_memory;

use super::{Context, Failure};
use crate::binding;
use crate::cli::WalkArgs;
use crate::host::{
    Attachment, Host, IommuUnit, Leaf, Lookup, NotShown, Pagemap, PagemapError, RangeCollector,
    TraceRecorder, Walker,
};
use crate::report::{CpuPiece, CpuView, Missing, PhysicalAddress, Source, WalkReport};
use crate::types::{Bdf, ExitClass, Iova, IovaRange};

/// Prints how the address is translated now, or how it is while memory of our own is mapped there.
///
/// # Errors
/// There is no IOMMU, no such device, or the kernel shows nothing at all.
pub fn run(args: &WalkArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let host = &context.host;
    let device = binding::resolve_one(host, &args.device)?;
    host.require_iommu()?;
    if args.map.is_some() {
        return own_memory::run(args, context);
    }
    let question = Question {
        device: device.bdf,
        iova: args.iova,
        all: args.all,
        bits: args.bits,
    };
    let unit = unit_of(host, device.bdf)?;
    let Sight { mut report, leaves } = look(host, &question, &unit, None, None);
    match (args.pid, args.va, args.iova) {
        (Some(process), Some(address), Some(iova)) => {
            let page = CpuPage { process, address };
            report.cpu = Some(page.beside(iova, &leaves)?);
        }
        // What was captured says nothing of processes.
        (_, _, Some(iova)) if host.is_live() => match held::view(&device, iova, &leaves) {
            Ok(view) => report.cpu = Some(view),
            Err(why) => report.missing.cpu = Some(why),
        },
        _ => {}
    }
    if report.lookup.is_none() && report.source.is_none() && report.cpu.is_none() {
        let why = report.missing.lookup.unwrap_or_default();
        let message = format!(
            "cannot see how {} ({}) translates: {why}. 'iommu-tool walk {} IOVA --map 4K' shows a mapping of its own by trace events, on any kernel that has them",
            unit.kind, unit.name, device.bdf
        );
        return Err(Failure::new(ExitClass::NoVerdict, message).into());
    }
    let class = class_of(&report);
    context.output.emit(&report)?;
    Ok(class)
}

/// A byte of a process's memory.
struct CpuPage {
    process: u32,
    /// Its virtual address.
    address: Iova,
}

impl CpuPage {
    /// The page that holds it, beside the page of the IOMMU that holds `iova`.
    fn beside(&self, iova: Iova, leaves: &[Leaf]) -> Result<CpuView, PagemapError> {
        let pagemap = Pagemap::of(self.process)?;
        let size = pagemap.page_size();
        let physical = pagemap.physical_address(self.address.0)?;
        let page = one_page(iova, self.address, physical, size, leaves);
        Ok(CpuView::new(self.process, [page]))
    }
}

/// The page of a process that holds `address`, beside the page of the IOMMU that holds `iova`.
fn one_page(iova: Iova, address: Iova, physical: u64, size: u64, leaves: &[Leaf]) -> CpuPiece {
    let start = Iova(iova.0 & !(size - 1));
    // From the page's first byte on: IOVA, virtual and physical address keep what they have below the page.
    let offset = iova.0 - start.0;
    let last = Iova(start.0 | (size - 1));
    CpuPiece {
        range: IovaRange::from_ends(start, last).expect("the last byte is not before the first"),
        virtual_address: PhysicalAddress(address.0.wrapping_sub(offset)),
        cpu_physical: Some(PhysicalAddress(physical.wrapping_sub(offset))),
        iommu_physical: translate(leaves, start).map(PhysicalAddress),
    }
}

/// Where an IOVA leads to, by the pages that hold it.
fn translate(leaves: &[Leaf], iova: Iova) -> Option<u64> {
    // The last page that does not begin after it; pages are in order.
    let place = leaves.partition_point(|leaf| leaf.iova <= iova);
    leaves.get(place.checked_sub(1)?)?.translate(iova)
}

/// What is asked.
struct Question {
    device: Bdf,
    iova: Option<Iova>,
    all: bool,
    bits: bool,
}

/// What there is to see.
struct Sight {
    report: WalkReport,
    /// The pages that are mapped at the IOVA, or in the range of interest.
    leaves: Vec<Leaf>,
}

fn unit_of(host: &Host, device: Bdf) -> Result<IommuUnit, Failure> {
    host.iommu_unit(device).ok_or_else(|| {
        let message = format!(
            "{device} is behind no IOMMU that sysfs names ({}/iommu is missing): nothing translates its addresses, or a driver must probe it first ('iommu-tool bind {device}')",
            host.path(format!("/sys/bus/pci/devices/{device}")).display()
        );
        Failure::new(ExitClass::NoVerdict, message)
    })
}

/// Looks at the tables as they are now; where the kernel shows no page table, at what was traced.
fn look(
    host: &Host,
    question: &Question,
    unit: &IommuUnit,
    recorder: Option<&TraceRecorder>,
    range: Option<IovaRange>,
) -> Sight {
    let mut report = WalkReport {
        device: question.device,
        iova: question.iova,
        iommu: Some(unit.clone()),
        lookup: None,
        walk: None,
        page: None,
        physical_address: None,
        source: None,
        ranges: None,
        cpu: None,
        remapped: None,
        missing: Missing::default(),
        is_for_interrupts: question
            .iova
            .is_some_and(|iova| unit.sends_interrupts(iova)),
        bits: question.bits,
    };
    let mut leaves = Vec::new();
    let found = match host.lookup(question.device, unit) {
        Ok(lookup) => {
            let found = walk_table(host, question, unit, range, &lookup, &mut report);
            report.lookup = Some(lookup);
            found
        }
        Err(why) => {
            report.missing.lookup = Some(why.to_string());
            Err(why)
        }
    };
    match (found, recorder) {
        (Ok(found), _) => leaves = found,
        (Err(why), recorder) => {
            if report.lookup.is_some() {
                report.missing.walk = Some(why.to_string());
            }
            if let Some(recorder) = recorder {
                leaves = see_trace(recorder, &mut report);
            }
            if question.all {
                report.missing.ranges = Some(match report.source {
                    Some(_) => "trace events tell only of what is mapped while they are recorded"
                        .to_owned(),
                    None => why.to_string(),
                });
            }
        }
    }
    report.page = question.iova.and_then(|iova| {
        let holds = |leaf: &&Leaf| leaf.translate(iova).is_some();
        leaves.iter().find(holds).copied()
    });
    report.physical_address = report
        .page
        .zip(question.iova)
        .and_then(|(leaf, iova)| leaf.translate(iova))
        .map(PhysicalAddress);
    Sight { report, leaves }
}

/// Follows the IOVA through the page table; gives the pages that overlap `range`, or the one that holds the IOVA.
fn walk_table(
    host: &Host,
    question: &Question,
    unit: &IommuUnit,
    range: Option<IovaRange>,
    lookup: &Lookup,
    report: &mut WalkReport,
) -> Result<Vec<Leaf>, NotShown> {
    let (stage, root, levels) = match &lookup.attachment {
        Attachment::Table {
            stage,
            root,
            levels,
        } => (stage, root, levels),
        // There is no table to be shown.
        Attachment::PassThrough | Attachment::Blocked => return Ok(Vec::new()),
        Attachment::Other { words } => return Err(NotShown::NotFollowed(words.clone())),
    };
    let mut walker = question
        .iova
        .map(|iova| Walker::new(iova, *stage, *root, *levels));
    let mut ranges = question.all.then(|| RangeCollector::new(*stage));
    let mut leaves = Vec::new();
    host.visit_page_table(question.device, unit, &mut |path| {
        if let Some(walker) = &mut walker {
            walker.visit(path);
        }
        if let Some(ranges) = &mut ranges {
            ranges.visit(path);
        }
        let is_wanted = |leaf: &Leaf| match (range, leaf.range()) {
            (Some(wanted), Some(range)) => range.overlaps(wanted),
            _ => question
                .iova
                .is_some_and(|iova| leaf.translate(iova).is_some()),
        };
        leaves.extend(path.leaf(*stage).filter(is_wanted));
    })?;
    report.walk = walker.map(Walker::finish);
    report.ranges = ranges.map(RangeCollector::finish);
    report.source = Some(Source::Debugfs);
    Ok(leaves)
}

/// The pieces that the trace tells of, in place of pages.
fn see_trace(recorder: &TraceRecorder, report: &mut WalkReport) -> Vec<Leaf> {
    match recorder.pieces() {
        Ok(pieces) => {
            report.source = Some(Source::TraceEvents);
            pieces.iter().map(|piece| piece.as_leaf()).collect()
        }
        Err(why) => {
            report.missing.trace = Some(why.to_string());
            Vec::new()
        }
    }
}

/// Not mapped, or mapped to other memory than the processor says, is a failure; not known is no verdict.
fn class_of(report: &WalkReport) -> ExitClass {
    let disagrees = |cpu: &CpuView| cpu.agrees == Some(false);
    match report.iova {
        _ if report.cpu.as_ref().is_some_and(disagrees) => ExitClass::Failed,
        Some(_) if report.physical_address.is_some() && !report.is_for_interrupts => {
            ExitClass::Done
        }
        None if report.ranges.is_some() => ExitClass::Done,
        // Nothing says where it leads.
        _ if report.source.is_none() && !report.is_answered() => ExitClass::NoVerdict,
        _ => ExitClass::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(iova: u64, size: u64, physical: u64) -> Leaf {
        Leaf {
            iova: Iova(iova),
            size,
            physical,
            readable: true,
            writable: true,
        }
    }

    #[test]
    fn an_iova_is_found_in_the_page_that_holds_it() {
        let leaves = [leaf(0x1000, 0x1000, 0x9000), leaf(0x20_0000, 0x20_0000, 0)];
        assert_eq!(translate(&leaves, Iova(0x1fff)), Some(0x9fff));
        assert_eq!(translate(&leaves, Iova(0x3f_ffff)), Some(0x1f_ffff));
        assert_eq!(translate(&leaves, Iova(0x2000)), None);
        assert_eq!(translate(&leaves, Iova(0)), None);
        assert_eq!(translate(&leaves, Iova(0x40_0000)), None);
    }

    #[test]
    fn a_page_of_a_process_is_compared_from_its_first_byte() {
        let leaves = [leaf(0x1000, 0x1000, 0x9000)];
        let page = one_page(Iova(0x1abc), Iova(0x7abc), 0x9abc, 4096, &leaves);
        assert_eq!(page.range.to_string(), "0x1000-0x1fff");
        assert_eq!(page.virtual_address, PhysicalAddress(0x7000));
        assert_eq!(page.agrees(), Some(true));
        let other = one_page(Iova(0x1abc), Iova(0x7abd), 0x9abd, 4096, &leaves);
        assert_eq!(other.agrees(), Some(false));
    }
}
