//! The Intel 82576 as its driver sees it: registers in BAR0, descriptors, and the mailbox between functions.
//!
//! Names are those of the Intel 82576EB Datasheet, revision 2.63, chapter 8 (registers; the section's number stands
//! beside a group) and chapter 7 (descriptors, mailbox). A virtual function sees its own small set of registers.

/// BAR0 holds the registers.
pub const BAR: u8 = 0;
/// Bytes of them that are used here, on a physical function.
pub const PHYSICAL_SIZE: u64 = 0x1_2000;
/// Bytes of them on a virtual function.
pub const VIRTUAL_SIZE: u64 = 0x4000;

// 8.2, general.

/// CTRL, device control; VTCTRL on a virtual function.
pub const CTRL: u64 = 0x0000;
/// [`CTRL`]: reset, clears itself.
pub const CTRL_RST: u32 = 1 << 26;
/// [`CTRL`]: full duplex (bit 0), link up (6), 1000 Mb/s (9:8 = 2), both forced by us (11, 12).
pub const CTRL_FORCED_LINK: u32 = 1 << 0 | 1 << 6 | 2 << 8 | 1 << 11 | 1 << 12;
/// [`CTRL`]: the speed field.
pub const CTRL_SPEED: u32 = 3 << 8;
/// [`CTRL`]: link up.
pub const CTRL_SLU: u32 = 1 << 6;
/// STATUS, device status.
pub const STATUS: u64 = 0x0008;
/// [`STATUS`]: the link is up.
pub const STATUS_LU: u32 = 1 << 1;
/// CTRL_EXT, extended device control.
pub const CTRL_EXT: u64 = 0x0018;
/// [`CTRL_EXT`]: a driver is there; firmware leaves the device alone.
pub const CTRL_EXT_DRV_LOAD: u32 = 1 << 28;
/// MDIC, access to the registers of the PHY: data 15:0, register 20:16, PHY 25:21, operation 27:26, ready 28, error 30.
pub const MDIC: u64 = 0x0020;
/// [`MDIC`]: write, to the internal PHY, which has the number 1.
pub const MDIC_WRITE: u32 = 1 << 26 | 1 << 21;
/// [`MDIC`]: read, from the internal PHY.
pub const MDIC_READ: u32 = 2 << 26 | 1 << 21;
/// [`MDIC`]: done.
pub const MDIC_READY: u32 = 1 << 28;
/// [`MDIC`]: failed.
pub const MDIC_ERROR: u32 = 1 << 30;

// The PHY's registers (IEEE 802.3, 22.2.4).

/// Control.
pub const PHY_CONTROL: u32 = 0;
/// [`PHY_CONTROL`]: negotiate the link, again.
pub const PHY_NEGOTIATE: u16 = 1 << 12 | 1 << 9;
/// [`PHY_CONTROL`]: loopback, 1000 Mb/s, full duplex.
pub const PHY_LOOPBACK: u16 = 1 << 14 | 1 << 8 | 1 << 6;

// 8.6, PCIe.

/// GCR, PCIe control.
pub const GCR: u64 = 0x5b00;
/// [`GCR`]: send a read again whose completion did not come.
pub const GCR_RESEND: u32 = 1 << 16;

// 8.8, interrupts.

/// EIMC, clears the mask of extended interrupts.
pub const EIMC: u64 = 0x1528;
/// IMC, clears the mask of interrupts.
pub const IMC: u64 = 0x150c;

// 8.10, receive.

/// RCTL, receive control.
pub const RCTL: u64 = 0x0100;
/// [`RCTL`]: receive (bit 1), long frames (5), loop back at the MAC (7:6 = 1), strip the checksum (26). Not
/// promiscuous: frames from outside must not end up in memory.
pub const RCTL_LOOPBACK: u32 = 1 << 1 | 1 << 5 | 1 << 6 | 1 << 26;
/// RLPML, the longest frame.
pub const RLPML: u64 = 0x5004;
/// The longest frame of the device.
pub const RLPML_MOST: u32 = 9728;
/// RAL(0), the first four bytes of the device's address.
pub const RAL: u64 = 0x5400;
/// RAH(0), the last two bytes of the device's address.
pub const RAH: u64 = 0x5404;
/// [`RAH`]: the address is valid.
pub const RAH_AV: u32 = 1 << 31;

// 8.12, transmit.

/// TCTL, transmit control.
pub const TCTL: u64 = 0x0400;
/// [`TCTL`]: transmit (bit 1), pad short frames (3).
pub const TCTL_ENABLE: u32 = 1 << 1 | 1 << 3;

// A queue's registers, for both directions, from the base of its block.

/// The first receive queue of a physical function.
pub const PHYSICAL_RECEIVE: u64 = 0xc000;
/// The first transmit queue of a physical function.
pub const PHYSICAL_TRANSMIT: u64 = 0xe000;
/// The first receive queue of a virtual function.
pub const VIRTUAL_RECEIVE: u64 = 0x2800;
/// The first transmit queue of a virtual function.
pub const VIRTUAL_TRANSMIT: u64 = 0x3800;

/// RDBAL, TDBAL: address of the ring, low half.
pub const QUEUE_ADDRESS_LOW: u64 = 0x00;
/// RDBAH, TDBAH: high half.
pub const QUEUE_ADDRESS_HIGH: u64 = 0x04;
/// RDLEN, TDLEN: bytes of the ring, a multiple of 128.
pub const QUEUE_LENGTH: u64 = 0x08;
/// SRRCTL: how frames are split (receive only).
pub const QUEUE_SPLIT: u64 = 0x0c;
/// RDH, TDH: the descriptor that the device works on.
pub const QUEUE_HEAD: u64 = 0x10;
/// RDT, TDT: the first descriptor that is not the device's.
pub const QUEUE_TAIL: u64 = 0x18;
/// RXDCTL, TXDCTL: control.
pub const QUEUE_CONTROL: u64 = 0x28;
/// [`QUEUE_CONTROL`]: on.
pub const QUEUE_ENABLE: u32 = 1 << 25;

/// Bytes of a frame that go to the header buffer: the least there is (BSIZEHEADER, units of 64).
pub const HEADER_SIZE: usize = 64;

/// [`QUEUE_SPLIT`]: packet buffers of this many KiB (6:0), header buffers of 64 bytes (13:8), split always (27:25 = 5),
/// drop frames that have no descriptor (31).
///
/// A frame whose header the device does not know is split after the header buffer's size (7.1.10, "Split - always use header buffer").
pub const fn split(packet_kib: u32) -> u32 {
    packet_kib | 1 << 8 | 5 << 25 | 1 << 31
}

/// Bytes of a descriptor.
pub const DESCRIPTOR_SIZE: usize = 16;

/// An advanced receive descriptor (7.1.5, read format): where the packet goes, and where its header.
pub fn receive_descriptor(packet: u64, header: u64) -> [u8; DESCRIPTOR_SIZE] {
    join(packet, header)
}

/// An advanced data descriptor for a piece of a frame (7.2.2.3): its address and length, and the frame's length.
pub fn transmit_descriptor(
    piece: u64,
    length: usize,
    frame: usize,
    last: bool,
) -> [u8; DESCRIPTOR_SIZE] {
    // DTYP 23:20 = data, IFCS 25 (the device adds the checksum), DEXT 29; on the last piece EOP 24 and RS 27.
    let mut command = 3 << 20 | 1 << 25 | 1 << 29;
    if last {
        command |= 1 << 24 | 1 << 27;
    }
    let payload_length = (frame as u64) << 14;
    join(piece, payload_length << 32 | command | length as u64)
}

fn join(low: u64, high: u64) -> [u8; DESCRIPTOR_SIZE] {
    let mut bytes = [0; DESCRIPTOR_SIZE];
    bytes[..8].copy_from_slice(&low.to_le_bytes());
    bytes[8..].copy_from_slice(&high.to_le_bytes());
    bytes
}

/// What the device writes into a receive descriptor (7.1.5, write-back format).
#[derive(Debug, Clone, Copy)]
pub struct Received {
    /// Extended status 19:0 and errors 31:20.
    pub status: u32,
    /// Bytes in the packet buffer.
    pub length: usize,
}

/// The byte of a receive descriptor with [`DONE`].
pub const STATUS_BYTE: usize = 8;
/// [`Received::status`]: the device is done with the descriptor.
pub const DONE: u32 = 1 << 0;
/// [`Received::status`]: the frame ends here.
pub const END_OF_PACKET: u32 = 1 << 1;
/// [`Received::status`]: the frame is broken (RXE, 31).
pub const RECEIVE_ERROR: u32 = 1 << 31;

impl Received {
    /// Reads a descriptor that was written back.
    pub fn decode(bytes: &[u8; DESCRIPTOR_SIZE]) -> Self {
        Self {
            status: u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            length: usize::from(u16::from_le_bytes([bytes[12], bytes[13]])),
        }
    }
}

// The mailbox of a virtual function (7.10.2.9, 8.14).

/// V2PMAILBOX, its control.
pub const MAILBOX: u64 = 0x0c40;
/// [`MAILBOX`]: there is a message for the physical function.
pub const MAILBOX_REQUEST: u32 = 1 << 0;
/// [`MAILBOX`]: the message of the physical function was read.
pub const MAILBOX_ACKNOWLEDGE: u32 = 1 << 1;
/// [`MAILBOX`]: the virtual function owns the memory.
pub const MAILBOX_OWN: u32 = 1 << 2;
/// [`MAILBOX`]: the physical function left a message; reading clears it.
pub const MAILBOX_MESSAGE: u32 = 1 << 4;
/// [`MAILBOX`]: the physical function read the message; reading clears it.
pub const MAILBOX_READ: u32 = 1 << 5;
/// [`MAILBOX`]: the physical function is in reset, or was never brought up.
pub const MAILBOX_IN_RESET: u32 = 1 << 6;
/// [`MAILBOX`]: the reset of the physical function is over; reading clears it.
pub const MAILBOX_RESET_DONE: u32 = 1 << 7;
/// VMBMEM, its memory.
pub const MAILBOX_MEMORY: u64 = 0x0800;

// Messages, as Linux's igb driver answers them (drivers/net/ethernet/intel/igb/e1000_mbx.h).

/// The bits that say what a message is, and which message a reply is to.
pub const MESSAGE_KIND: u32 = 0xffff;
/// The virtual function was reset; the reply holds its address.
pub const MESSAGE_RESET: u32 = 0x01;
/// The virtual function wants this address.
pub const MESSAGE_SET_ADDRESS: u32 = 0x02;
/// A reply: granted.
pub const REPLY_GRANTED: u32 = 1 << 31;
/// A reply: the function is back from its reset, so its messages are looked at.
pub const REPLY_CLEAR_TO_SEND: u32 = 1 << 29;
