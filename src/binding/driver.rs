//! Which VFIO driver a device gets.

use super::{BindingError, VFIO_PCI};
use crate::host::{Host, ModuleState, PciDevice, VfioAlias, is_vfio_driver};
use crate::types::{Bdf, DriverChoice};

/// The driver to bind a device to; `None` if it may stay where it is.
pub(super) fn driver_for(
    host: &Host,
    device: &PciDevice,
    choice: Option<&DriverChoice>,
) -> Result<Option<String>, BindingError> {
    let current = device
        .driver
        .as_deref()
        .filter(|driver| is_vfio_driver(driver));
    let wanted = match choice {
        None if current.is_some() => return Ok(None),
        None => {
            if let Some(variant) = variant(host, device.bdf) {
                log::info!(
                    "{variant} knows {} and may do more with it than {VFIO_PCI}: --driver auto takes it",
                    device.bdf
                );
            }
            VFIO_PCI.to_owned()
        }
        Some(DriverChoice::Auto) => {
            let variant = variant(host, device.bdf);
            let driver = variant.unwrap_or_else(|| VFIO_PCI.to_owned());
            log::info!("{}: {driver} is this kernel's driver for it", device.bdf);
            driver
        }
        Some(DriverChoice::Named(name)) => named(host, device.bdf, name)?,
    };
    Ok((current != Some(&wanted)).then_some(wanted))
}

/// The variant of vfio-pci that is made for the device, as `mlx5_vfio_pci`.
fn variant(host: &Host, bdf: Bdf) -> Option<String> {
    let modules = host.driver_modules(bdf).vfio;
    Some(driver_of(host, modules.first()?))
}

/// A driver that the user names, checked. Either sign, `-` or `_`, will do, as for modprobe.
fn named(host: &Host, bdf: Bdf, name: &str) -> Result<String, BindingError> {
    let unfit = |reason| BindingError::UnfitDriver {
        driver: name.to_owned(),
        bdf,
        reason,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(unfit("that is no name of a driver"));
    }
    let module = name.replace('-', "_");
    let driver = driver_of(host, &module);
    if !is_vfio_driver(&driver) {
        return Err(unfit(
            "it is not a VFIO driver, which would hand the device to user space",
        ));
    }
    let is_there = host.has_driver(&driver)
        || host
            .module_state(&module)
            .is_none_or(|state| state != ModuleState::Missing);
    if !is_there {
        return Err(unfit("the running kernel has no such driver"));
    }
    match host.vfio_alias(&module, bdf) {
        Some(VfioAlias::OtherDevices) => Err(unfit(
            "the kernel has it for other devices (modules.alias, lines vfio_pci:)",
        )),
        // A loaded driver may be built in or from elsewhere, and then the kernel decides.
        Some(VfioAlias::Unlisted) if !host.has_driver(&driver) => Err(unfit(
            "it is not a VFIO driver for PCI devices (modules.alias has no line vfio_pci: for it)",
        )),
        _ => Ok(driver),
    }
}

/// The name of a module's driver: vfio-pci's has another sign than its module, the variants' are the same, some with the other sign.
fn driver_of(host: &Host, module: &str) -> String {
    let with_dashes = module.replace('_', "-");
    if with_dashes == VFIO_PCI || host.has_driver(&with_dashes) {
        with_dashes
    } else {
        module.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const ALIASES: &str = "alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n\
        alias vfio_pci:v000019E5d0000A251sv*sd*bc*sc*i* hisi_acc_vfio_pci\n\
        alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n\
        alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core\n";
    const MODULES: &str = "kernel/drivers/vfio/pci/vfio-pci.ko:\n\
        kernel/drivers/vfio/pci/mlx5/mlx5-vfio-pci.ko:\n\
        kernel/drivers/vfio/pci/hisilicon/hisi-acc-vfio-pci.ko:\n\
        kernel/drivers/vfio/platform/vfio-platform.ko:\n\
        kernel/drivers/net/mlx5/core/mlx5_core.ko:\n";

    /// A host with a device of these IDs, on a driver or none, and the modules above.
    fn host(ids: &str, driver: Option<&str>) -> (tempfile::TempDir, Host, PciDevice) {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/sys/kernel/osrelease", "6.12\n");
        write("lib/modules/6.12/modules.alias", ALIASES);
        write("lib/modules/6.12/modules.dep", MODULES);
        write("sys/bus/pci/drivers/my-vfio-thing/bind", "");
        write(
            "sys/bus/pci/devices/0000:01:00.0/modalias",
            &format!("pci:{ids}sv00000000sd00000000bc02sc00i00\n"),
        );
        if let Some(driver) = driver {
            let link = folder
                .path()
                .join("sys/bus/pci/devices/0000:01:00.0/driver");
            std::os::unix::fs::symlink(format!("../../drivers/{driver}"), link).unwrap();
        }
        let host = Host::at(folder.path());
        let device = host.device("01:00.0".parse().unwrap()).unwrap();
        (folder, host, device)
    }

    const MLX5_VF: &str = "v000015B3d0000101E";
    const OTHER: &str = "v00001234d000011E8";

    fn choose(ids: &str, on: Option<&str>, choice: Option<&str>) -> Result<Option<String>, String> {
        let (_folder, host, device) = host(ids, on);
        let choice = choice.map(|text| text.parse().unwrap());
        driver_for(&host, &device, choice.as_ref()).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_choice_it_is_vfio_pci_and_any_vfio_driver_will_do() {
        let vfio_pci = Ok(Some(VFIO_PCI.to_owned()));
        assert_eq!(choose(MLX5_VF, Some("mlx5_core"), None), vfio_pci);
        assert_eq!(choose(OTHER, None, None), vfio_pci);
        assert_eq!(choose(MLX5_VF, Some("mlx5_vfio_pci"), None), Ok(None));
    }

    #[test]
    fn auto_is_the_variant_where_there_is_one() {
        let auto = Some("auto");
        let variant = Ok(Some("mlx5_vfio_pci".to_owned()));
        assert_eq!(choose(MLX5_VF, Some("mlx5_core"), auto), variant);
        assert_eq!(choose(MLX5_VF, Some(VFIO_PCI), auto), variant);
        assert_eq!(choose(MLX5_VF, Some("mlx5_vfio_pci"), auto), Ok(None));
        assert_eq!(choose(OTHER, None, auto), Ok(Some(VFIO_PCI.to_owned())));
        assert_eq!(choose(OTHER, Some(VFIO_PCI), auto), Ok(None));
    }

    #[test]
    fn a_named_driver_is_checked() {
        for (ids, name, driver) in [
            (MLX5_VF, "mlx5-vfio-pci", "mlx5_vfio_pci"),
            (MLX5_VF, "mlx5_vfio_pci", "mlx5_vfio_pci"),
            (OTHER, "vfio_pci", VFIO_PCI),
            (OTHER, "my_vfio_thing", "my-vfio-thing"),
        ] {
            let found = choose(ids, None, Some(name));
            assert_eq!(found, Ok(Some(driver.to_owned())), "{name}");
        }
        for (name, word) in [
            ("hisi_acc_vfio_pci", "other devices"),
            ("mlx5_core", "not a VFIO driver"),
            ("nosuch-vfio-pci", "no such driver"),
            ("vfio-platform", "not a VFIO driver for PCI devices"),
            ("../vfio-pci", "no name of a driver"),
            ("", "no name of a driver"),
        ] {
            let error = choose(MLX5_VF, None, Some(name)).unwrap_err();
            assert!(error.contains(word), "{name}: {error}");
        }
    }
}
