//! Kernel modules for a kernel that does not have the drivers built in.

use super::busybox::read_decompressed;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What the guest loads, in this order: the IOMMU before the drivers whose devices it serves.
const WANTED: [&str; 6] = [
    "virtio_iommu",
    "vfio_iommu_type1",
    "vfio_pci",
    "nvme",
    "igb",
    "igbvf",
];

/// Copies the wanted modules and all they depend on, decompressed, from a kernel's module folder to `to`, with a modules.dep in the
/// order in which the guest loads them. A module that does not exist is taken to be built in.
pub fn collect(from: &Path, to: &Path, busybox: &Path) -> Result<()> {
    let mut modules = Modules {
        files: HashMap::new(),
        to,
        busybox,
        collected: Vec::new(),
    };
    index(&from.join("kernel"), &mut modules.files)?;
    for name in WANTED {
        modules.collect(name)?;
    }
    let lines = modules.collected.iter().map(|(name, depends)| {
        let depends: String = depends.iter().map(|name| format!(" {name}.ko")).collect();
        format!("{name}.ko:{depends}\n")
    });
    fs::write(to.join("modules.dep"), lines.collect::<String>())?;
    Ok(())
}

/// Finds all module files under a folder by the module's name, in which the kernel takes `-` for `_`.
fn index(folder: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some((name, _)) = name.split_once(".ko") {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

struct Modules<'a> {
    files: HashMap<String, PathBuf>,
    to: &'a Path,
    busybox: &'a Path,
    /// Names in order of loading, each with all the modules that it needs, the nearest first, as modules.dep wants it.
    collected: Vec<(String, Vec<String>)>,
}

impl Modules<'_> {
    /// Copies a module after those it depends on. Returns its name and what it needs, nearest first; nothing if it is built in.
    fn collect(&mut self, name: &str) -> Result<Vec<String>> {
        if let Some((name, needs)) = self
            .collected
            .iter()
            .find(|(collected, _)| collected == name)
        {
            return Ok([std::slice::from_ref(name), needs].concat());
        }
        let Some(file) = self.files.get(name) else {
            return Ok(Vec::new());
        };
        let module = read_decompressed(self.busybox, file)?;
        fs::write(self.to.join(format!("{name}.ko")), &module)?;
        let mut needs: Vec<String> = Vec::new();
        for depends in depends_of(&module) {
            for need in self.collect(&depends)? {
                needs.retain(|known| *known != need);
                needs.push(need);
            }
        }
        self.collected.push((name.to_owned(), needs.clone()));
        Ok([vec![name.to_owned()], needs].concat())
    }
}

/// The names after `depends=` among the zero-terminated strings of a module's .modinfo section.
fn depends_of(module: &[u8]) -> Vec<String> {
    let strings = module.split(|&byte| byte == 0);
    let depends = strings
        .filter_map(|string| string.strip_prefix(b"depends="))
        .next()
        .unwrap_or_default();
    let names = String::from_utf8_lossy(depends);
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("kernel/drivers")).unwrap();
        fs::create_dir(&to).unwrap();
        let module = |name: &str, depends: &str| {
            fs::write(
                from.join("kernel/drivers").join(name),
                format!("ELF\0name=x\0depends={depends}\0"),
            )
            .unwrap();
        };
        module("vfio-pci.ko", "vfio-pci-core,vfio");
        module("vfio-pci-core.ko", "vfio,built-in");
        module("vfio.ko", "");
        module("other.ko", "");

        collect(&from, &to, Path::new("busybox")).unwrap();

        let dependencies = fs::read_to_string(to.join("modules.dep")).unwrap();
        assert_eq!(
            dependencies,
            "vfio.ko:\nvfio_pci_core.ko: vfio.ko\nvfio_pci.ko: vfio_pci_core.ko vfio.ko\n"
        );
        assert!(to.join("vfio_pci_core.ko").exists() && !to.join("other.ko").exists());
    }
}
