//! What clients and holders say to each other. The text of the protocol is in the [module above](super).

use serde::{Deserialize, Serialize};

use super::{Bytes, Failure};
use crate::types::{Backend, Bdf, ExitClass, Iova, Protection, TestScope, VfioNode};

/// The version of the protocol. A holder answers only requests of its own version.
pub const VERSION: u32 = 1;

/// The most bytes of a request, with its line feed.
pub const LARGEST_REQUEST: usize = 256 << 10;

/// The most bytes of an answer, with its line feed.
pub const LARGEST_ANSWER: usize = 1 << 20;

/// The most bytes of memory in one request or answer: as hexadecimal digits they fit in both.
pub const LARGEST_PIECE: usize = 64 << 10;

/// The most mappings in one answer.
pub const LARGEST_LISTING: usize = 1000;

/// The most bytes of a name for a mapping.
pub const LONGEST_NAME: usize = 64;

/// The most bytes of a file's path (PATH_MAX of linux/limits.h).
pub const LONGEST_PATH: usize = 4096;

/// A line from client to holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestLine {
    /// [`VERSION`].
    pub version: u32,
    /// What is asked for.
    pub request: Request,
}

/// A line from holder to client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyLine {
    /// [`VERSION`].
    pub version: u32,
    /// What is said.
    #[serde(flatten)]
    pub reply: Reply,
}

/// What a holder says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The first line of each connection.
    Hello(Hello),
    /// The request was carried out.
    Answer(Answer),
    /// It was not, and nothing changed.
    Error(Failure),
}

/// What a holder says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The holder's process ID.
    pub pid: u32,
    /// The user it runs as.
    pub uid: u32,
    /// When it took its first device, in seconds since 1970 (UTC).
    pub since: u64,
    /// The kernel interface of its address space.
    pub backend: Backend,
    /// The devices attached to it.
    pub devices: Vec<Bdf>,
    /// Whether it ends with its last mapping.
    pub until_unmapped: bool,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The mappings that end at `from` or after it, by IOVA, [`LARGEST_LISTING`] at most.
    Mappings {
        /// Where to begin.
        from: Iova,
    },
    /// Take one more device into the address space.
    Attach {
        /// The device.
        node: VfioNode,
    },
    /// Map memory. With a file, its descriptor comes with the request (SCM_RIGHTS).
    Map(MapRequest),
    /// Take out mappings, each whole.
    Unmap(Selection),
    /// The bytes at an IOVA as the processor sees them, [`LARGEST_PIECE`] at most.
    Read {
        /// The first byte.
        iova: Iova,
        /// The number of bytes.
        size: usize,
    },
    /// Set the bytes at an IOVA by the processor, [`LARGEST_PIECE`] at most.
    Write {
        /// The first byte.
        iova: Iova,
        /// The bytes.
        data: Bytes,
    },
    /// Where the holder itself has the memory behind an IOVA.
    Locate {
        /// An IOVA that is mapped.
        iova: Iova,
    },
    /// Run the checks of `test` on a device.
    Test(TestRequest),
    /// Have the device itself transfer.
    Dma {
        /// The device.
        device: Bdf,
        /// Where in its IOVA space.
        iova: Iova,
        /// What it does there.
        transfer: Transfer,
    },
}

/// What to map and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapRequest {
    /// Bytes, a multiple of the page size.
    pub size: u64,
    /// The first IOVA; the holder chooses if there is none.
    #[serde(default)]
    pub iova: Option<Iova>,
    /// The pages to use for new memory.
    #[serde(default)]
    pub pages: Pages,
    /// How many threads populate and map new memory; as many as there are processors if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// What devices may do with it.
    pub protection: Protection,
    /// What the user calls it.
    #[serde(default)]
    pub name: Option<String>,
    /// The file that is mapped; new memory if there is none.
    #[serde(default)]
    pub file: Option<FileSource>,
}

/// A test to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// The device.
    pub device: Bdf,
    /// Where pseudo-random contents start from.
    pub seed: u64,
    /// The first address above all memory and devices of the host, if the client knows it.
    #[serde(default)]
    pub physical_top: Option<u64>,
    /// Which checks, and how thorough they are.
    #[serde(default)]
    pub scope: TestScope,
}

/// The result of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    /// What the exit status says of it.
    pub class: ExitClass,
    /// The result for people.
    pub text: String,
    /// The result for scripts, as `test --json` has it for a device.
    pub report: serde_json::Value,
}

/// The pages that new memory is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Pages {
    /// The largest that fit and are to be had.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// The processor's base pages.
    #[serde(rename = "4K")]
    Base,
    /// Transparent huge pages.
    #[serde(rename = "thp")]
    Transparent,
    /// Reserved pages of 2 MiB.
    #[serde(rename = "2M")]
    Huge2M,
    /// Reserved pages of 1 GiB.
    #[serde(rename = "1G")]
    Huge1G,
}

/// A part of a file, whose descriptor the client sends along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// Its path, to be shown.
    pub path: String,
    /// Where in it the mapped bytes begin.
    #[serde(default)]
    pub offset: u64,
    /// Whether a copy of the bytes is mapped, not the file itself.
    #[serde(default)]
    pub private: bool,
}

/// Which mappings are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Selection {
    /// The one that begins at this IOVA.
    At(Iova),
    /// All within this range.
    Within {
        /// The first IOVA.
        iova: Iova,
        /// Bytes.
        size: u64,
    },
    /// The one with this name.
    Name(String),
    /// All.
    All,
}

/// What the device does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Transfer {
    /// It reads this many bytes, [`LARGEST_PIECE`] at most.
    Read {
        /// The number of bytes.
        size: usize,
    },
    /// It writes these bytes, [`LARGEST_PIECE`] at most.
    Write {
        /// The bytes.
        data: Bytes,
    },
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Mappings`].
    Mappings {
        /// By IOVA.
        mappings: Vec<MappingInfo>,
        /// Where to go on; none after the last.
        next: Option<Iova>,
    },
    /// To [`Request::Attach`].
    Attached,
    /// To [`Request::Map`].
    Mapped(MappingInfo),
    /// To [`Request::Unmap`].
    Unmapped {
        /// How many mappings.
        count: usize,
        /// Their bytes.
        bytes: u64,
        /// How many mappings are left.
        left: usize,
    },
    /// To [`Request::Read`].
    Read {
        /// The bytes.
        data: Bytes,
    },
    /// To [`Request::Write`].
    Written,
    /// To [`Request::Locate`].
    Located(Located),
    /// To [`Request::Test`].
    Tested(Tested),
    /// To [`Request::Dma`].
    Transferred(Transferred),
}

/// A mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingInfo {
    /// The first IOVA.
    pub iova: Iova,
    /// Bytes.
    pub size: u64,
    /// The pages of the memory: `4K`, `thp`, `2M`, `1G`; `file` for those of a file.
    pub pages: String,
    /// How it was mapped, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<String>,
    /// What devices may do with it.
    pub protection: Protection,
    /// What the user calls it.
    pub name: Option<String>,
    /// The file behind it; none for new memory.
    pub file: Option<FileSource>,
}

/// Where mapped memory lies in the holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The mapping that the IOVA is in.
    pub mapping: MappingInfo,
    /// The virtual address of the byte at the IOVA, in the holder's process.
    pub address: u64,
}

/// What became of a transfer by the device, judged by memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transferred {
    /// The name of the engine that drove the device.
    pub engine: String,
    /// What was mapped for the device at these IOVAs.
    pub mapped: Extent,
    /// Whether the bytes arrived: equal on both sides. `None` if that cannot be known, as there is no memory to compare with.
    pub arrived: Option<bool>,
    /// What the device delivered, for a read.
    pub data: Option<Bytes>,
}

/// How much of a range is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// All of it, and the device may do what it was asked to.
    Whole,
    /// All of it, and the device may not do what it was asked to.
    Forbidden,
    /// Only a part.
    Part,
    /// Nothing.
    Nothing,
}
