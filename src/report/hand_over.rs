//! A device in the words of the program that is to have it: arguments, or XML.

use serde::Serialize;
use std::io::{self, Write};

use super::{Report, Style};
use crate::types::{Backend, Bdf, UserOfDevices};

/// What to give to another program so that it takes a device.
#[derive(Debug, Serialize)]
pub struct HandOver {
    bdf: Bdf,
    #[serde(rename = "for")]
    to: UserOfDevices,
    /// Each form that works here; one is enough.
    forms: Vec<Form>,
}

#[derive(Debug, Serialize)]
struct Form {
    /// The kernel interface that the program uses then; `None` if it chooses itself.
    backend: Option<Backend>,
    /// Arguments of the command line; empty if there is XML instead.
    arguments: Vec<String>,
    /// An element of a domain's XML.
    xml: Option<String>,
}

/// What the form depends on.
#[derive(Debug, Clone, Copy)]
pub struct Handed<'d> {
    /// The device.
    pub bdf: Bdf,
    /// Whether the kernel makes a node for each device, by which iommufd takes it.
    pub has_node: bool,
    /// What whoever opens it must show.
    pub token: Option<&'d str>,
}

impl HandOver {
    /// For this program.
    #[must_use]
    pub fn new(to: UserOfDevices, device: Handed<'_>) -> Self {
        let forms = match to {
            UserOfDevices::Qemu => qemu(device),
            UserOfDevices::Libvirt => vec![Form {
                backend: None,
                arguments: Vec::new(),
                xml: Some(libvirt(device.bdf)),
            }],
            UserOfDevices::CloudHypervisor => arguments(&[
                "--device",
                &format!("path=/sys/bus/pci/devices/{}/", device.bdf),
            ]),
            UserOfDevices::Dpdk => dpdk(device),
        };
        Self {
            bdf: device.bdf,
            to,
            forms,
        }
    }
}

fn arguments(arguments: &[&str]) -> Vec<Form> {
    vec![Form {
        backend: None,
        arguments: arguments.iter().map(ToString::to_string).collect(),
        xml: None,
    }]
}

/// QEMU's documentation, docs/system/devices/vfio-iommufd (docs/devel/vfio-iommufd.rst), and `-device vfio-pci,help`.
fn qemu(device: Handed<'_>) -> Vec<Form> {
    let token = device
        .token
        .map(|token| format!(",vf-token={token}"))
        .unwrap_or_default();
    let host = format!("vfio-pci,host={}{token}", device.bdf);
    let mut forms = vec![Form {
        backend: Some(Backend::Type1),
        arguments: vec!["-device".to_owned(), host.clone()],
        xml: None,
    }];
    // QEMU shows a token only through the group.
    if device.has_node && device.token.is_none() {
        forms.push(Form {
            backend: Some(Backend::Iommufd),
            arguments: vec![
                "-object".to_owned(),
                "iommufd,id=iommufd0".to_owned(),
                "-device".to_owned(),
                format!("{host},iommufd=iommufd0"),
            ],
            xml: None,
        });
    }
    forms
}

/// libvirt's documentation, "Domain XML format", "USB / PCI / SCSI devices". Not managed: the device is bound, and stays so.
fn libvirt(bdf: Bdf) -> String {
    format!(
        "<hostdev mode='subsystem' type='pci' managed='no'>\n  \
           <driver name='vfio'/>\n  \
           <source>\n    \
             <address domain='0x{:04x}' bus='0x{:02x}' slot='0x{:02x}' function='0x{:x}'/>\n  \
           </source>\n\
         </hostdev>",
        bdf.domain(),
        bdf.bus(),
        bdf.device(),
        bdf.function()
    )
}

/// DPDK's guides, "EAL parameters".
fn dpdk(device: Handed<'_>) -> Vec<Form> {
    let bdf = device.bdf.to_string();
    match device.token {
        Some(token) => arguments(&["-a", &bdf, "--vfio-vf-token", token]),
        None => arguments(&["-a", &bdf]),
    }
}

impl Report for HandOver {
    const KIND: &'static str = "hand-over";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        for form in &self.forms {
            if let (Some(backend), true) = (form.backend, self.forms.len() > 1) {
                let comment = format!("# through {backend}");
                writeln!(out, "{}", style.faint(&comment))?;
            }
            match &form.xml {
                Some(xml) => writeln!(out, "{xml}")?,
                None => writeln!(out, "{}", form.arguments.join(" "))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(to: UserOfDevices, has_node: bool, token: Option<&str>) -> String {
        let handed = Handed {
            bdf: "0000:5e:10.4".parse().unwrap(),
            has_node,
            token,
        };
        let mut out = Vec::new();
        let report = HandOver::new(to, handed);
        report.text(&mut out, Style::new(false)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn qemu_is_given_both_forms_where_both_work() {
        assert_eq!(
            text(UserOfDevices::Qemu, true, None),
            "# through type1\n-device vfio-pci,host=0000:5e:10.4\n\
             # through iommufd\n-object iommufd,id=iommufd0 -device vfio-pci,host=0000:5e:10.4,iommufd=iommufd0\n"
        );
        assert_eq!(
            text(UserOfDevices::Qemu, false, None),
            "-device vfio-pci,host=0000:5e:10.4\n"
        );
    }

    #[test]
    fn a_token_is_passed_on() {
        assert_eq!(
            text(UserOfDevices::Qemu, true, Some("u-u-i-d")),
            "-device vfio-pci,host=0000:5e:10.4,vf-token=u-u-i-d\n"
        );
        assert_eq!(
            text(UserOfDevices::Dpdk, true, Some("u-u-i-d")),
            "-a 0000:5e:10.4 --vfio-vf-token u-u-i-d\n"
        );
    }
}
