//! The NVMe engine against a controller of software.

use std::time::Duration;

use super::fake::{BLOCK, FakeController, Fault};
use super::registers::{COMPARE, READ, WRITE};
use super::{DmaEngine, EngineError, Loaded, Nvme, Reading};
use crate::engine::arena::{FakeMemory, PAGE};
use crate::types::Iova;

/// A medium of 1 MiB with bytes that are neither zeros nor ones, each page different.
fn media() -> Vec<u8> {
    (0..1_usize << 20)
        .map(|at| (1 + (at * 7 + at / PAGE) % 250) as u8)
        .collect()
}

type Engine<'f, 'm> = Nvme<&'f FakeController<'m>, ()>;

fn start<'f, 'm>(
    fake: &'f FakeController<'m>,
    destructive: bool,
) -> Result<Engine<'f, 'm>, EngineError> {
    Nvme::start(
        fake,
        (),
        &fake.memory,
        destructive,
        Duration::from_millis(50),
    )
}

/// A loop as the checks do it, with guards around the destination.
fn assert_loop(engine: &mut Engine<'_, '_>, memory: &FakeMemory, offset: u64, size: usize) {
    let (source, destination) = (memory.map(34), memory.map(34));
    let wanted = vec![0x5a; size];
    let payload = engine.payload(&wanted);
    let before: Vec<u8> = vec![!payload[0]; 34 * PAGE];
    memory.write(source.0 + offset, &payload);
    memory.write(destination.0, &before);

    assert_ne!(
        engine.load(Iova(source.0 + offset), size).unwrap(),
        Loaded::Different
    );
    engine.store(Iova(destination.0 + offset), size).unwrap();

    let mut expected = before;
    expected[offset as usize..offset as usize + size].copy_from_slice(&payload);
    assert!(memory.read(destination.0, 34 * PAGE) == expected);
}

#[test]
fn blocks_are_read_to_exactly_their_place_and_compared_there() {
    let memory = FakeMemory::default();
    let fake = FakeController::new(&memory, media());
    let mut engine = start(&fake, false).unwrap();
    let limits = engine.limits();
    assert_eq!(limits.reading, Reading::Compared);
    assert_eq!((limits.size_unit, limits.alignment), (BLOCK, 4));
    // MDTS allows 16 pages.
    assert_eq!(limits.max_size, 16 * PAGE);

    for (offset, size) in [
        (0, BLOCK),
        (4, BLOCK),
        (PAGE as u64 - 4, BLOCK),
        (0, PAGE),
        (8, PAGE),
        (0, 2 * PAGE),
        (2048, 2 * PAGE),
        (12, 16 * PAGE),
    ] {
        assert_loop(&mut engine, &memory, offset, size);
    }

    drop(engine);
    assert!(!fake.enabled());
    assert!(*fake.media.borrow() == media());
    let commands = fake.commands.borrow();
    assert!(
        commands
            .iter()
            .all(|command| [READ, COMPARE].contains(command))
    );
}

#[test]
fn one_flipped_bit_is_told() {
    let memory = FakeMemory::default();
    let fake = FakeController::new(&memory, media());
    let mut engine = start(&fake, false).unwrap();
    let source = memory.map(16);
    let mut payload = engine.payload(&[0; 16 * PAGE]);
    payload[9 * PAGE + 17] ^= 0x10;
    memory.write(source.0, &payload);
    assert_eq!(engine.load(source, 16 * PAGE).unwrap(), Loaded::Different);
    assert_eq!(engine.load(source, 9 * PAGE).unwrap(), Loaded::Equal);
}

#[test]
fn what_is_not_mapped_is_neither_read_nor_written() {
    let memory = FakeMemory::default();
    let fake = FakeController::new(&memory, media());
    let mut engine = start(&fake, false).unwrap();
    let page = memory.map(1);
    memory.write(page.0, &engine.payload(&[0; PAGE]));
    assert_eq!(engine.load(page, PAGE).unwrap(), Loaded::Equal);
    memory.unmap(page);
    assert_eq!(engine.load(page, PAGE).unwrap(), Loaded::Different);
    engine.store(page, PAGE).unwrap();
}

#[test]
fn bytes_that_tell_most_are_worked_with_and_bytes_that_hold_least_are_written() {
    let memory = FakeMemory::default();
    let mut content = vec![0; 1 << 20];
    content[300 << 10..400 << 10].fill(9);
    let fake = FakeController::new(&memory, content);
    for (destructive, byte) in [(false, 9), (true, 0)] {
        let engine = start(&fake, destructive).unwrap();
        assert_eq!(engine.own[..PAGE], [byte; PAGE]);
    }
}

#[test]
fn written_blocks_are_put_back() {
    let memory = FakeMemory::default();
    let fake = FakeController::new(&memory, media());
    let mut engine = start(&fake, true).unwrap();
    assert_eq!(engine.limits().reading, Reading::Kept);
    for (offset, size) in [(0, BLOCK), (4, PAGE), (12, 16 * PAGE)] {
        assert_loop(&mut engine, &memory, offset, size);
    }
    assert!(*fake.media.borrow() != media());
    drop(engine);
    assert!(*fake.media.borrow() == media());
    assert!(!fake.enabled());
}

#[test]
fn without_leave_nothing_is_ever_written() {
    let memory = FakeMemory::default();
    let fake = FakeController::new(&memory, media());
    let mut engine = start(&fake, false).unwrap();
    for _ in 0..100 {
        assert_loop(&mut engine, &memory, 0, PAGE);
    }
    engine.echo(&[1, 2, 3]).unwrap();
    drop(engine);
    assert!(!fake.commands.borrow().contains(&WRITE));
}

#[test]
fn a_drive_without_compare_only_writes_memory() {
    let memory = FakeMemory::default();
    let mut fake = FakeController::new(&memory, media());
    fake.knows_compare = false;
    let mut engine = start(&fake, false).unwrap();
    assert_eq!(engine.limits().reading, Reading::Never);
    let page = memory.map(1);
    let error = engine.load(page, BLOCK).unwrap_err();
    assert!(matches!(error, EngineError::OnlyWrites { .. }), "{error}");
    engine.store(page, BLOCK).unwrap();
    assert_eq!(memory.read(page.0, BLOCK), engine.payload(&[0; BLOCK]));
}

#[test]
fn without_usable_blocks_identify_data_is_written() {
    let memory = FakeMemory::default();
    let mut with_metadata = FakeController::new(&memory, media());
    with_metadata.metadata = 8;
    for fake in [with_metadata, FakeController::new(&memory, Vec::new())] {
        let mut engine = start(&fake, true).unwrap();
        let limits = engine.limits();
        assert_eq!(limits.reading, Reading::Never);
        assert_eq!((limits.size_unit, limits.max_size), (PAGE, PAGE));
        let pages = memory.map(2);
        engine.store(Iova(pages.0 + 16), PAGE).unwrap();
        let payload = engine.payload(&[0; PAGE]);
        assert_eq!(&payload[..4], b"fake");
        assert_eq!(memory.read(pages.0 + 16, PAGE), payload);
    }
}

#[test]
fn numbers_come_back() {
    let memory = FakeMemory::default();
    let fake = FakeController::new(&memory, media());
    let mut engine = start(&fake, false).unwrap();
    let numbers: Vec<u16> = (0..1000).map(|number| number * 61 % 0xfff1).collect();
    assert_eq!(engine.echo(&numbers).unwrap(), numbers);
}

#[test]
fn transfers_outside_the_limits_never_reach_the_device() {
    let memory = FakeMemory::default();
    let fake = FakeController::new(&memory, media());
    let mut engine = start(&fake, false).unwrap();
    let before = fake.commands.borrow().len();
    for (address, size) in [
        (0x1000, 0),
        (0x1000, BLOCK - 1),
        (0x1000, 17 * PAGE),
        (0x1002, BLOCK),
        (u64::MAX - 3, BLOCK),
    ] {
        let error = engine.store(Iova(address), size).unwrap_err();
        assert_eq!(error.class(), crate::types::ExitClass::Usage, "{error}");
    }
    assert_eq!(fake.commands.borrow().len(), before);
}

#[test]
fn a_controller_that_cannot_be_used_is_refused_with_the_reason() {
    for (fault, words) in [
        (Fault::Gone, "registers read as all ones"),
        (
            Fault::NeverReady,
            "did not finish getting ready within 0.5 s",
        ),
        (Fault::FatalAtStart, "reports a fatal error"),
        (Fault::OldVersion, "version register reads 0x900"),
    ] {
        let memory = FakeMemory::default();
        let fake = FakeController::new(&memory, media());
        fake.fault.set(fault);
        let error = start(&fake, false).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!fake.enabled(), "{fault:?} leaves it enabled");
    }
}

#[test]
fn a_transfer_that_fails_is_told_and_the_next_one_works_again() {
    for (fault, words, starts) in [
        (Fault::SilentIo, "did not finish reading blocks", 2),
        (Fault::FatalAtIo, "stopped while it was reading blocks", 2),
        (Fault::WrongIdentifier, "the completion is for", 2),
        (Fault::Status(0x281), "status 0x281", 1),
    ] {
        let memory = FakeMemory::default();
        let fake = FakeController::new(&memory, media());
        let mut engine = start(&fake, false).unwrap();
        let page = memory.map(1);
        fake.fault.set(fault);
        let error = engine.store(page, PAGE).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        fake.fault.set(Fault::None);
        engine.store(page, PAGE).unwrap();
        assert_eq!(memory.read(page.0, PAGE), engine.payload(&[0; PAGE]));
        assert_eq!(fake.starts.get(), starts);
    }
}

#[test]
fn a_controller_that_vanishes_is_noticed() {
    let memory = FakeMemory::default();
    let fake = FakeController::new(&memory, media());
    let mut engine = start(&fake, false).unwrap();
    let page = memory.map(1);
    fake.fault.set(Fault::Gone);
    for _ in 0..2 {
        let error = engine.store(page, PAGE).unwrap_err();
        assert!(matches!(error, EngineError::Gone { .. }), "{error}");
    }
}

#[test]
fn the_clock_is_set_from_memory_and_set_right_at_the_end() {
    let memory = FakeMemory::default();
    let fake = FakeController::new(&memory, media());
    let before = fake.clock.get();
    let mut engine = start(&fake, false).unwrap();
    assert!(engine.limits().has_clock);
    let page = memory.map(1);
    memory.write(page.0, &0x1234_5678_9abc_u64.to_le_bytes());
    engine.set_clock(page).unwrap();
    assert_eq!(fake.clock.get(), 0x1234_5678_9abc);
    engine.read_clock(Iova(page.0 + 16)).unwrap();
    assert_eq!(memory.read(page.0 + 16, 8), memory.read(page.0, 8));
    drop(engine);
    // The time that has passed since is added.
    assert!(fake.clock.get() >= before && fake.clock.get() < 0x1234_5678_9abc);
}

#[test]
fn a_drive_whose_blocks_could_not_be_put_back_is_never_written() {
    for fault in [Fault::WriteProtected, Fault::WritesWrong] {
        let memory = FakeMemory::default();
        let fake = FakeController::new(&memory, media());
        fake.fault.set(fault);
        let error = start(&fake, true).err().unwrap();
        assert!(matches!(error, EngineError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains("--destructive"), "{error}");
        assert_eq!(error.class(), crate::types::ExitClass::NoVerdict);
    }
}

#[test]
fn blocks_that_cannot_be_put_back_are_named_and_tried_again_at_the_end() {
    let memory = FakeMemory::default();
    let fake = FakeController::new(&memory, media());
    let mut engine = start(&fake, true).unwrap();
    let page = memory.map(1);
    engine.load(page, PAGE).unwrap();
    assert!(*fake.media.borrow() != media());
    fake.fault.set(Fault::WriteProtected);
    let error = engine.finish().unwrap_err();
    assert!(error.to_string().contains("what blocks 0-"), "{error}");
    assert_eq!(error.class(), crate::types::ExitClass::Failed);
    fake.fault.set(Fault::None);
    drop(engine);
    assert!(*fake.media.borrow() == media());
}

#[test]
fn blocks_are_put_back_after_a_transfer_that_failed() {
    for fault in [Fault::SilentIo, Fault::FatalAtIo, Fault::WrongIdentifier] {
        let memory = FakeMemory::default();
        let fake = FakeController::new(&memory, media());
        let mut engine = start(&fake, true).unwrap();
        let page = memory.map(1);
        engine.load(page, PAGE).unwrap();
        fake.fault.set(fault);
        engine.load(page, PAGE).unwrap_err();
        fake.fault.set(Fault::None);
        drop(engine);
        assert!(*fake.media.borrow() == media(), "{fault:?}");
        assert!(!fake.enabled());
    }
}
