//! Each check passes where all is well, and fails for each fault that it is there to catch.

use super::fakes::{Fakes, Fault};
use super::{Blocking, CHECKS, Check, Conclusion, End, Event, Finding, Outcome, Verdict, run};
use crate::engine::Reading;
use crate::host::IommuKind;

fn check(id: &str) -> &'static Check {
    CHECKS.iter().find(|check| check.id == id).unwrap()
}

/// What one check alone finds.
fn finding(id: &str, fakes: &Fakes) -> Finding {
    fakes.rig(|rig| (check(id).run)(rig)).unwrap()
}

fn all(fakes: &Fakes) -> (Vec<Outcome>, End) {
    let checks: Vec<&Check> = CHECKS.iter().collect();
    fakes.rig(|rig| run(rig, &checks, |_| ()))
}

/// The checks that do DMA, from the gate on.
fn from_gate(outcomes: &[Outcome]) -> &[Outcome] {
    let gate = outcomes
        .iter()
        .position(|outcome| outcome.id == "translation.canary");
    &outcomes[gate.unwrap()..]
}

fn verdicts(outcomes: &[Outcome]) -> Vec<(&str, Verdict)> {
    outcomes
        .iter()
        .map(|outcome| (outcome.id, outcome.finding.verdict))
        .collect()
}

#[test]
fn ids_are_unique_and_every_check_says_what_it_proves() {
    let mut ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CHECKS.len());
    for check in CHECKS {
        assert!(check.id.contains('.') && !check.title.is_empty() && !check.proves.is_empty());
    }
}

#[test]
fn all_checks_pass_where_nothing_is_wrong() {
    let fakes = Fakes::with(Fault::None);

    let (outcomes, end) = all(&fakes);

    assert_eq!((outcomes.len(), end), (CHECKS.len(), End::Complete));
    assert_eq!(Conclusion::of(&outcomes, end), Conclusion::Passed);
    for outcome in &outcomes {
        assert_eq!(outcome.finding.verdict, Verdict::Pass, "{outcome:?}");
    }
    assert_eq!(fakes.space.live_mappings(), 0);
}

#[test]
fn each_check_fails_for_the_faults_that_it_is_there_to_catch() {
    let planted: &[(&str, &[Fault])] = &[
        (
            "mapping.round-trip",
            &[Fault::AcceptsOverlap, Fault::IgnoresUnmap],
        ),
        (
            "agreement.pages",
            &[
                Fault::TranslatesToOtherPages,
                Fault::TablePermitsAll,
                Fault::IgnoresUnmap,
            ],
        ),
        (
            "translation.canary",
            &[Fault::NotTranslated, Fault::DeadDma],
        ),
        ("loopback.echo", &[Fault::DeadDma, Fault::FlippedBit]),
        (
            "loopback.clock",
            &[Fault::DeadDma, Fault::FlippedBit, Fault::OneByteTooMany],
        ),
        (
            "loopback.sizes",
            &[
                Fault::DeadDma,
                Fault::FlippedBit,
                Fault::OneByteTooMany,
                Fault::IgnoresSingleBytes,
                Fault::SendsOldData,
                Fault::NotTranslated,
            ],
        ),
        ("loopback.alignment", &[Fault::AlignsAddresses]),
        ("loopback.page-crossing", &[Fault::WrapsAtPageEnd]),
        ("loopback.patterns", &[Fault::StuckBit]),
        ("loopback.scattered", &[Fault::TranslatesFirstPageOnly]),
        (
            "loopback.shared-page",
            &[
                Fault::OneIovaForEachPage,
                Fault::UnmapTakesAllIovas,
                Fault::DeadDma,
            ],
        ),
        ("loopback.low", &[Fault::FirstPageIsDead]),
        ("loopback.above-4g", &[Fault::CarriesWithin32Bits]),
        ("loopback.top", &[Fault::IgnoresTopBit]),
        ("loopback.beside-reserved", &[Fault::ReservesOnePageTooMany]),
        ("loopback.last-byte", &[Fault::LooksPastLastByte]),
        ("loopback.huge-pages", &[Fault::HugePagesAreOff]),
        ("loopback.many", &[Fault::TableIsSmall]),
        (
            "agreement.dma",
            &[
                Fault::DeadDma,
                Fault::FlippedBit,
                Fault::ServesOldPage,
                Fault::TranslatesToOtherPages,
            ],
        ),
        ("isolation.neighbours", &[Fault::OneByteTooMany]),
        (
            "isolation.unmapped",
            &[
                Fault::IgnoresUnmap,
                Fault::StaleReads,
                Fault::StaleWrites,
                Fault::DeadDma,
            ],
        ),
        (
            "isolation.remapped",
            &[Fault::ServesOldPage, Fault::DeadDma],
        ),
        (
            "isolation.never-mapped",
            &[Fault::IgnoresAddressBit, Fault::DeadDma],
        ),
        (
            "isolation.past-end",
            &[Fault::MapsOnePageTooMany, Fault::DeadDma],
        ),
        (
            "isolation.read-only",
            &[
                Fault::IgnoresProtection,
                Fault::ReadOnlyIsUnreadable,
                Fault::DeadDma,
            ],
        ),
        (
            "isolation.other-device",
            &[Fault::SharesSpaces, Fault::DeadDma],
        ),
        (
            "isolation.bus-master",
            &[
                Fault::IgnoresBusMaster,
                Fault::ReadsWithoutBusMaster,
                Fault::DeadDma,
            ],
        ),
        (
            "isolation.reset",
            &[
                Fault::ResetRestoresMappings,
                Fault::IgnoresUnmap,
                Fault::DeadDma,
            ],
        ),
        ("loopback.soak", &[Fault::WearsOut, Fault::FlippedBit]),
    ];
    let with_faults: Vec<&str> = planted.iter().map(|(id, _)| *id).collect();
    let in_table: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(with_faults, in_table, "each check has a fault to catch");

    for (id, faults) in planted {
        for fault in *faults {
            let found = finding(id, &Fakes::with(*fault));
            assert_eq!(
                found.verdict,
                Verdict::Fail,
                "{id} and {fault:?}: {found:?}"
            );
        }
    }
}

#[test]
fn a_device_with_bytes_of_its_own_loops_those() {
    for (reading, faults) in [
        (
            Reading::Compared,
            &[
                ("translation.canary", Fault::NotTranslated),
                ("loopback.sizes", Fault::FlippedBit),
                ("loopback.sizes", Fault::OneByteTooMany),
                ("loopback.page-crossing", Fault::WrapsAtPageEnd),
                ("loopback.scattered", Fault::TranslatesFirstPageOnly),
                ("isolation.unmapped", Fault::StaleReads),
                ("isolation.unmapped", Fault::StaleWrites),
                ("isolation.remapped", Fault::ServesOldPage),
                ("isolation.never-mapped", Fault::IgnoresAddressBit),
                ("isolation.past-end", Fault::MapsOnePageTooMany),
                ("isolation.read-only", Fault::IgnoresProtection),
                ("isolation.read-only", Fault::ReadOnlyIsUnreadable),
                ("isolation.other-device", Fault::SharesSpaces),
                ("isolation.bus-master", Fault::IgnoresBusMaster),
                ("isolation.bus-master", Fault::ReadsWithoutBusMaster),
                ("isolation.reset", Fault::ResetRestoresMappings),
            ][..],
        ),
        (
            Reading::Never,
            &[
                ("translation.canary", Fault::NotTranslated),
                ("loopback.sizes", Fault::OneByteTooMany),
                ("loopback.page-crossing", Fault::WrapsAtPageEnd),
                ("isolation.unmapped", Fault::StaleWrites),
                ("isolation.remapped", Fault::ServesOldPage),
                ("isolation.past-end", Fault::MapsOnePageTooMany),
                ("isolation.read-only", Fault::IgnoresProtection),
                ("isolation.other-device", Fault::SharesSpaces),
            ],
        ),
    ] {
        let with = |fault| {
            let mut fakes = Fakes::with(fault);
            fakes.reading = reading;
            fakes
        };
        let (outcomes, end) = all(&with(Fault::None));
        assert_eq!(
            Conclusion::of(&outcomes, end),
            Conclusion::Passed,
            "{outcomes:?}"
        );
        assert_eq!(outcomes.len(), CHECKS.len() - 1, "all but the patterns");
        for (id, fault) in faults {
            let found = finding(id, &with(*fault));
            assert_eq!(found.verdict, Verdict::Fail, "{reading:?} {id} {fault:?}");
        }
    }
}

#[test]
fn a_check_does_not_fail_for_what_is_not_its_business() {
    for (id, fault) in [
        ("loopback.sizes", Fault::TranslatesFirstPageOnly),
        ("loopback.sizes", Fault::WrapsAtPageEnd),
        ("loopback.page-crossing", Fault::TranslatesFirstPageOnly),
        ("loopback.sizes", Fault::StaleWrites),
    ] {
        let found = finding(id, &Fakes::with(fault));
        assert_eq!(
            found.verdict,
            Verdict::Pass,
            "{id} and {fault:?}: {found:?}"
        );
    }
}

#[test]
fn where_nothing_is_translated_the_run_stops_and_the_device_has_written_to_our_page_only() {
    let fakes = Fakes::with(Fault::NotTranslated);

    let (outcomes, end) = all(&fakes);

    assert_eq!(end, End::Complete);
    let (canary, others) = from_gate(&outcomes).split_first().unwrap();
    assert_eq!(
        (canary.id, canary.finding.verdict),
        ("translation.canary", Verdict::Fail)
    );
    assert_eq!(canary.finding.blocking, Some(Blocking::NotTranslated));
    assert_eq!(Conclusion::of(&outcomes, end), Conclusion::NotTranslated);
    assert!(
        others
            .iter()
            .all(|outcome| outcome.finding.verdict == Verdict::Skip
                && outcome.transfers == 0
                && outcome.finding.detail.contains("translation.canary"))
    );
    let written = fakes.written.lock().unwrap();
    let first = written[0].0;
    assert_eq!(written.len(), 64);
    assert!(written.iter().all(|(at, _)| at / 4096 == first / 4096));
}

#[test]
fn without_physical_addresses_a_loop_above_all_memory_decides() {
    let hidden = |fault| {
        let mut fakes = Fakes::with(fault);
        fakes.host.hides_physical = Some("not root");
        finding("translation.canary", &fakes)
    };

    let good = hidden(Fault::None);
    assert_eq!(good.verdict, Verdict::Pass);
    assert!(good.detail.contains("not root"), "{good:?}");
    let broken = hidden(Fault::NotTranslated);
    assert_eq!(broken.verdict, Verdict::Fail);
    assert!(
        broken.detail.starts_with("NOT TRANSLATED, or"),
        "{broken:?}"
    );
}

#[test]
fn without_any_safe_address_there_is_no_dma() {
    let mut fakes = Fakes::with(Fault::NotTranslated);
    fakes.host.hides_physical = Some("not root");
    fakes.physical_top = None;

    let (outcomes, _) = all(&fakes);

    assert_eq!(verdicts(&outcomes)[0].1, Verdict::Pass);
    assert!(
        from_gate(&outcomes)
            .iter()
            .all(|o| o.finding.verdict == Verdict::Skip)
    );
    assert!(fakes.written.lock().unwrap().is_empty());
}

#[cfg(target_arch = "x86_64")] // Elsewhere no address is known that is harmless with and without its upper bits.
#[test]
fn an_engine_that_drops_upper_address_bits_harms_nobody_where_nothing_is_translated() {
    let fakes = Fakes::with(Fault::NotTranslatedAndDropsUpperBits);

    let (outcomes, _) = all(&fakes);

    assert_eq!(from_gate(&outcomes)[0].finding.verdict, Verdict::Fail);
    let written = fakes.written.lock().unwrap();
    assert_eq!(written.len(), 64);
    assert!(
        written
            .iter()
            .all(|(at, _)| (0xf_0000..0x10_0000).contains(at))
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn an_engine_that_drops_upper_address_bits_is_tested_below_them() {
    let (outcomes, _) = all(&Fakes::with(Fault::DropsUpperBits));

    for outcome in &outcomes {
        let out_of_reach = ["loopback.above-4g", "loopback.beside-reserved"];
        let expected = match out_of_reach.contains(&outcome.id) {
            true => (Verdict::Skip, true),
            false => (Verdict::Pass, false),
        };
        let found = (outcome.finding.verdict, outcome.finding.optional);
        assert_eq!(found, expected, "{outcome:?}");
    }
}

#[test]
fn without_an_engine_only_what_needs_none_is_done() {
    let mut fakes = Fakes::with(Fault::None);
    fakes.has_engine = false;

    let (outcomes, end) = all(&fakes);

    assert_eq!(Conclusion::of(&outcomes, end), Conclusion::Incomplete);
    assert_eq!(outcomes[0].finding.verdict, Verdict::Pass);
    assert!(
        from_gate(&outcomes)
            .iter()
            .all(|o| o.finding.verdict == Verdict::Skip && o.finding.detail.contains("no engine"))
    );
}

#[test]
fn an_interrupt_ends_the_run_between_two_transfers_and_leaves_nothing_mapped() {
    let mut fakes = Fakes::with(Fault::None);
    fakes.stop_after = 10;

    let mut started = Vec::new();
    let (outcomes, end) = fakes.rig(|rig| {
        let checks: Vec<&Check> = CHECKS.iter().collect();
        run(rig, &checks, |event| {
            if let Event::Started(check) = event {
                started.push(check.id);
            }
        })
    });

    assert_eq!(end, End::Interrupted);
    assert_eq!(Conclusion::of(&outcomes, end), Conclusion::Interrupted);
    assert_eq!(started.len(), outcomes.len() + 1);
    assert_eq!(started.last(), Some(&"loopback.sizes"));
    assert_eq!(fakes.space.live_mappings(), 0);
}

#[test]
fn blocked_dma_is_classed_by_who_tells_of_it() {
    let mut fakes = Fakes::with(Fault::None);
    let silent = finding("isolation.unmapped", &fakes);
    assert_eq!(silent.blocking, Some(Blocking::BlockedUnreported));

    fakes.host.counts_faults = true;
    let counted = finding("isolation.unmapped", &fakes);
    assert_eq!(counted.blocking, Some(Blocking::BlockedAndCounted));
    assert_eq!(counted.evidence.len(), 1);

    fakes.host.logs_faults = true;
    let reported = finding("isolation.unmapped", &fakes);
    assert_eq!(reported.blocking, Some(Blocking::BlockedAndReported));
    assert!(reported.evidence[0].starts_with("fault at 0x"));
}

#[test]
fn what_a_host_or_device_has_not_takes_no_verdict_away() {
    let mut fakes = Fakes::with(Fault::None);
    fakes.has_other = false;
    fakes.can_reset = false;
    fakes.host.hides_tables = Some("not built");

    let (outcomes, end) = all(&fakes);

    assert_eq!(Conclusion::of(&outcomes, end), Conclusion::Passed);
    let skipped: Vec<&str> = verdicts(&outcomes)
        .into_iter()
        .filter(|(_, verdict)| *verdict == Verdict::Skip)
        .map(|(id, _)| id)
        .collect();
    assert_eq!(
        skipped,
        [
            "agreement.pages",
            "isolation.other-device",
            "isolation.reset"
        ]
    );
}

#[test]
fn the_last_byte_of_a_page_is_left_out_on_virtio_iommu() {
    let mut fakes = Fakes::with(Fault::LooksPastLastByte);
    fakes.iommu = Some(IommuKind::Virtio);
    let found = finding("loopback.last-byte", &fakes);
    assert_eq!((found.verdict, found.optional), (Verdict::Skip, true));
}

#[test]
fn a_rate_is_that_of_the_transfers_alone() {
    let (outcomes, _) = all(&Fakes::with(Fault::None));
    for outcome in &outcomes {
        assert!(outcome.dma_seconds <= outcome.seconds, "{outcome:?}");
        assert_eq!(outcome.transfers > 0, outcome.dma_seconds > 0.0);
    }
}

#[test]
fn a_reset_that_fails_ends_the_dma() {
    let fakes = Fakes::with(Fault::ResetFails);

    let (outcomes, end) = all(&fakes);

    assert_eq!(Conclusion::of(&outcomes, end), Conclusion::Failed);
    let reset = outcomes
        .iter()
        .find(|outcome| outcome.id == "isolation.reset");
    assert!(reset.unwrap().finding.detail.contains("cannot reset"));
    assert_eq!(fakes.space.live_mappings(), 0);
}

#[test]
fn an_engine_that_does_not_answer_any_more_is_asked_for_nothing_more() {
    let fakes = Fakes::with(Fault::Hangs);

    let (outcomes, end) = all(&fakes);

    assert_eq!(Conclusion::of(&outcomes, end), Conclusion::Failed);
    let failed = outcomes
        .iter()
        .position(|outcome| outcome.finding.verdict == Verdict::Fail)
        .unwrap();
    let why = &outcomes[failed].finding.detail;
    assert!(why.contains("does not answer"), "{why}");
    for outcome in &outcomes[failed + 1..] {
        let why = &outcome.finding.detail;
        assert!(why.contains("the engine failed in loopback.sizes"), "{why}");
        assert_eq!(outcome.transfers, 0);
    }
    assert_eq!(fakes.space.live_mappings(), 0);
}
