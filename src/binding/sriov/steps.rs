//! From the virtual functions that there are to those that there are to be: the steps, in order.

use super::super::nvme::{Shortage, Virtualization};
use super::super::{BindingError, Flexible, Step};
use super::{FunctionsWanted, flexible};
use crate::host::{Host, PciDevice, Sriov, is_vfio_driver};
use crate::types::Bdf;

const ENABLE_SRIOV: &str = "/sys/module/vfio_pci/parameters/enable_sriov";

/// What the steps depend on.
pub(super) struct Facts {
    pub bdf: Bdf,
    now: u16,
    autoprobe: Option<bool>,
    /// Where the functions will be.
    places: Vec<Bdf>,
    /// Whether vfio-pci has the physical function, and does not make virtual ones yet.
    vfio_refuses: bool,
    /// What its NVMe controller said, which is asked only when there are to be functions: they can be removed without its help.
    nvme: Option<Virtualization>,
}

impl Facts {
    /// What the steps to `count` functions depend on.
    pub fn of(
        host: &Host,
        pf: &PciDevice,
        sriov: &Sriov,
        count: u16,
    ) -> Result<Self, BindingError> {
        let on_vfio = pf.driver.as_deref().is_some_and(is_vfio_driver);
        let nvme = if count == 0 || count == sriov.count() {
            None
        } else {
            flexible::ask(host, pf.bdf)?
        };
        Ok(Self {
            bdf: pf.bdf,
            now: sriov.count(),
            autoprobe: sriov.autoprobe,
            places: sriov.places(pf.bdf),
            vfio_refuses: on_vfio && !host.module_switch("vfio_pci", "enable_sriov"),
            nvme,
        })
    }

    /// What its NVMe controller keeps, if it was asked.
    pub fn flexible(&self) -> Option<Flexible> {
        self.nvme.as_ref().map(Virtualization::flexible)
    }

    fn number(&self, count: u16) -> Step {
        let path = format!("/sys/bus/pci/devices/{}/sriov_numvfs", self.bdf);
        Step::write(path, count)
    }
}

/// The step that says whether the host's drivers take new virtual functions.
pub(super) fn autoprobe(physical: Bdf, on: bool) -> Step {
    let path = format!("/sys/bus/pci/devices/{physical}/sriov_drivers_autoprobe");
    Step::write(path, u8::from(on))
}

/// The steps, none if there are as many as wanted. The number goes through 0; drivers are kept away where that is wanted, and where the
/// functions cannot work before they were set up.
pub(super) fn steps(facts: &Facts, wanted: &FunctionsWanted) -> Result<Vec<Step>, BindingError> {
    if facts.now == wanted.count {
        return Ok(Vec::new());
    }
    let mut steps = Vec::new();
    if facts.vfio_refuses {
        steps.push(Step::write(ENABLE_SRIOV, 1));
    }
    if facts.now > 0 {
        steps.push(facts.number(0));
    }
    if wanted.count > 0 {
        make(facts, wanted, &mut steps)?;
    }
    if facts.vfio_refuses {
        steps.push(Step::write(ENABLE_SRIOV, 0));
    }
    Ok(steps)
}

fn make(
    facts: &Facts,
    wanted: &FunctionsWanted,
    steps: &mut Vec<Step>,
) -> Result<(), BindingError> {
    let shares = match &facts.nvme {
        None => None,
        Some(nvme) => Some(nvme.shares(facts.bdf, wanted.count).map_err(
            |Shortage::OnlyFor(most)| BindingError::NvmeShortage {
                bdf: facts.bdf,
                wanted: wanted.count,
                most,
            },
        )?),
    };
    let shares = shares.unwrap_or_default();
    let later = !shares.after.is_empty();
    let keep_away = facts.autoprobe == Some(true) && (later || !wanted.autoprobe);
    let let_in = facts.autoprobe == Some(false) && wanted.autoprobe && !later;
    steps.extend(shares.before);
    if keep_away {
        steps.push(autoprobe(facts.bdf, false));
    }
    if let_in {
        steps.push(autoprobe(facts.bdf, true));
    }
    steps.push(facts.number(wanted.count));
    steps.extend(shares.after);
    if keep_away {
        steps.push(autoprobe(facts.bdf, true));
    }
    if let_in {
        steps.push(autoprobe(facts.bdf, false));
    }
    if later && wanted.autoprobe {
        let places = facts.places.iter().take(usize::from(wanted.count));
        steps.extend(places.map(|bdf| Step::write("/sys/bus/pci/drivers_probe", bdf)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(now: u16, autoprobe: bool) -> Facts {
        Facts {
            bdf: "02:00.0".parse().unwrap(),
            now,
            autoprobe: Some(autoprobe),
            places: vec!["02:10.0".parse().unwrap(), "02:10.2".parse().unwrap()],
            vfio_refuses: false,
            nvme: None,
        }
    }

    fn shell(facts: &Facts, count: u16, autoprobe: bool) -> String {
        let wanted = FunctionsWanted {
            count,
            autoprobe,
            token: None,
            allow: Vec::new(),
        };
        let steps = steps(facts, &wanted).unwrap();
        let lines: Vec<String> = steps
            .iter()
            .map(|step| {
                step.to_string()
                    .replace("/sys/bus/pci/devices/0000:02:00.0/", "")
            })
            .collect();
        lines.join("; ")
    }

    #[test]
    fn another_number_is_reached_through_0() {
        assert_eq!(shell(&facts(0, true), 7, true), "echo 7 > sriov_numvfs");
        assert_eq!(
            shell(&facts(3, true), 7, true),
            "echo 0 > sriov_numvfs; echo 7 > sriov_numvfs"
        );
        assert_eq!(shell(&facts(3, true), 0, true), "echo 0 > sriov_numvfs");
        assert_eq!(shell(&facts(7, true), 7, true), "");
    }

    #[test]
    fn the_switch_for_drivers_is_as_before_afterwards() {
        assert_eq!(
            shell(&facts(0, true), 2, false),
            "echo 0 > sriov_drivers_autoprobe; echo 2 > sriov_numvfs; echo 1 > sriov_drivers_autoprobe"
        );
        // Somebody has turned it off: that is what he wants.
        assert_eq!(shell(&facts(0, false), 2, false), "echo 2 > sriov_numvfs");
    }

    #[test]
    fn vfio_pci_is_allowed_to_make_them_for_a_moment() {
        let facts = Facts {
            vfio_refuses: true,
            ..facts(1, true)
        };
        let switch = "/sys/module/vfio_pci/parameters/enable_sriov";
        assert_eq!(
            shell(&facts, 0, true),
            format!("echo 1 > {switch}; echo 0 > sriov_numvfs; echo 0 > {switch}")
        );
    }
}
