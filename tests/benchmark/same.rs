//! Equal runs of `bench` against each other: what `compare` calls changed there, did not change.

use anyhow::{Context, Result, ensure};
use iommu_tool::types::Backend;
use serde::Deserialize;

use super::lab::{Guest, Machine};
use super::{BIND, boot};

/// What counts as slower in a check.
const LIMIT: f64 = 1.05;

/// What `compare --json` says of two runs.
#[derive(Deserialize)]
struct Compared {
    regressions: usize,
    resolution: f64,
    series: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    backend: Backend,
    size: Option<u64>,
    pages: Option<String>,
    phase: String,
    ratio: Ratio,
    verdict: String,
}

#[derive(Deserialize)]
struct Ratio {
    estimate: f64,
}

impl Change {
    /// How far it is from no change.
    fn distance(&self) -> f64 {
        self.ratio.estimate.ln().abs()
    }

    fn is_called(&self) -> bool {
        matches!(self.verdict.as_str(), "slower" | "faster")
    }

    fn name(&self) -> String {
        let size = self
            .size
            .map_or_else(String::new, |size| format!(" {} KiB", size >> 10));
        let pages = self.pages.as_deref().unwrap_or("");
        let Self { backend, phase, .. } = self;
        format!("{phase} {backend}{size} {pages}")
    }
}

/// Has a guest run `bench` so often and once more, and compares each run with the one before and with the first.
pub fn measure(runs: u32) -> Result<()> {
    let mut guest = boot(Machine {
        memory: "2G".to_owned(),
        ..Machine::default()
    })?;
    let measured = output(
        &mut guest,
        &format!(
            "{BIND}
            for run in $(seq 0 {runs}); do
                iommu-tool bench --json --suite map,open --duration 20s $1 >/tmp/$run.json
                echo \"run $run of {runs} is done\" >&2
            done"
        ),
    )?;
    ensure!(measured.is_empty(), "runs print into files");
    println!(
        "{:>9}  {:>6}  {:>11}  largest change",
        "runs", "alarms", "called"
    );
    let (mut alarms, mut called, mut all) = (0, 0, 0);
    let neighbours = (1..=runs).map(|run| (run - 1, run));
    for (before, after) in neighbours.chain((2..=runs).map(|run| (0, run))) {
        let compare = format!(
            "iommu-tool compare --json --fail-above {LIMIT} /tmp/{before}.json /tmp/{after}.json || [ $? = 1 ]"
        );
        let result: Compared = serde_json::from_slice(&output(&mut guest, &compare)?)?;
        let changed = result.series.iter().filter(|one| one.is_called()).count();
        let farthest = result
            .series
            .iter()
            .max_by(|one, other| one.distance().total_cmp(&other.distance()))
            .context("the runs have no series in common")?;
        println!(
            "{before:>3} to {after:>2}  {:>6}  {changed:>4} of {:>3}  {:.3} x, {}; half of the series would show {:.1} %",
            result.regressions,
            result.series.len(),
            farthest.ratio.estimate,
            farthest.name(),
            100.0 * result.resolution
        );
        alarms += u32::from(result.regressions > 0);
        called += changed;
        all += result.series.len();
    }
    println!(
        "{alarms} of {} comparisons raise an alarm; {called} of {all} series ({:.2} %) are called slower or faster",
        2 * runs - 1,
        100.0 * called as f64 / all as f64
    );
    Ok(())
}

fn output(guest: &mut Guest, script: &str) -> Result<Vec<u8>> {
    let mut output = Vec::new();
    let status = guest.run_streaming(script, None, &mut output, &mut std::io::stderr())?;
    ensure!(status == 0, "the guest ended with status {status}");
    Ok(output)
}
