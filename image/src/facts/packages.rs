//! The packages that are installed, from the databases that are text.

use super::fault::Fault;
use super::model::{Package, Packages};
use super::tree::Tree;

const DPKG: &str = "/var/lib/dpkg/status";
const APK: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];
/// Databases that are named but not read.
const OTHERS: [(&str, &str); 6] = [
    ("/var/lib/rpm/rpmdb.sqlite", "the rpm database (sqlite)"),
    ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "the rpm database (sqlite)"),
    ("/usr/lib/sysimage/rpm/Packages.db", "the rpm database (ndb)"),
    ("/var/lib/rpm/Packages.db", "the rpm database (ndb)"),
    ("/var/lib/rpm/Packages", "the rpm database (Berkeley DB)"),
    ("/var/lib/pacman/local", "the pacman database"),
];
const MAX_BYTES: u64 = 64 << 20;
const MAX_PACKAGES: usize = 50_000;

/// Reads the first database that is there.
pub(super) fn read(tree: &Tree<'_>) -> Result<Packages, Fault> {
    if let Some(status) = tree.text_if_there(DPKG, MAX_BYTES)? {
        return collect("dpkg", status.split("\n\n").filter_map(dpkg));
    }
    for path in APK {
        if let Some(installed) = tree.text_if_there(path, MAX_BYTES)? {
            return collect("apk", installed.split("\n\n").filter_map(apk));
        }
    }
    for (path, name) in OTHERS {
        if tree.exists(path)? {
            return Err(Fault::unsupported(format!("there is no reader for {name}")));
        }
    }
    Err(Fault::NotFound("package database that is known".to_owned()))
}

fn collect(manager: &str, packages: impl Iterator<Item = Package>) -> Result<Packages, Fault> {
    let mut packages: Vec<Package> = packages.take(MAX_PACKAGES + 1).collect();
    if packages.len() > MAX_PACKAGES {
        return Err(Fault::limit(format!("more than {MAX_PACKAGES} packages")));
    }
    packages.sort();
    Ok(Packages {
        manager: manager.to_owned(),
        packages,
    })
}

/// One paragraph of dpkg's status file. Packages that were removed but left their configuration are not installed.
fn dpkg(paragraph: &str) -> Option<Package> {
    let field = |wanted: &str| {
        paragraph.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    field("Status")?.ends_with(" installed").then_some(())?;
    Some(Package {
        name: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        architecture: field("Architecture")?.to_owned(),
    })
}

/// One paragraph of apk's database.
fn apk(paragraph: &str) -> Option<Package> {
    let field = |wanted: &str| paragraph.lines().find_map(|line| line.strip_prefix(wanted));
    Some(Package {
        name: field("P:")?.to_owned(),
        version: field("V:")?.to_owned(),
        architecture: field("A:")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dpkg_lists_only_what_is_installed() {
        let status = "Package: bash\nStatus: install ok installed\nVersion: 5.2.15-2+b2\nArchitecture: amd64\n\
                      Description: shell\n Package: not a field\n\nPackage: nano\n\
                      Status: deinstall ok config-files\nVersion: 7.2-1\nArchitecture: amd64\n\nnonsense\n";
        let packages = collect("dpkg", status.split("\n\n").filter_map(dpkg)).unwrap();
        assert_eq!(
            packages.packages,
            [Package {
                name: "bash".to_owned(),
                version: "5.2.15-2+b2".to_owned(),
                architecture: "amd64".to_owned()
            }]
        );
    }

    #[test]
    fn apk_fields_are_letters() {
        let installed = "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nS:1\n\nP:busybox\nV:1.36\nA:x86_64\n";
        let packages = collect("apk", installed.split("\n\n").filter_map(apk)).unwrap();
        let names: Vec<_> = packages
            .packages
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        assert_eq!(names, ["busybox", "musl"]);
    }
}
