//! Opening an address space and the device, resetting it, and closing both.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::{Memory, Rows, Stage, SuiteEntry};
use crate::bench::BenchError;
use crate::bench::plan::{Plan, Row};
use crate::bench::record::Phase;
use crate::bench::sampler::{Pace, Subject, nanoseconds};
use crate::bench::space::Opened;
use crate::device::VfioDevice;
use crate::iommu;
use crate::types::{Backend, Suite, VfioNode};

pub const ENTRY: SuiteEntry = SuiteEntry {
    suite: Suite::Open,
    time: Duration::from_secs(2),
    least: 1,
    rows,
    memory: |_| Memory::default(),
    launch,
};

fn rows(plan: &Plan, backend: Backend) -> Result<Rows, BenchError> {
    let opened = Opened::open(&plan.devices[0].node, backend)?;
    let (steps, missing): (&[Phase], _) = if opened.device.can_reset() {
        (
            &[Phase::Space, Phase::Attach, Phase::Close, Phase::Reset],
            vec![],
        )
    } else {
        (
            &[Phase::Space, Phase::Attach, Phase::Close],
            vec!["a reset, as the kernel knows no way to reset this device alone".to_owned()],
        )
    };
    Ok(Rows {
        rows: vec![Row::new(Suite::Open, backend, steps)],
        missing,
    })
}

fn launch(stage: &mut Stage<'_>) -> Result<ControlFlow<()>, BenchError> {
    let bring_up = BringUp {
        node: &stage.plan.devices[0].node,
        backend: stage.backend,
    };
    stage.sample_all(Pace::Cold, vec![Box::new(bring_up)])
}

struct BringUp<'n> {
    node: &'n VfioNode,
    backend: Backend,
}

impl Subject for BringUp<'_> {
    fn sample(&mut self, times: &mut [u64]) -> Result<(), BenchError> {
        let begin = Instant::now();
        let space = iommu::open(self.backend)?;
        let made = Instant::now();
        let device = VfioDevice::open(&space, self.node)?;
        let attached = Instant::now();
        times[0] = nanoseconds(begin, made);
        times[1] = nanoseconds(made, attached);
        if device.can_reset() {
            device.reset()?;
            times[3] = nanoseconds(attached, Instant::now());
        }
        let begin = Instant::now();
        drop(device);
        drop(space);
        times[2] = nanoseconds(begin, Instant::now());
        Ok(())
    }
}
