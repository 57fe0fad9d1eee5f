//! `imprint-guest network` as an operator uses it: on files below a folder, and in a network namespace of its own.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use imprint_network::{
    Format,
    kept::{Kept, PLACES},
    read, render,
};

const TEXT: &str = "version: 2\nethernets:\n  lan0:\n    match: {macaddress: '52:54:00:00:00:01'}\n    addresses: [192.0.2.10/24, '2001:db8::10/64']\n    routes: [{to: default, via: 192.0.2.1}]\n";

/// A system that was installed with network data.
fn installed(system: Option<Format>) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let network = read(TEXT.as_bytes()).unwrap().network;
    let kept = Kept {
        network: network.clone(),
        system,
        accepted: None,
        learned: None,
    };
    for place in PLACES {
        put(root.path(), place, &kept.to_text(), 0o600);
    }
    for file in system
        .map(|system| render(&network, system).files)
        .unwrap_or_default()
    {
        put(root.path(), &file.path, &file.content, file.mode);
    }
    root
}

fn put(root: &Path, path: &str, text: &str, mode: u32) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn guest(verb: &str, root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imprint-guest"));
    command.args(["network", verb, "--root"]).arg(root);
    command
}

fn run(verb: &str, root: &Path) -> (i32, String) {
    let output = guest(verb, root).output().unwrap();
    (output.status.code().unwrap(), text(&output))
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

const FILE: &str = "etc/systemd/network/10-imprint-lan0.network";

#[test]
fn files_are_told_put_back_and_accepted() {
    let root = installed(Some(Format::Networkd));
    let path = root.path().join(FILE);
    let good = fs::read_to_string(&path).unwrap();
    let bad = good.replace("192.0.2.10/24", "192.0.2.11/24");
    fs::write(&path, &bad).unwrap();
    put(
        root.path(),
        "etc/systemd/network/00-mine.network",
        "[Match]\nName=*\n",
        0o644,
    );

    let (code, out) = run("diff", root.path());
    assert_eq!(code, 2, "{out}");
    for line in [
        "file: /etc/systemd/network/10-imprint-lan0.network was changed",
        "-Address=192.0.2.10/24",
        "+Address=192.0.2.11/24",
        "file: /etc/systemd/network/00-mine.network was added",
        "+Name=*",
    ] {
        assert!(out.contains(line), "{line}:\n{out}");
    }
    let (code, out) = run("restore", root.path());
    assert_eq!(code, 0, "{out}");
    assert_eq!(fs::read_to_string(&path).unwrap(), good);
    let aside = root.path().join("var/lib/imprint/aside");
    assert_eq!(fs::read_to_string(aside.join(FILE)).unwrap(), bad);
    assert!(aside.join("etc/systemd/network/00-mine.network").exists());
    assert!(!run("status", root.path()).1.contains("file:"));

    // What was accepted stays, and is what is put back from then on.
    fs::write(&path, &bad).unwrap();
    assert_eq!(run("accept", root.path()).0, 0);
    assert_eq!(
        run("status", root.path()),
        (0, "network by networkd, as it was accepted\n".to_owned())
    );
    fs::remove_file(&path).unwrap();
    assert!(
        run("status", root.path())
            .1
            .contains("10-imprint-lan0.network is gone")
    );
    assert_eq!(run("restore", root.path()).0, 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), bad);
}

#[test]
fn permissions_count() {
    let root = installed(Some(Format::NetworkManager));
    let path = "etc/NetworkManager/system-connections/imprint-lan0.nmconnection";
    fs::set_permissions(root.path().join(path), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(run("status", root.path()).1.contains("has other permissions"));
    assert_eq!(run("restore", root.path()).0, 0);
    let mode = fs::metadata(root.path().join(path)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn one_damaged_copy_does_not_matter() {
    for (index, place) in PLACES.iter().enumerate() {
        for damage in ["", "{}", "{\"digest\": \"00\", \"state\": {\"version\": 1}}"] {
            let root = installed(Some(Format::Networkd));
            fs::write(root.path().join(place), damage).unwrap();
            let (_, out) = run("status", root.path());
            assert!(out.contains(&format!("repaired: {place}")), "{out}");
            let texts = PLACES.map(|place| fs::read_to_string(root.path().join(place)).unwrap());
            assert_eq!(texts[index], texts[1 - index]);
        }
    }
    let root = installed(None);
    for place in PLACES {
        fs::write(root.path().join(place), "x").unwrap();
    }
    let (code, out) = run("status", root.path());
    assert!(code == 78 && out.contains("both copies are damaged"), "{out}");
    let (code, out) = run("status", &root.path().join("nothing"));
    assert!(code == 78 && out.contains("without network data"), "{out}");
}

#[test]
fn what_cloud_init_wrote_is_cloud_inits() {
    let root = installed(None);
    for verb in ["restore", "accept", "apply"] {
        let (code, out) = run(verb, root.path());
        assert!(code == 1 && out.contains("cloud-init"), "{verb}: {out}");
    }
}

/// A real kernel: everything is there, then one thing after the other is not.
#[test]
fn the_kernel_is_compared() {
    let root = installed(Some(Format::Networkd));
    let script = "set -e\n\
        ip link add lan0 address 52:54:00:00:00:01 type veth peer name peer0\n\
        ip link set peer0 up; ip link set lan0 up\n\
        ip addr add 192.0.2.10/24 dev lan0; ip addr add 2001:db8::10/64 dev lan0 nodad\n\
        ip route add default via 192.0.2.1\n\
        status() { code=0; \"$@\" || code=$?; echo \"$code\"; }\n\
        status \"$@\"\n\
        ip route del default; status \"$@\"\n\
        ip addr del 192.0.2.10/24 dev lan0; status \"$@\"\n\
        ip link set peer0 down; status \"$@\"\n\
        ip link set lan0 down; status \"$@\"\n\
        ip link del lan0; status \"$@\"\n";
    let command = guest("status", root.path());
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", script, "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .output()
        .unwrap();
    if !output.status.success() && text(&output).contains("unshare") {
        assert!(std::env::var_os("CI").is_none(), "{}", text(&output));
        eprintln!("not tried: this needs root");
        return;
    }
    let all = text(&output);
    let parts: Vec<&str> = all.split("network by networkd, ").skip(1).collect();
    assert_eq!(parts[0], "as it was given\n0\n", "{all}");
    for (part, line) in parts[1..].iter().zip([
        "kernel: lan0: the route to 0.0.0.0/0 via 192.0.2.1 is gone",
        "kernel: lan0: the address 192.0.2.10/24 is gone",
        "kernel: lan0: it has no carrier",
        "kernel: lan0: it is down",
        "kernel: lan0: there is no such interface",
    ]) {
        assert!(part.contains(line) && part.ends_with("2\n"), "{line}:\n{all}");
    }
    assert_eq!(parts.len(), 6);
}
