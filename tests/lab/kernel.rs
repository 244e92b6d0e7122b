//! The guest's kernel: Debian's with its modules, the user's own, or one built for the lab.

use super::debian::Apt;
use super::modules::{self, ModuleFiles};
use super::options::Kernel;
use super::process::run;
use super::{busybox, cache, progress};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const LAB_CONFIG: &str = include_str!("kernel.config");

/// Sources to build the lab kernel from, the preferred one first.
const LAB_SOURCES: [&str; 2] = ["linux-source-7.2", "linux-source-6.12"];

/// What the build needs beside gcc and binutils, which every host with Rust has for linking.
const BUILD_TOOLS: [&str; 8] = [
    "flex",
    "bison",
    "m4",
    "bc",
    "make",
    "xz-utils",
    "libelf-dev",
    "libssl-dev",
];
const BUILD_PROGRAMS: [&str; 6] = ["flex", "bison", "m4", "bc", "make", "xz"];

const USE_YOUR_OWN: &str = "name a kernel of your own with --kernel PATH";

/// A kernel that is ready to boot.
pub struct KernelFiles {
    pub image: PathBuf,
    /// As `uname -r` prints it.
    pub release: String,
    /// None of them if all is built in.
    pub modules: ModuleFiles,
}

/// Finds, downloads or builds a kernel.
pub fn find(kernel: &Kernel, busybox: &Path) -> Result<KernelFiles> {
    let (image, modules) = match kernel {
        Kernel::Lab => {
            let mut config = DefaultHasher::new();
            LAB_CONFIG.hash(&mut config);
            let kind = format!("kernel-lab-{:016x}", config.finish());
            let folder = cache::get_or_build(&kind, build_lab)
                .with_context(|| format!("cannot build the lab kernel; {USE_YOUR_OWN}"))?;
            (folder.join("bzImage"), ModuleFiles::new())
        }
        Kernel::Distro => {
            let build = |partial: &Path| unpack_distro(partial, busybox);
            let folder = cache::get_or_build("kernel-distro", build)
                .with_context(|| format!("cannot get Debian's kernel; {USE_YOUR_OWN}"))?;
            (
                folder.join("vmlinuz"),
                modules::read(&folder.join("modules"))?,
            )
        }
        Kernel::Path(image) => {
            let modules = match installed_modules(image, &release_of(image)?) {
                Some(folder) => modules::collect(&folder, busybox)?,
                None => ModuleFiles::new(),
            };
            (image.clone(), modules)
        }
    };
    let release = release_of(&image)?;
    Ok(KernelFiles {
        image,
        release,
        modules,
    })
}

/// The release of a kernel image.
fn release_of(image: &Path) -> Result<String> {
    let bytes =
        fs::read(image).with_context(|| format!("cannot read the kernel {}", image.display()))?;
    release_in_header(&bytes).with_context(|| {
        format!(
            "{} is not a Linux kernel for x86 (a bzImage)",
            image.display()
        )
    })
}

/// The release that a bzImage names in its header (kernel: Documentation/arch/x86/boot.rst, "kernel_version").
fn release_in_header(image: &[u8]) -> Option<String> {
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let pointer = u16::from_le_bytes(image.get(0x20e..0x210)?.try_into().ok()?);
    let text = image.get(usize::from(pointer) + 0x200..)?;
    let end = text.iter().position(|&byte| byte == b' ' || byte == 0)?;
    String::from_utf8(text[..end].to_vec()).ok()
}

/// Where the modules of a kernel are: in the tree that it lies in (TREE/boot/vmlinuz), or the system's.
fn installed_modules(image: &Path, release: &str) -> Option<PathBuf> {
    let tree = image.parent()?.join("..");
    let roots = [
        tree.join("usr/lib/modules"),
        tree.join("lib/modules"),
        PathBuf::from("/lib/modules"),
    ];
    roots
        .into_iter()
        .map(|root| root.join(release))
        .find(|folder| folder.join("kernel").is_dir())
}

/// Debian's newest stable kernel: its image and the modules that the guest loads.
fn unpack_distro(partial: &Path, busybox: &Path) -> Result<String> {
    let apt = Apt::open()?;
    let mut packages = apt.with_dependencies(&["linux-image-amd64"], false)?;
    packages.retain(|package| {
        package.name.starts_with("linux-image-") && package.name != "linux-image-amd64"
    });
    let [package] = &packages[..] else {
        bail!("linux-image-amd64 does not depend on one linux-image package")
    };
    let version = package.version.clone();
    let root = partial.join("root");
    apt.unpack(&format!("Debian's kernel {version}"), &packages, &root)?;
    drop(apt);
    let image = fs::read_dir(root.join("boot"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
        })
        .context("the package has no boot/vmlinuz-*")?;
    let from = installed_modules(&image, &release_of(&image)?);
    let modules = modules::collect(&from.context("the package has no modules")?, busybox)?;
    modules::write(&modules, &partial.join("modules"))?;
    fs::rename(&image, partial.join("vmlinuz"))?;
    fs::remove_dir_all(root)?;
    Ok(version)
}

/// Builds the lab kernel from Debian's source with tools of the same release, unpacked beside it.
fn build_lab(partial: &Path) -> Result<String> {
    for program in ["gcc", "ld"] {
        ensure!(
            busybox::on_path(program).is_some(),
            "{program} is missing: install gcc and binutils"
        );
    }
    let (source, tools) = (partial.join("source"), partial.join("tools"));
    let apt = Apt::open()?;
    let package = LAB_SOURCES.iter().find_map(|name| apt.package(name).ok());
    let package =
        package.with_context(|| format!("Debian's archive has none of {LAB_SOURCES:?}"))?;
    let (name, version) = (package.name.clone(), package.version.clone());
    apt.unpack(&format!("{name} {version}"), &[package], &source)?;
    apt.unpack(
        "the tools to build it",
        &apt.with_dependencies(&BUILD_TOOLS, false)?,
        &tools,
    )?;
    drop(apt);
    let programs = wrap_programs(&tools)?;

    progress!("unpacking {name}");
    let archive = source.join("usr/src").join(format!("{name}.tar.xz"));
    let mut tar = Command::new("tar");
    tar.arg("--extract")
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(&source);
    run(tar.arg("--use-compress-program").arg(programs.join("xz")))?;
    let tree = source.join(&name);
    let fragment = partial.join("kernel.config");
    fs::write(&fragment, LAB_CONFIG)?;

    let jobs = std::thread::available_parallelism()?;
    progress!("building Linux {version} with {jobs} jobs: this takes some minutes, once");
    let mut path = OsString::from(&programs);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let make = |target: &str| {
        let mut make = Command::new(programs.join("make"));
        // Nothing of the user's environment changes what is built.
        make.env_clear().env("PATH", &path).env("LC_ALL", "C");
        make.env("M4", programs.join("m4"));
        make.env("BISON_PKGDATADIR", tools.join("usr/share/bison"));
        make.env("KCONFIG_ALLCONFIG", &fragment);
        make.arg(format!("--jobs={jobs}"))
            .arg(host_compiler(&tools));
        run(make.arg(target).current_dir(&tree))
    };
    make("allnoconfig")?;
    check_config(&fs::read_to_string(tree.join(".config"))?)?;
    make("bzImage")?;
    for (from, to) in [
        ("arch/x86/boot/bzImage", "bzImage"),
        (".config", "config"),
        ("System.map", "System.map"),
    ] {
        fs::rename(tree.join(from), partial.join(to))?;
    }
    for done in [&source, &tools] {
        fs::remove_dir_all(done)?;
    }
    Ok(version)
}

/// Makes each build program callable on any host: a script that starts it with the dynamic linker and the libraries it came with.
fn wrap_programs(tools: &Path) -> Result<PathBuf> {
    let programs = tools.join("wrapped");
    fs::create_dir(&programs)?;
    for name in BUILD_PROGRAMS {
        let script = format!(
            "#!/bin/sh\nexec '{0}/usr/lib64/ld-linux-x86-64.so.2' --argv0 \"$0\" --library-path '{0}/usr/lib/x86_64-linux-gnu' '{0}/usr/bin/{name}' \"$@\"\n",
            tools.display()
        );
        fs::write(programs.join(name), script)?;
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755))?;
    }
    Ok(programs)
}

/// Lets the host's gcc build the kernel's own tools against the unpacked libraries, and lets these run with them.
fn host_compiler(tools: &Path) -> String {
    let tools = tools.display();
    let libraries = format!("{tools}/usr/lib/x86_64-linux-gnu");
    format!(
        "HOSTCC=gcc --sysroot={tools} -B{libraries} -L{libraries} -Wl,--dynamic-linker={tools}/usr/lib64/ld-linux-x86-64.so.2 -Wl,-rpath,{libraries}"
    )
}

/// Kconfig drops an option without a word when something that it depends on is off.
fn check_config(config: &str) -> Result<()> {
    let lost: Vec<_> = LAB_CONFIG
        .lines()
        .filter(|option| !config.lines().any(|line| line == *option))
        .collect();
    ensure!(
        lost.is_empty(),
        "the kernel's configuration lost these options of kernel.config: {}",
        lost.join(" ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_stands_in_the_header() {
        let mut image = vec![0; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
        image[0x300..0x310].copy_from_slice(b"6.12.1-amd64 (me");
        assert_eq!(release_in_header(&image).as_deref(), Some("6.12.1-amd64"));
        assert_eq!(release_in_header(&image[..0x300]), None);
        assert_eq!(release_in_header(b"#!/bin/sh"), None);
    }

    #[test]
    fn an_option_that_got_lost_is_named() {
        let all = LAB_CONFIG.to_owned();
        check_config(&all).unwrap();
        let error = check_config(&all.replace("CONFIG_VFIO_PCI=y", "# CONFIG_VFIO_PCI is not set"))
            .unwrap_err();
        assert!(
            error.to_string().ends_with(": CONFIG_VFIO_PCI=y"),
            "{error}"
        );
    }
}
