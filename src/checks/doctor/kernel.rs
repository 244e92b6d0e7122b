//! Whether the kernel has what VFIO needs.

use super::{Diagnosis, Ground, HostCheck};
use crate::host::{Lockdown, ModuleState};

pub(super) const VFIO_MODULES: HostCheck = HostCheck {
    id: "kernel.vfio",
    title: "the kernel has VFIO for PCI devices",
    run: vfio_modules,
};

pub(super) const IOMMUFD: HostCheck = HostCheck {
    id: "kernel.iommufd",
    title: "the kernel has iommufd and a node for each device",
    run: iommufd,
};

pub(super) const LOCKDOWN: HostCheck = HostCheck {
    id: "kernel.lockdown",
    title: "the kernel is not locked down",
    run: lockdown,
};

fn vfio_modules(ground: &Ground<'_>) -> Diagnosis {
    let state = |module: &str| match ground.host.module_state(module) {
        Some(state) => {
            let words = match state {
                ModuleState::Active => "loaded",
                ModuleState::BuiltIn => "built in",
                ModuleState::Loadable => "can be loaded",
                ModuleState::Missing => "missing",
            };
            (Some(state), format!("{module} {words}"))
        }
        None => (None, format!("{module} not known")),
    };
    let (driver, driver_words) = state("vfio_pci");
    let (backend, backend_words) = state("vfio_iommu_type1");
    let evidence = format!("{driver_words}, {backend_words}");
    let release = ground.host.kernel_release().unwrap_or_default();
    match (driver, backend) {
        (Some(ModuleState::Missing), _) => Diagnosis::fail(
            format!("{evidence} (kernel {release})"),
            ground.distribution.kernel_modules_package(),
        ),
        // iommufd can take type1's place.
        (_, Some(ModuleState::Missing))
            if matches!(
                ground.host.module_state("iommufd"),
                None | Some(ModuleState::Missing)
            ) =>
        {
            Diagnosis::fail(
                format!("{evidence}, and no iommufd in its place (kernel {release})"),
                ground.distribution.kernel_modules_package(),
            )
        }
        (None, _) => Diagnosis::skip(format!(
            "{evidence}: there is no /lib/modules/{release} to look into"
        )),
        (Some(ModuleState::Loadable), _) => Diagnosis::pass(format!("{evidence}; bind loads it")),
        _ => Diagnosis::pass(evidence),
    }
}

fn iommufd(ground: &Ground<'_>) -> Diagnosis {
    let host = ground.host;
    let remedy = "nothing is broken: the type1 backend works; for iommufd boot a kernel built with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV";
    let iommufd = match (host.has_iommufd_node(), host.module_state("iommufd")) {
        (true, _) => "/dev/iommu is there",
        (false, Some(ModuleState::Loadable)) => "iommufd can be loaded",
        (false, Some(ModuleState::Active | ModuleState::BuiltIn)) => "iommufd is in the kernel",
        (false, Some(ModuleState::Missing)) => {
            return Diagnosis::warn("this kernel has no iommufd", remedy);
        }
        (false, None) => match host.kernel_config("CONFIG_IOMMUFD").as_deref() {
            None => {
                return Diagnosis::skip(
                    "there is no /dev/iommu, and the kernel's configuration is not to be found",
                );
            }
            Some("") => {
                return Diagnosis::warn("this kernel was built without CONFIG_IOMMUFD", remedy);
            }
            Some(_) => "the kernel was built with CONFIG_IOMMUFD",
        },
    };
    let cdev = match host.has_device_nodes() {
        Some(seen) => seen,
        None => match host.kernel_config("CONFIG_VFIO_DEVICE_CDEV").as_deref() {
            Some(value) => value == "y",
            None => {
                return Diagnosis::skip(format!(
                    "{iommufd}; whether VFIO devices get nodes of their own shows when one is bound"
                ));
            }
        },
    };
    if cdev {
        Diagnosis::pass(format!("{iommufd}, VFIO devices have nodes of their own"))
    } else {
        Diagnosis::warn(
            format!(
                "{iommufd}, yet VFIO devices have no nodes of their own (no `dev` entry, CONFIG_VFIO_DEVICE_CDEV is off)"
            ),
            remedy,
        )
    }
}

fn lockdown(ground: &Ground<'_>) -> Diagnosis {
    let remedy =
        "turn Secure Boot off if you need these, or leave it: binding, mapping and testing work";
    match ground.host.lockdown() {
        None => Diagnosis::skip(
            "the kernel has no lockdown, or this user may not know (/sys/kernel/security/lockdown)",
        ),
        Some(Lockdown::None) => Diagnosis::pass("none"),
        Some(Lockdown::Integrity) => Diagnosis::warn(
            "integrity: debugfs, raw writes to configuration space (setpci) and unsigned modules are closed, even to root",
            remedy,
        ),
        Some(Lockdown::Confidentiality) => Diagnosis::warn(
            "confidentiality: debugfs, tracefs, kprobes, raw writes to configuration space and unsigned modules are closed, even to root",
            remedy,
        ),
    }
}
