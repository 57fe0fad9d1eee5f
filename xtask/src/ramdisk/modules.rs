//! Kernel modules: those of the list and what they depend on, with the indexes that udev and modprobe read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::recipe::Item;
use crate::{screen, tool};

/// Indexes of the kernel package that depmod reads.
const INDEXES: [&str; 3] = ["modules.order", "modules.builtin", "modules.builtin.modinfo"];

/// Copies the chosen modules below `to` and runs depmod there.
pub fn choose(wanted: &[Item], packages: &Path, to: &Path, version: &str) -> Result<()> {
    screen::step("Choosing kernel modules");
    depmod(packages, version)?;
    let from = packages.join("usr/lib/modules").join(version);
    let read = |name: &str| {
        fs::read_to_string(from.join(name)).with_context(|| format!("cannot read {name} of kernel {version}"))
    };
    let chosen = closure(
        wanted,
        &read("modules.dep")?,
        &read("modules.builtin")?,
        &read("modules.softdep")?,
    )?;
    let target = to.join("usr/lib/modules").join(version);
    for file in INDEXES.iter().map(|i| (*i).to_owned()).chain(chosen) {
        let copy = target.join(&file);
        if let Some(parent) = copy.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(from.join(&file), &copy).with_context(|| format!("cannot copy the module {file}"))?;
    }
    std::os::unix::fs::symlink("usr/lib", to.join("lib"))?;
    depmod(to, version)
}

fn depmod(base: &Path, version: &str) -> Result<()> {
    tool::run(Command::new("depmod").arg("--basedir").arg(base).arg(version))
}

/// Paths of the wanted modules and all they need, sorted.
fn closure(wanted: &[Item], dep: &str, builtin: &str, softdep: &str) -> Result<Vec<String>> {
    let needs: BTreeMap<&str, Vec<&str>> = dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (path, needs.split_whitespace().collect()))
        .collect();
    let by_name: BTreeMap<String, &str> = needs.keys().map(|path| (name(path), *path)).collect();
    let builtin: BTreeSet<String> = builtin.lines().map(name).collect();
    let soft = soft_dependencies(softdep);

    let mut chosen = BTreeSet::new();
    let mut missing = Vec::new();
    let mut queue: Vec<(String, bool)> = wanted
        .iter()
        .map(|i| (i.name.replace('-', "_"), i.optional))
        .collect();
    while let Some((module, optional)) = queue.pop() {
        let Some(path) = by_name.get(&module) else {
            if !optional && !builtin.contains(&module) {
                missing.push(module);
            }
            continue;
        };
        if chosen.insert((*path).to_owned()) {
            queue.extend(needs[path].iter().map(|need| (name(need), false)));
            // Soft dependencies may name modules that this kernel does not have.
            queue.extend(soft.get(&module).into_iter().flatten().map(|s| (s.clone(), true)));
        }
    }
    if !missing.is_empty() {
        missing.sort();
        bail!(
            "this kernel has no modules {}; correct ramdisk/modules.txt",
            missing.join(", ")
        );
    }
    Ok(chosen.into_iter().collect())
}

/// Lines of `softdep MODULE pre: A B post: C`.
fn soft_dependencies(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some("softdep"), Some(module)) = (words.next(), words.next()) {
            let names = words.filter(|w| !w.ends_with(':')).map(|w| w.replace('-', "_"));
            all.entry(module.replace('-', "_")).or_default().extend(names);
        }
    }
    all
}

/// The module's name, from a path like `kernel/drivers/nvme/host/nvme-core.ko.xz`.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/a/nvme.ko: kernel/a/nvme-core.ko\nkernel/a/nvme-core.ko: kernel/b/t10-pi.ko\n\
        kernel/b/t10-pi.ko:\nkernel/fs/ext4.ko.xz:\nkernel/c/crc32c_generic.ko:\nkernel/x/unused.ko:\n";

    fn wanted(names: &[&str]) -> Vec<Item> {
        names
            .iter()
            .map(|n| Item {
                name: (*n).to_owned(),
                optional: false,
            })
            .collect()
    }

    #[test]
    fn dependencies_come_along() {
        let chosen = closure(
            &wanted(&["nvme", "ext4", "virtio"]),
            DEP,
            "kernel/v/virtio.ko\n",
            "softdep ext4 pre: crc32c-generic absent\n",
        );
        assert_eq!(
            chosen.unwrap(),
            [
                "kernel/a/nvme-core.ko",
                "kernel/a/nvme.ko",
                "kernel/b/t10-pi.ko",
                "kernel/c/crc32c_generic.ko",
                "kernel/fs/ext4.ko.xz"
            ]
        );
    }

    #[test]
    fn a_module_that_does_not_exist_is_an_error() {
        let error = closure(&wanted(&["nvme", "nvmee"]), DEP, "", "").unwrap_err();
        assert!(error.to_string().contains("nvmee"), "{error}");
        let optional = [Item {
            name: "nvmee".to_owned(),
            optional: true,
        }];
        assert_eq!(closure(&optional, DEP, "", "").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn hyphens_and_compression_do_not_matter() {
        for path in [
            "kernel/a/nvme-core.ko",
            "kernel/a/nvme_core.ko.xz",
            "nvme-core.ko.zst",
            "nvme-core",
        ] {
            assert_eq!(name(path), "nvme_core", "{path}");
        }
        let chosen = closure(&wanted(&["nvme-core"]), DEP, "", "").unwrap();
        assert_eq!(chosen, ["kernel/a/nvme-core.ko", "kernel/b/t10-pi.ko"]);
    }

    #[test]
    fn soft_dependencies_are_those_before_and_after() {
        let soft = soft_dependencies(
            "# comment\nsoftdep ext4 pre: crc32c-generic post: mbcache\nsoftdep ext4 pre: crc16\nalias x y\nsoftdep\n",
        );
        assert_eq!(soft.len(), 1);
        assert_eq!(soft["ext4"], ["crc32c_generic", "mbcache", "crc16"]);
    }

    #[test]
    fn a_circle_of_dependencies_ends() {
        let dep = "kernel/a.ko: kernel/b.ko\nkernel/b.ko: kernel/a.ko\n";
        let chosen = closure(&wanted(&["a"]), dep, "", "softdep b post: a\n").unwrap();
        assert_eq!(chosen, ["kernel/a.ko", "kernel/b.ko"]);
    }
}
