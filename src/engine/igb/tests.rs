//! The engines of the 82576 against functions of software.

use std::time::Duration;

use super::fake::{FakeFunction, Fault};
use super::port::{Kind, Patience, Port};
use super::{Address, DmaEngine, EngineError, Loaded, Reading, Wire};
use crate::engine::Pages;
use crate::engine::arena::{FakeMemory, PAGE};
use crate::types::{ExitClass, Iova};

const ONE: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const TWO: [u8; 6] = [0x02, 0, 0, 0, 0, 2];
const FALLBACK: Address = Address([0x02, 9, 9, 9, 9, 9]);

const IMPATIENT: Patience = Patience {
    link: Duration::from_millis(50),
    answer: Duration::from_millis(50),
    frame: Duration::from_millis(50),
};

type Engine<'f, 'm> = Wire<&'f FakeFunction<'m>, ()>;

fn port<'f, 'm>(
    kind: Kind,
    fake: &'f FakeFunction<'m>,
) -> Result<Port<&'f FakeFunction<'m>, ()>, EngineError> {
    Port::start(kind, IMPATIENT, fake, (), &fake.memory, FALLBACK)
}

fn alone<'f, 'm>(kind: Kind, fake: &'f FakeFunction<'m>) -> Result<Engine<'f, 'm>, EngineError> {
    Ok(Wire::new(port(kind, fake)?, None, fake.memory.page()?))
}

fn physical(memory: &FakeMemory) -> FakeFunction<'_> {
    FakeFunction::new(memory, false, ONE)
}

fn virtual_function(memory: &FakeMemory) -> FakeFunction<'_> {
    FakeFunction::new(memory, true, ONE)
}

/// A loop as the checks do it, with guards around the destination.
fn assert_loop(engine: &mut dyn DmaEngine, memory: &FakeMemory, from: u64, to: u64, size: usize) {
    let (source, destination) = (memory.map(2), memory.map(2));
    let payload: Vec<u8> = (0..size).map(|at| (at * 13 + at / 256) as u8).collect();
    let before: Vec<u8> = payload
        .iter()
        .map(|byte| !byte)
        .cycle()
        .take(2 * PAGE)
        .collect();
    memory.write(source.0 + from, &payload);
    memory.write(destination.0, &before);

    assert_eq!(
        engine.load(Iova(source.0 + from), size).unwrap(),
        Loaded::Kept
    );
    engine.store(Iova(destination.0 + to), size).unwrap();

    let mut expected = before;
    expected[to as usize..to as usize + size].copy_from_slice(&payload);
    assert!(
        memory.read(destination.0, 2 * PAGE) == expected,
        "{from} {to} {size}"
    );
}

fn assert_loops(engine: &mut dyn DmaEngine, memory: &FakeMemory) {
    let limits = engine.limits();
    assert_eq!((limits.size_unit, limits.alignment), (1, 1));
    assert_eq!(limits.reading, Reading::Kept);
    for size in [1, 2, 45, 46, 60, 64, 1000, limits.max_size] {
        for (from, to) in [(0, 0), (1, 2), (4095, 4093), (4000, 5)] {
            let last = (2 * PAGE - size) as u64;
            assert_loop(engine, memory, last.min(from), last.min(to), size);
        }
    }
    // More than the rings have descriptors.
    for _ in 0..300 {
        assert_loop(engine, memory, 3, 4, 8);
    }
}

#[test]
fn a_physical_function_sends_payloads_to_itself() {
    let memory = FakeMemory::default();
    let fake = physical(&memory);
    let mut engine = alone(Kind::Physical, &fake).unwrap();
    assert_eq!(engine.limits().max_size, PAGE);
    assert_eq!(fake.phy.get(), 0x4140);
    assert_loops(&mut engine, &memory);
    drop(engine);
    assert!(!fake.is_on());
    assert_eq!(fake.phy.get(), 0x1140, "the PHY is not as it was");
}

#[test]
fn a_virtual_function_sends_payloads_to_itself() {
    let memory = FakeMemory::default();
    let fake = virtual_function(&memory);
    let mut engine = alone(Kind::Virtual, &fake).unwrap();
    assert_eq!(engine.limits().max_size, 1450);
    assert_loops(&mut engine, &memory);
    drop(engine);
    assert!(!fake.is_on());
}

#[test]
fn with_a_peer_only_the_first_function_touches_the_callers_memory() {
    // The peer has a memory of its own, where the caller's does not exist.
    let (memory, others) = (FakeMemory::default(), FakeMemory::default());
    let near = virtual_function(&memory);
    let far = FakeFunction::new(&others, true, TWO);
    near.far.replace(Some(&far));
    far.far.replace(Some(&near));
    let mut engine = Wire::new(
        port(Kind::Virtual, &near).unwrap(),
        Some(port(Kind::Virtual, &far).unwrap()),
        (&others).page().unwrap(),
    );
    assert_loops(&mut engine, &memory);
    // A frame that is lost makes both start anew.
    near.fault.set(Fault::LosesFrames);
    let source = memory.map(1);
    engine.load(source, 64).unwrap_err();
    near.fault.set(Fault::None);
    engine.load(source, 64).unwrap();
    assert_eq!((near.resets.get(), far.resets.get()), (2, 2));
}

#[test]
fn a_function_without_an_address_gets_one() {
    let memory = FakeMemory::default();
    for (kind, fake) in [
        (Kind::Physical, physical(&memory)),
        (Kind::Virtual, virtual_function(&memory)),
    ] {
        fake.assigned.set(None);
        let mut engine = alone(kind, &fake).unwrap();
        assert_eq!(fake.address.get(), FALLBACK.0);
        assert_loop(&mut engine, &memory, 0, 0, 100);
    }
}

#[test]
fn what_the_physical_function_does_meanwhile_keeps_no_function_from_its_address() {
    for fault in [
        Fault::OwnMessageFirst,
        Fault::OwnMessageOverAnswer,
        Fault::ResetSeenLate,
        Fault::ResetSeenLateAndSilent,
        Fault::BusyMailbox,
    ] {
        for assigned in [None, Some(ONE)] {
            let memory = FakeMemory::default();
            let fake = virtual_function(&memory);
            fake.fault.set(fault);
            fake.assigned.set(assigned);
            let registers = &fake;
            let patience = Patience::USUAL;
            let port = Port::start(
                Kind::Virtual,
                patience,
                registers,
                (),
                &fake.memory,
                FALLBACK,
            );
            let page = fake.memory.page().unwrap();
            let mut engine: Engine<'_, '_> = Wire::new(port.unwrap(), None, page);
            let address = assigned.unwrap_or(FALLBACK.0);
            assert_eq!(fake.address.get(), address, "{fault:?}");
            assert_loop(&mut engine, &memory, 0, 0, 100);
        }
    }
}

#[test]
fn what_is_not_mapped_is_neither_read_nor_written() {
    let memory = FakeMemory::default();
    let fake = physical(&memory);
    let mut engine = alone(Kind::Physical, &fake).unwrap();
    let (page, landing) = (memory.map(1), memory.map(1));
    memory.write(page.0, &[7; 100]);
    memory.unmap(page);
    engine.load(page, 100).unwrap();
    engine.store(page, 100).unwrap();
    engine.store(landing, 100).unwrap();
    assert_eq!(memory.read(landing.0, 100), [0; 100]);
}

#[test]
fn a_flipped_bit_arrives_as_it_is() {
    let memory = FakeMemory::default();
    let fake = physical(&memory);
    let mut engine = alone(Kind::Physical, &fake).unwrap();
    let (source, landing) = (memory.map(1), memory.map(1));
    engine.load(source, 64).unwrap();
    fake.fault.set(Fault::FlippedBit);
    engine.store(landing, 64).unwrap();
    assert_eq!(memory.read(landing.0 + 63, 1), [0x20]);
}

#[test]
fn transfers_outside_the_limits_never_reach_the_device() {
    let memory = FakeMemory::default();
    let fake = virtual_function(&memory);
    let mut engine = alone(Kind::Virtual, &fake).unwrap();
    for (address, size) in [(0x1000, 0), (0x1000, 1451), (u64::MAX, 2)] {
        let error = engine.load(Iova(address), size).unwrap_err();
        assert_eq!(error.class(), ExitClass::Usage, "{error}");
    }
}

#[test]
fn a_function_that_cannot_be_used_is_refused_with_the_reason() {
    for (kind, fault, words) in [
        (Kind::Physical, Fault::Gone, "registers read as all ones"),
        (
            Kind::Physical,
            Fault::StuckReset,
            "did not finish its reset",
        ),
        (Kind::Physical, Fault::NoLink, "no link came up"),
        (Kind::Physical, Fault::BadPhy, "its PHY does not answer"),
        (
            Kind::Physical,
            Fault::DeadQueues,
            "did not finish turning a queue on",
        ),
        (Kind::Virtual, Fault::Gone, "registers read as all ones"),
        (
            Kind::Virtual,
            Fault::DeadQueues,
            "did not finish turning a queue on",
        ),
        (
            Kind::Virtual,
            Fault::NoPhysicalFunction,
            "the physical function does not answer",
        ),
        (Kind::Virtual, Fault::NoAddress, "gives it no address"),
    ] {
        let memory = FakeMemory::default();
        let fake = FakeFunction::new(&memory, kind == Kind::Virtual, ONE);
        fake.fault.set(fault);
        if fault == Fault::NoAddress {
            fake.assigned.set(None);
        }
        let error = alone(kind, &fake).err().unwrap().to_string();
        assert!(error.contains(words), "{kind:?} {fault:?}: {error}");
        assert!(
            !fake.is_on() || fault == Fault::Gone,
            "{kind:?} {fault:?} is left on"
        );
    }
}

#[test]
fn a_transfer_that_fails_is_told_and_the_next_one_works_again() {
    for (fault, words) in [
        (Fault::LosesFrames, "did not finish receiving 100 bytes"),
        (Fault::NoLink, "its port has no link"),
        (Fault::StrangeFrame, "is not the one that was sent"),
        (Fault::BrokenFrames, "is not the one that was sent"),
    ] {
        let memory = FakeMemory::default();
        let fake = virtual_function(&memory);
        let mut engine = alone(Kind::Virtual, &fake).unwrap();
        fake.fault.set(fault);
        let error = engine.store(memory.map(1), 100).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        fake.fault.set(Fault::None);
        assert_loop(&mut engine, &memory, 0, 0, 100);
        assert_eq!(fake.resets.get(), 2);
    }
}

#[test]
fn a_function_that_vanishes_is_noticed() {
    let memory = FakeMemory::default();
    for (kind, fake) in [
        (Kind::Physical, physical(&memory)),
        (Kind::Virtual, virtual_function(&memory)),
    ] {
        let mut engine = alone(kind, &fake).unwrap();
        let page = memory.map(1);
        fake.fault.set(Fault::Gone);
        for _ in 0..2 {
            let error = engine.load(page, 64).unwrap_err();
            assert!(
                matches!(error, EngineError::Gone { .. }),
                "{kind:?} {error}"
            );
        }
    }
}
