//! The controller: brought up, told commands, shut down.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::{EngineError, Pages};
use super::NAME;
use super::queue::QueuePair;
use super::registers::{
    ACQ, AQA, ASQ, CAP, CC, CC_EN, CC_FORMAT, CREATE_COMPLETION_QUEUE, CREATE_SUBMISSION_QUEUE,
    CSTS, CSTS_CFS, CSTS_RDY, Capabilities, Command, Completion, DOORBELLS, INTMS,
    NUMBER_OF_QUEUES, SET_FEATURES, VS,
};
use crate::device::Registers;

/// Between two looks at a register that changes slowly.
const POLL: Duration = Duration::from_millis(1);
/// A completion is looked for without a pause for this long; most commands are done by then.
const EAGER: Duration = Duration::from_millis(1);

/// Where a command goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// About the controller.
    Admin,
    /// About data.
    Io,
}

/// A controller with its admin queues and one pair of I/O queues.
pub struct Controller<R> {
    registers: R,
    admin: QueuePair,
    io: QueuePair,
    stride: u64,
    page: u64,
    /// How long it may take to get ready, or to stop.
    to_ready: Duration,
    /// How long a command may take.
    patience: Duration,
    identifier: u16,
    working: bool,
}

impl<R: Registers> Controller<R> {
    /// Looks at the controller and prepares its queues; it is not started yet.
    pub fn new(registers: R, pages: &dyn Pages, patience: Duration) -> Result<Self, EngineError> {
        let capabilities = Capabilities(registers.read64(CAP));
        let version = registers.read32(VS);
        if capabilities.0 == u64::MAX && version == u32::MAX {
            return Err(EngineError::Gone { engine: NAME });
        }
        // Version 1.0 is the first; no version is known that is not 1.x or 2.x.
        if !(1..=2).contains(&(version >> 16)) {
            return Err(EngineError::Nonsense {
                engine: NAME,
                found: format!("its version register reads {version:#x}"),
            });
        }
        let unusable = |missing: &str| EngineError::Unusable {
            engine: NAME,
            missing: missing.to_owned(),
        };
        if !capabilities.has_nvm_commands() {
            return Err(unusable("it has no NVM command set"));
        }
        if capabilities.least_page() != 4096 {
            return Err(unusable("it knows no pages of 4096 bytes"));
        }
        let stride = capabilities.doorbell_stride();
        if registers.size() < DOORBELLS + 4 * stride {
            return Err(unusable(
                "BAR0 ends before the doorbells of two queue pairs",
            ));
        }
        // One entry always stays empty, so a queue of one could hold nothing.
        let entries = capabilities.queue_entries().max(2);
        Ok(Self {
            registers,
            admin: QueuePair::new(0, entries, pages)?,
            io: QueuePair::new(1, entries, pages)?,
            stride,
            page: capabilities.least_page(),
            to_ready: Duration::from_millis(500) * capabilities.half_seconds_to_ready().max(1),
            patience,
            identifier: 0,
            working: false,
        })
    }

    /// The unit in which the controller counts transfer limits, in bytes.
    pub fn page(&self) -> u64 {
        self.page
    }

    /// Starts the controller if it does not work: at first, and after a failure that it must be stopped for.
    pub fn ensure_working(&mut self) -> Result<(), EngineError> {
        if self.working {
            return Ok(());
        }
        self.stop()?;
        self.admin.clear();
        self.io.clear();
        let last = u32::from(self.admin.entries()) - 1;
        self.registers.write32(INTMS, u32::MAX);
        self.registers.write32(AQA, last << 16 | last);
        self.registers.write64(ASQ, self.admin.commands().0);
        self.registers.write64(ACQ, self.admin.completions().0);
        self.registers.ring32(CC, CC_FORMAT | CC_EN);
        self.wait_ready(CSTS_RDY, "getting ready")?;
        self.working = true;
        self.make_io_queues().inspect_err(|_| self.working = false)
    }

    /// Stops the controller: it does no more DMA.
    pub fn stop(&mut self) -> Result<(), EngineError> {
        self.working = false;
        if self.registers.read32(CC) == u32::MAX {
            return Err(EngineError::Gone { engine: NAME });
        }
        self.registers.write32(CC, 0);
        self.wait_ready(0, "stopping")
    }

    /// Runs a command and returns its status; 0 is well.
    pub fn run(&mut self, queue: Queue, command: &Command, what: &str) -> Result<u32, EngineError> {
        self.ensure_working()?;
        self.execute(queue, command, what)
    }

    /// Runs a command that must end well.
    pub fn order(
        &mut self,
        queue: Queue,
        command: &Command,
        what: &str,
    ) -> Result<(), EngineError> {
        let status = self.run(queue, command, what)?;
        well(status, what)
    }

    /// Runs the same admin command once for each identifier; returns the identifiers as they came back.
    pub fn run_many(
        &mut self,
        command: &Command,
        identifiers: &[u16],
        what: &str,
    ) -> Result<Vec<u16>, EngineError> {
        self.ensure_working()?;
        let mut returned = Vec::new();
        let at_once = usize::from(self.admin.entries()) - 1;
        for identifiers in identifiers.chunks(at_once) {
            let tails = identifiers.iter().map(|id| self.admin.push(command, *id));
            let Some(tail) = tails.last() else { continue };
            self.ring_commands(Queue::Admin, tail);
            for _ in identifiers {
                let completion = self.completion(Queue::Admin, what)?;
                well(completion.status, what)?;
                returned.push(completion.identifier);
            }
        }
        Ok(returned)
    }

    fn execute(&mut self, queue: Queue, command: &Command, what: &str) -> Result<u32, EngineError> {
        // All ones is reserved.
        self.identifier = (self.identifier + 1) % u16::MAX;
        let identifier = self.identifier;
        let tail = self.pair(queue).push(command, identifier);
        self.ring_commands(queue, tail);
        let completion = self.completion(queue, what)?;
        if completion.identifier != identifier {
            self.working = false;
            return Err(EngineError::Nonsense {
                engine: NAME,
                found: format!(
                    "command {identifier} was given, the completion is for {}",
                    completion.identifier
                ),
            });
        }
        Ok(completion.status)
    }

    /// Waits for a completion. If none comes, the controller must be stopped before it is used again.
    fn completion(&mut self, queue: Queue, what: &str) -> Result<Completion, EngineError> {
        let begin = Instant::now();
        loop {
            // Taken first, so that a process that slept for long still looks once more.
            let waited = begin.elapsed();
            if let Some((completion, head)) = self.pair(queue).pop() {
                let doorbell = self.doorbell(queue) + self.stride;
                self.registers.write32(doorbell, u32::from(head));
                return Ok(completion);
            }
            let failed = match self.registers.read32(CSTS) {
                u32::MAX => Some(EngineError::Gone { engine: NAME }),
                status if status & CSTS_CFS != 0 => Some(fatal(what)),
                _ if waited >= self.patience => Some(EngineError::Timeout {
                    engine: NAME,
                    what: what.to_owned(),
                    limit: self.patience,
                }),
                _ => None,
            };
            if let Some(error) = failed {
                self.working = false;
                return Err(error);
            }
            if waited >= EAGER {
                sleep(POLL);
            }
        }
    }

    fn make_io_queues(&mut self) -> Result<(), EngineError> {
        let number = u32::from(self.io.number());
        let size = (u32::from(self.io.entries()) - 1) << 16 | number;
        let one_of_each = Command {
            opcode: SET_FEATURES,
            dwords: [NUMBER_OF_QUEUES, 0, 0],
            ..Command::default()
        };
        let completions = Command {
            opcode: CREATE_COMPLETION_QUEUE,
            prp1: self.io.completions().0,
            dwords: [size, 1, 0],
            ..Command::default()
        };
        let commands = Command {
            opcode: CREATE_SUBMISSION_QUEUE,
            prp1: self.io.commands().0,
            dwords: [size, number << 16 | 1, 0],
            ..Command::default()
        };
        for (command, what) in [
            (one_of_each, "asking for I/O queues"),
            (completions, "making the I/O completion queue"),
            (commands, "making the I/O submission queue"),
        ] {
            let status = self.execute(Queue::Admin, &command, what)?;
            well(status, what)?;
        }
        Ok(())
    }

    fn wait_ready(&self, wanted: u32, what: &str) -> Result<(), EngineError> {
        let begin = Instant::now();
        loop {
            let late = begin.elapsed() >= self.to_ready;
            match self.registers.read32(CSTS) {
                u32::MAX => return Err(EngineError::Gone { engine: NAME }),
                // It stays set until the controller was stopped.
                status if status & CSTS_CFS != 0 && wanted != 0 => return Err(fatal(what)),
                status if status & CSTS_RDY == wanted => return Ok(()),
                _ if late => {
                    return Err(EngineError::Timeout {
                        engine: NAME,
                        what: what.to_owned(),
                        limit: self.to_ready,
                    });
                }
                _ => sleep(POLL),
            }
        }
    }

    fn ring_commands(&self, queue: Queue, tail: u16) {
        self.registers.ring32(self.doorbell(queue), u32::from(tail));
    }

    /// The doorbell of the submission queue; that of the completion queue follows.
    fn doorbell(&self, queue: Queue) -> u64 {
        let number = match queue {
            Queue::Admin => self.admin.number(),
            Queue::Io => self.io.number(),
        };
        DOORBELLS + 2 * u64::from(number) * self.stride
    }

    fn pair(&mut self, queue: Queue) -> &mut QueuePair {
        match queue {
            Queue::Admin => &mut self.admin,
            Queue::Io => &mut self.io,
        }
    }
}

/// Whether a status is that of a command that ended well.
fn well(status: u32, what: &str) -> Result<(), EngineError> {
    match status {
        0 => Ok(()),
        status => Err(EngineError::Status {
            engine: NAME,
            what: what.to_owned(),
            status,
        }),
    }
}

fn fatal(what: &str) -> EngineError {
    EngineError::Stopped {
        engine: NAME,
        what: what.to_owned(),
        reason: "its status register reports a fatal error, as it does when its queues cannot be reached",
    }
}
