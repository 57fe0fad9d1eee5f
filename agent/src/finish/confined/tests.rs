use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
};

use super::*;

/// A root beside an outside that no path may reach.
fn roots() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let base = tempfile::tempdir().unwrap();
    let (root, outside) = (base.path().join("root"), base.path().join("outside"));
    for folder in [&root, &outside] {
        fs::create_dir_all(folder.join("etc")).unwrap();
        fs::write(folder.join("etc/secret"), folder.to_str().unwrap()).unwrap();
    }
    (base, root, outside)
}

fn untouched(outside: &Path) {
    let names: Vec<_> = fs::read_dir(outside.join("etc"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["secret"]);
    assert_eq!(
        fs::read_to_string(outside.join("etc/secret")).unwrap(),
        outside.to_str().unwrap()
    );
}

#[test]
fn writes_with_mode_and_replaces_as_a_whole() {
    let (_base, root, _) = roots();
    let confined = ConfinedRoot::open(&root).unwrap();
    confined
        .write("var/lib/cloud/seed/meta-data", b"one", 0o600)
        .unwrap();
    confined
        .write("var/lib/cloud/seed/meta-data", b"two", 0o600)
        .unwrap();
    let path = root.join("var/lib/cloud/seed/meta-data");
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(root.join("var/lib")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(confined.list("var/lib/cloud/seed").unwrap(), ["meta-data"]);
    assert_eq!(confined.kind("var/lib").unwrap(), Some(Kind::Folder));
    assert_eq!(confined.kind("var/nothing/below").unwrap(), None);
    assert_eq!(
        confined
            .read("var/lib/cloud/seed/meta-data", 2)
            .unwrap_err()
            .operation,
        "read"
    );
    assert!(
        confined.write("var/lib", b"x", 0o600).is_err(),
        "a folder is not replaced by a file"
    );
}

#[test]
fn hostile_folder_links_stay_inside() {
    let links: [&dyn Fn(&Path) -> std::path::PathBuf; 3] = [
        &|outside| outside.join("etc"),
        &|_| "../../outside/etc".into(),
        &|_| "/../../../outside/etc".into(),
    ];
    for target in links {
        let (_base, root, outside) = roots();
        symlink(target(&outside), root.join("var")).unwrap();
        let confined = ConfinedRoot::open(&root).unwrap();
        assert!(
            confined.write("var/new", b"x", 0o600).is_err(),
            "the link leads to nothing inside of the root"
        );
        assert_eq!(confined.read("var/secret", 4096).unwrap(), None);
        assert!(!confined.remove_file("var/secret").unwrap());
        assert!(!confined.remove_tree("var/secret").unwrap());
        assert!(!confined.empty_folder("var").unwrap());
        assert_eq!(confined.list("var").unwrap(), [""; 0]);
        untouched(&outside);
    }
}

#[test]
fn absolute_links_mean_the_installed_system() {
    let (_base, root, outside) = roots();
    symlink("/etc", root.join("config")).unwrap();
    let confined = ConfinedRoot::open(&root).unwrap();
    confined.write("config/new", b"x", 0o644).unwrap();
    assert_eq!(fs::read(root.join("etc/new")).unwrap(), b"x");
    assert_eq!(
        confined.read("config/secret", 4096).unwrap().unwrap(),
        root.to_str().unwrap().as_bytes()
    );
    untouched(&outside);
}

#[test]
fn links_at_the_end_are_replaced_not_followed() {
    let (_base, root, outside) = roots();
    symlink(outside.join("etc/secret"), root.join("etc/link")).unwrap();
    symlink("/etc/secret", root.join("etc/inner")).unwrap();
    let confined = ConfinedRoot::open(&root).unwrap();
    confined.write("etc/link", b"mine", 0o600).unwrap();
    assert_eq!(fs::read(root.join("etc/link")).unwrap(), b"mine");
    assert!(!fs::symlink_metadata(root.join("etc/link")).unwrap().is_symlink());
    assert!(confined.remove_file("etc/inner").unwrap());
    assert!(root.join("etc/secret").exists());
    confined.link("etc/wants/unit", "../unit").unwrap();
    confined.link("etc/wants/unit", "../other").unwrap();
    assert_eq!(
        fs::read_link(root.join("etc/wants/unit")).unwrap(),
        Path::new("../other")
    );
    untouched(&outside);
}

#[test]
fn trees_are_removed_without_following_links() {
    let (_base, root, outside) = roots();
    fs::create_dir_all(root.join("var/cache/deep/er")).unwrap();
    symlink(&outside, root.join("var/cache/deep/out")).unwrap();
    fs::write(root.join("var/cache/file"), "x").unwrap();
    let confined = ConfinedRoot::open(&root).unwrap();
    assert!(confined.empty_folder("var/cache").unwrap());
    assert!(root.join("var/cache").is_dir());
    assert!(!confined.empty_folder("var/cache").unwrap());
    assert!(confined.remove_tree("var").unwrap());
    assert!(!root.join("var").exists());
    untouched(&outside);
}

#[test]
fn pipes_do_not_hold_the_reader_and_odd_paths_are_refused() {
    let (_base, root, _) = roots();
    nix::unistd::mkfifo(&root.join("etc/os-release"), Mode::from_bits_truncate(0o600)).unwrap();
    let confined = ConfinedRoot::open(&root).unwrap();
    assert!(confined.read("etc/os-release", 10).is_err());
    for path in [
        "../outside/etc/secret",
        "/etc/secret",
        "etc/../../outside/etc/secret",
    ] {
        assert!(confined.read(path, 4096).is_err(), "{path}");
        assert!(confined.write(path, b"", 0o600).is_err(), "{path}");
    }
}

/// What a policy gives, as the attribute has it.
fn label(kind: &str) -> Vec<u8> {
    format!("system_u:object_r:{kind}:s0\0").into_bytes()
}

#[test]
fn what_is_written_has_the_label_of_what_it_replaces_or_of_its_folder() {
    use crate::sys::label::{get, set};
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path).to_str().unwrap().to_owned();
    fs::create_dir_all(at("etc/systemd")).unwrap();
    fs::create_dir_all(at("usr/bin")).unwrap();
    fs::write(at("etc/machine-id"), "x").unwrap();
    fs::write(at("usr/bin/env"), "x").unwrap();
    if set(&at("etc"), &label("etc_t")).is_err() {
        return; // not everybody may
    }
    for (path, kind) in [
        ("etc/machine-id", "machineid_t"),
        ("etc/systemd", "systemd_unit_file_t"),
        ("usr/bin/env", "bin_t"),
    ] {
        set(&at(path), &label(kind)).unwrap();
    }
    let root = ConfinedRoot::open(folder.path()).unwrap();
    root.write("etc/machine-id", b"", 0o444).unwrap();
    root.write("etc/imprint/guest.json", b"{}", 0o600).unwrap();
    root.link("etc/systemd/a.service", "../b").unwrap();
    root.write("etc/systemd/x.wants/b.service", b"", 0o644).unwrap();
    root.write("etc/run", b"", 0o755).unwrap();
    root.label_like("etc/run", &["usr/bin/none", "usr/bin/env"])
        .unwrap();
    root.write("usr/unlabelled", b"", 0o644).unwrap();
    root.rewrite("etc/machine-id", 10, |_| Some(Vec::new())).unwrap();
    for (path, kind) in [
        ("etc/machine-id", "machineid_t"),
        ("etc/imprint", "etc_t"),
        ("etc/imprint/guest.json", "etc_t"),
        ("etc/systemd/a.service", "systemd_unit_file_t"),
        ("etc/systemd/x.wants", "systemd_unit_file_t"),
        ("etc/systemd/x.wants/b.service", "systemd_unit_file_t"),
        ("etc/run", "bin_t"),
    ] {
        assert_eq!(get(&at(path)).unwrap(), Some(label(kind)), "{path}");
    }
    assert_eq!(get(&at("usr/unlabelled")).unwrap(), None);
    assert!(root.is_labelled("etc/machine-id").unwrap());
    assert!(!root.is_labelled("etc/none").unwrap() && !root.is_labelled("no/none").unwrap());
}

/// Needs root: only who may mount can disturb.
#[test]
fn mounts_elsewhere_do_not_disturb() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (base, root, _outside) = roots();
    symlink("../etc/secret", root.join("etc/link")).unwrap();
    let elsewhere = base.path().join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    let done = AtomicBool::new(false);
    let confined = ConfinedRoot::open(&root).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if crate::sys::mount::mount_kernel("tmpfs", &elsewhere).is_err() {
                    return;
                }
                crate::sys::mount::clear(&elsewhere).unwrap();
            }
        });
        let read = (0..500)
            .map(|_| confined.read("etc/link", 1000))
            .find(Result::is_err);
        done.store(true, Ordering::Relaxed);
        assert!(read.is_none(), "{read:?}");
    });
}
