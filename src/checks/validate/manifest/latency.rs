//! Whether mapping memory takes no longer than it may.

use super::{Ceilings, Observed};
use crate::checks::validate::{Judged, MapLatency};

/// Holds what mapping cost against what it may. `latencies` is `None` where nothing was to be measured.
pub(super) fn held_to(
    ceilings: &Ceilings,
    seen: &Observed,
    latencies: Option<&[MapLatency]>,
) -> Judged {
    let Some(latencies) = latencies else {
        return Judged::not_here("nothing is measured at the level quick");
    };
    let own = |one: &&MapLatency| seen.places.iter().any(|place| place.bdf == one.bdf);
    let own: Vec<&MapLatency> = latencies.iter().filter(own).collect();
    let Some(first) = own.first() else {
        return Judged::skip(
            "what mapping costs was not measured: that takes two devices or virtual functions that can be opened",
        );
    };
    let both = |one: &MapLatency| one.map_ns.saturating_add(one.unmap_ns);
    let reference = both(first).max(1);
    let mut above = Vec::new();
    let mut seen_ratios = Vec::new();
    if let Some((stored, limit)) = ceilings.stored {
        let ratio = reference as f64 / stored as f64;
        seen_ratios.push(format!("the first takes {ratio:.2} times the stored time"));
        if ratio > limit {
            above.push(format!(
                "{}: expected at most {limit} times the stored {stored} ns, found {reference} ns, {ratio:.2} times that", first.bdf
            ));
        }
    }
    if let Some(limit) = ceilings.to_first {
        let ratio = |one: &MapLatency| both(one) as f64 / reference as f64;
        let others = own.iter().skip(1);
        let most = others.clone().map(|one| ratio(one)).fold(0.0, f64::max);
        seen_ratios.push(format!(
            "the slowest of the others {most:.2} times the first"
        ));
        above.extend(others.filter(|one| ratio(one) > limit).map(|one| {
            format!(
                "{}: expected at most {limit} times the first, found {} ns, {:.2} times that",
                one.bdf,
                both(one),
                ratio(one)
            )
        }));
    }
    if above.is_empty() {
        return Judged::pass(seen_ratios.join(", "));
    }
    let judged = Judged::fail(
        "mapping memory takes longer than is allowed",
        "repeat it on an idle host; if it stays, compare the processor's frequency settings, the kernel and the mode of the IOMMU with those of \
         the host that the file was made on",
    );
    judged.with_evidence(above)
}
