//! The process that holds the mappings of the device that a command is about.

use anyhow::Context as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use super::Failure;
use crate::binding;
use crate::host::{Host, PciDevice};
use crate::session::{Bytes, Client};
use crate::types::{Bdf, DeviceName, ExitClass, Iova, Size};

/// The device that a name means, and the holder of its group; `None` if there is none.
pub fn find(host: &Host, name: &DeviceName) -> anyhow::Result<(PciDevice, Option<Client>)> {
    let device = binding::resolve_one(host, name)?;
    let client = match device.group {
        Some(group) => Client::find(group)?,
        None => None,
    };
    Ok((device, client))
}

/// As [`find`], where a device without a holder has nothing to do.
pub fn require(host: &Host, name: &DeviceName) -> anyhow::Result<(PciDevice, Client)> {
    let (device, client) = find(host, name)?;
    let client = client.ok_or_else(|| nothing_mapped(device.bdf))?;
    Ok((device, client))
}

/// The error for a device without a holder.
pub fn nothing_mapped(bdf: Bdf) -> Failure {
    let message = format!("nothing is mapped for {bdf}: 'iommu-tool map {bdf}' maps memory");
    Failure::new(ExitClass::Usage, message)
}

/// How many bytes there are from an IOVA to the end of its mapping.
pub fn to_the_end(client: &mut Client, iova: Iova) -> anyhow::Result<Size> {
    let mut first = true;
    // Only the first that is listed can have the IOVA in it.
    let around = client.mappings(iova, |_| std::mem::take(&mut first))?;
    let mapping = around.first().filter(|mapping| mapping.iova <= iova);
    mapping
        .and_then(|mapping| mapping.size.checked_sub(iova.0 - mapping.iova.0))
        .and_then(Size::new)
        .ok_or_else(|| {
            Failure::new(ExitClass::Usage, format!("nothing is mapped at {iova}")).into()
        })
}

/// Bytes that the user gives.
pub enum Given {
    /// Repeated for ever.
    Pattern(Vec<u8>),
    /// The bytes of a file or of standard input.
    Input(Box<dyn Read>, String),
}

impl Given {
    /// From hexadecimal digits, or from a file; `-` is standard input.
    pub fn new(data: Option<&str>, input: Option<&Path>) -> anyhow::Result<Self> {
        match (data, input) {
            (_, Some(path)) if path == Path::new("-") => Ok(Self::Input(
                Box::new(io::stdin()),
                "standard input".to_owned(),
            )),
            (_, Some(path)) => {
                let file = open(path)?;
                Ok(Self::Input(Box::new(file), path.display().to_string()))
            }
            (Some(hex), None) => {
                let bytes = Bytes::from_hex(hex.strip_prefix("0x").unwrap_or(hex));
                let bytes = bytes.filter(|bytes| !bytes.0.is_empty()).ok_or_else(|| {
                    let message = format!(
                        "'{hex}' is not bytes: write two hexadecimal digits for each, as 00ff5a"
                    );
                    Failure::new(ExitClass::Usage, message)
                })?;
                Ok(Self::Pattern(bytes.0))
            }
            (None, None) => Err(Failure::new(
                ExitClass::Usage,
                "no bytes to write: give --data or --input",
            )
            .into()),
        }
    }

    /// How many bytes a pattern has.
    pub fn pattern_length(&self) -> Option<usize> {
        match self {
            Self::Pattern(pattern) => Some(pattern.len()),
            Self::Input(..) => None,
        }
    }

    /// The next bytes from `offset` on, `length` at most; fewer only at the end.
    pub fn next(&mut self, offset: u64, length: usize) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Pattern(pattern) => {
                let start = (offset % pattern.len() as u64) as usize;
                let repeated = pattern.iter().cycle().skip(start);
                Ok(repeated.take(length).copied().collect())
            }
            Self::Input(input, name) => {
                let mut bytes = Vec::new();
                input
                    .take(length as u64)
                    .read_to_end(&mut bytes)
                    .with_context(|| format!("cannot read {name}"))?;
                Ok(bytes)
            }
        }
    }
}

/// Opens a file of the user's for reading.
pub fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| not_opened(path, "read", &error))
}

/// The error for a file of the user's.
pub fn not_opened(path: &Path, access: &str, error: &io::Error) -> Failure {
    let errno = nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0));
    Failure::new(
        ExitClass::Usage,
        format!("cannot open {} to {access} it: {errno}", path.display()),
    )
}

/// Where bytes go as they are; `-` is standard output.
pub fn create(path: &Path) -> Result<Box<dyn Write>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout().lock()));
    }
    match File::create(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(not_opened(path, "write", &error)),
    }
}
