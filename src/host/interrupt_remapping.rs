//! Whether the host checks which interrupts a device sends, told by the names of its interrupt chips.

use super::Host;

const INTERRUPTS_LIMIT: u64 = 8 << 20;

/// Whether devices' interrupts are remapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptRemapping {
    /// They are.
    On,
    /// They are not, so that a device could forge interrupts.
    Off,
    /// This host does not say.
    Unknown,
}

impl Host {
    /// Whether interrupts are remapped: on x86 the chips are then called `IR-…` (arch/x86/kernel/apic), on Arm the interrupt
    /// translation service (ITS) does it.
    #[must_use]
    pub fn interrupt_remapping(&self) -> InterruptRemapping {
        let chips = self.pick_lines("/proc/interrupts", INTERRUPTS_LIMIT, |line| {
            line.split_whitespace().find_map(|word| {
                if word.starts_with("IR-") || word.starts_with("ITS-") {
                    Some(true)
                } else {
                    (word.starts_with("PCI-MSI") || word == "IO-APIC").then_some(false)
                }
            })
        });
        match chips.unwrap_or_default().as_slice() {
            [] => InterruptRemapping::Unknown,
            chips if chips.contains(&true) => InterruptRemapping::On,
            _ => InterruptRemapping::Off,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn chips_tell() {
        for (text, expected) in [
            (
                " 24: 1 0 IR-PCI-MSIX-0000:00:1f.6 0-edge eth0\n",
                InterruptRemapping::On,
            ),
            (" 9: 1 IR-IO-APIC 9-fasteoi acpi\n", InterruptRemapping::On),
            (
                " 30: 1 ITS-PCI-MSIX-0000:01:00.0 0 Edge\n",
                InterruptRemapping::On,
            ),
            (
                " 9: 1 IO-APIC 9-fasteoi acpi\n 24: 1 PCI-MSI 5 eth0\n",
                InterruptRemapping::Off,
            ),
            ("   CPU0\n", InterruptRemapping::Unknown),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("proc")).unwrap();
            fs::write(folder.path().join("proc/interrupts"), text).unwrap();
            assert_eq!(
                Host::at(folder.path()).interrupt_remapping(),
                expected,
                "{text}"
            );
        }
    }
}
