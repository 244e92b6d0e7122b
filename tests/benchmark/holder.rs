//! What mapping through a holder costs, against the same in this process.

use anyhow::{Context, Result, bail};
use iommu_tool::device::VfioDevice;
use iommu_tool::host::Host;
use iommu_tool::iommu::{self, AddressSpace, DmaBuffer, DmaMapping, Memory, PageKind};
use iommu_tool::session::Client;
use iommu_tool::session::protocol::{Answer, MapRequest, Pages, Request, Selection};
use iommu_tool::types::{Bdf, Iova, Protection, Size};
use std::sync::Arc;
use std::time::{Duration, Instant};

const GIB: u64 = 1 << 30;
const PLACE: Iova = Iova(1 << 36);
const ROUNDS: usize = 41;
const MANY: u64 = 10_000;

/// Measures with the holder of one device, and in this process with another device.
pub fn measure(held: Bdf, free: Bdf) -> Result<()> {
    let host = Host::live();
    let group = host.device(held)?.group.context("no group")?;
    let mut client = Client::find(group)?.context("nothing holds the device")?;
    let space = iommu::open(client.hello().backend)?;
    let node = host.vfio_node(&host.device(free)?);
    let device = VfioDevice::open(&space, &node)?;
    cold(&mut client, &space)?;
    one_page(&mut client, &space)?;
    many(&mut client)?;
    drop(device);
    Ok(())
}

/// One way to have cold memory mapped; unmaps it again, which is not measured.
type Way<'w> = (&'static str, Box<dyn FnMut() -> Result<Duration> + 'w>);

/// The medians of some ways, taken in turn.
fn medians(ways: &mut [Way<'_>], rounds: usize) -> Result<Vec<Duration>> {
    let mut samples = vec![Vec::new(); ways.len()];
    for round in 0..rounds + 2 {
        for index in 0..ways.len() {
            // Each way follows each other one.
            let index = (index + round) % ways.len();
            let time = ways[index].1()?;
            // The first rounds find caches and page tables cold.
            if round >= 2 {
                samples[index].push(time);
            }
        }
    }
    Ok(samples.into_iter().map(median).collect())
}

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

fn cold(client: &mut Client, space: &Arc<dyn AddressSpace>) -> Result<()> {
    let size = Size::new(GIB).context("no size")?;
    let bare = |pages: PageKind| -> Result<Duration> {
        let begin = Instant::now();
        let buffer = Arc::new(DmaBuffer::allocate(size, pages)?);
        let mapping = DmaMapping::new(space, &buffer, 0..buffer.size(), PLACE, RW)?;
        let time = begin.elapsed();
        mapping.unmap()?;
        Ok(time)
    };
    let huge = PageKind::Huge(Size::new(2 << 20).context("no size")?);
    let mut ways: Vec<Way<'_>> = vec![
        (
            "through a holder",
            Box::new(|| {
                let begin = Instant::now();
                map(client, request(GIB, Some(PLACE)))?;
                let time = begin.elapsed();
                unmap(client, Selection::All)?;
                Ok(time)
            }),
        ),
        (
            "here, the same strategy",
            Box::new(|| {
                let begin = Instant::now();
                let mapping = Memory::new(&**space, size, None, PLACE)?.map(space, PLACE, RW)?;
                let time = begin.elapsed();
                mapping.unmap()?;
                Ok(time)
            }),
        ),
        (
            "here, transparent huge pages",
            Box::new(move || bare(PageKind::Transparent)),
        ),
        (
            "here, the same in two threads",
            Box::new(|| in_halves(space, size)),
        ),
    ];
    if bare(huge).is_ok() {
        ways.push(("here, reserved huge pages", Box::new(move || bare(huge))));
    }
    let medians = medians(&mut ways, ROUNDS)?;
    let best = medians[1..].iter().min().context("nothing measured")?;
    for ((name, _), median) in ways.iter().zip(&medians) {
        println!(
            "  cold 1 GiB {name:<32} {:>6.3} of the best here",
            ratio(*median, *best)
        );
    }
    Ok(())
}

/// Two halves, each populated and mapped by a thread of its own.
fn in_halves(space: &Arc<dyn AddressSpace>, size: Size) -> Result<Duration> {
    let half = Size::new(size.bytes() / 2).context("no size")?;
    let begin = Instant::now();
    let one = |iova: Iova| -> Result<DmaMapping<&Arc<dyn AddressSpace>>> {
        let buffer = Arc::new(DmaBuffer::allocate(half, PageKind::Transparent)?);
        Ok(DmaMapping::new(space, &buffer, 0..buffer.size(), iova, RW)?)
    };
    let second = Iova(PLACE.0 + half.bytes());
    let mappings = std::thread::scope(|scope| {
        let other = scope.spawn(|| one(second));
        [one(PLACE), other.join().expect("mapping does not panic")]
    });
    let time = begin.elapsed();
    for mapping in mappings {
        mapping?.unmap()?;
    }
    Ok(time)
}

fn one_page(client: &mut Client, space: &Arc<dyn AddressSpace>) -> Result<()> {
    let client = std::cell::RefCell::new(client);
    let size = Size::new(4096).context("no size")?;
    let mut ways: Vec<Way<'_>> = vec![
        (
            "a question that needs no kernel call",
            Box::new(|| {
                let begin = Instant::now();
                client.borrow_mut().mappings(Iova(0), |_| true)?;
                Ok(begin.elapsed())
            }),
        ),
        (
            "4 KiB mapped and unmapped here",
            Box::new(|| {
                let begin = Instant::now();
                Memory::new(&**space, size, None, PLACE)?
                    .map(space, PLACE, RW)?
                    .unmap()?;
                Ok(begin.elapsed())
            }),
        ),
        (
            "4 KiB mapped through a holder",
            Box::new(|| {
                let client = &mut *client.borrow_mut();
                let begin = Instant::now();
                map(client, request(4096, Some(PLACE)))?;
                let time = begin.elapsed();
                unmap(client, Selection::All)?;
                Ok(time)
            }),
        ),
    ];
    let medians = medians(&mut ways, 500)?;
    for ((name, _), median) in ways.iter().zip(&medians) {
        println!(
            "  {name:<43} {:>6.3} of a question",
            ratio(*median, medians[0])
        );
    }
    Ok(())
}

/// How requests slow down with what is mapped.
fn many(client: &mut Client) -> Result<()> {
    let probe = |client: &mut Client| -> Result<[Duration; 4]> {
        let mut samples: [Vec<Duration>; 4] = Default::default();
        for _ in 0..300 {
            let mut timed = |index: usize, work: &mut dyn FnMut() -> Result<()>| {
                let begin = Instant::now();
                work()?;
                samples[index].push(begin.elapsed());
                anyhow::Ok(())
            };
            let mut iova = Iova(0);
            timed(0, &mut || {
                iova = map(client, request(4096, None))?;
                Ok(())
            })?;
            timed(1, &mut || {
                client.ask(Request::Read { iova, size: 64 }, None)?;
                Ok(())
            })?;
            timed(2, &mut || unmap(client, Selection::At(iova)))?;
        }
        let begin = Instant::now();
        let listed = client.mappings(Iova(0), |_| true)?.len().max(1);
        samples[3].push(begin.elapsed() / u32::try_from(listed)?);
        Ok(samples.map(median))
    };
    let fill = |client: &mut Client, count: u64| -> Result<[Duration; 4]> {
        for _ in 0..count {
            map(client, request(4096, None))?;
        }
        probe(client)
    };
    let few = fill(client, 100)?;
    let lots = fill(client, MANY - 100)?;
    for (index, name) in ["map", "read", "unmap", "list, each"].iter().enumerate() {
        let ratio = ratio(lots[index], few[index]);
        println!("  with {MANY} mappings: {name:<22} {ratio:>6.3} of the same with 100");
    }
    unmap(client, Selection::All)
}

const RW: Protection = Protection::ReadWrite;

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn request(size: u64, iova: Option<Iova>) -> MapRequest {
    MapRequest {
        size,
        iova,
        pages: Pages::Auto,
        threads: None,
        protection: RW,
        name: None,
        file: None,
    }
}

fn map(client: &mut Client, request: MapRequest) -> Result<Iova> {
    match client.ask(Request::Map(request), None)? {
        Answer::Mapped(mapping) => Ok(mapping.iova),
        other => bail!("the holder says {other:?}"),
    }
}

fn unmap(client: &mut Client, selection: Selection) -> Result<()> {
    client.ask(Request::Unmap(selection), None)?;
    Ok(())
}
