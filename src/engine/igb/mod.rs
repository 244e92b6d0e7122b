//! Intel's 82576 network card, physical (igb) and virtual functions (igbvf): memory to memory as Ethernet frames.
//!
//! A frame is gathered from a header of the engine's own and the payload, and split the same way when it is received. So
//! the device reads exactly the payload, and writes exactly the payload. A load sends it into a page of the
//! engine's own, a store sends it from there.
//!
//! A virtual function also hears broadcasts of its network. One that arrives in place of the frame is told as an error, but was
//! written where the payload was to go: the network should be quiet.

mod physical;
mod port;
mod queues;
mod registers;
mod virtual_function;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::fmt;

use self::port::{Kind, Patience, Port};
use self::registers::{BAR, HEADER_SIZE};
use super::arena::PAGE;
use super::{
    DmaEngine, DmaPage, EngineDriver, EngineError, EngineLimits, EngineParts, Loaded, Pages,
    Reading, Seat,
};
use crate::device::Registers;
use crate::types::{Bdf, Iova, PciId};

/// The driver of physical functions.
pub struct IgbDriver;

/// The driver of virtual functions.
pub struct IgbvfDriver;

impl EngineDriver for IgbDriver {
    fn name(&self) -> &'static str {
        physical::NAME
    }

    fn about(&self) -> &'static str {
        "Intel 82576 (8086:10c9), which sends frames to itself; none leaves the port"
    }

    fn limits(&self) -> &'static str {
        "1 B to 4 KiB at any 64-bit address but 0; memory to memory, by frames of the PHY's loopback"
    }

    fn drives(&self, id: &PciId) -> bool {
        (id.vendor, id.device) == (0x8086, 0x10c9)
    }

    fn ran_on_hardware(&self) -> bool {
        true
    }

    fn open<'d>(&self, parts: EngineParts<'d>) -> Result<Box<dyn DmaEngine + 'd>, EngineError> {
        // Looped back, a port hears nobody but itself.
        open(Kind::Physical, parts.seat, None)
    }
}

impl EngineDriver for IgbvfDriver {
    fn name(&self) -> &'static str {
        virtual_function::NAME
    }

    fn about(&self) -> &'static str {
        "virtual functions of Intel 82576 (8086:10ca), which send frames to each other through the card's switch"
    }

    fn limits(&self) -> &'static str {
        "1 to 1450 B at any 64-bit address but 0; memory to memory, by frames; with one function, it sends to itself"
    }

    fn drives(&self, id: &PciId) -> bool {
        (id.vendor, id.device) == (0x8086, 0x10ca)
    }

    fn ran_on_hardware(&self) -> bool {
        true
    }

    fn takes_peer(&self) -> bool {
        true
    }

    fn open<'d>(&self, parts: EngineParts<'d>) -> Result<Box<dyn DmaEngine + 'd>, EngineError> {
        open(Kind::Virtual, parts.seat, parts.peer)
    }
}

fn open<'d>(
    kind: Kind,
    near: Seat<'d>,
    far: Option<Seat<'d>>,
) -> Result<Box<dyn DmaEngine + 'd>, EngineError> {
    let port = |seat: Seat<'d>| {
        let registers = seat.device.map_bar(BAR)?;
        let bus_master = seat.device.master_bus()?;
        let own = Address::of(seat.device.bdf());
        Port::start(
            kind,
            Patience::USUAL,
            registers,
            bus_master,
            seat.arena,
            own,
        )
    };
    let passing = far.unwrap_or(near).arena.page()?;
    Ok(Box::new(Wire::new(
        port(near)?,
        far.map(port).transpose()?,
        passing,
    )))
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address([u8; 6]);

impl Address {
    /// An address for a function that has none: locally administered, and different for the functions of a host.
    fn of(bdf: Bdf) -> Self {
        let [low, high, ..] = bdf.domain().to_le_bytes();
        Self([0x02, high, low, bdf.bus(), bdf.device(), bdf.function()])
    }

    /// As the device's registers and messages hold it: the first four bytes, and the last two.
    fn words(self) -> (u32, u32) {
        let Self([a, b, c, d, e, f]) = self;
        (
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, 0, 0]),
        )
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.map(|byte| format!("{byte:02x}"));
        f.write_str(&digits.join(":"))
    }
}

/// The port under test and the far end. `M` holds what a port needs while it is in use, bus mastering.
struct Wire<R: Registers, M> {
    near: Port<R, M>,
    /// The far end; the near one itself if there is none.
    far: Option<Port<R, M>>,
    /// What was loaded. It belongs to the far end.
    passing: DmaPage,
    number: u32,
}

impl<R: Registers, M> Wire<R, M> {
    fn new(near: Port<R, M>, far: Option<Port<R, M>>, passing: DmaPage) -> Self {
        Self {
            near,
            far,
            passing,
            number: 0,
        }
    }

    /// Sends a frame from `source` on one port to `destination` on the other: from the near port to the far one, or back.
    fn transfer(
        &mut self,
        outward: bool,
        source: Iova,
        destination: Iova,
        size: usize,
        what: &str,
    ) -> Result<(), EngineError> {
        self.number = self.number.wrapping_add(1);
        self.near.ensure_working()?;
        let Some(far) = self.far.as_mut() else {
            let header = frame_header(self.near.address(), self.near.address(), self.number);
            self.near.expect(destination);
            self.near.send(&header, source, size);
            return self.near.take(&header, size, what);
        };
        far.ensure_working()?;
        let (from, to) = if outward {
            (&mut self.near, far)
        } else {
            (far, &mut self.near)
        };
        let header = frame_header(to.address(), from.address(), self.number);
        to.expect(destination);
        from.send(&header, source, size);
        let taken = to.take(&header, size, what);
        if taken.is_err() {
            from.suspect();
        }
        taken
    }
}

/// The first bytes of a frame: to whom, from whom, the type for experiments (IEEE 802, 9.2.3), and a number by which it is
/// known again.
fn frame_header(to: Address, from: Address, number: u32) -> [u8; HEADER_SIZE] {
    let mut header = [0; HEADER_SIZE];
    header[..6].copy_from_slice(&to.0);
    header[6..12].copy_from_slice(&from.0);
    header[12..14].copy_from_slice(&[0x88, 0xb5]);
    header[14..18].copy_from_slice(&number.to_be_bytes());
    header
}

impl<R: Registers, M> DmaEngine for Wire<R, M> {
    fn limits(&self) -> EngineLimits {
        EngineLimits {
            address_bits: 64,
            register_bits: 64,
            max_size: self.near.kind().most().min(PAGE),
            size_unit: 1,
            alignment: 1,
            reading: Reading::Kept,
            echoes: false,
            has_clock: false,
        }
    }

    fn load(&mut self, source: Iova, size: usize) -> Result<Loaded, EngineError> {
        self.limits().check(self.near.kind().name(), source, size)?;
        let what = format!("sending {size} bytes at {source}");
        let passing = self.passing.iova();
        self.transfer(true, source, passing, size, &what)?;
        Ok(Loaded::Kept)
    }

    fn store(&mut self, destination: Iova, size: usize) -> Result<(), EngineError> {
        let engine = self.near.kind().name();
        self.limits().check(engine, destination, size)?;
        let what = format!("receiving {size} bytes to {destination}");
        let passing = self.passing.iova();
        self.transfer(false, passing, destination, size, &what)
    }
}
