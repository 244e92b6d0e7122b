//! `bench`: figures for every backend that works, and the host as it was.

use super::lab::{Guest, Iommu, Kernel};
use super::{expect_clean_kernel, expect_words, in_guest, machine, run, run_json};
use libtest_mimic::{Failed, Trial};

const EDU: &str = "1234:11e8";

pub fn trials() -> Vec<Trial> {
    [
        (Kernel::Lab, &["iommufd", "type1"][..]),
        (Kernel::Distro, &["type1"]),
    ]
    .into_iter()
    .map(|(kernel, backends)| {
        in_guest(
            format!(
                "measuring::{kernel} kernel: map and unmap on {}",
                backends.join(" and ")
            ),
            machine(kernel, Iommu::Intel, &[]),
            |guest| measures(guest, backends),
        )
    })
    .collect()
}

fn measures(guest: &mut Guest, backends: &[&str]) -> Result<(), Failed> {
    run(guest, &format!("iommu-tool bind {EDU}"), 0)?;
    let report = run_json(
        guest,
        &format!("iommu-tool bench --json --samples 200 --html /tmp/bench.html {EDU}"),
        0,
    )?;
    let rows = report["results"]
        .as_array()
        .ok_or_else(|| format!("no results: {report:#}"))?;
    for backend in backends {
        let of_backend: Vec<_> = rows
            .iter()
            .filter(|row| row["backend"] == *backend)
            .collect();
        if of_backend.is_empty() {
            return Err(format!("nothing was measured on {backend}: {report:#}").into());
        }
        for row in of_backend {
            for part in ["map", "unmap"] {
                let figure = |name: &str| row[part][name].as_u64();
                let ordered = figure("min") > Some(0)
                    && figure("min") <= figure("p50")
                    && figure("p50") <= figure("p90")
                    && figure("p90") <= figure("max");
                if figure("count") != Some(200) || !ordered {
                    return Err(format!("the figures of {part} make no sense: {row:#}").into());
                }
            }
        }
    }
    let page = run(guest, "cat /tmp/bench.html", 0)?.stdout;
    expect_words("the page", &page, &["<svg", "</html>", backends[0]])?;
    run(guest, &format!("iommu-tool unbind {EDU}"), 0)?;
    expect_clean_kernel(guest)
}
