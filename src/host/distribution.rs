//! Which distribution runs on the host, so that advice names the right files and commands (os-release(5)).

use super::Host;

const LIMIT: u64 = 64 << 10;

/// A distribution, as far as advice differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// What it calls itself, as `Debian GNU/Linux 13 (trixie)`.
    pub name: Option<String>,
    /// Which of the known ones it is or descends from.
    pub family: Family,
    /// What hands the command line to the kernel.
    loader: Loader,
}

/// Families of distributions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Debian, Ubuntu and those that follow them.
    Debian,
    /// Fedora, RHEL and those that follow them.
    Fedora,
    /// openSUSE and SLES.
    Suse,
    /// Arch and those that follow it.
    Arch,
    /// NixOS.
    NixOs,
    /// Another one.
    Other,
}

/// A change of the kernel's command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandLineChange<'w> {
    /// To add words.
    Add(&'w str),
    /// To take words out.
    Remove(&'w str),
    /// To put the second word in the place of the first.
    Replace(&'w str, &'w str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loader {
    Grub,
    /// Proxmox VE on ZFS or UEFI, with systemd-boot.
    ProxmoxBoot,
    /// kernel-install(8) with a command line of its own.
    KernelInstall,
}

impl Host {
    /// The distribution that the host runs.
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        let text = ["/etc/os-release", "/usr/lib/os-release"]
            .into_iter()
            .find_map(|path| self.read(path, LIMIT).ok())
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .map(|value| value.trim_matches(['"', '\'']).to_owned())
        };
        let ids = format!(
            "{} {}",
            value("ID").unwrap_or_default(),
            value("ID_LIKE").unwrap_or_default()
        );
        let family = ids
            .split_whitespace()
            .find_map(family)
            .unwrap_or(Family::Other);
        let loader = if self.exists("/etc/kernel/proxmox-boot-uuids") {
            Loader::ProxmoxBoot
        } else if self.exists("/etc/kernel/cmdline") && !self.exists("/etc/default/grub") {
            Loader::KernelInstall
        } else {
            Loader::Grub
        };
        Distribution {
            name: value("PRETTY_NAME"),
            family,
            loader,
        }
    }
}

fn family(id: &str) -> Option<Family> {
    Some(match id {
        "debian" | "ubuntu" | "proxmox" => Family::Debian,
        "fedora" | "rhel" | "centos" => Family::Fedora,
        "suse" | "opensuse" | "sles" => Family::Suse,
        "arch" => Family::Arch,
        "nixos" => Family::NixOs,
        _ => return None,
    })
}

impl Distribution {
    /// How to change the kernel's command line.
    #[must_use]
    pub fn change_command_line(&self, change: CommandLineChange<'_>) -> String {
        use CommandLineChange::{Add, Remove, Replace};
        let what = match change {
            Add(words) => format!("add {words}"),
            Remove(words) => format!("remove {words}"),
            Replace(old, new) => format!("replace {old} by {new}"),
        };
        let (place, then) = match (self.loader, self.family) {
            (_, Family::Fedora) => {
                let options = match change {
                    Add(words) => format!("--args=\"{words}\""),
                    Remove(words) => format!("--remove-args=\"{words}\""),
                    Replace(old, new) => format!("--remove-args=\"{old}\" --args=\"{new}\""),
                };
                return format!("grubby --update-kernel=ALL {options} && reboot");
            }
            (_, Family::NixOs) => {
                let what = match change {
                    Add(words) => format!("add \"{words}\""),
                    Remove(words) => format!("remove \"{words}\""),
                    Replace(old, new) => format!("replace \"{old}\" by \"{new}\""),
                };
                return format!(
                    "{what} in boot.kernelParams of /etc/nixos/configuration.nix, then: nixos-rebuild boot && reboot"
                );
            }
            (Loader::ProxmoxBoot, _) => ("/etc/kernel/cmdline", "proxmox-boot-tool refresh"),
            (Loader::KernelInstall, Family::Arch) => ("/etc/kernel/cmdline", "mkinitcpio -P"),
            (Loader::KernelInstall, _) => ("/etc/kernel/cmdline", "kernel-install add-all"),
            (Loader::Grub, Family::Debian) => {
                ("GRUB_CMDLINE_LINUX in /etc/default/grub", "update-grub")
            }
            (Loader::Grub, Family::Suse) => (
                "GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub",
                "grub2-mkconfig -o /boot/grub2/grub.cfg",
            ),
            (Loader::Grub, Family::Arch) => (
                "GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub (or the options line in /boot/loader/entries)",
                "grub-mkconfig -o /boot/grub/grub.cfg",
            ),
            (Loader::Grub, _) => {
                return format!(
                    "{what} on the kernel command line, as your boot loader does it, then reboot"
                );
            }
        };
        format!("{what} in {place}, then: {then} && reboot")
    }

    /// How to get a program or file that comes in a package of the kernel's modules.
    #[must_use]
    pub fn kernel_modules_package(&self) -> &'static str {
        match self.family {
            Family::Debian => {
                "apt install linux-image-amd64 (Debian; its cloud kernels lack VFIO) or linux-modules-extra-$(uname -r) (Ubuntu)"
            }
            Family::Fedora => "dnf install kernel-modules",
            Family::Suse => "zypper install kernel-default (kernel-default-base lacks VFIO)",
            Family::Arch => {
                "pacman -S linux, and reboot if the running kernel's modules were replaced"
            }
            Family::NixOs => "choose another kernel in boot.kernelPackages",
            Family::Other => {
                "install the package with the rest of the kernel's modules, or build the kernel with CONFIG_VFIO_PCI"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn distribution(files: &[(&str, &str)]) -> Distribution {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Host::at(folder.path()).distribution()
    }

    #[test]
    fn each_family_gets_its_own_advice() {
        for (release, advice) in [
            (
                "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n",
                "update-grub",
            ),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "update-grub"),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                "grubby --update-kernel=ALL --args=\"iommu=pt\"",
            ),
            (
                "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n",
                "grub2-mkconfig",
            ),
            ("ID=arch\n", "grub-mkconfig"),
            ("ID=nixos\n", "boot.kernelParams"),
            ("ID=void\n", "as your boot loader does it"),
            ("\u{0}", "as your boot loader does it"),
        ] {
            let found = distribution(&[("etc/os-release", release)]);
            let text = found.change_command_line(CommandLineChange::Add("iommu=pt"));
            assert!(text.contains(advice), "{release}: {text}");
        }
        let proxmox = distribution(&[
            ("usr/lib/os-release", "ID=debian\n"),
            ("etc/kernel/proxmox-boot-uuids", ""),
        ]);
        for (change, advice) in [
            (
                CommandLineChange::Remove("x"),
                "remove x in /etc/kernel/cmdline",
            ),
            (
                CommandLineChange::Replace("x=a,b", "x=a"),
                "replace x=a,b by x=a in /etc/kernel/cmdline",
            ),
        ] {
            let text = proxmox.change_command_line(change);
            assert!(text.starts_with(advice), "{text}");
        }
    }
}
