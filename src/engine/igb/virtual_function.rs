//! A virtual function: the driver of its physical function answers it through a mailbox.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::EngineError;
use super::Address;
use super::registers::{
    CTRL, CTRL_RST, MAILBOX, MAILBOX_ACKNOWLEDGE, MAILBOX_IN_RESET, MAILBOX_MEMORY,
    MAILBOX_MESSAGE, MAILBOX_OWN, MAILBOX_READ, MAILBOX_REQUEST, MAILBOX_RESET_DONE, MESSAGE_KIND,
    MESSAGE_RESET, MESSAGE_SET_ADDRESS, REPLY_CLEAR_TO_SEND, REPLY_GRANTED,
};
use crate::device::Registers;

pub const NAME: &str = "igbvf";

/// Resets the function; its queues are to be turned on next. Returns its address.
pub fn bring_up(
    registers: &impl Registers,
    fallback: Address,
    to_answer: Duration,
) -> Result<Address, EngineError> {
    let mut mailbox = Mailbox {
        registers,
        deadline: Instant::now() + to_answer,
        silence: to_answer / 8,
        seen: 0,
    };
    registers.write32(CTRL, registers.read32(CTRL) | CTRL_RST);
    mailbox.wait(|mailbox| Ok(mailbox.state()? & (MAILBOX_IN_RESET | MAILBOX_RESET_DONE) == 0))?;
    let (low, high) = fallback.words();
    loop {
        let Some(reply) = mailbox.ask([MESSAGE_RESET, 0, 0])? else {
            mailbox.once_more()?;
            continue;
        };
        if reply[0] & REPLY_GRANTED != 0 {
            let [a, b, c, d] = reply[1].to_le_bytes();
            let [e, f, ..] = reply[2].to_le_bytes();
            return Ok(Address([a, b, c, d, e, f]));
        }
        // It has no address yet, which is no error.
        match mailbox.ask([MESSAGE_SET_ADDRESS, low, high])? {
            Some([reply, ..]) if reply & REPLY_GRANTED != 0 => return Ok(fallback),
            Some([reply, ..]) if reply & REPLY_CLEAR_TO_SEND != 0 => return Err(no_address()),
            // To the driver the function is not back from a reset, as it saw the reset after the message of it, or was reset itself. It
            // hears of nothing else until it is told again.
            _ => mailbox.once_more()?,
        }
    }
}

fn no_address() -> EngineError {
    EngineError::Unusable {
        engine: NAME,
        missing: "the physical function gives it no address, and does not let it choose one. Give it one: ip link set dev PF vf N mac ADDRESS".to_owned(),
    }
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
    /// When it is too late for an answer.
    deadline: Instant,
    /// How long an answer may take once the message was read.
    silence: Duration,
    /// Bits that reading clears, and that nobody waited for yet.
    seen: u32,
}

const CLEARED_BY_READING: u32 = MAILBOX_MESSAGE | MAILBOX_READ;

impl<R: Registers> Mailbox<'_, R> {
    /// Sends a message of three words and returns the reply; `None` if it was read and not answered.
    ///
    /// The driver has messages of its own, as when the link comes up. Such a one takes the place of what is in the mailbox, be it ours or the
    /// answer to it (`igb_write_mbx_pf` of drivers/net/ethernet/intel/igb/e1000_mbx.c), so then ours is sent again.
    fn ask(&mut self, message: [u32; 3]) -> Result<Option<[u32; 3]>, EngineError> {
        loop {
            self.send(message)?;
            match self.receive()? {
                Some(reply) if reply[0] & MESSAGE_KIND != message[0] => self.once_more()?,
                reply => return Ok(reply),
            }
        }
    }

    fn send(&mut self, message: [u32; 3]) -> Result<(), EngineError> {
        self.own()?;
        self.seen = 0;
        for (index, word) in (0..).zip(message) {
            self.registers.write32(MAILBOX_MEMORY + 4 * index, word);
        }
        self.registers.ring32(MAILBOX, MAILBOX_REQUEST);
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<[u32; 3]>, EngineError> {
        self.wait(|mailbox| Ok(mailbox.state()? & (MAILBOX_READ | MAILBOX_MESSAGE) != 0))?;
        let silent = Instant::now() + self.silence;
        self.wait(|mailbox| {
            let late = Instant::now() >= silent;
            Ok(mailbox.state()? & MAILBOX_MESSAGE != 0 || late)
        })?;
        if self.seen & MAILBOX_MESSAGE == 0 {
            return Ok(None);
        }
        self.own()?;
        let reply = [0, 1, 2].map(|index| self.registers.read32(MAILBOX_MEMORY + 4 * index));
        self.registers.write32(MAILBOX, MAILBOX_ACKNOWLEDGE);
        Ok(Some(reply))
    }

    /// Takes the mailbox's memory; writing a request or an acknowledgement gives it back.
    fn own(&mut self) -> Result<(), EngineError> {
        self.wait(|mailbox| {
            // While the driver has it this does nothing, so it is written until it does.
            mailbox.registers.write32(MAILBOX, MAILBOX_OWN);
            Ok(mailbox.state()? & MAILBOX_OWN != 0)
        })
    }

    /// The bits of now, and those that were seen since the last message was sent.
    fn state(&mut self) -> Result<u32, EngineError> {
        let now = self.registers.read32(MAILBOX);
        if now == u32::MAX {
            return Err(EngineError::Gone { engine: NAME });
        }
        self.seen |= now & CLEARED_BY_READING;
        Ok(now | self.seen)
    }

    /// Whether there is time to try again.
    fn once_more(&self) -> Result<(), EngineError> {
        if Instant::now() < self.deadline {
            Ok(())
        } else {
            Err(no_answer())
        }
    }

    fn wait(
        &mut self,
        done: impl Fn(&mut Self) -> Result<bool, EngineError>,
    ) -> Result<(), EngineError> {
        loop {
            // Looked at after the time as well: this program may have been held up itself.
            let time_left = self.once_more();
            if done(self)? {
                return Ok(());
            }
            time_left?;
            sleep(Duration::from_millis(1));
        }
    }
}

fn no_answer() -> EngineError {
    EngineError::Unusable {
        engine: NAME,
        missing: "the physical function does not answer. Its driver must be the kernel's igb, and its network interface up (ip link set up), \
                  before the virtual function is used"
            .to_owned(),
    }
}
