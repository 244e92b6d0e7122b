//! Samples of several ways to do a thing, taken in turns of short blocks, so that what slows the machine slows all of them.

use anyhow::{Context, Result};
use iommu_tool::bench::{interval_of_median, median};
use std::time::Duration;

use super::bars::Measured;

/// One way to do it; the time that counts.
pub type Way<'w> = Box<dyn FnMut() -> Result<Duration> + 'w>;

/// How many samples are taken.
#[derive(Clone, Copy)]
pub struct Turns {
    /// Samples of each way that are thrown away first.
    pub warm_up: usize,
    /// Blocks of each way.
    pub rounds: usize,
    /// Samples in a block.
    pub block: usize,
}

/// The usual blocks for what takes microseconds.
pub const QUICK: Turns = Turns {
    warm_up: 50,
    rounds: 400,
    block: 25,
};

/// For each way, the medians of its blocks in nanoseconds, round by round.
pub fn take(ways: &mut [Way<'_>], turns: Turns) -> Result<Vec<Vec<f64>>> {
    for way in ways.iter_mut() {
        for _ in 0..turns.warm_up {
            way()?;
        }
    }
    let mut medians = vec![Vec::new(); ways.len()];
    for round in 0..turns.rounds {
        for index in 0..ways.len() {
            // Each way follows each other one.
            let index = (index + round) % ways.len();
            let mut samples = Vec::with_capacity(turns.block);
            for _ in 0..turns.block {
                samples.push(ways[index]()?.as_nanos() as f64);
            }
            medians[index].push(median(samples).context("an empty block")?);
        }
    }
    Ok(medians)
}

/// The median of the quotients of what stood side by side.
pub fn ratio(of: &[f64], with: &[f64]) -> Result<Measured> {
    let ratios: Vec<f64> = of.iter().zip(with).map(|(of, with)| of / with).collect();
    let interval = interval_of_median(ratios.clone());
    Ok(Measured::Ratio(
        median(ratios).context("nothing was measured")?,
        interval.map(|interval| (interval.low, interval.high)),
    ))
}
