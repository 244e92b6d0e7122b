//! `walk --map`: maps memory of our own at the address, so that there is something to see, and both sides of it.

use std::process;
use std::sync::Arc;

use super::{
    CpuPiece, CpuView, PhysicalAddress, Question, Sight, class_of, look, translate, unit_of,
};
use crate::cli::WalkArgs;
use crate::commands::interrupt::Interrupt;
use crate::commands::pages::page_kind;
use crate::commands::target::target_of;
use crate::commands::{Context, Failure};
use crate::device::VfioDevice;
use crate::host::{Host, IommuUnit, Leaf, Pagemap, PagemapError, TraceRecorder};
use crate::iommu::{self, AddressSpace, DmaBuffer, DmaMapping, IommuError, PageKind};
use crate::report::WalkReport;
use crate::types::{ExitClass, Iova, IovaRange, Protection, Size};

/// Maps, prints, unmaps; with `--remap` all of it a second time with other memory, and both on paper.
///
/// # Errors
/// The device cannot be opened, or the memory cannot be mapped there.
pub fn run(args: &WalkArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let host = &context.host;
    let (Some(iova), Some(size)) = (args.iova, args.map) else {
        let message = "--map needs the IOVA to map at";
        return Err(Failure::new(ExitClass::Usage, message).into());
    };
    let target = target_of(host, &args.device)?;
    check_memory(args, size, host)?;
    let kind = page_kind(args.pages);
    // A signal ends the work in order, so that no trace instance is left behind.
    let interrupt = Interrupt::keep()?;
    let choice = iommu::choose(args.backend, &target.node)?;
    log::info!(
        "{}: {} ({})",
        target.device.bdf,
        choice.backend,
        choice.reason
    );
    let space = iommu::open(choice.backend)?;
    let _device = VfioDevice::open(&space, &target.node)?;
    let scene = Scene {
        host,
        unit: unit_of(host, target.device.bdf)?,
        question: Question {
            device: target.device.bdf,
            iova: Some(iova),
            all: args.all,
            bits: args.bits,
        },
        space,
        first: Iova(iova.0 & !(page_size(kind)? - 1)),
    };
    // Before debugfs is known to be silent: what is not recorded while it happens cannot be learned later.
    let recorder = TraceRecorder::start(host);
    let first = Memory::allocate(size, kind, args.scatter)?;
    let mut report = scene.show(&first, recorder.as_ref().ok())?;
    let mut class = class_of(&report);
    if args.remap && !interrupt.came() {
        // While the first memory lives, the second is made of other pages.
        let second = Memory::allocate(size, kind, args.scatter)?;
        let again = scene.show(&second, recorder.as_ref().ok())?;
        class = worse(class, class_of(&again));
        if report.physical_address.is_some() && report.physical_address == again.physical_address {
            class = ExitClass::Failed;
        }
        report.remapped = Some(Box::new(again));
    }
    if let (Err(why), None) = (&recorder, report.source) {
        report.missing.trace = Some(why.to_string());
    }
    context.output.emit(&report)?;
    Ok(class)
}

/// A failure outweighs what is not known, and that what is well.
fn worse(one: ExitClass, other: ExitClass) -> ExitClass {
    [ExitClass::Failed, ExitClass::NoVerdict]
        .into_iter()
        .find(|class| [one, other].contains(class))
        .unwrap_or(ExitClass::Done)
}

/// The size in bytes of a page of this kind.
fn page_size(kind: PageKind) -> Result<u64, IommuError> {
    match kind {
        PageKind::Huge(size) => Ok(size.bytes()),
        // The smallest memory of this kind is one page.
        _ => Ok(DmaBuffer::allocate(const { Size::new(1).unwrap() }, kind)?.size() as u64),
    }
}

/// Memory that is not there would be taken from other processes, by force in the end.
fn check_memory(args: &WalkArgs, size: Size, host: &Host) -> Result<(), Failure> {
    let factor = [args.scatter, args.remap]
        .into_iter()
        .filter(|more| *more)
        .fold(1, |factor: u64, _| factor * 2);
    let needed = size.bytes().saturating_mul(factor);
    match (page_kind(args.pages), host.available_memory()) {
        // The kernel keeps those apart, and says itself when there are too few.
        (PageKind::Huge(_), _) => Ok(()),
        (_, Some(available)) if needed > available => Err(Failure::new(
            ExitClass::Usage,
            format!(
                "this needs {} MiB of memory, and {} MiB are available: give a smaller --map",
                needed.div_ceil(1 << 20),
                available >> 20
            ),
        )),
        _ => Ok(()),
    }
}

/// Memory to be mapped, and in which parts.
struct Memory {
    buffer: Arc<DmaBuffer>,
    /// Offsets into the buffer of what follows each other in IOVAs.
    parts: Vec<usize>,
    part: usize,
}

impl Memory {
    /// In one part; scattered, every other page of twice as much memory, backwards, each mapped by itself.
    fn allocate(size: Size, kind: PageKind, scatter: bool) -> Result<Self, IommuError> {
        if !scatter {
            let buffer = Arc::new(DmaBuffer::allocate(size, kind)?);
            let part = buffer.size();
            return Ok(Self {
                buffer,
                parts: vec![0],
                part,
            });
        }
        let page = page_size(kind)? as usize;
        let count = size.bytes().div_ceil(page as u64);
        let twice = count
            .checked_mul(2 * page as u64)
            .and_then(Size::new)
            .unwrap_or(size);
        let buffer = Arc::new(DmaBuffer::allocate(twice, kind)?);
        let parts = (0..count as usize).rev().map(|place| place * 2 * page);
        Ok(Self {
            parts: parts.collect(),
            buffer,
            part: page,
        })
    }

    fn size(&self) -> u64 {
        (self.parts.len() * self.part) as u64
    }
}

/// Where memory is mapped and looked at.
struct Scene<'h> {
    host: &'h Host,
    unit: IommuUnit,
    question: Question,
    space: Arc<dyn AddressSpace>,
    first: Iova,
}

impl Scene<'_> {
    /// Maps the memory, looks at it from both sides, and unmaps it.
    fn show(
        &self,
        memory: &Memory,
        recorder: Option<&TraceRecorder>,
    ) -> anyhow::Result<WalkReport> {
        let range = IovaRange::new(self.first, memory.size()).map_err(IommuError::from)?;
        let mappings = self.map(memory)?;
        let Sight { mut report, leaves } =
            look(self.host, &self.question, &self.unit, recorder, Some(range));
        match self.cpu_view(memory, &leaves) {
            Ok(view) => report.cpu = Some(view),
            Err(why) => report.missing.cpu = Some(why.to_string()),
        }
        for mapping in mappings {
            mapping.unmap()?;
        }
        Ok(report)
    }

    fn map(&self, memory: &Memory) -> Result<Vec<DmaMapping<&Arc<dyn AddressSpace>>>, IommuError> {
        let mut mappings = Vec::with_capacity(memory.parts.len());
        let mut next = self.first;
        for start in &memory.parts {
            let part = *start..start + memory.part;
            let protection = Protection::ReadWrite;
            mappings.push(DmaMapping::new(
                &self.space,
                &memory.buffer,
                part,
                next,
                protection,
            )?);
            next = Iova(next.0.saturating_add(memory.part as u64));
        }
        Ok(mappings)
    }

    /// Each page of the memory by the process's own page tables, beside where the IOMMU has it.
    fn cpu_view(&self, memory: &Memory, leaves: &[Leaf]) -> Result<CpuView, PagemapError> {
        let pagemap = Pagemap::of_self()?;
        let page = pagemap.page_size();
        let base = memory.buffer.address().as_ptr() as u64;
        let mut pages = Vec::new();
        let mut iova = self.first.0;
        for start in &memory.parts {
            for offset in (0..memory.part as u64).step_by(page as usize) {
                let address = base + *start as u64 + offset;
                let range = IovaRange::from_ends(Iova(iova), Iova(iova + (page - 1)))
                    .expect("the last byte is not before the first");
                pages.push(CpuPiece {
                    range,
                    virtual_address: PhysicalAddress(address),
                    cpu_physical: Some(PhysicalAddress(pagemap.physical_address(address)?)),
                    iommu_physical: translate(leaves, Iova(iova)).map(PhysicalAddress),
                });
                iova = iova.wrapping_add(page);
            }
        }
        Ok(CpuView::new(process::id(), pages))
    }
}
