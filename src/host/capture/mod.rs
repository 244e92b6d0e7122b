//! Writes what was read of a host to a folder which [`Host::at`] reads in the same way, without what is private.

mod privacy;

use nix::errno::Errno;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use super::root::errno;
use super::{Host, Recording, Seen};
use crate::types::ExitClass;
use privacy::Privacy;

/// The kernel follows no more symbolic links than this on one path (MAXSYMLINKS).
const MOST_LINKS: usize = 40;

/// Why a capture could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is something in the folder.
    #[error("{} is not empty: name a new folder", .0.display())]
    NotEmpty(PathBuf),
    /// Something could not be written.
    #[error("cannot write {}: {errno}", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
}

impl CaptureError {
    /// The exit status that this error leads to.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        match self {
            Self::NotEmpty(_) => ExitClass::Usage,
            Self::Write { .. } => ExitClass::Failed,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaptureSummary {
    /// How many files.
    pub files: usize,
    /// How many symbolic links.
    pub links: usize,
    /// Bytes of content.
    pub bytes: u64,
    /// What was read and is not written, as it may be private.
    pub left_out: Vec<PathBuf>,
}

impl Host {
    /// Writes what was recorded of this host to a new or empty folder.
    ///
    /// # Errors
    /// The folder is not empty, or cannot be written.
    pub fn write_capture(
        &self,
        recording: &Recording,
        folder: &Path,
    ) -> Result<CaptureSummary, CaptureError> {
        let failed = |path: &Path, error: &io::Error| CaptureError::Write {
            path: path.to_owned(),
            errno: errno(error),
        };
        fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        let mut entries = fs::read_dir(folder).map_err(|error| failed(folder, &error))?;
        if entries.next().is_some() {
            return Err(CaptureError::NotEmpty(folder.to_owned()));
        }
        let seen = recording.seen();
        let mut writer = Writer {
            host: self,
            folder,
            privacy: Privacy::new(&seen),
            summary: CaptureSummary::default(),
        };
        for (path, seen) in &seen {
            writer
                .write(path, seen)
                .map_err(|error| failed(&folder.join(relative(path)), &error))?;
        }
        Ok(writer.summary)
    }
}

struct Writer<'a> {
    host: &'a Host,
    folder: &'a Path,
    privacy: Privacy,
    summary: CaptureSummary,
}

impl Writer<'_> {
    fn write(&mut self, path: &Path, seen: &Seen) -> io::Result<()> {
        if !self.privacy.may_show(path, seen) {
            let is_content = matches!(seen, Seen::File(_) | Seen::Lines(_));
            // Processes that hold no device are not worth a mention.
            if is_content && privacy::process_of(path).is_none() {
                self.summary.left_out.push(path.to_owned());
            }
            return Ok(());
        }
        match seen {
            Seen::Link(_) | Seen::Present => self.place(path, false).map(drop),
            Seen::File(content) => {
                let content = self.privacy.content(path, content);
                self.file(path, &content)
            }
            Seen::Lines(lines) => {
                let content: String = lines.iter().map(|line| format!("{line}\n")).collect();
                let content = self.privacy.content(path, content.as_bytes());
                self.file(path, &content)
            }
            Seen::Folder(names) => {
                self.place(path, true)?;
                for name in names.iter().filter(|name| privacy::matters(path, name)) {
                    self.place(&path.join(name), false)?;
                }
                Ok(())
            }
        }
    }

    fn file(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        let place = self.place(path, true)?;
        self.summary.bytes += content.len() as u64;
        fs::write(place, content)
    }

    /// Makes what is at a path of the host: each folder and symbolic link on the way, and at the end a link, a folder, or an empty
    /// file. Returns where that lies. `follow` says whether a link at the end is followed.
    fn place(&mut self, path: &Path, follow: bool) -> io::Result<PathBuf> {
        let mut at = PathBuf::new();
        let mut rest: VecDeque<OsString> = parts(path).collect();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                at.pop();
                continue;
            }
            let source = self.host.path(at.join(&part));
            let copy = self.folder.join(self.privacy.rename_path(&at.join(&part)));
            let kind = source.symlink_metadata().map(|found| found.file_type());
            match kind {
                Ok(kind) if kind.is_symlink() => {
                    let target = fs::read_link(&source)?;
                    self.link(&copy, &at, &target)?;
                    if rest.is_empty() && !follow {
                        return Ok(copy);
                    }
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::ELOOP.into());
                    }
                    if target.is_absolute() {
                        at = PathBuf::new();
                    }
                    for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(part);
                    }
                    continue;
                }
                Ok(kind) if kind.is_dir() => make_folder(&copy)?,
                // Gone meanwhile: what is on the way was a folder then.
                Err(_) if !rest.is_empty() => make_folder(&copy)?,
                _ => self.empty_file(&copy)?,
            }
            at.push(part);
        }
        Ok(self.folder.join(self.privacy.rename_path(&at)))
    }

    /// A link that stays inside of the folder: an absolute target is written as seen from where the link is. What a process has
    /// open is only named, so that is written as it is.
    fn link(&mut self, copy: &Path, at: &Path, target: &Path) -> io::Result<()> {
        if copy.symlink_metadata().is_ok() {
            return Ok(());
        }
        let target = match target.strip_prefix("/") {
            Ok(inside) if !at.starts_with("proc") => {
                let up: PathBuf = at.iter().map(|_| "..").collect();
                up.join(inside)
            }
            _ => target.to_owned(),
        };
        self.summary.links += 1;
        symlink(self.privacy.rename_path(&target), copy)
    }

    fn empty_file(&mut self, copy: &Path) -> io::Result<()> {
        if copy.symlink_metadata().is_err() {
            self.summary.files += 1;
            fs::write(copy, "")?;
        }
        Ok(())
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// The parts of a path, without `/` and `.`.
fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host in a folder; what is before `->` is a link to what is behind.
    fn host(files: &[(&str, &[u8])], links: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        let place = |path: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        for (path, content) in files {
            fs::write(place(path), content).unwrap();
        }
        for (path, target) in links {
            symlink(target, place(path)).unwrap();
        }
        let host = Host::at(folder.path());
        (folder, host)
    }

    #[test]
    fn a_capture_answers_as_the_host_did() {
        let (_source, host) = host(
            &[
                ("sys/devices/pci0000:00/0000:00:01.0/numa_node", b"0\n"),
                ("usr/lib/os-release", b"ID=debian\n"),
                ("sys/kernel/list", b"one\ntwo\n"),
            ],
            &[
                (
                    "sys/bus/pci/devices/0000:00:01.0",
                    "../../../devices/pci0000:00/0000:00:01.0",
                ),
                (
                    "sys/devices/pci0000:00/0000:00:01.0/driver",
                    "../../../bus/pci/drivers/nvme",
                ),
                ("etc/os-release", "/usr/lib/os-release"),
            ],
        );
        let ask = |host: &Host| {
            let device = "/sys/bus/pci/devices/0000:00:01.0";
            (
                host.names("/sys/bus/pci/devices"),
                host.attribute(format!("{device}/numa_node")),
                host.link_name(format!("{device}/driver")),
                host.place("00:01.0".parse().unwrap()),
                host.distribution().family,
                host.pick_lines("/sys/kernel/list", 100, |line| {
                    (line == "two").then_some(())
                })
                .unwrap(),
                host.exists(format!("{device}/none")),
            )
        };
        let (recorded, recording) = host.recorded();
        let answers = ask(&recorded);
        let copy = tempfile::tempdir().unwrap();

        let summary = host.write_capture(&recording, copy.path()).unwrap();

        assert_eq!(ask(&Host::at(copy.path())), answers);
        assert_eq!(
            fs::read_to_string(copy.path().join("sys/kernel/list")).unwrap(),
            "two\n"
        );
        assert_eq!((summary.links, summary.left_out.len()), (3, 0));
        assert!(matches!(
            host.write_capture(&recording, copy.path()),
            Err(CaptureError::NotEmpty(_))
        ));
    }

    #[test]
    fn what_is_private_stays_behind() {
        let mut config = vec![0; 4096];
        config[..4].copy_from_slice(&[0x86, 0x80, 0xc9, 0x10]);
        config[0x100..0x10c]
            .copy_from_slice(&[3, 0, 1, 0, 0xaa, 0xbb, 0xcc, 0xff, 0xff, 0xdd, 0xee, 0x11]);
        let (_source, host) = host(
            &[
                ("sys/bus/pci/devices/0000:01:00.0/config", &config),
                (
                    "proc/cmdline",
                    b"root=UUID=1234 intel_iommu=on luks=secret iommu=pt vfio-pci.ids=1:2\n",
                ),
                (
                    "proc/net/route",
                    b"Iface\tDestination\tGateway\nenx001122334455\t0101A8C0\t00000000\n",
                ),
                ("proc/net/secret", b"password\n"),
                ("sys/class/net/enx001122334455/flags", b"0x1003\n"),
                ("sys/class/nvme/nvme0/serial", b"S1\n"),
                ("proc/7/comm", b"qemu\n"),
                ("proc/8/comm", b"sshd\n"),
                (
                    "proc/self/mountinfo",
                    b"36 1 259:1 /alice /home/alice/secret rw,x - ext4 /dev/nvme0n1p1 rw,quota\n37 1 0:3 / /proc rw - proc proc rw\n",
                ),
            ],
            &[
                ("proc/7/fd/3", "/dev/vfio/1"),
                ("proc/8/fd/3", "socket:[4711]"),
            ],
        );
        let (recorded, recording) = host.recorded();
        drop(recorded.config_space("01:00.0".parse().unwrap()));
        drop(recorded.kernel_parameters());
        recorded.names("/sys/class/net");
        recorded.names("/proc");
        for file in ["/proc/net/route", "/proc/net/secret"] {
            recorded.text(file, 1000);
        }
        for file in [
            "/sys/class/net/enx001122334455/flags",
            "/sys/class/nvme/nvme0/serial",
        ] {
            recorded.attribute(file);
        }
        assert_eq!(recorded.holders(&["/dev/vfio/1".into()]).len(), 1);
        assert_eq!(recorded.holders(&["socket:[4711]".into()]).len(), 1);
        recorded
            .pick_lines("/proc/self/mountinfo", 1000, |line| {
                line.contains("/dev/").then_some(())
            })
            .unwrap();
        let copy = tempfile::tempdir().unwrap();

        let summary = host.write_capture(&recording, copy.path()).unwrap();

        let captured = Host::at(copy.path());
        let space = captured
            .read("/sys/bus/pci/devices/0000:01:00.0/config", 4096)
            .unwrap();
        assert_eq!(space[..0x104], config[..0x104]);
        assert_eq!(space[0x104..], [0; 4096 - 0x104]);
        assert_eq!(
            captured.kernel_parameters(),
            ["intel_iommu=on", "iommu=pt", "vfio-pci.ids=1:2"]
        );
        assert_eq!(captured.names("/sys/class/net"), ["enx000000000001"]);
        assert_eq!(
            captured
                .attribute("/sys/class/net/enx000000000001/flags")
                .as_deref(),
            Some("0x1003")
        );
        let route = captured.text("/proc/net/route", 1000);
        assert!(
            route.contains("enx000000000001\t000200C0\t00000000"),
            "{route}"
        );
        assert_eq!(captured.holders(&["/dev/vfio/1".into()]).len(), 1);
        assert_eq!(captured.names("/proc/8"), Vec::<String>::new());
        assert_eq!(
            captured.text("/proc/self/mountinfo", 1000),
            "0 0 259:1 / /home/... rw - ext4 /dev/nvme0n1p1 rw\n"
        );
        let left_out: Vec<_> = summary
            .left_out
            .iter()
            .map(|path| path.to_str().unwrap())
            .collect();
        assert_eq!(
            left_out,
            ["/proc/net/secret", "/sys/class/nvme/nvme0/serial"]
        );
    }

    #[test]
    fn who_has_a_device_open_is_shown_and_no_uuid() {
        let modalias = b"pci:v00008086d000010C9sv00008086sd0000A03Cbc02sc00i00\n";
        let (_source, host) = host(
            &[
                ("sys/bus/pci/devices/0000:01:00.0/modalias", modalias),
                ("sys/bus/pci/devices/0000:02:00.0/modalias", modalias),
                (
                    "sys/devices/pci0000:00/0000:01:00.0/uio/uio0/uevent",
                    b"MAJOR=240\nDEVNAME=uio0\nNAME=private\n",
                ),
                (
                    "proc/driver/nvidia/gpus/0000:02:00.0/information",
                    b"GPU UUID: \t private\nDevice Minor: \t 1\n",
                ),
                ("proc/7/comm", b"testpmd\n"),
                ("proc/8/comm", b"private\n"),
            ],
            &[
                (
                    "sys/dev/char/240:0",
                    "../../devices/pci0000:00/0000:01:00.0/uio/uio0",
                ),
                ("sys/dev/char/1:3", "../../devices/virtual/mem/null"),
                ("proc/7/fd/3", "/dev/uio0"),
                ("proc/7/fd/4", "/dev/nvidia1"),
                ("proc/8/fd/3", "/dev/null"),
            ],
        );
        let ask = |host: &Host| {
            ["01:00.0", "02:00.0"].map(|bdf| host.uses(&host.device(bdf.parse().unwrap()).unwrap()))
        };
        let (recorded, recording) = host.recorded();
        let uses = ask(&recorded);
        assert!(uses.iter().all(|uses| uses.len() == 1), "{uses:?}");
        // Not even if more than the program needs were read.
        recorded.text("/proc/driver/nvidia/gpus/0000:02:00.0/information", 1000);
        let copy = tempfile::tempdir().unwrap();

        host.write_capture(&recording, copy.path()).unwrap();

        assert_eq!(ask(&Host::at(copy.path())), uses);
        let output = std::process::Command::new("grep")
            .args(["-r", "private"])
            .arg(copy.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    }

    #[test]
    fn links_in_a_circle_are_an_error_and_links_out_stay_in() {
        let (_source, host) = host(
            &[],
            &[("sys/a", "b"), ("sys/b", "a"), ("sys/up", "/etc/passwd")],
        );
        let (recorded, recording) = host.recorded();
        recorded.link("/sys/up");
        let copy = tempfile::tempdir().unwrap();
        host.write_capture(&recording, copy.path()).unwrap();
        assert_eq!(
            fs::read_link(copy.path().join("sys/up")).unwrap(),
            Path::new("../etc/passwd")
        );

        recording.add(Path::new("/sys/a/x"), Seen::File(vec![]));
        let copy = tempfile::tempdir().unwrap();
        let error = host.write_capture(&recording, copy.path()).unwrap_err();
        assert!(error.to_string().contains("ELOOP"), "{error}");
    }
}
