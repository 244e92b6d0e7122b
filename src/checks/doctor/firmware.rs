//! Whether the firmware offers an IOMMU and the kernel took it.

use super::{Diagnosis, Ground, HostCheck, count};
use crate::host::{InterruptRemapping, ParameterChange};

pub(super) const TABLES: HostCheck = HostCheck {
    id: "firmware.tables",
    title: "the firmware describes an IOMMU",
    run: tables,
};

pub(super) const IOMMU: HostCheck = HostCheck {
    id: "iommu.on",
    title: "the kernel uses an IOMMU",
    run: iommu,
};

pub(super) const PARAMETERS: HostCheck = HostCheck {
    id: "kernel.parameters",
    title: "no kernel parameter weakens isolation",
    run: parameters,
};

pub(super) const INTERRUPT_REMAPPING: HostCheck = HostCheck {
    id: "iommu.interrupt-remapping",
    title: "devices cannot forge interrupts",
    run: interrupt_remapping,
};

fn tables(ground: &Ground<'_>) -> Diagnosis {
    let found = ground.host.iommu_tables();
    if !found.is_empty() {
        let words: Vec<String> = found
            .iter()
            .map(|(name, unit)| format!("ACPI table {name}: {unit}"))
            .collect();
        return Diagnosis::pass(words.join("; "));
    }
    if ground.host.has_iommu() {
        return Diagnosis::pass("no ACPI table, and yet the kernel found an IOMMU");
    }
    if ground.host.has_device_tree() {
        return Diagnosis::skip("this machine is described by a device tree, not by ACPI tables");
    }
    Diagnosis::fail(
        "no ACPI table describes one (DMAR, IVRS, VIOT, IORT)",
        ground.host.missing_iommu().remedy,
    )
}

fn iommu(ground: &Ground<'_>) -> Diagnosis {
    let units = ground.host.iommu_units();
    if ground.host.has_iommu() {
        let names = match units.as_slice() {
            [] => "the driver names no unit".to_owned(),
            units if units.len() <= 4 => units.join(", "),
            [first, .., last] => format!("{} units, {first} to {last}", units.len()),
            [only] => only.clone(),
        };
        return Diagnosis::pass(format!("{names}; {}", count(ground.groups.len(), "group")));
    }
    let missing = ground.host.missing_iommu();
    let remedy = match missing.parameter {
        Some(ParameterChange::Add(word)) => ground.add_parameter(word),
        Some(ParameterChange::Remove(word)) => ground.remove_options(&ground.options(&[word])),
        None => missing.remedy,
    };
    Diagnosis::fail(format!("none is on: {}", missing.reason), remedy)
}

/// Options that open what should be closed: how they begin, and what they do.
const WEAKENING: [(&str, &str); 7] = [
    (
        "pcie_acs_override=",
        "splits groups that the hardware does not keep apart: their devices can reach each other past the IOMMU",
    ),
    (
        "pci=disable_acs_redir=",
        "lets devices reach each other past the IOMMU",
    ),
    (
        "intel_iommu=igfx_off",
        "leaves the built-in GPU without translation",
    ),
    (
        "intel_iommu=sm_off",
        "turns scalable mode off, and with it PASID and nesting",
    ),
    ("intremap=off", "lets devices forge interrupts"),
    ("nointremap", "lets devices forge interrupts"),
    (
        "intremap=nosid",
        "has nobody look which device an interrupt comes from: each can forge those of the others",
    ),
];

fn parameters(ground: &Ground<'_>) -> Diagnosis {
    let found = ground.options.iter().filter_map(|option| {
        let is = |(beginning, _): &&(&str, &str)| option.text.starts_with(beginning);
        let (_, effect) = WEAKENING.iter().find(is)?;
        Some((option, format!("{} {effect}", option.text)))
    });
    let (gone, effects): (Vec<_>, Vec<_>) = found.unzip();
    if !gone.is_empty() {
        return Diagnosis::warn(effects.join("; "), ground.remove_options(&gone));
    }
    let known = [
        "iommu",
        "intel_iommu",
        "amd_iommu",
        "vfio",
        "intremap",
        "arm-smmu",
        "pci=",
    ];
    let words: Vec<&str> = ground
        .parameters
        .iter()
        .map(String::as_str)
        .filter(|word| known.iter().any(|start| word.starts_with(start)))
        .collect();
    Diagnosis::pass(if words.is_empty() {
        "none that concerns IOMMUs".to_owned()
    } else {
        words.join(" ")
    })
}

fn interrupt_remapping(ground: &Ground<'_>) -> Diagnosis {
    if !ground.host.has_iommu() {
        return Diagnosis::skip("there is no IOMMU");
    }
    let unsafe_allowed: Vec<&str> = ["vfio_iommu_type1", "iommufd"]
        .into_iter()
        .filter(|module| ground.host.module_switch(module, "allow_unsafe_interrupts"))
        .collect();
    let allowed = unsafe_allowed
        .iter()
        .map(|module| format!("{module}.allow_unsafe_interrupts"))
        .collect::<Vec<_>>()
        .join(" and ");
    match ground.host.interrupt_remapping() {
        InterruptRemapping::Unknown => {
            Diagnosis::skip("/proc/interrupts names no interrupt chip that tells")
        }
        InterruptRemapping::On if allowed.is_empty() => Diagnosis::pass("interrupts are remapped"),
        InterruptRemapping::On => Diagnosis::warn(
            format!("interrupts are remapped, yet {allowed} would let VFIO do without"),
            "take that parameter out of /etc/modprobe.d and of the kernel command line: it is not needed here",
        ),
        InterruptRemapping::Off if allowed.is_empty() => {
            let off = ground.options(&["intremap=off", "nointremap"]);
            let remedy = if off.is_empty() {
                "turn interrupt remapping (x2APIC) on in the firmware's set-up; only if every assigned device is trusted: \
                 echo 'options vfio_iommu_type1 allow_unsafe_interrupts=1' > /etc/modprobe.d/vfio-interrupts.conf"
                    .to_owned()
            } else {
                ground.remove_options(&off)
            };
            Diagnosis::fail(
                "interrupts are not remapped, so VFIO refuses every device (EPERM)",
                remedy,
            )
        }
        InterruptRemapping::Off => Diagnosis::warn(
            format!(
                "interrupts are not remapped, and {allowed} lets VFIO do without: an assigned device can forge interrupts"
            ),
            "turn interrupt remapping (x2APIC) on in the firmware's set-up, then take that parameter out",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::doctor::Health;
    use crate::host::Host;

    fn parameters_of(cmdline: &str) -> Diagnosis {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [("proc/cmdline", cmdline), ("etc/os-release", "ID=fedora\n")] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = Host::at(root.path());
        parameters(&Ground::new(&host, Vec::new(), None, false))
    }

    #[test]
    fn what_weakens_isolation_is_found_within_a_list_and_only_that_goes() {
        for (cmdline, says, remedy) in [
            (
                "quiet intel_iommu=on,igfx_off",
                "intel_iommu=igfx_off leaves",
                "--remove-args=\"intel_iommu=on,igfx_off\" --args=\"intel_iommu=on\" ",
            ),
            (
                "intel_iommu=on,sm_off,forcedac",
                "intel_iommu=sm_off turns",
                "--args=\"intel_iommu=on,forcedac\" ",
            ),
            (
                "pci=realloc,disable_acs_redir=00:1c.0;00:1d.0",
                "pci=disable_acs_redir=00:1c.0;00:1d.0 lets",
                "--args=\"pci=realloc\" ",
            ),
            (
                "intel_iommu=on,igfx_off,sm_off intremap=nosid",
                "intel_iommu=igfx_off leaves the built-in GPU without translation; intel_iommu=sm_off turns",
                "--remove-args=\"intel_iommu=on,igfx_off,sm_off intremap=nosid\" --args=\"intel_iommu=on\" ",
            ),
            (
                "intremap=nosid",
                "intremap=nosid has",
                "--remove-args=\"intremap=nosid\" ",
            ),
        ] {
            let found = parameters_of(cmdline);
            assert_eq!(found.health, Health::Warn, "{cmdline}");
            assert!(found.evidence.starts_with(says), "{found:?}");
            assert!(found.remedy.as_ref().unwrap().contains(remedy), "{found:?}");
        }
        let harmless = parameters_of("intel_iommu=on,sm_on pci=realloc iommu=pt");
        assert_eq!(harmless.health, Health::Pass, "{harmless:?}");
    }
}
