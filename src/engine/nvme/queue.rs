//! A pair of queues: commands for the controller, completions from it.

use std::sync::atomic::{Ordering, fence};

use super::super::arena::PAGE;
use super::super::{DmaPage, EngineError, Pages};
use super::registers::{COMMAND_SIZE, COMPLETION_SIZE, Command, Completion, PHASE_BYTE};
use crate::types::Iova;

/// A submission and a completion queue of the same number, a page each.
pub struct QueuePair {
    number: u16,
    entries: u16,
    commands: DmaPage,
    completions: DmaPage,
    tail: u16,
    head: u16,
    phase: u8,
}

/// As many commands as fit a page.
const MOST_ENTRIES: u32 = (PAGE / COMMAND_SIZE) as u32;

impl QueuePair {
    /// Empty queues with at most `entries`.
    pub fn new(number: u16, entries: u32, pages: &dyn Pages) -> Result<Self, EngineError> {
        Ok(Self {
            number,
            entries: entries.min(MOST_ENTRIES) as u16,
            commands: pages.page()?,
            completions: pages.page()?,
            tail: 0,
            head: 0,
            phase: 1,
        })
    }

    /// Empties both: the controller will begin with the first entries.
    pub fn clear(&mut self) {
        self.commands.memory().fill(0);
        self.completions.memory().fill(0);
        (self.tail, self.head, self.phase) = (0, 0, 1);
    }

    /// The number of both.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The entries of each. One less can be in use at once.
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// Where the controller finds commands.
    pub fn commands(&self) -> Iova {
        self.commands.iova()
    }

    /// Where the controller leaves completions.
    pub fn completions(&self) -> Iova {
        self.completions.iova()
    }

    /// Writes a command into the next entry; returns the tail for the doorbell.
    pub fn push(&mut self, command: &Command, identifier: u16) -> u16 {
        let place = usize::from(self.tail) * COMMAND_SIZE;
        let bytes = command.encode(identifier);
        self.commands.memory().write(place, &bytes);
        self.tail = (self.tail + 1) % self.entries;
        self.tail
    }

    /// Takes the next completion, if there is one, and the head for the doorbell.
    pub fn pop(&mut self) -> Option<(Completion, u16)> {
        let place = usize::from(self.head) * COMPLETION_SIZE;
        let memory = self.completions.memory();
        let mut phase = [0];
        memory.read(place + PHASE_BYTE, &mut phase);
        if phase[0] & 1 != self.phase {
            return None;
        }
        // The phase is seen first, then the rest: it came before, or with it.
        fence(Ordering::Acquire);
        let mut bytes = [0; COMPLETION_SIZE];
        memory.read(place, &mut bytes);
        self.head = (self.head + 1) % self.entries;
        if self.head == 0 {
            self.phase ^= 1;
        }
        Some((Completion::decode(&bytes), self.head))
    }
}
