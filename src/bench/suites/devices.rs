//! What more devices in one address space cost.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::map::Cycle;
use super::{Memory, Rows, Stage, SuiteEntry, one_mapped_at_a_time};
use crate::bench::BenchError;
use crate::bench::plan::{Plan, Row};
use crate::bench::record::Phase;
use crate::bench::sampler::{Pace, Subject};
use crate::bench::space::allocate;
use crate::device::VfioDevice;
use crate::types::{Backend, Suite};

pub const ENTRY: SuiteEntry = SuiteEntry {
    suite: Suite::Devices,
    time: Duration::from_secs(4),
    least: 4,
    rows,
    memory,
    launch,
};

const SIZES: [u64; 2] = [4 << 10, 2 << 20];

fn rows(plan: &Plan, backend: Backend) -> Result<Rows, BenchError> {
    if plan.devices.len() < 2 {
        return Ok(Rows::none(
            "it takes several devices: name more than one, all bound to VFIO",
        ));
    }
    let shapes = plan.shapes(&plan.sizes_or(&SIZES));
    let mut rows = Vec::new();
    for count in 1..=plan.devices.len() {
        for shape in &shapes {
            let steps = &[Phase::Map, Phase::Unmap];
            let mut row = Row::new(Suite::Devices, backend, steps).of(*shape);
            row.key.devices = u32::try_from(count).unwrap_or(u32::MAX);
            rows.push(row);
        }
    }
    Ok(rows.into())
}

fn memory(rows: &[Row]) -> Memory {
    one_mapped_at_a_time(rows)
}

fn launch(stage: &mut Stage<'_>) -> Result<ControlFlow<()>, BenchError> {
    let mut opened = stage.open()?;
    let mut others = Vec::new();
    let shapes = stage.rows.len() / stage.plan.devices.len();
    let mut memory = Vec::new();
    for row in &stage.rows[..shapes] {
        let shape = row.shape();
        let buffer = allocate(shape)?;
        memory.push((
            Arc::new(buffer),
            opened.room.place(shape.size)?,
            shape.size as usize,
        ));
    }
    for (count, first) in (0..stage.rows.len()).step_by(shapes).enumerate() {
        if count > 0 {
            let node = &stage.plan.devices[count].node;
            others.push(VfioDevice::open(&opened.room.space, node)?);
        }
        let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
        for (at, (buffer, iova, size)) in memory.iter().enumerate() {
            stage.samples[first + at].iova = Some(*iova);
            subjects.push(Box::new(Cycle {
                space: opened.room.space.clone(),
                buffer: buffer.clone(),
                size: *size,
                iova: *iova,
            }));
        }
        if stage
            .sample(first..first + shapes, Pace::Warm, subjects)?
            .is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
