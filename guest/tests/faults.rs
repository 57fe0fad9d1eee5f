//! Every fault on every system that brings a network up: told, put back, and brought up in the system's own words. The kernel
//! is a real one, in a network namespace; the system's programs are stand-ins that note how they were called.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    env, fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use imprint_guest::{
    events::Spool,
    network::{self, bring_up::How, guard::Patience, kernel, reach, services, state, watch},
};
use imprint_network::{
    Format,
    kept::{Kept, Learned, PLACES},
    read, render,
};

const TEXT: &str = "version: 2\nethernets:\n  lan0:\n    match: {macaddress: '52:54:00:00:00:01'}\n    addresses: [192.0.2.10/24]\n    routes: [{to: default, via: 192.0.2.1}]\n";
const UNITS: &str = "etc/systemd/system";
const INSIDE: &str = "IMPRINT_TEST_INSIDE";

/// Runs a test of this file once more, in a network namespace with stand-ins for the system's programs; true: this is it.
fn inside(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let folder = tempfile::tempdir().unwrap();
    // Whatever is told to bring the network up does it, as far as the kernel goes.
    let stand_in = "#!/bin/sh\necho \"${0##*/} $*\" >> \"$CALLS\"\n\
        case \"$*\" in *restart*|*connection\\ up*)\n\
        ip link set lan0 up; ip addr replace 192.0.2.10/24 dev lan0; ip route replace default via 192.0.2.1;; esac\n";
    for program in ["systemctl", "systemd-run", "networkctl", "nmcli", "netplan"] {
        put(folder.path(), program, stand_in, 0o755);
    }
    let path = format!("{}:{}", folder.path().display(), env::var("PATH").unwrap());
    let output = Command::new("unshare")
        .args(["--net", "--"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .env("PATH", path)
        .env("CALLS", folder.path().join("calls"))
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if said.contains("unshare:") {
        assert!(env::var_os("CI").is_none(), "{said}");
        eprintln!("not tried: this needs root");
        return false;
    }
    assert!(output.status.success(), "{said}");
    false
}

fn put(root: &Path, path: &str, text: &str, mode: u32) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn sh(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status().unwrap();
    assert!(status.success(), "{script}");
}

/// The interface, and somebody at the other end of its cable who is the gateway.
fn cabled() -> Gateway {
    let gateway = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-c",
            "until ip link set peer0 up 2>/dev/null; do sleep 0.1; done; \
            ip addr add 192.0.2.1/24 dev peer0; exec sleep 60",
        ])
        .spawn()
        .unwrap();
    let pid = gateway.id();
    sh(&format!(
        "ip link set lo up; ip link add lan0 address 52:54:00:00:00:01 type veth peer name peer0\n\
         until [ \"$(readlink /proc/{pid}/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.1; done\n\
         ip link set peer0 netns {pid}; ip link set lan0 up\n\
         until grep -q 1 /sys/class/net/lan0/carrier 2>/dev/null || ip link show lan0 | grep -q LOWER_UP; do sleep 0.1; done\n\
         ip addr add 192.0.2.10/24 dev lan0; ip route add default via 192.0.2.1"
    ));
    Gateway(gateway)
}

/// Ends with the test, however that ends.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn unit(system: Format) -> &'static str {
    match system {
        Format::NetworkManager => "NetworkManager.service",
        Format::Ifupdown => "networking.service",
        _ => "systemd-networkd.service",
    }
}

/// A system whose network was right once.
fn installed(system: Format) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let network = read(TEXT.as_bytes()).unwrap().network;
    let wants = root.path().join(UNITS).join("multi-user.target.wants");
    fs::create_dir_all(&wants).unwrap();
    let unit = unit(system);
    symlink(format!("/lib/systemd/system/{unit}"), wants.join(unit)).unwrap();
    for file in render(&network, system).files {
        put(root.path(), &file.path, &file.content, file.mode);
    }
    let kept = Kept {
        network,
        system: Some(system),
        accepted: None,
        learned: Some(Learned {
            services: services::read(root.path(), system).unwrap(),
            default_ipv4: true,
            ..Learned::default()
        }),
    };
    for place in PLACES {
        put(root.path(), place, &kept.to_text(), 0o600);
    }
    root
}

/// The file that says the most.
fn file(root: &Path, system: Format) -> std::path::PathBuf {
    let kept = state::load(root).unwrap().kept;
    let files = kept.files();
    let file = files.iter().find(|file| file.content.contains("192.0.2.10"));
    root.join(&file.unwrap_or_else(|| panic!("{system:?}")).path)
}

type Sabotage = fn(&Path, Format);

/// What is done, what is said of it, and how much has to be done about it.
const FAULTS: [(Sabotage, &str, How); 8] = [
    (
        |_, _| sh("ip addr flush dev lan0"),
        "the address 192.0.2.10/24 is gone",
        How::Anew,
    ),
    (
        |_, _| sh("ip route del default"),
        "the route to 0.0.0.0/0 via 192.0.2.1 is gone",
        How::Anew,
    ),
    (|_, _| sh("ip link set lan0 down"), "lan0: it is down", How::Anew),
    (
        |root, system| {
            let file = file(root, system);
            let text = fs::read_to_string(&file)
                .unwrap()
                .replace("192.0.2.10", "192.0.2.99");
            fs::write(file, text).unwrap();
        },
        "was changed",
        How::Reread,
    ),
    (
        |root, system| fs::remove_file(file(root, system)).unwrap(),
        "is gone",
        How::Reread,
    ),
    (
        |root, system| {
            let wants = root.join(UNITS).join("multi-user.target.wants");
            fs::remove_file(wants.join(unit(system))).unwrap();
        },
        "does not start by itself",
        How::Reread,
    ),
    (
        |root, system| symlink("/dev/null", root.join(UNITS).join(unit(system))).unwrap(),
        "masks its service",
        How::Reread,
    ),
    (
        |root, system| {
            sh("ip addr flush dev lan0; ip link set lan0 down");
            fs::remove_file(file(root, system)).unwrap();
            symlink("/dev/null", root.join(UNITS).join(unit(system))).unwrap();
        },
        "is gone",
        How::Anew,
    ),
];

const SYSTEMS: [(Format, &str, &str); 4] = [
    (
        Format::Ifupdown,
        "systemctl start networking.service",
        "systemctl restart networking.service",
    ),
    (
        Format::Networkd,
        "networkctl reload",
        "systemctl restart systemd-networkd.service",
    ),
    (
        Format::NetworkManager,
        "nmcli connection reload",
        "nmcli --wait 20 connection up",
    ),
    (
        Format::Netplan,
        "netplan generate",
        "systemctl restart systemd-networkd.service",
    ),
];

/// ifupdown knows interfaces by the names that its `.link` files give them; here it has that name already.
#[tokio::test]
async fn every_fault_on_every_system_is_put_back() {
    if !inside("every_fault_on_every_system_is_put_back") {
        return;
    }
    let _gateway = cabled();
    let calls = env::var("CALLS").unwrap();
    for (system, reread, anew) in SYSTEMS {
        let root = installed(system);
        let root = root.path();
        let status = network::status(root).await.unwrap();
        assert!(status.is_right(), "{system:?}: {}", status.text(true));
        for (number, (sabotage, said, how)) in FAULTS.into_iter().enumerate() {
            let place = format!("{system:?}, fault {number}");
            sabotage(root, system);
            let status = network::status(root).await.unwrap();
            assert!(status.text(true).contains(said), "{place}: {}", status.text(true));
            fs::write(&calls, "").unwrap();
            network::restore_system(root, how).await.unwrap();
            let called = fs::read_to_string(&calls).unwrap();
            let (expected, not) = match how {
                How::Reread => (reread, Some(anew)),
                _ => (anew, None),
            };
            assert!(called.contains(expected), "{place}: {called}");
            assert!(not.is_none_or(|not| !called.contains(not)), "{place}: {called}");
            let reloads = called.matches("systemctl daemon-reload").count();
            let service = said.contains("service") || said.contains("start") || number == FAULTS.len() - 1;
            assert_eq!(reloads, usize::from(service), "{place}: {called}");
            let status = network::status(root).await.unwrap();
            assert!(status.is_right(), "{place}: {}", status.text(true));
        }
    }
}

/// Files and services are right again before the network is started, and what had differed is told once.
#[tokio::test]
async fn a_boot_with_broken_files_begins_with_the_right_ones() {
    if !inside("a_boot_with_broken_files_begins_with_the_right_ones") {
        return;
    }
    let calls = env::var("CALLS").unwrap();
    for (system, ..) in SYSTEMS {
        let root = installed(system);
        let root = root.path();
        fs::write(&calls, "").unwrap();
        assert_eq!(
            network::at_boot::put_back(root).await.unwrap(),
            None,
            "{system:?}"
        );
        assert_eq!(
            fs::read_to_string(&calls).unwrap(),
            "",
            "{system:?}: nothing is run where nothing differs"
        );

        let good = fs::read_to_string(file(root, system)).unwrap();
        fs::write(file(root, system), "broken\n").unwrap();
        let wants = root.join(UNITS).join("multi-user.target.wants");
        fs::remove_file(wants.join(unit(system))).unwrap();
        let what = network::at_boot::put_back(root).await.unwrap().unwrap();
        assert!(
            what.contains("+broken") && what.contains("does not start by itself"),
            "{what}"
        );
        assert_eq!(fs::read_to_string(file(root, system)).unwrap(), good);
        let called = fs::read_to_string(&calls).unwrap();
        let start = format!("systemctl --no-block start {}", unit(system));
        assert!(
            called.contains("systemctl daemon-reload") && called.contains(&start),
            "{called}"
        );
        assert_eq!(network::at_boot::take_note(root), Some(what));
        assert_eq!(network::at_boot::take_note(root), None);

        // What was accepted is what is put back.
        let accepted = format!("{good}\n# somebody meant it\n");
        fs::write(file(root, system), &accepted).unwrap();
        network::accept(root).unwrap();
        let path = file(root, system);
        assert_eq!(network::at_boot::put_back(root).await.unwrap(), None);
        fs::remove_file(&path).unwrap();
        assert!(network::at_boot::put_back(root).await.unwrap().is_some());
        assert_eq!(fs::read_to_string(path).unwrap(), accepted);
    }
}

/// The gateway by the kernel's table of neighbours, also where that remembers another time.
#[tokio::test]
async fn gateway_and_controller_are_asked() {
    if !inside("gateway_and_controller_are_asked") {
        return;
    }
    let _gateway = cabled();
    let root = installed(Format::Networkd);
    let root = root.path();
    let listener = TcpListener::bind("192.0.2.10:0").unwrap();
    let config = format!(
        r#"{{"version":1,"deployment_id":"D","controller_url":"https://{}","ca_pem":"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"}}"#,
        listener.local_addr().unwrap()
    );
    put(root, "etc/imprint/guest.json", &config, 0o600);
    let network = read(TEXT.as_bytes()).unwrap().network;
    let ask = async || reach::ask(root, &network, Some(&kernel::read().await.unwrap())).await;
    let both = ask().await;
    assert!(
        both.gateways[0].1 && both.controller.as_ref().unwrap().1,
        "{both}"
    );
    sh("ip neigh replace 192.0.2.1 dev lan0 lladdr 02:00:00:00:00:99 nud stale");
    let other = ask().await;
    assert!(!other.gateways[0].1, "what is remembered is no answer: {other}");
    drop(listener);
    sh("ip link set lan0 down");
    let nobody = ask().await;
    assert!(nobody.is_cut_off(), "{nobody}");
}

/// The watch itself: an address that is gone is back, and the event says who was reached before and after.
#[tokio::test]
async fn the_watch_puts_back_and_tells() {
    if !inside("the_watch_puts_back_and_tells") {
        return;
    }
    let _gateway = cabled();
    let root = installed(Format::Networkd);
    let path = root.path().to_owned();
    let patience = Patience {
        grace: Duration::from_millis(100),
        cut_off: Duration::from_millis(100),
        coming_up: Duration::from_millis(100),
        ..Patience::default()
    };
    let watching = tokio::spawn(async move { watch::run(&path, patience).await });
    sh("ip addr flush dev lan0");
    let spool = Spool::below(root.path());
    let told = async {
        loop {
            if let Some((_, event)) = spool.next(None).unwrap() {
                return event;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let event = tokio::time::timeout(Duration::from_secs(15), told).await.unwrap();
    assert_eq!(event.kind, "network.restored");
    assert!(
        event.diff.contains("the address 192.0.2.10/24 is gone"),
        "{}",
        event.diff
    );
    let (before, after) = event.message.split_once(" Now: ").unwrap();
    assert!(
        before.contains("gateway 192.0.2.1 does not answer"),
        "{}",
        event.message
    );
    assert_eq!(after, "gateway 192.0.2.1 answers.", "{}", event.message);
    watching.abort();
}
