//! A virtual function: the driver of its physical function answers it through a mailbox.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::EngineError;
use super::Address;
use super::registers::{
    CTRL, CTRL_RST, MAILBOX, MAILBOX_ACKNOWLEDGE, MAILBOX_IN_RESET, MAILBOX_MEMORY,
    MAILBOX_MESSAGE, MAILBOX_OWN, MAILBOX_READ, MAILBOX_REQUEST, MAILBOX_RESET_DONE, MESSAGE_RESET,
    MESSAGE_SET_ADDRESS, REPLY_GRANTED,
};
use crate::device::Registers;

pub const NAME: &str = "igbvf";

const NO_ANSWER: &str = "the physical function does not answer. Its driver must be the kernel's igb, and its network interface up (ip link set up), \
                         before the virtual function is used";

/// Resets the function; its queues are to be turned on next. Returns its address.
pub fn bring_up(
    registers: &impl Registers,
    fallback: Address,
    to_answer: Duration,
) -> Result<Address, EngineError> {
    let mut mailbox = Mailbox {
        registers,
        to_answer,
        seen: 0,
    };
    registers.write32(CTRL, registers.read32(CTRL) | CTRL_RST);
    mailbox.wait(|state| state & (MAILBOX_IN_RESET | MAILBOX_RESET_DONE) == 0)?;
    let reply = mailbox.ask([MESSAGE_RESET, 0, 0])?;
    if reply[0] & REPLY_GRANTED != 0 {
        let [a, b, c, d] = reply[1].to_le_bytes();
        let [e, f, ..] = reply[2].to_le_bytes();
        return Ok(Address([a, b, c, d, e, f]));
    }
    // It has no address yet, which is no error.
    let (low, high) = fallback.words();
    let reply = mailbox.ask([MESSAGE_SET_ADDRESS, low, high])?;
    if reply[0] & REPLY_GRANTED != 0 {
        return Ok(fallback);
    }
    Err(EngineError::Unusable {
        engine: NAME,
        missing: "the physical function gives it no address, and does not let it choose one. Give it one: ip link set dev PF vf N mac ADDRESS".to_owned(),
    })
}

/// Resets the function: it does no more DMA.
pub fn shut_down(registers: &impl Registers) -> Result<(), EngineError> {
    let control = registers.read32(CTRL);
    if control == u32::MAX {
        return Err(EngineError::Gone { engine: NAME });
    }
    registers.write32(CTRL, control | CTRL_RST);
    Ok(())
}

struct Mailbox<'r, R> {
    registers: &'r R,
    to_answer: Duration,
    /// Bits that reading clears, and that nobody waited for yet.
    seen: u32,
}

const CLEARED_BY_READING: u32 = MAILBOX_MESSAGE | MAILBOX_READ;

impl<R: Registers> Mailbox<'_, R> {
    /// Sends a message of three words and returns the reply.
    fn ask(&mut self, message: [u32; 3]) -> Result<[u32; 3], EngineError> {
        self.own()?;
        self.seen = 0;
        for (index, word) in (0..).zip(message) {
            self.registers.write32(MAILBOX_MEMORY + 4 * index, word);
        }
        self.registers.ring32(MAILBOX, MAILBOX_REQUEST);
        for sign in [MAILBOX_READ, MAILBOX_MESSAGE] {
            self.wait(|state| state & sign != 0)?;
            self.seen &= !sign;
        }
        self.own()?;
        let reply = [0, 1, 2].map(|index| self.registers.read32(MAILBOX_MEMORY + 4 * index));
        self.registers.write32(MAILBOX, MAILBOX_ACKNOWLEDGE);
        Ok(reply)
    }

    /// Takes the mailbox's memory; writing a request or an acknowledgement gives it back.
    fn own(&mut self) -> Result<(), EngineError> {
        self.registers.write32(MAILBOX, MAILBOX_OWN);
        self.wait(|state| state & MAILBOX_OWN != 0)
    }

    fn wait(&mut self, done: impl Fn(u32) -> bool) -> Result<(), EngineError> {
        let begin = Instant::now();
        loop {
            let late = begin.elapsed() >= self.to_answer;
            let now = self.registers.read32(MAILBOX);
            if now == u32::MAX {
                return Err(EngineError::Gone { engine: NAME });
            }
            self.seen |= now & CLEARED_BY_READING;
            if done(now | self.seen) {
                return Ok(());
            }
            if late {
                return Err(EngineError::Unusable {
                    engine: NAME,
                    missing: NO_ANSWER.to_owned(),
                });
            }
            sleep(Duration::from_millis(1));
        }
    }
}
