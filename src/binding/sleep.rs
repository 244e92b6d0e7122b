//! Why a write to sysfs does not return.

use super::driver_core::{driver_in, unbinds_vfio};
use super::{BindingError, Step, StepError};
use crate::host::Host;
use crate::types::Bdf;

/// Replaces a write that sleeps by what the kernel waits for.
pub(super) fn explain_sleep(host: &Host, error: BindingError) -> BindingError {
    let BindingError::NotDone { bdf, cause, undo } = error else {
        return error;
    };
    let cause = match *cause {
        BindingError::Step {
            step: Step::Write { path, .. },
            cause: StepError::Sleeping,
        } if unbinds_vfio(&path) => {
            let device = host.device(bdf).ok();
            let holders = device.map(|device| host.holders(&host.vfio_nodes(&device)));
            BindingError::Waiting {
                bdf,
                holders: holders.unwrap_or_default(),
            }
        }
        BindingError::Step {
            step,
            cause: StepError::Sleeping,
        } => driver_at_work(bdf, &step),
        cause => cause,
    };
    BindingError::NotDone {
        bdf,
        cause: Box::new(cause),
        undo,
    }
}

fn driver_at_work(bdf: Bdf, step: &Step) -> BindingError {
    let Step::Write { path, .. } = step else {
        return BindingError::Busy(bdf);
    };
    let does = match path.file_name().and_then(|name| name.to_str()) {
        Some("unbind") => "stopping",
        Some("bind" | "drivers_probe") => "starting",
        _ => return BindingError::Busy(bdf),
    };
    BindingError::DriverAtWork {
        bdf,
        driver: driver_in(path).map(str::to_owned),
        does,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::Undo;
    use crate::types::ExitClass;

    fn explained(path: &str) -> BindingError {
        let folder = tempfile::tempdir().unwrap();
        let bdf: Bdf = "01:00.0".parse().unwrap();
        let error = BindingError::NotDone {
            bdf,
            cause: Box::new(BindingError::Step {
                step: Step::write(path, bdf),
                cause: StepError::Sleeping,
            }),
            undo: Undo::default(),
        };
        match explain_sleep(&Host::at(folder.path()), error) {
            BindingError::NotDone { cause, .. } => *cause,
            error => panic!("{error}"),
        }
    }

    /// Only a VFIO driver waits for whoever has the device open.
    #[test]
    fn who_is_waited_for_depends_on_the_driver() {
        let error = explained("/sys/bus/pci/drivers/vfio-pci/unbind");
        assert!(matches!(error, BindingError::Waiting { .. }), "{error}");
        assert_eq!(error.class(), ExitClass::Refused);

        for (path, words) in [
            (
                "/sys/bus/pci/drivers/nvme/unbind",
                "the driver nvme is still stopping on 0000:01:00.0",
            ),
            (
                "/sys/bus/pci/drivers/vfio-pci/bind",
                "the driver vfio-pci is still starting on 0000:01:00.0",
            ),
            (
                "/sys/bus/pci/drivers_probe",
                "a driver is still starting on 0000:01:00.0",
            ),
        ] {
            let error = explained(path);
            assert!(error.to_string().starts_with(words), "{error}");
            assert!(error.to_string().contains("'iommu-tool recover"), "{error}");
            assert_eq!(error.class(), ExitClass::Failed);
        }
        let error = explained("/sys/bus/pci/devices/0000:01:00.0/driver_override");
        assert!(matches!(error, BindingError::Busy(_)), "{error}");
    }
}
