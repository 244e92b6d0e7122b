//! Kernel modules for a kernel that does not have the drivers built in.

use super::busybox::read_decompressed;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashMap};
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

/// A module folder: file names and contents. It has a modules.dep in the order in which the guest loads the modules.
pub type ModuleFiles = BTreeMap<String, Vec<u8>>;

/// The wanted modules of a kernel's module folder and all they depend on, decompressed. A module that does not exist is taken to be
/// built in.
pub fn collect(from: &Path, busybox: &Path) -> Result<ModuleFiles> {
    let mut modules = Modules {
        files: HashMap::new(),
        busybox,
        collected: ModuleFiles::new(),
        needs: Vec::new(),
    };
    index(&from.join("kernel"), &mut modules.files)?;
    for name in WANTED {
        modules.collect(name)?;
    }
    let lines = modules.needs.iter().map(|(name, needs)| {
        let needs: String = needs.iter().map(|name| format!(" {name}.ko")).collect();
        format!("{name}.ko:{needs}\n")
    });
    let dependencies: String = lines.collect();
    modules
        .collected
        .insert("modules.dep".into(), dependencies.into());
    Ok(modules.collected)
}

/// Reads a folder that [`write`] wrote.
pub fn read(folder: &Path) -> Result<ModuleFiles> {
    let mut files = ModuleFiles::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.insert(
            entry.file_name().to_string_lossy().into_owned(),
            fs::read(entry.path())?,
        );
    }
    Ok(files)
}

/// Writes the files into a new folder.
pub fn write(files: &ModuleFiles, folder: &Path) -> Result<()> {
    fs::create_dir(folder)?;
    for (name, content) in files {
        fs::write(folder.join(name), content)?;
    }
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
    busybox: &'a Path,
    collected: ModuleFiles,
    /// Names in order of loading, each with all the modules that it needs, the nearest first, as modules.dep wants it.
    needs: Vec<(String, Vec<String>)>,
}

impl Modules<'_> {
    /// Takes a module after those it depends on. Returns its name and what it needs, nearest first; nothing if it is built in.
    fn collect(&mut self, name: &str) -> Result<Vec<String>> {
        if let Some((name, needs)) = self.needs.iter().find(|(known, _)| known == name) {
            return Ok([std::slice::from_ref(name), needs].concat());
        }
        let Some(file) = self.files.get(name) else {
            return Ok(Vec::new());
        };
        let module = read_decompressed(self.busybox, file)?;
        let mut needs: Vec<String> = Vec::new();
        for depends in depends_of(&module) {
            for need in self.collect(&depends)? {
                needs.retain(|known| *known != need);
                needs.push(need);
            }
        }
        self.collected.insert(format!("{name}.ko"), module);
        self.needs.push((name.to_owned(), needs.clone()));
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
        let from = tempfile::tempdir().unwrap();
        let drivers = from.path().join("kernel/drivers");
        fs::create_dir_all(&drivers).unwrap();
        let module = |name: &str, depends: &str| {
            let content = format!("ELF\0name=x\0depends={depends}\0");
            fs::write(drivers.join(name), content).unwrap();
        };
        module("vfio-pci.ko", "vfio-pci-core,vfio");
        module("vfio-pci-core.ko", "vfio,built-in");
        module("vfio.ko", "");
        module("other.ko", "");

        let files = collect(from.path(), Path::new("busybox")).unwrap();

        let names: Vec<_> = files.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["modules.dep", "vfio.ko", "vfio_pci.ko", "vfio_pci_core.ko"]
        );
        assert_eq!(
            String::from_utf8_lossy(&files["modules.dep"]),
            "vfio.ko:\nvfio_pci_core.ko: vfio.ko\nvfio_pci.ko: vfio_pci_core.ko vfio.ko\n"
        );
        write(&files, &from.path().join("copy")).unwrap();
        assert_eq!(read(&from.path().join("copy")).unwrap(), files);
    }
}
