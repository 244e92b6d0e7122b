//! A physical function: it sends to itself, looped back in its PHY. Nothing reaches the cable.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::EngineError;
use super::Address;
use super::registers::{
    CTRL, CTRL_EXT, CTRL_EXT_DRV_LOAD, CTRL_FORCED_LINK, CTRL_RST, CTRL_SLU, CTRL_SPEED, EIMC, GCR,
    GCR_RESEND, IMC, MDIC, MDIC_ERROR, MDIC_READ, MDIC_READY, MDIC_WRITE, PHY_CONTROL,
    PHY_LOOPBACK, PHY_NEGOTIATE, RAH, RAH_AV, RAL, RCTL, RCTL_LOOPBACK, RLPML, RLPML_MOST, STATUS,
    STATUS_LU, TCTL, TCTL_ENABLE,
};
use crate::device::Registers;

pub const NAME: &str = "igb";

/// After a reset the device reads its EEPROM.
const TO_RESET: Duration = Duration::from_millis(20);
/// A PHY register takes up to 64 us; a busy host can stretch that.
const TO_PHY: Duration = Duration::from_millis(100);

/// Resets the device and loops it back; its queues are to be turned on next. Returns its address, and what the PHY's
/// control register was.
pub fn bring_up(
    registers: &impl Registers,
    fallback: Address,
    to_link: Duration,
) -> Result<(Address, u16), EngineError> {
    reset(registers)?;
    let set = |register, bits| registers.write32(register, registers.read32(register) | bits);
    set(CTRL_EXT, CTRL_EXT_DRV_LOAD);
    // A read that was blocked must not be sent again and again.
    registers.write32(GCR, registers.read32(GCR) & !GCR_RESEND);

    let phy = phy_read(registers, PHY_CONTROL)?;
    set(CTRL, CTRL_SLU);
    if registers.read32(STATUS) & STATUS_LU == 0 {
        phy_write(registers, PHY_CONTROL, PHY_NEGOTIATE)?;
        // Without a partner no link comes by negotiation; looped back, the PHY is its own partner.
        wait_for_link(registers, to_link);
    }
    phy_write(registers, PHY_CONTROL, PHY_LOOPBACK)?;
    let control = registers.read32(CTRL) & !CTRL_SPEED;
    registers.write32(CTRL, control | CTRL_FORCED_LINK);
    if !wait_for_link(registers, to_link) {
        return Err(EngineError::Unusable {
            engine: NAME,
            missing: "no link came up. Connect the port to a switch".to_owned(),
        });
    }

    registers.write32(RLPML, RLPML_MOST);
    registers.write32(RCTL, RCTL_LOOPBACK);
    registers.write32(TCTL, TCTL_ENABLE);
    Ok((address(registers, fallback), phy))
}

/// Resets the device: it does no more DMA. The PHY is told what it was told before.
pub fn shut_down(registers: &impl Registers, phy: Option<u16>) -> Result<(), EngineError> {
    if let Some(phy) = phy {
        phy_write(registers, PHY_CONTROL, phy)?;
    }
    reset(registers)?;
    let control = registers.read32(CTRL_EXT);
    registers.write32(CTRL_EXT, control & !CTRL_EXT_DRV_LOAD);
    Ok(())
}

fn reset(registers: &impl Registers) -> Result<(), EngineError> {
    registers.write32(CTRL, registers.read32(CTRL) | CTRL_RST);
    sleep(TO_RESET);
    match registers.read32(CTRL) {
        u32::MAX => return Err(EngineError::Gone { engine: NAME }),
        control if control & CTRL_RST != 0 => {
            return Err(EngineError::Timeout {
                engine: NAME,
                what: "its reset".to_owned(),
                limit: TO_RESET,
            });
        }
        _ => {}
    }
    registers.write32(EIMC, u32::MAX);
    registers.write32(IMC, u32::MAX);
    Ok(())
}

/// The device's own address, from its EEPROM; if it has none, the given one.
fn address(registers: &impl Registers, fallback: Address) -> Address {
    let (low, high) = (registers.read32(RAL), registers.read32(RAH));
    let [a, b, c, d] = low.to_le_bytes();
    let [e, f, ..] = high.to_le_bytes();
    if high & RAH_AV != 0 && (low, high as u16) != (0, 0) {
        return Address([a, b, c, d, e, f]);
    }
    let (low, high) = fallback.words();
    registers.write32(RAL, low);
    registers.write32(RAH, high | RAH_AV);
    fallback
}

fn wait_for_link(registers: &impl Registers, limit: Duration) -> bool {
    let begin = Instant::now();
    loop {
        let late = begin.elapsed() >= limit;
        if registers.read32(STATUS) & STATUS_LU != 0 {
            return true;
        }
        if late {
            return false;
        }
        sleep(Duration::from_millis(5));
    }
}

fn phy_read(registers: &impl Registers, register: u32) -> Result<u16, EngineError> {
    phy_access(registers, MDIC_READ | register << 16)
}

fn phy_write(registers: &impl Registers, register: u32, value: u16) -> Result<(), EngineError> {
    phy_access(registers, MDIC_WRITE | register << 16 | u32::from(value)).map(drop)
}

fn phy_access(registers: &impl Registers, command: u32) -> Result<u16, EngineError> {
    registers.write32(MDIC, command);
    let begin = Instant::now();
    loop {
        let late = begin.elapsed() >= TO_PHY;
        match registers.read32(MDIC) {
            u32::MAX => return Err(EngineError::Gone { engine: NAME }),
            value if value & MDIC_ERROR != 0 => {
                return Err(EngineError::Nonsense {
                    engine: NAME,
                    found: "its PHY does not answer".to_owned(),
                });
            }
            value if value & MDIC_READY != 0 => return Ok(value as u16),
            _ if late => {
                return Err(EngineError::Timeout {
                    engine: NAME,
                    what: "an access to its PHY".to_owned(),
                    limit: TO_PHY,
                });
            }
            _ => sleep(Duration::from_micros(50)),
        }
    }
}
