//! Families of distributions, as data: `families.toml`. Nothing else in the agent knows a distribution by its name.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use super::confined::{ConfinedError, ConfinedRoot};

const TABLE: &str = include_str!("families.toml");

/// What is known of a family; everything is empty for a system of no family.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Family {
    /// For the report: "debian"; empty for none.
    pub name: String,
    /// IDs of os-release that belong to it.
    pub ids: Vec<String>,
    /// Words of ID_LIKE that do.
    pub like: Vec<String>,
    /// Folders below EFI, by ID, where they are not the ID itself.
    pub efi_folders: BTreeMap<String, String>,
    /// Files that say who the builder's machine was.
    pub identity_files: Vec<String>,
    /// Folders that do, with all in them.
    pub identity_trees: Vec<String>,
    /// Folders whose leases go.
    pub lease_folders: Vec<String>,
    /// Files that keep cloud-init from doing its work.
    pub cloud_init_leftovers: Vec<String>,
    /// Files of what makes missing ssh host keys.
    pub host_key_makers: Vec<String>,
    /// Patterns of files that may name partitions; of all systems only.
    pub identifier_files: Vec<String>,
    /// Files with command lines of kernels; of all systems only.
    pub command_lines: Vec<CommandLines>,
    /// Where /etc/resolv.conf leads.
    pub resolv_conf: Vec<Resolver>,
}

/// Files in which command lines of kernels stand in one form.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandLines {
    /// How they stand there.
    pub form: Form,
    /// Patterns of the files.
    pub paths: Vec<String>,
}

/// How a command line stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// `GRUB_CMDLINE_LINUX="…"`.
    DefaultGrub,
    /// `linux /vmlinuz …`, once for each entry.
    GrubMenu,
    /// `options …` of the Boot Loader Specification.
    BootLoaderSpec,
    /// `append …` of extlinux and syslinux.
    Extlinux,
    /// Nothing else on its only line.
    Plain,
}

/// A way in which names are resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolver {
    /// One of these is there.
    pub when: Vec<String>,
    /// Target of the link.
    pub link: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    common: Family,
    family: Vec<Family>,
}

static FAMILIES: LazyLock<Table> =
    LazyLock::new(|| toml::from_str(TABLE).expect("a test reads the table, which is built in"));

/// What holds for every system.
#[must_use]
pub fn common() -> &'static Family {
    &FAMILIES.common
}

/// The family of a system, by `ID` and `ID_LIKE` of its os-release; the empty one when nobody knows it.
#[must_use]
pub fn of(id: &str, like: &str) -> Family {
    let families = &FAMILIES.family;
    let by_id = families
        .iter()
        .find(|family| family.ids.iter().any(|own| own.eq_ignore_ascii_case(id)));
    by_id
        .or_else(|| {
            like.split_whitespace().find_map(|word| {
                families
                    .iter()
                    .find(|family| family.like.iter().any(|own| own == word))
            })
        })
        .cloned()
        .unwrap_or_default()
}

impl Family {
    /// The folder below EFI that a system of this ID uses.
    #[must_use]
    pub fn efi_folder<'a>(&'a self, id: &'a str) -> &'a str {
        self.efi_folders.get(id).map_or(id, String::as_str)
    }

    /// Entries of one list, those of all systems first.
    pub fn all(&self, list: impl Fn(&Self) -> &Vec<String>) -> impl Iterator<Item = &str> {
        list(common()).iter().chain(list(self)).map(String::as_str)
    }

    /// The target of /etc/resolv.conf, when the system resolves names in a way that has one.
    ///
    /// # Errors
    /// When a folder can't be read.
    pub fn resolv_conf(&self, root: &ConfinedRoot) -> Result<Option<&str>, ConfinedError> {
        for resolver in common().resolv_conf.iter().chain(&self.resolv_conf) {
            for path in &resolver.when {
                if root.kind(path)?.is_some() {
                    return Ok(Some(&resolver.link));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_belong_to_families() {
        for (id, like, family, folder) in [
            ("debian", "", "debian", "debian"),
            ("ubuntu", "debian", "ubuntu", "ubuntu"),
            ("linuxmint", "ubuntu debian", "ubuntu", "linuxmint"),
            ("raspbian", "debian", "debian", "raspbian"),
            ("rhel", "fedora", "enterprise linux", "redhat"),
            ("rocky", "rhel centos fedora", "enterprise linux", "rocky"),
            ("almalinux", "rhel centos fedora", "enterprise linux", "almalinux"),
            ("anolis", "rhel fedora centos", "enterprise linux", "anolis"),
            ("fedora", "", "fedora", "fedora"),
            // Some versions say nothing of whom they are like.
            ("openEuler", "", "openeuler", "openEuler"),
            ("sles", "suse", "suse", "sles"),
            ("opensuse-leap", "suse opensuse", "suse", "opensuse"),
            ("gentoo", "", "", "gentoo"),
            ("", "", "", ""),
        ] {
            let found = of(id, like);
            assert_eq!(
                (found.name.as_str(), found.efi_folder(id)),
                (family, folder),
                "{id}"
            );
        }
    }

    #[test]
    fn paths_of_the_table_are_below_the_root_and_no_family_repeats_what_is_common() {
        let lists: [fn(&Family) -> &Vec<String>; 6] = [
            |family| &family.identifier_files,
            |family| &family.identity_files,
            |family| &family.identity_trees,
            |family| &family.lease_folders,
            |family| &family.cloud_init_leftovers,
            |family| &family.host_key_makers,
        ];
        for family in FAMILIES.family.iter().chain([common()]) {
            for list in lists {
                for path in list(family) {
                    let plain = !path.starts_with('/') && !path.ends_with('/');
                    assert!(plain && !path.split('/').any(|part| part == ".."), "{path}");
                    assert!(
                        std::ptr::eq(family, common()) || !list(common()).contains(path),
                        "{path}"
                    );
                }
            }
            assert!(
                family
                    .resolv_conf
                    .iter()
                    .all(|resolver| resolver.link.starts_with("../run/")),
                "{family:?}"
            );
            assert_eq!(family.command_lines.is_empty(), !std::ptr::eq(family, common()));
        }
    }
}
