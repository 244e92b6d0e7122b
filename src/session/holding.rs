//! What a holder owns: an address space, the devices in it, and the mappings.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use vmm_sys_util::eventfd::EventFd;

use super::device::HeldDevice;
use super::mappings::{Mappings, Piece};
use super::memory::{self, HeldMemory};
use super::places::Places;
use super::protocol::{Answer, Extent, Hello, Located, MapRequest, Request, Selection};
use super::request::{page_kind, piece};
use super::testing::RunChecks;
use super::{Bytes, Failure};
use crate::iommu::{AddressSpace, DmaMapping, IovaError, PageKind, alignment, base_page};
use crate::types::{Bdf, ExitClass, GroupId, Iova, IovaRange, VfioNode};

/// New memory up to this size is mapped at once; for more, and for files, the others are not kept waiting.
const QUICK: u64 = 2 << 20;

/// What a holder owns.
pub struct Holding {
    pub(super) space: Arc<dyn AddressSpace>,
    pub(super) places: Places,
    pub(super) mappings: Mappings<HeldMemory>,
    devices: BTreeMap<Bdf, HeldDevice>,
    groups: Vec<GroupId>,
    pub(super) run_checks: Option<RunChecks>,
    page: u64,
    since: u64,
}

/// How a request goes on.
pub(super) enum Step {
    /// It is done.
    Done(Result<Answer, Failure>),
    /// It takes so little time that the others can wait.
    Quick(Work),
    /// It is for a thread of its own.
    Long(Work),
}

/// The part of a request that needs only what it brings along. A panic in it ends neither the holder nor leaves the client without an answer.
pub(super) type Work = Box<dyn FnOnce() -> Settle + Send>;

/// What is to be noted when the work is done.
pub(super) type Settle = Box<dyn FnOnce(&mut Holding) -> Result<Answer, Failure> + Send>;

impl Holding {
    /// An address space with these devices in it.
    pub fn new(space: Arc<dyn AddressSpace>, nodes: &[VfioNode]) -> Result<Self, Failure> {
        let mut holding = Self {
            space,
            places: Places::new(),
            mappings: Mappings::new(),
            devices: BTreeMap::new(),
            groups: nodes.iter().filter_map(|node| node.group).collect(),
            run_checks: None,
            page: 0,
            since: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        };
        for node in nodes {
            let device = HeldDevice::open(&holding.space, node)?;
            holding.devices.insert(node.bdf, device);
        }
        holding.read_limits()?;
        Ok(holding)
    }

    /// Lets clients have devices tested, by this function.
    #[must_use]
    pub fn with_checks(mut self, run: RunChecks) -> Self {
        self.run_checks = Some(run);
        self
    }

    /// What is said to a new client.
    pub(super) fn hello(&self, until_unmapped: bool) -> Hello {
        Hello {
            pid: std::process::id(),
            uid: nix::unistd::geteuid().as_raw(),
            since: self.since,
            backend: self.space.backend(),
            devices: self.devices.keys().copied().collect(),
            until_unmapped,
        }
    }

    /// Whether nothing is mapped.
    pub(super) fn is_empty(&self) -> bool {
        self.mappings.len() == 0
    }

    /// Whether no device is left.
    pub(super) fn is_deserted(&self) -> bool {
        self.devices.is_empty()
    }

    /// By which the kernel asks for devices back.
    pub(super) fn release_requests(&self) -> impl Iterator<Item = (Bdf, &EventFd)> {
        self.devices
            .iter()
            .filter_map(|(bdf, device)| Some((*bdf, device.release_request()?)))
    }

    /// Begins to carry out a request.
    pub(super) fn begin(&mut self, request: Request, file: Option<File>) -> Step {
        self.places.begin();
        let name = match &request {
            Request::Map(request) => request.name.clone(),
            _ => None,
        };
        let begun = match request {
            Request::Mappings { from } => {
                let (mappings, next) = self.mappings.listing(from);
                Ok(Step::Done(Ok(Answer::Mappings { mappings, next })))
            }
            Request::Attach { node } => self.attach(node),
            Request::Map(request) => self.map(request, file),
            Request::Unmap(selection) => self.unmap(&selection),
            Request::Read { iova, size } => self.read(iova, size).map(done),
            Request::Write { iova, data } => self.write(iova, &data).map(done),
            Request::Locate { iova } => self.locate(iova).map(done),
            Request::Test(request) => self.test(request),
            Request::Dma {
                device,
                iova,
                transfer,
            } => self.dma(device, iova, transfer),
        };
        let ranges = self.places.taken_since();
        match begun {
            Ok(Step::Quick(work)) => Step::Quick(guarded(work, ranges, name)),
            Ok(Step::Long(work)) => Step::Long(guarded(work, ranges, name)),
            Ok(done) => done,
            Err(failure) => Step::Done(Err(failure)),
        }
    }

    /// Takes back what was done for a client that did not live to see it.
    pub(super) fn undo(&mut self, answer: &Answer) {
        let Answer::Mapped(info) = answer else { return };
        log::info!("unmapping {}: who asked for it is gone", info.range());
        if let Ok(Step::Quick(work) | Step::Long(work)) = self.unmap(&Selection::At(info.iova)) {
            if let Err(failure) = work()(self) {
                log::error!("{failure}");
            }
        }
    }

    /// Asks what is done for devices to come to an end.
    pub(super) fn interrupt(&self) {
        for device in self.devices.values() {
            device.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Gives a device back to the kernel.
    pub(super) fn let_go(&mut self, bdf: Bdf) {
        if let Some(device) = self.devices.remove(&bdf) {
            device.stop.store(true, Ordering::Relaxed);
            device.device.quiesce();
        }
    }

    /// Ends it all, in the order that leaves no device with memory which is not its own any more.
    pub(super) fn release(self) {
        for device in self.devices.values() {
            device.device.quiesce();
        }
        let mappings = self.mappings.into_held().map(|memory| memory.mapping);
        for result in DmaMapping::unmap_together(mappings.collect()) {
            if let Err(error) = result {
                log::warn!("{error}");
            }
        }
        drop(self.devices);
    }

    pub(super) fn device(&self, bdf: Bdf) -> Result<&HeldDevice, Failure> {
        self.devices.get(&bdf).ok_or_else(|| {
            Failure::usage(format!("{bdf} is not in the address space of this process"))
        })
    }

    /// The unit of mapping in bytes.
    pub(super) fn page(&self) -> u64 {
        self.page
    }

    /// Reads the kernel's limits, which devices narrow, and takes what is mapped out of the free IOVAs.
    fn read_limits(&mut self) -> Result<(), Failure> {
        let smallest = self.space.page_sizes()?.smallest().unwrap_or(1);
        self.page = smallest.max(base_page());
        self.places.renew(&self.space.iova_ranges()?)?;
        Ok(())
    }

    fn attach(&mut self, node: VfioNode) -> Result<Step, Failure> {
        if self.devices.contains_key(&node.bdf) {
            return Ok(done(Answer::Attached));
        }
        if node.group.is_none_or(|group| !self.groups.contains(&group)) {
            return Err(Failure::usage(format!(
                "{} is not in an IOMMU group that this process holds",
                node.bdf
            )));
        }
        let device = HeldDevice::open(&self.space, &node)?;
        log::info!("{} joined", node.bdf);
        self.devices.insert(node.bdf, device);
        self.read_limits()?;
        Ok(done(Answer::Attached))
    }

    fn map(&mut self, request: MapRequest, file: Option<File>) -> Result<Step, Failure> {
        if request.file.is_some() != file.is_some() {
            return Err(Failure::usage("a file and its descriptor come together"));
        }
        let pages = page_kind(request.pages);
        request.check(self.page)?;
        let range = self.place(&request, pages)?;
        if let Some(name) = &request.name {
            if let Err(failure) = self.mappings.reserve_name(name, range.start()) {
                self.places.give_back(range);
                return Err(failure);
            }
        }
        let is_quick = file.is_none() && request.size <= QUICK;
        let space = self.space.clone();
        let work = Box::new(move || -> Settle {
            let made = memory::map(&space, &request, file, pages, range);
            Box::new(move |holding| match made {
                Ok((info, memory)) => {
                    holding.mappings.insert(info.clone(), memory);
                    Ok(Answer::Mapped(info))
                }
                Err(failure) => {
                    holding.places.give_back(range);
                    if let Some(name) = &request.name {
                        holding.mappings.free_name(name);
                    }
                    Err(failure)
                }
            })
        });
        Ok(if is_quick {
            Step::Quick(work)
        } else {
            Step::Long(work)
        })
    }

    /// Takes the IOVAs: those asked for, else the lowest that suit the largest pages.
    fn place(
        &mut self,
        request: &MapRequest,
        pages: Option<PageKind>,
    ) -> Result<IovaRange, Failure> {
        let size = request.size;
        if let Some(iova) = request.iova {
            let range =
                IovaRange::new(iova, size).map_err(|error| Failure::usage(error.to_string()))?;
            return match self.places.take_at(range) {
                Ok(()) => Ok(range),
                Err(IovaError::Taken { .. }) => Err(self.taken(range)),
                Err(error) => Err(error.into()),
            };
        }
        let best = match pages {
            Some(PageKind::Huge(page)) => page.bytes(),
            Some(PageKind::Base) => self.page,
            _ => alignment(size, self.page),
        };
        // Where the IOVAs are few, smaller pages are better than none.
        let wanted = [best, 2 << 20, self.page];
        let tries = wanted.into_iter().filter(|alignment| *alignment <= best);
        let mut full = None;
        for alignment in tries {
            match self.places.take(size, alignment) {
                Ok(range) => return Ok(range),
                Err(error) => full = Some(error),
            }
        }
        Err(full.expect("at least one was tried").into())
    }

    fn taken(&self, range: IovaRange) -> Failure {
        match self.mappings.overlapping(range) {
            Some(other) => Failure::usage(format!(
                "{range} overlaps the mapping {}: unmap it first, or choose another IOVA",
                other.range()
            )),
            None => Failure::usage(format!(
                "a part of {range} is in use for a moment: try again"
            )),
        }
    }

    fn unmap(&mut self, selection: &Selection) -> Result<Step, Failure> {
        let chosen = self.mappings.select(selection)?;
        let taken: Vec<_> = chosen
            .into_iter()
            .filter_map(|iova| self.mappings.remove(iova))
            .collect();
        let count = taken.len();
        let bytes: u64 = taken.iter().map(|(info, _)| info.size).sum();
        let work = Box::new(move || -> Settle {
            let mut free = Vec::new();
            let mut first_error = None;
            let (infos, mappings): (Vec<_>, Vec<_>) = taken
                .into_iter()
                .map(|(info, memory)| (info, memory.mapping))
                .unzip();
            for (info, result) in infos.iter().zip(DmaMapping::unmap_together(mappings)) {
                match result {
                    Ok(()) => free.push(info.range()),
                    // Its IOVAs are never used again, as devices may still reach the memory through them.
                    Err(error) => drop(first_error.get_or_insert(error)),
                }
            }
            Box::new(move |holding| {
                for range in free {
                    holding.places.give_back(range);
                }
                match first_error {
                    None => Ok(Answer::Unmapped {
                        count,
                        bytes,
                        left: holding.mappings.len(),
                    }),
                    Some(error) => Err(error.into()),
                }
            })
        });
        Ok(if bytes <= QUICK {
            Step::Quick(work)
        } else {
            Step::Long(work)
        })
    }

    fn read(&self, iova: Iova, size: usize) -> Result<Answer, Failure> {
        let range = piece(iova, size)?;
        let mut bytes = vec![0; size];
        let mut rest = &mut bytes[..];
        for part in self.mapped(range)? {
            // At most LARGEST_PIECE, so it fits.
            let (into, more) = rest.split_at_mut(part.length as usize);
            part.held.read(part.info, part.offset as usize, into)?;
            rest = more;
        }
        Ok(Answer::Read { data: Bytes(bytes) })
    }

    fn write(&self, iova: Iova, data: &Bytes) -> Result<Answer, Failure> {
        let range = piece(iova, data.0.len())?;
        let parts = self.mapped(range)?;
        // All or nothing: a part that cannot be written is seen before the first is.
        for part in &parts {
            part.held.check_writable(part.info)?;
        }
        let mut rest = &data.0[..];
        for part in parts {
            let (from, more) = rest.split_at(part.length as usize);
            part.held.write(part.info, part.offset as usize, from)?;
            rest = more;
        }
        Ok(Answer::Written)
    }

    fn locate(&self, iova: Iova) -> Result<Answer, Failure> {
        let (_, parts) = self.mappings.pieces(piece(iova, 1)?);
        let part = parts
            .first()
            .ok_or_else(|| Failure::usage(format!("nothing is mapped at {iova}")))?;
        Ok(Answer::Located(Located {
            mapping: part.info.clone(),
            address: part.held.address(part.offset as usize),
        }))
    }

    /// The memory of a range that is mapped as a whole.
    fn mapped(&self, range: IovaRange) -> Result<Vec<Piece<'_, HeldMemory>>, Failure> {
        match self.mappings.pieces(range) {
            (Extent::Whole, pieces) => Ok(pieces),
            (Extent::Nothing, _) => Err(Failure::usage(format!("nothing is mapped in {range}"))),
            _ => Err(Failure::usage(format!("only a part of {range} is mapped"))),
        }
    }
}

/// Work that gives back the IOVAs and the name that were taken for it when it panics, which is a mistake in the program.
fn guarded(work: Work, ranges: Vec<IovaRange>, name: Option<String>) -> Work {
    Box::new(move || {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            Box::new(move |holding| {
                for range in ranges {
                    holding.places.give_back(range);
                }
                if let Some(name) = name {
                    holding.mappings.free_name(&name);
                }
                Err(Failure::new(
                    ExitClass::Failed,
                    "the request met a mistake in iommu-tool; the log of the process that holds the mappings says where",
                ))
            })
        })
    })
}

fn done(answer: Answer) -> Step {
    Step::Done(Ok(answer))
}
