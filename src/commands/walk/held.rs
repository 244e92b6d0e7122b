//! The processor's side of memory that another process of this program holds.

use super::{CpuPage, CpuView};
use crate::host::{Leaf, PciDevice};
use crate::session::protocol::{Answer, Request};
use crate::session::{Client, SessionError};
use crate::types::Iova;

/// The page behind an IOVA in the process that holds the mappings of a device; or why it is not known, in words.
pub(super) fn view(device: &PciDevice, iova: Iova, leaves: &[Leaf]) -> Result<CpuView, String> {
    let words = |error: SessionError| error.to_string();
    let no_holder = || {
        "no process of this program holds mappings of the device ('iommu-tool map' starts one); --pid and --va name any other"
            .to_owned()
    };
    let group = device.group.ok_or_else(no_holder)?;
    let mut client = Client::find(group).map_err(words)?.ok_or_else(no_holder)?;
    let process = client.hello().pid;
    let answer = client.ask(Request::Locate { iova }, None);
    let located = match answer.map_err(|error| format!("process {process}: {error}"))? {
        Answer::Located(located) => located,
        _ => return Err(words(client.strange())),
    };
    let page = CpuPage {
        process,
        address: Iova(located.address),
    };
    let view = page
        .beside(iova, leaves)
        .map_err(|error| error.to_string())?;
    Ok(view.of_mapping(located.mapping.title()))
}
