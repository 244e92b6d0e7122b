//! Mappings that outlive a command: processes that hold them, and how commands talk to these.
//!
//! The kernel takes a mapping out when the last file descriptor of its container or IOAS closes, so that someone has to stay. A
//! *holder* is a process that owns one address space, the devices in it and the memory mapped for them. It ends in this order:
//! bus mastering off, reset, unmap, close; at last it stops to listen. When it is killed, the kernel does the same, less gently.
//!
//! # Sockets
//! A holder listens at one Unix socket for each IOMMU group it has a device of, `group-N.sock`: VFIO gives a group to one process
//! only, so a group has one holder. Root's are in `/run/iommu-tool`, a user's in `$XDG_RUNTIME_DIR/iommu-tool`; the sockets have mode
//! 0600, and a folder that others may write to is not used. Both sides check by SO_PEERCRED who the other is: a holder answers
//! its own user and root, a command believes only the folder's owner. Anyone can put a socket into a folder of his own: root's
//! commands ask what listens there only if it has the group open, and map only through holders of root's.
//!
//! A holder takes its sockets under a lock (`lock`) before it opens a device: of two that start at once, one finds the socket of
//! the other. A socket at which nobody listens is what a killed holder left, and is replaced. Commands that connect while a
//! holder starts wait for its greeting; if there is none, it ended before it saw them, and they look again.
//!
//! # Protocol
//! One JSON document a line, in both directions ([`protocol`] has every field). The holder speaks first:
//!
//! ```json
//! {"version":1,"hello":{"pid":812,"uid":0,"since":1795222800,"backend":"iommufd","devices":["0000:01:00.0"],"until_unmapped":true}}
//! ```
//!
//! Then the client asks, one request at a time, and each is answered. A request that fails has changed nothing:
//!
//! ```json
//! {"version":1,"request":{"map":{"size":4096,"iova":"0x100000","protection":"read-write","name":"ring"}}}
//! {"version":1,"answer":{"mapped":{"iova":"0x100000","size":4096,"pages":"4K","protection":"read-write","name":"ring","file":null}}}
//! {"version":1,"request":{"unmap":{"within":{"iova":"0x0","size":2097152}}}}
//! {"version":1,"answer":{"unmapped":{"count":1,"bytes":4096,"left":0}}}
//! {"version":1,"request":{"unmap":{"at":"0x5000"}}}
//! {"version":1,"error":{"class":"usage","message":"nothing is mapped at 0x5000","cause":null}}
//! ```
//!
//! The others are `mappings`, `read`, `write`, `locate`, `dma`, `test` and `attach`. A file to be mapped comes as a descriptor (SCM_RIGHTS) with the
//! first byte of its request, opened by the client, so that the client's rights count. Bytes of memory are hexadecimal digits.
//!
//! What is no request (not JSON, unknown fields, another version, more than [`protocol::LARGEST_REQUEST`] bytes, a second one before the
//! answer) is answered by an error and ends the connection. A client has 10 s for a request that it began and for taking an answer,
//! and may be idle for 60 s. There are 64 clients at most; others wait. A map whose client left before it was made is undone.
//!
//! # Who waits for whom
//! One thread serves all clients and never waits for one. What may take long (mapping more than 2 MiB or a file, unmapping as
//! much, DMA) is done by a thread of its own, one for each such request, while others are served. Mappings are found in
//! logarithmic time. A holder that `map` started ends when nothing is mapped and nobody is connected who could map; a client that
//! closes its sending side after unmapping sees the connection end when the devices are free, or when that will take longer: at once
//! if something is mapped or being done for others, after 1 s if others only are connected.

mod bytes;
mod client;
mod connection;
mod device;
mod error;
#[cfg(test)]
mod fakes;
mod folder;
mod holding;
mod mappings;
mod memory;
mod peer;
mod places;
pub mod protocol;
mod ready;
mod request;
mod server;
mod start;
mod testing;
#[cfg(test)]
mod tests;
mod transfer;

pub use bytes::Bytes;
pub use client::Client;
pub use error::{Failure, SessionError};
pub use folder::Folder;
pub use holding::Holding;
pub use ready::{StartReport, report};
pub use server::End;
pub use start::{Held, HoldOptions, find_or_start, hold};
pub use testing::{RunChecks, TestSite};
