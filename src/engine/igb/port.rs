//! One function of the card, with its queues.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::{EngineError, Pages};
use super::Address;
use super::queues::Queues;
use super::registers::{
    CTRL, END_OF_PACKET, HEADER_SIZE, PHYSICAL_RECEIVE, PHYSICAL_SIZE, PHYSICAL_TRANSMIT,
    RECEIVE_ERROR, STATUS, STATUS_LU, VIRTUAL_RECEIVE, VIRTUAL_SIZE, VIRTUAL_TRANSMIT,
};
use super::{physical, virtual_function};
use crate::device::Registers;
use crate::types::Iova;

/// How long is waited for what the card does.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a link of a physical function.
    pub link: Duration,
    /// For a virtual function to be told its address.
    pub answer: Duration,
    /// For a frame.
    pub frame: Duration,
}

impl Patience {
    /// A link is negotiated in up to a few seconds. The driver of a physical function answers from its interrupt, which
    /// a busy host can run late. A frame takes microseconds, and one that was blocked never comes.
    pub const USUAL: Self = Self {
        link: Duration::from_secs(4),
        answer: Duration::from_secs(4),
        frame: Duration::from_secs(1),
    };
}

/// A frame is looked for without a pause for this long.
const EAGER: Duration = Duration::from_millis(1);

/// The kinds of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The whole port.
    Physical,
    /// A share of it (SR-IOV).
    Virtual,
}

impl Kind {
    /// The engine's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Physical => physical::NAME,
            Self::Virtual => virtual_function::NAME,
        }
    }

    /// The most bytes of a payload. Frames through the card's switch are not longer than on a cable: 1514 bytes; looped back they may be.
    pub fn most(self) -> usize {
        match self {
            Self::Physical => 8 * 1024,
            Self::Virtual => 1514 - HEADER_SIZE,
        }
    }

    /// The registers of the queues, and the size of a receive buffer in KiB.
    fn queues(self) -> ((u64, u64), u32) {
        match self {
            Self::Physical => ((PHYSICAL_RECEIVE, PHYSICAL_TRANSMIT), 8),
            Self::Virtual => ((VIRTUAL_RECEIVE, VIRTUAL_TRANSMIT), 2),
        }
    }

    fn register_bytes(self) -> u64 {
        match self {
            Self::Physical => PHYSICAL_SIZE,
            Self::Virtual => VIRTUAL_SIZE,
        }
    }
}

/// A function in use.
pub struct Port<R: Registers, M> {
    // Goes first, so that no DMA is possible any more when the memory goes.
    _bus_master: M,
    kind: Kind,
    patience: Patience,
    registers: R,
    queues: Queues,
    address: Address,
    /// What the PHY's control register was.
    phy: Option<u16>,
    working: bool,
}

impl<R: Registers, M> Port<R, M> {
    /// Takes the function into use. If it has no address of its own, it gets `fallback`.
    pub fn start(
        kind: Kind,
        patience: Patience,
        registers: R,
        bus_master: M,
        pages: &dyn Pages,
        fallback: Address,
    ) -> Result<Self, EngineError> {
        let engine = kind.name();
        if registers.size() < kind.register_bytes() {
            return Err(EngineError::Unusable {
                engine,
                missing: format!("BAR0 has only {:#x} bytes", registers.size()),
            });
        }
        if registers.read32(CTRL) == u32::MAX {
            return Err(EngineError::Gone { engine });
        }
        let (blocks, packet_kib) = kind.queues();
        let mut port = Self {
            _bus_master: bus_master,
            kind,
            patience,
            registers,
            queues: Queues::new(engine, blocks, packet_kib, pages)?,
            address: fallback,
            phy: None,
            working: false,
        };
        port.ensure_working()?;
        Ok(port)
    }

    /// The kind of function.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The function's Ethernet address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Brings the function up if it does not work: at first, and after a frame that did not come.
    pub fn ensure_working(&mut self) -> Result<(), EngineError> {
        if self.working {
            return Ok(());
        }
        self.address = match self.kind {
            Kind::Physical => {
                let (address, phy) =
                    physical::bring_up(&self.registers, self.address, self.patience.link)?;
                // What it is after the first time is our own doing.
                self.phy.get_or_insert(phy);
                address
            }
            Kind::Virtual => {
                virtual_function::bring_up(&self.registers, self.address, self.patience.answer)?
            }
        };
        self.queues.start(&self.registers)?;
        self.working = true;
        Ok(())
    }

    /// Brings the function up again before it is used next.
    pub fn suspect(&mut self) {
        self.working = false;
    }

    /// Has what follows the header of the next frame written to `packet`.
    pub fn expect(&mut self, packet: Iova) {
        self.queues.expect(&self.registers, packet);
    }

    /// Sends a frame: the header, and after it what lies at `packet`.
    pub fn send(&mut self, header: &[u8; HEADER_SIZE], packet: Iova, size: usize) {
        self.queues.send(&self.registers, header, packet, size);
    }

    /// Waits for the frame with this header.
    pub fn take(
        &mut self,
        header: &[u8; HEADER_SIZE],
        size: usize,
        what: &str,
    ) -> Result<(), EngineError> {
        let taken = self.wait(header, size, what);
        // The descriptor of a frame that did not come is still the device's.
        self.working = taken.is_ok();
        taken
    }

    fn wait(&self, header: &[u8; HEADER_SIZE], size: usize, what: &str) -> Result<(), EngineError> {
        let engine = self.kind.name();
        let begin = Instant::now();
        loop {
            // Taken first, so that a process that slept for long still looks once more.
            let waited = begin.elapsed();
            if let Some((received, found)) = self.queues.received() {
                let whole = received.status & (END_OF_PACKET | RECEIVE_ERROR) == END_OF_PACKET;
                if whole && received.length == size && found == *header {
                    return Ok(());
                }
                return Err(EngineError::Nonsense {
                    engine,
                    found: format!(
                        "the frame that came in while {what} is not the one that was sent ({} bytes, status {:#x}, header {:02x?}): \
                         it is broken, or from somebody else on this network",
                        received.length,
                        received.status,
                        &found[..18]
                    ),
                });
            }
            if self.registers.read32(CTRL) == u32::MAX {
                return Err(EngineError::Gone { engine });
            }
            if waited >= self.patience.frame {
                return Err(self.no_frame(what));
            }
            if waited >= EAGER {
                sleep(EAGER);
            }
        }
    }
}

impl<R: Registers, M> Port<R, M> {
    /// Why no frame came.
    fn no_frame(&self, what: &str) -> EngineError {
        let engine = self.kind.name();
        // A physical function came up with a link of its own making.
        if self.kind == Kind::Virtual && self.registers.read32(STATUS) & STATUS_LU == 0 {
            return EngineError::Unusable {
                engine,
                missing: "its port has no link, and without one the card brings no frame back. Connect the port, or bring the network interface of \
                          the physical function up (ip link set up)"
                    .to_owned(),
            };
        }
        EngineError::Timeout {
            engine,
            what: what.to_owned(),
            limit: self.patience.frame,
        }
    }
}

impl<R: Registers, M> Drop for Port<R, M> {
    fn drop(&mut self) {
        let ended = match self.kind {
            Kind::Physical => physical::shut_down(&self.registers, self.phy),
            Kind::Virtual => virtual_function::shut_down(&self.registers),
        };
        if let Err(error) = ended {
            log::warn!("stopping the network card: {error}");
        }
    }
}
