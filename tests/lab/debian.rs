//! Debian packages without root and without changing the system: a private apt folder, and unpacking instead of installing.

use super::process::run;
use super::{cache, progress};
use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, Flock, fcntl};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The releases that packages come from. Everything is proven with these, whatever the host runs.
const RELEASE: &str = "trixie";
const BACKPORTS: &str = "trixie-backports";

/// The signing keys of Debian's archive, as the package debian-archive-keyring installs them.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// A private apt folder with its own sources and lists and with no package installed.
pub struct Apt {
    configuration: PathBuf,
    _lock: Flock<File>,
}

/// A package at the version that apt chose.
pub struct Package {
    pub name: String,
    pub version: String,
    bytes: u64,
}

impl Apt {
    /// Brings the package lists up to date, from the mirror that the host itself uses.
    pub fn open() -> Result<Apt> {
        let folder = cache::folder()?.join("apt");
        let lock = cache::lock(&folder)?;
        // apt inherits the lock: if this run is killed, the next one waits until its apt has ended.
        fcntl(&*lock, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let keyring = KEYRINGS.iter().find(|path| Path::new(path).exists()).context(
            "there is no keyring of Debian's archive (package debian-archive-keyring), so this host is not a Debian",
        )?;
        let mirror = host_mirror()?;
        for needed in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(needed))?;
        }
        fs::write(folder.join("status"), "")?;
        let source = |release| format!("deb [signed-by={keyring}] {mirror} {release} main\n");
        fs::write(
            folder.join("sources.list"),
            source(RELEASE) + &source(BACKPORTS),
        )?;
        let configuration = folder.join("apt.conf");
        fs::write(&configuration, configuration_text(&folder)?)?;
        let apt = Apt {
            configuration,
            _lock: lock,
        };
        progress!("reading Debian's package lists ({RELEASE} and its backports)");
        run(apt.command("apt-get").arg("update"))
            .context("cannot read the package lists of Debian's archive")?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", &self.configuration)
            .env("LC_ALL", "C");
        command
    }

    /// These packages and all that they depend on, as if nothing were installed.
    pub fn with_dependencies(&self, names: &[&str], backports: bool) -> Result<Vec<Package>> {
        let release = if backports { BACKPORTS } else { RELEASE };
        let arguments = [
            "--yes",
            "--no-install-recommends",
            "--print-uris",
            "-t",
            release,
            "install",
        ];
        self.packages(&[&arguments, names].concat())
    }

    /// This package alone, at its newest version.
    pub fn package(&self, name: &str) -> Result<Package> {
        let packages = self.packages(&["--print-uris", "-t", BACKPORTS, "download", name])?;
        packages
            .into_iter()
            .next()
            .with_context(|| format!("Debian's archive has no package {name}"))
    }

    fn packages(&self, arguments: &[&str]) -> Result<Vec<Package>> {
        let printed = run(self.command("apt-get").args(arguments))?;
        String::from_utf8(printed)?
            .lines()
            .filter(|line| line.starts_with('\''))
            .map(parse_uri_line)
            .collect()
    }

    /// Downloads packages and unpacks them into `root`, which is as the root folder of a system then.
    pub fn unpack(&self, what: &str, packages: &[Package], root: &Path) -> Result<()> {
        let bytes: u64 = packages.iter().map(|package| package.bytes).sum();
        progress!(
            "downloading {what} ({}, {} MB)",
            count(packages.len()),
            bytes.div_ceil(1_000_000)
        );
        let archives = tempfile::Builder::new()
            .prefix("archives-")
            .tempdir_in(root.parent().unwrap_or(root))?;
        let exact = packages
            .iter()
            .map(|package| format!("{}={}", package.name, package.version));
        run(self
            .command("apt-get")
            .args(["--quiet", "download"])
            .args(exact)
            .current_dir(archives.path()))?;
        fs::create_dir_all(root)?;
        for archive in fs::read_dir(archives.path())? {
            run(Command::new("dpkg-deb")
                .arg("--extract")
                .arg(archive?.path())
                .arg(root))?;
        }
        // Where /usr is merged, these links belong to no package.
        for name in ["lib", "lib64"] {
            let (link, target) = (root.join(name), Path::new("usr").join(name));
            if root.join(&target).exists() && !link.exists() {
                std::os::unix::fs::symlink(target, link)?;
            }
        }
        Ok(())
    }
}

fn count(packages: usize) -> String {
    if packages == 1 {
        "1 package".into()
    } else {
        format!("{packages} packages")
    }
}

fn configuration_text(folder: &Path) -> Result<String> {
    let folder = folder
        .to_str()
        .context("the path of the cache folder is not UTF-8")?;
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid())?
        .context("the current user has no name")?
        .name;
    Ok(format!(
        r#"Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::Lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Sandbox::User "{user}";
APT::Update::Error-Mode "any";
"#
    ))
}

/// The address of the Debian mirror in the host's own apt configuration; it need not have been read yet.
fn host_mirror() -> Result<String> {
    let printed = run(Command::new("apt-get")
        .args(["--print-uris", "update"])
        .env("LC_ALL", "C"))?;
    pick_mirror(&String::from_utf8_lossy(&printed))
        .context("the host's apt configuration names no mirror of Debian")
}

/// Of the archives that `apt-get --print-uris update` names, the one whose path ends as Debian's own does, or else the first.
/// The archive of security updates does not hold the releases.
fn pick_mirror(uris: &str) -> Option<String> {
    let archives = uris
        .lines()
        .filter_map(|line| Some(line.strip_prefix('\'')?.split_once("/dists/")?.0));
    let mut archives = archives.filter(|archive| !archive.contains("security"));
    let first = archives.next()?;
    let debian = std::iter::once(first)
        .chain(archives)
        .find(|archive| archive.ends_with("/debian"));
    Some(debian.unwrap_or(first).to_owned())
}

/// Reads a line `'URI' name_version_architecture.deb SIZE HASH`, in which a colon of the version is `%3a`.
fn parse_uri_line(line: &str) -> Result<Package> {
    let fields: Vec<_> = line.split(' ').collect();
    let parsed = || {
        let (name, rest) = fields.get(1)?.split_once('_')?;
        let (version, _) = rest.split_once('_')?;
        Some(Package {
            name: name.into(),
            version: version.replace("%3a", ":"),
            bytes: fields.get(2)?.parse().ok()?,
        })
    };
    parsed().with_context(|| format!("apt-get names a package in an unknown way: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_print_uris_names_package_version_and_size() {
        let line = "'http://mirror/pool/main/q/qemu.deb' qemu-system-x86_1%3a11.1.3+ds-1~bpo13+1_amd64.deb 10377056 SHA256:0";
        let package = parse_uri_line(line).unwrap();
        assert_eq!(
            (package.name.as_str(), package.version.as_str()),
            ("qemu-system-x86", "1:11.1.3+ds-1~bpo13+1")
        );
        assert_eq!(package.bytes, 10_377_056);
        assert!(parse_uri_line("'http://mirror/x' x.deb").is_err());
    }

    #[test]
    fn the_mirror_is_neither_the_security_archive_nor_a_third_partys() {
        let uris = "'http://a/debian-security/dists/s/InRelease' x 0\n'http://b/node/dists/x/InRelease' x 0\n'http://a/debian/dists/x/InRelease' x 0";
        assert_eq!(pick_mirror(uris).as_deref(), Some("http://a/debian"));
        assert_eq!(
            pick_mirror("'http://b/pub/remote/dists/x/InRelease' x 0").as_deref(),
            Some("http://b/pub/remote")
        );
        assert_eq!(pick_mirror(""), None);
    }
}
