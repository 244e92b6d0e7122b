//! A record made up for tests, of all suites, with the noise of launches and blocks that real ones have.

use super::statistics::block_median;
use super::*;
use crate::host::IommuKind;
use crate::types::{Backend, Iova, Suite};

const LAUNCHES: u32 = 5;
const ROUNDS: u32 = 8;
const COUNT: u32 = 5;

/// Numbers without a pattern (xorshift64).
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(0x2545_f491_4f6c_dd1d ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, with the deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// A plan with base and transparent huge pages, and nothing else that the user chose.
pub(crate) fn plan() -> Plan {
    let pages = |kind, bytes| PlannedPages { kind, bytes };
    Plan {
        devices: Vec::new(),
        suites: Vec::new(),
        backends: Vec::new(),
        sizes: None,
        guest: None,
        pages: vec![
            pages(PageKind::Base, 4096),
            pages(PageKind::Transparent, 2 << 20),
        ],
        threads: Vec::new(),
        samples: None,
        duration: None,
        iova: None,
        bare: false,
        keep_samples: false,
        available: None,
        reserved: Vec::new(),
        lockable: None,
        physical_top: None,
    }
}

/// What a series of a plain map of so many bytes is about.
pub(crate) fn key(suite: Suite, backend: Backend, size: u64, pages: &str, phase: Phase) -> Key {
    Key {
        suite,
        backend,
        size: Some(size),
        pages: Some(pages.to_owned()),
        route: Route::Address,
        threads: 1,
        devices: 1,
        live: 0,
        working_set: None,
        phase,
    }
}

/// A series whose median is about `time` nanoseconds; launches differ by the part `spread`.
pub(crate) fn series(key: Key, time: f64, spread: f64, noise: &mut Noise) -> Series {
    let mut samples = Vec::new();
    let mut blocks = Vec::new();
    for launch in 0..LAUNCHES {
        let of_launch = time * (spread * noise.normal()).exp();
        for round in 0..ROUNDS {
            let of_block = of_launch * (0.005 * noise.normal()).exp();
            let tail = |noise: &mut Noise| {
                let rare = noise.uniform() > 0.995;
                (0.97 + 0.06 * noise.uniform()) * if rare { 5.0 } else { 1.0 }
            };
            let block: Vec<u64> = (0..COUNT)
                .map(|_| (of_block * tail(noise)) as u64)
                .collect();
            blocks.push(Block {
                launch,
                round,
                count: COUNT,
                median: block_median(&block),
            });
            samples.extend(block);
        }
    }
    samples.sort_unstable();
    let summary = Summary::of(&samples, &blocks).unwrap();
    let pages = key.size.map(|size| size as f64 / 4096.0);
    let is_transfer = matches!(key.phase, Phase::Load | Phase::Store);
    Series {
        iova: Some(Iova(0x1_0000_0000)),
        runs: Some(1),
        per_page: pages
            .filter(|_| !is_transfer)
            .map(|pages| summary.p50 as f64 / pages),
        rate: key
            .size
            .filter(|_| is_transfer)
            .map(|size| size as f64 / summary.p50 as f64 * 1e9),
        distribution: distribution(&samples),
        key,
        summary,
        blocks,
        samples: None,
    }
}

/// What a map, or an unmap, takes: in the form of a line, as the kernel does.
fn line(backend: Backend, pages: &str, phase: Phase) -> (f64, f64) {
    match (backend, pages, phase) {
        (Backend::Type1, "4K", Phase::Map) => (2_500.0, 770.0),
        (Backend::Type1, "4K", _) => (2_450.0, 480.0),
        (Backend::Type1, _, Phase::Map) => (2_000.0, 6.0),
        (Backend::Type1, _, _) => (2_050.0, 70.0),
        (_, "4K", Phase::Map) => (4_400.0, 360.0),
        (_, "4K", _) => (4_350.0, 180.0),
        (_, _, Phase::Map) => (4_100.0, 14.0),
        (_, _, _) => (3_600.0, 87.0),
    }
}

/// A record of all suites; another seed gives the same host with other noise.
pub(crate) fn record(seed: u64) -> Record {
    let mut noise = Noise::new(seed);
    let mut all = Vec::new();
    let mut fits = Vec::new();
    let mut breakdowns = Vec::new();
    let backends = [Backend::Type1, Backend::Iommufd];
    for backend in backends {
        for (pages, sizes) in [
            ("4K", &[4 << 10, 64 << 10, 2 << 20][..]),
            ("thp", &[2 << 20, 64 << 20, 1 << 30]),
        ] {
            for phase in [Phase::Map, Phase::Unmap] {
                let (base, page) = line(backend, pages, phase);
                fits.push(Fit {
                    suite: Suite::Map,
                    backend,
                    pages: pages.to_owned(),
                    route: Route::Address,
                    phase,
                    base,
                    page,
                    run: (pages == "4K").then_some(120.0),
                    error: 0.03,
                    points: sizes.len(),
                });
                for size in sizes {
                    let time = base + page * *size as f64 / 4096.0;
                    let key = key(Suite::Map, backend, *size, pages, phase);
                    all.push(series(key, time, 0.005, &mut noise));
                }
            }
        }
    }
    for backend in backends {
        for (pages, route, times) in [
            ("4K", Route::Address, [2.9e8, 0.9e8, 1.9e8, 1.2e8]),
            ("thp", Route::Address, [2.2e8, 0.04e8, 0.06e8, 0.2e8]),
            ("thp", Route::Strategy, [1.1e8, 0.04e8, 0.06e8, 0.2e8]),
            ("2M", Route::File, [1.0e8, 0.01e8, 0.012e8, 0.2e8]),
        ] {
            let phases = [Phase::Fault, Phase::Pin, Phase::Map, Phase::Unmap];
            let mut parts = Vec::new();
            for (phase, time) in phases.into_iter().zip(times) {
                let mut key = key(Suite::Cold, backend, 1 << 30, pages, phase);
                key.route = route;
                let one = series(key, time, 0.02, &mut noise);
                parts.push(Part {
                    phase,
                    time: 24.0 * one.summary.p50 as f64,
                    interval: one.summary.interval.map(|interval| Interval {
                        low: 24.0 * interval.low,
                        high: 24.0 * interval.high,
                    }),
                });
                all.push(one);
            }
            breakdowns.push(Breakdown {
                backend,
                pages: pages.to_owned(),
                route,
                size: 24 << 30,
                extrapolated_from: Some(1 << 30),
                parts,
            });
        }
    }
    for (backend, limit) in [(Backend::Type1, 65_000), (Backend::Iommufd, 128_000)] {
        for live in [0, 1_000, 16_000, limit] {
            for phase in [Phase::Map, Phase::Unmap] {
                let mut key = key(Suite::Churn, backend, 4096, "4K", phase);
                key.live = live;
                let (base, page) = line(backend, "4K", phase);
                let growth = 1.0 + 0.03 * (1.0 + live as f64 / 100.0).ln();
                all.push(series(key, (base + page) * growth, 0.01, &mut noise));
            }
        }
    }
    for (backend, gains) in [
        (Backend::Type1, [1.0, 0.94, 0.53]),
        (Backend::Iommufd, [1.0, 1.9, 3.7]),
    ] {
        for (threads, gain) in [1, 2, 4].into_iter().zip(gains) {
            let mut key = key(Suite::Threads, backend, 16 << 20, "thp", Phase::Map);
            key.threads = threads;
            all.push(series(
                key,
                60_000.0 * f64::from(threads) / gain,
                0.02,
                &mut noise,
            ));
        }
    }
    for devices in [1, 2] {
        let mut key = key(Suite::Devices, Backend::Iommufd, 2 << 20, "thp", Phase::Map);
        key.devices = devices;
        all.push(series(key, 11_000.0, 0.01, &mut noise));
    }
    for (route, time) in [(Route::Address, 900_000.0), (Route::File, 62_000.0)] {
        let mut key = key(Suite::File, Backend::Iommufd, 256 << 20, "2M", Phase::Map);
        key.route = route;
        all.push(series(key, time, 0.005, &mut noise));
    }
    for (pages, reach) in [("4K", 1 << 20), ("2M", 512 << 20)] {
        for working_set in [4 << 10, 512 << 10, 4 << 20, 64 << 20, 512 << 20] {
            let mut key = key(Suite::Dma, Backend::Iommufd, 4096, pages, Phase::Load);
            key.working_set = Some(working_set);
            let time = if working_set > reach {
                2_300.0
            } else {
                1_400.0
            };
            all.push(series(key, time, 0.005, &mut noise));
        }
    }
    for (phase, time) in [
        (Phase::Space, 20_000.0),
        (Phase::Attach, 150_000.0),
        (Phase::Reset, 100_000_000.0),
        (Phase::Close, 102_000_000.0),
    ] {
        let mut key = key(Suite::Open, Backend::Iommufd, 4096, "4K", phase);
        (key.size, key.pages) = (None, None);
        all.push(series(key, time, 0.005, &mut noise));
    }
    Record {
        unit: Unit::Nanoseconds,
        complete: true,
        method: Method {
            started: 1_795_246_000,
            seconds: 48.2,
            launches: LAUNCHES,
            warm_up: 20,
            block: COUNT,
            clock: 21.0,
        },
        environment: environment(),
        warnings: [
            Warning::VirtualMachine,
            Warning::NoisyHost {
                spread: 0.08,
                load: Some(2.5),
            },
        ]
        .map(Warned::from)
        .to_vec(),
        skipped: vec![Skipped {
            suite: Suite::File,
            backend: Some(Backend::Type1),
            reason: "type1 cannot map a file as such".to_owned(),
        }],
        series: all,
        comparisons: Vec::new(),
        fits,
        breakdowns,
    }
}

fn environment() -> Environment {
    Environment {
        version: "0.1.0".to_owned(),
        kernel: Some("7.2.12".to_owned()),
        kernel_parameters: vec!["intel_iommu=on".to_owned()],
        processor: Some("Example CPU 3000".to_owned()),
        processors: 2,
        node: Some(0),
        governor: Some("performance".to_owned()),
        clock_source: Some("tsc".to_owned()),
        load: Some(0.3),
        virtual_machine: true,
        memory: Some(4 << 30),
        transparent_huge_pages: Some("madvise".to_owned()),
        huge_pages: vec![HugePageReserve {
            size: 2 << 20,
            total: 128,
            free: 128,
        }],
        locked_memory: None,
        devices: vec![MeasuredDevice {
            bdf: "0000:00:03.0".parse().unwrap(),
            id: "1234:11e8".to_owned(),
            driver: Some("vfio-pci".to_owned()),
            node: Some(0),
            group: None,
            domain: Some("DMA-FQ".to_owned()),
            iommu: Some(MeasuredIommu {
                name: "dmar0".to_owned(),
                kind: IommuKind::Vtd,
                version: Some("1.0".to_owned()),
                address_width: Some(48),
                page_sizes: vec![4 << 10, 2 << 20, 1 << 30],
                features: vec!["queued invalidation".to_owned()],
            }),
        }],
        spaces: [Backend::Type1, Backend::Iommufd]
            .map(|backend| MeasuredSpace {
                backend,
                page_sizes: vec![4 << 10, 2 << 20, 1 << 30],
                room: 1 << 48,
                entries: (backend == Backend::Type1).then_some(65_535),
            })
            .to_vec(),
    }
}
