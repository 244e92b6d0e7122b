//! Waits until virtual functions can be used, and says what they lack.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::FunctionsWanted;
use crate::binding::BindingError;
use crate::host::{Host, NameKind, PciDevice, is_vfio_driver};

/// How long virtual functions may take to answer, by PCI Express 1 s after they were made (SR-IOV 1.1, section 2.1.3), and drivers to take them.
const TO_ANSWER: Duration = Duration::from_secs(2);
/// How long an Ethernet port may take to find its link: negotiation takes up to some seconds.
const TO_LINK: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Waits; returns what still keeps the functions from being used, in words.
pub(super) fn wait_until_usable(
    host: &Host,
    pf: &PciDevice,
    wanted: &FunctionsWanted,
) -> Result<Vec<String>, BindingError> {
    let mut notes = Vec::new();
    if wanted.count == 0 {
        return Ok(notes);
    }
    let functions = || -> Vec<PciDevice> {
        let found = host.sriov(pf.bdf).into_iter().flat_map(|s| s.functions);
        found.filter_map(|bdf| host.device(bdf).ok()).collect()
    };
    let silent = || -> Vec<PciDevice> {
        let answers = |device: &PciDevice| host.config_space(device.bdf).answers();
        functions().into_iter().filter(|d| !answers(d)).collect()
    };
    if !wait(TO_ANSWER, || silent().is_empty()) {
        let silent = list(&silent());
        notes.push(format!(
            "{silent} do not answer to reads of their configuration space"
        ));
    }
    let idle = || -> Vec<PciDevice> {
        let mut idle = functions();
        idle.retain(|device| device.driver.is_none());
        idle
    };
    let on_vfio = pf.driver.as_deref().is_some_and(is_vfio_driver);
    let may_be_taken = wanted.autoprobe
        && host
            .sriov(pf.bdf)
            .is_some_and(|s| s.autoprobe == Some(true));
    if may_be_taken && !wait(TO_ANSWER, || idle().is_empty()) {
        notes.push(format!(
            "no driver of this host took {}: 'iommu-tool bind' can",
            list(&idle())
        ));
    }
    if !on_vfio {
        notes.extend(link_note(host, pf));
    } else {
        notes.push(
            "the physical function is with user space: its driver there must serve them before they do anything useful".to_owned(),
        );
    }
    Ok(notes)
}

/// Network cards give their virtual functions no service while the port itself is down.
fn link_note(host: &Host, pf: &PciDevice) -> Option<String> {
    let names = host.kernel_names();
    let interfaces: Vec<&str> = names
        .of(pf.bdf)
        .filter(|name| name.kind == NameKind::Network)
        .map(|name| name.name.as_str())
        .collect();
    let down = interfaces.iter().find(|name| !host.interface_is_up(name));
    if let Some(name) = down {
        return Some(format!(
            "{name} is down, and most network cards do not serve their virtual functions then: ip link set dev {name} up"
        ));
    }
    let without_carrier = |name: &&&str| !wait(TO_LINK, || host.has_carrier(name) != Some(false));
    let name = interfaces.iter().find(without_carrier)?;
    Some(format!("{name} has no link: is its cable plugged in?"))
}

fn wait(patience: Duration, done: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(PAUSE);
    }
}

fn list(devices: &[PciDevice]) -> String {
    let names: Vec<String> = devices.iter().map(|d| d.bdf.to_string()).collect();
    names.join(", ")
}
