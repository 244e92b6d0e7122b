//! The machine as QEMU's arguments and the kernel's parameters.

use super::options::{DeviceKind, Iommu, Machine};
use super::qemu::{Accelerator, Qemu};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::path::Path;

/// The virtio serial ports, by which the runner and the guest's init talk. Each is a socket of that name in the guest's folder.
pub const PORTS: [&str; 3] = ["control", "stdout", "stderr"];

/// The files in the guest's folder.
pub const CONSOLE: &str = "console.log";
pub const MESSAGES: &str = "qemu.log";
pub const INITRAMFS: &str = "initramfs.cpio";

/// Slots of the root bus. The first is for an IOMMU that is a PCI function, so that the others are the same with every IOMMU.
const IOMMU_SLOT: u8 = 0x01;
const SERIAL_SLOT: u8 = 0x02;
const ENDPOINT_SLOTS: std::ops::Range<u8> = 0x03..0x10;
const ROOT_PORT_SLOTS: std::ops::Range<u8> = 0x10..0x1f;

const NVME_BYTES: u64 = 64 << 20;

/// Arguments for the machine, its IOMMU, its devices and the kernel's parameters; its console is the terminal if `shell`, else a file in `folder`.
pub fn arguments(
    machine: &Machine,
    qemu: &Qemu,
    folder: &Path,
    shell: bool,
) -> Result<Vec<String>> {
    let folder = folder
        .to_str()
        .context("the path of the temporary folder is not UTF-8")?;
    ensure!(
        !folder.contains(','),
        "QEMU takes no comma in a path, and the temporary folder is {folder}"
    );
    let mut arguments = Arguments(Vec::new());
    let smp = machine.smp.unwrap_or(if machine.icount { 1 } else { 2 });
    arguments.add("-machine", "q35,kernel-irqchip=split");
    arguments.add("-cpu", cpu(machine.iommu, qemu.accelerator));
    arguments.add("-smp", smp);
    arguments.add("-m", &machine.memory);
    arguments
        .flag("-nodefaults")
        .flag("-no-reboot")
        .flag("-no-user-config");
    arguments.add("-display", "none");
    // QEMU itself takes the next accelerator when one does not start.
    if qemu.accelerator == Accelerator::Kvm && !machine.icount {
        arguments.add("-accel", "kvm");
    }
    arguments.add("-accel", "tcg");
    if machine.icount {
        arguments.add("-icount", "shift=0");
    }
    arguments.iommu(machine.iommu, qemu)?;
    arguments.serial_ports(folder, shell);
    arguments.devices(machine, folder)?;
    arguments.add("-initrd", format!("{folder}/{INITRAMFS}"));
    arguments.add("-append", kernel_parameters(machine, shell));
    arguments.0.extend_from_slice(&machine.qemu);
    Ok(arguments.0)
}

fn cpu(iommu: Iommu, accelerator: Accelerator) -> &'static str {
    match (iommu, accelerator) {
        // The kernel drives AMD-Vi only on a CPU by AMD.
        (Iommu::Amd | Iommu::AmdBroken, _) => "EPYC",
        (_, Accelerator::Kvm) => "max",
        // TCG runs the string instructions that these flags recommend far slower than plain loops.
        (_, Accelerator::Tcg) => "max,-erms,-fsrm",
    }
}

fn kernel_parameters(machine: &Machine, shell: bool) -> String {
    let log = if machine.verbose {
        "loglevel=7"
    } else {
        "loglevel=5"
    };
    // While it boots, the kernel counts the timer's ticks in a moment of its own measure, and panics if they are too few, as they
    // are when the host is busy. Guests of other hypervisors do without that check too (arch/x86/kernel/kvm.c, cpu/mshyperv.c).
    // A host that is busy makes the kernel mistrust the emulated TSC as well, and tell the time by a clock that takes a microsecond to look at.
    let mut parameters = vec![
        "console=ttyS0",
        log,
        "panic=-1",
        "no_timer_check",
        "tsc=nowatchdog",
    ];
    match machine.iommu {
        Iommu::Intel => parameters.push("intel_iommu=on"),
        Iommu::IntelScalable => parameters.push("intel_iommu=on,sm_on"),
        // The emulated CPU has no microcode against this attack, and older kernels log a warning.
        Iommu::Amd => parameters.push("spec_rstack_overflow=off"),
        // With translated DMA the kernel's own drivers would wait for data that went elsewhere. That
        // does not concern VFIO, which never uses the default domain.
        Iommu::AmdBroken => parameters.extend(["spec_rstack_overflow=off", "iommu=pt"]),
        Iommu::Virtio | Iommu::None => {}
    }
    if shell {
        // The kernel hands parameters which it does not know to init, as environment.
        parameters.push("lab_mode=shell");
    }
    parameters.extend(machine.cmdline.iter().map(String::as_str));
    parameters.join(" ")
}

struct Arguments(Vec<String>);

impl Arguments {
    fn add(&mut self, option: &str, value: impl ToString) {
        self.0.extend([option.to_owned(), value.to_string()]);
    }

    fn flag(&mut self, option: &str) -> &mut Self {
        self.0.push(option.to_owned());
        self
    }

    /// Comes before all other devices: QEMU puts behind an IOMMU only what is added after it.
    fn iommu(&mut self, iommu: Iommu, qemu: &Qemu) -> Result<()> {
        let device = match iommu {
            Iommu::Intel => "intel-iommu,intremap=on".to_owned(),
            Iommu::IntelScalable => {
                format!("intel-iommu,intremap=on,{}=on", qemu.scalable_mode()?)
            }
            Iommu::Virtio => format!("virtio-iommu-pci,addr={IOMMU_SLOT:#x}"),
            Iommu::Amd => "amd-iommu,intremap=on,xtsup=on,dma-remap=on".to_owned(),
            Iommu::AmdBroken => "amd-iommu,intremap=on,xtsup=on".to_owned(),
            Iommu::None => return Ok(()),
        };
        self.add("-device", device);
        Ok(())
    }

    fn serial_ports(&mut self, folder: &str, shell: bool) {
        self.add(
            "-device",
            format!("virtio-serial-pci,id=ports,addr={SERIAL_SLOT:#x}"),
        );
        if shell {
            self.add("-serial", "mon:stdio");
            return;
        }
        self.add(
            "-chardev",
            format!("file,id=console,path={folder}/{CONSOLE}"),
        );
        self.add("-serial", "chardev:console");
        for port in PORTS {
            self.add("-chardev", format!("socket,id={port},path={folder}/{port}"));
            self.add(
                "-device",
                format!("virtserialport,bus=ports.0,chardev={port},name={port}"),
            );
        }
    }

    fn devices(&mut self, machine: &Machine, folder: &str) -> Result<()> {
        // QEMU's generic root port has ACS, its model of Intel's has none.
        let root_port = if machine.no_acs {
            "ioh3420"
        } else {
            "pcie-root-port"
        };
        let (mut endpoints, mut root_ports) = (ENDPOINT_SLOTS, ROOT_PORT_SLOTS);
        for (number, device) in machine.devices.iter().enumerate() {
            let slots = if *device == DeviceKind::Edu {
                &mut endpoints
            } else {
                &mut root_ports
            };
            let slot = slots.next().with_context(|| {
                format!("too many devices: the root bus has no slot left for {device}")
            })?;
            match device {
                DeviceKind::Edu => self.add(
                    "-device",
                    format!("edu,addr={slot:#x},dma_mask=0xffffffffffffffff"),
                ),
                DeviceKind::Nvme => {
                    let image = format!("{folder}/nvme{number}.img");
                    File::create(&image)?.set_len(NVME_BYTES)?;
                    self.root_port(root_port, number, slot);
                    self.add(
                        "-drive",
                        format!("if=none,id=drive{number},format=raw,file={image}"),
                    );
                    self.add(
                        "-device",
                        format!("nvme,bus=port{number},drive=drive{number},serial=lab{number}"),
                    );
                }
                DeviceKind::Igb => {
                    self.root_port(root_port, number, slot);
                    self.add("-netdev", format!("user,id=net{number},restrict=on"));
                    self.add(
                        "-device",
                        format!("igb,bus=port{number},netdev=net{number}"),
                    );
                }
            }
        }
        Ok(())
    }

    /// Without hotplug, a reset of the device behind it does not stall for 5 s.
    fn root_port(&mut self, model: &str, number: usize, slot: u8) {
        self.add(
            "-device",
            format!(
                "{model},id=port{number},addr={slot:#x},chassis={0},slot={0},hotplug=off",
                number + 1
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(machine: &Machine) -> String {
        let folder = tempfile::tempdir().unwrap();
        arguments(machine, &Qemu::new(None), folder.path(), false)
            .unwrap()
            .join(" ")
    }

    #[test]
    fn devices_have_the_same_addresses_with_every_iommu() {
        for iommu in [Iommu::Intel, Iommu::Virtio, Iommu::Amd, Iommu::None] {
            let line = joined(&Machine {
                iommu,
                devices: vec![
                    DeviceKind::Edu,
                    DeviceKind::Edu,
                    DeviceKind::Nvme,
                    DeviceKind::Igb,
                ],
                ..Machine::default()
            });
            assert!(
                line.contains("edu,addr=0x3,") && line.contains("edu,addr=0x4,"),
                "{line}"
            );
            assert!(
                line.contains("id=port2,addr=0x10,chassis=3,slot=3,")
                    && line.contains("id=port3,addr=0x11,"),
                "{line}"
            );
        }
    }

    #[test]
    fn root_ports_without_acs_are_in_the_same_places() {
        let line = joined(&Machine {
            no_acs: true,
            ..Machine::default()
        });
        assert!(line.contains("ioh3420,id=port1,addr=0x10,"), "{line}");
        assert!(!line.contains("pcie-root-port"), "{line}");
    }

    #[test]
    fn what_the_user_adds_comes_last() {
        let machine = Machine {
            cmdline: vec!["iommu=pt".into()],
            qemu: vec!["-S".into()],
            ..Machine::default()
        };
        let line = joined(&machine);
        assert!(line.ends_with("intel_iommu=on iommu=pt -S"), "{line}");
    }

    #[test]
    fn too_many_devices_are_refused() {
        let machine = Machine {
            devices: vec![DeviceKind::Igb; 16],
            ..Machine::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let error = arguments(&machine, &Qemu::new(None), folder.path(), false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "too many devices: the root bus has no slot left for igb"
        );
    }
}
