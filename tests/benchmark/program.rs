//! Bar 9: what the program itself costs, on this machine, on a captured host of many devices.

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::bars::{Bound, Measured, Row};

const HOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hosts/two-socket-server");
const DEVICES: usize = 500;

/// What a large host costs `list`, and what `--help` costs.
pub fn measure(binary: &Path) -> Result<Vec<Row>> {
    // In memory, as sysfs is, where there is such a place.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let host = folder.path().join("host");
    let devices = enlarge(&host)?;
    let mut list = Command::new(binary);
    list.arg("--sysroot").arg(&host).arg("list");
    let listed = String::from_utf8(list.output()?.stdout)?;
    ensure!(
        listed.matches("0001:5e:00.0").count() > 0,
        "the enlarged host is not listed:\n{listed}"
    );
    let mut help = Command::new(binary);
    help.arg("--help");
    let row = |what: String, time: f64| {
        Row::new(9, what, Measured::Milliseconds(time), Bound::AtMost(20.0))
    };
    Ok(vec![
        row("processor time of --help".into(), processor_time(help)?),
        row(
            format!("processor time of list on a host of {devices} devices"),
            processor_time(list)?,
        ),
    ])
}

/// The median of some runs, in milliseconds.
fn processor_time(mut command: Command) -> Result<f64> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let used = || -> Result<f64> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let times = [usage.user_time(), usage.system_time()];
        let seconds = times.map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6);
        Ok(seconds.iter().sum::<f64>() * 1e3)
    };
    let mut times = Vec::new();
    for _ in 0..41 {
        let before = used()?;
        let status = command.status()?;
        ensure!(status.success(), "{command:?} ended with {status}");
        times.push(used()? - before);
    }
    iommu_tool::bench::median(times).context("nothing was measured")
}

/// Makes a host of many devices: a small one, with all its devices again in further PCI domains. Returns how many there are.
fn enlarge(host: &Path) -> Result<usize> {
    let small = Path::new(HOST);
    copy(small, host, &|name| name.to_owned())?;
    let own = fs::read_dir(small.join("sys/bus/pci/devices"))?.count();
    let copies = DEVICES.div_ceil(own);
    for domain in 1..copies {
        let other = |name: &str| name.replace("0000:", &format!("{domain:04x}:"));
        for entry in fs::read_dir(small.join("sys/devices"))? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("a name")?;
            if name.starts_with("pci") {
                let to = host.join("sys/devices").join(other(&name));
                copy(&entry.path(), &to, &|name| renumbered(&other(name), domain))?;
            }
        }
        let devices = Path::new("sys/bus/pci/devices");
        copy(&small.join(devices), &host.join(devices), &other)?;
        let groups = Path::new("sys/kernel/iommu_groups");
        for entry in fs::read_dir(small.join(groups))? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("a name")?;
            let to = host.join(groups).join(group(&name, domain));
            copy(&entry.path(), &to, &other)?;
        }
    }
    Ok(own * copies)
}

/// A group of a further domain.
fn group(number: &str, domain: usize) -> String {
    format!("{domain}{number:0>4}")
}

/// The target of a link to a group, for a further domain.
fn renumbered(target: &str, domain: usize) -> String {
    match target.split_once("/iommu_groups/") {
        Some((before, number)) => format!("{before}/iommu_groups/{}", group(number, domain)),
        None => target.to_owned(),
    }
}

/// Copies a folder; names below it, and the targets of links, are changed by `name`.
fn copy(from: &Path, to: &Path, name: &dyn Fn(&str) -> String) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let own = entry.file_name().into_string().ok().context("a name")?;
        let target: PathBuf = to.join(name(&own));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target, name)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(entry.path())?;
            symlink(name(link.to_str().context("a link")?), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
