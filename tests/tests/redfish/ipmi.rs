//! `ipmitool` with `ipmi_sim` of the OpenIPMI project, a BMC that somebody else has written. Both are Debian packages
//! (ipmitool, openipmi) of `xtask/packages.txt`.

use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use imprint_controller::power::{ActionState, BmcKind, BmcQuirks, BootTarget, NewBmc, PowerState};
use imprint_tests::ipmi;
use imprint_tests::process::Service;

use super::site::{Site, cycle, off, on};

/// Power and boot device of its server are files.
const CHASSIS: &str = "#!/bin/sh\n\
    cd \"$(dirname \"$0\")\" || exit 1\n\
    case $1 in 0x*|[0-9]*) shift;; esac\n\
    op=$1; shift\n\
    case $op in\n\
    get) for name; do case $name in\n\
      power) echo \"power:$(cat power)\";;\n\
      boot) echo \"boot:$(cat boot)\";;\n\
      esac; done;;\n\
    set) while [ $# -gt 0 ]; do case $1 in\n\
      power) [ \"$2\" = 1 ] && [ \"$(cat power)\" = 0 ] && { cat boot >> boots; echo default > boot; }; echo \"$2\" > power;;\n\
      shutdown) echo 0 > power;;\n\
      boot) echo \"$2\" > boot;;\n\
      esac; shift 2; done;;\n\
    esac\n\
    exit 0\n";

pub struct Sim {
    folder: tempfile::TempDir,
    pub port: u16,
    _service: Service,
}

impl Sim {
    fn start() -> Self {
        Self::with("")
    }

    /// With these settings of its own.
    pub fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let own = folder.path();
        for (name, text) in [("power", "0\n"), ("boot", "default\n"), ("boots", "")] {
            fs::write(own.join(name), text).unwrap();
        }
        fs::write(own.join("chassis"), CHASSIS).unwrap();
        fs::set_permissions(own.join("chassis"), Permissions::from_mode(0o755)).unwrap();
        let settings = format!(
            "name \"bmc\"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 {port}\npriv_limit admin\n\
             allowed_auths_user none md2 md5 straight\nallowed_auths_operator none md2 md5 straight\n\
             allowed_auths_admin none md2 md5 straight\nguid a123456789abcdefa123456789abcdef\nendlan\n\
             chassis_control \"{}/chassis\"\n\
             {more}user 2 true \"admin\" \"secret\" admin 10 none md2 md5 straight\n",
            own.display()
        );
        let service = ipmi::simulate(own, &settings, &own.join("log")).unwrap();
        Self {
            folder,
            port,
            _service: service,
        }
    }

    fn file(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        fs::read_to_string(path)
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    pub fn known(&self, user: &str, password: &str) -> NewBmc {
        NewBmc {
            kind: BmcKind::Ipmi,
            address: format!("127.0.0.1:{}", self.port),
            user: user.to_owned(),
            password: Some(password.to_owned().into()),
            quirks: BmcQuirks {
                cipher_suite: Some(3),
                ..BmcQuirks::default()
            },
            ..NewBmc::manual("")
        }
    }
}

/// It does not listen from its first moment on.
pub async fn until_answered(site: &Site) -> PowerState {
    for _ in 0..20 {
        let power = site.power().await;
        if power.state != PowerState::Unknown {
            return power.state;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{:?}", site.power().await);
}

#[tokio::test]
async fn a_server_is_switched_and_boots_from_the_network_once() {
    let sim = Sim::start();
    let site = Site::build().await;
    site.has(sim.known("admin", "secret")).await;
    assert_eq!(until_answered(&site).await, PowerState::Off);
    site.done(on(Some(BootTarget::Pxe))).await;
    assert_eq!(
        (sim.file("power"), sim.file("boots")),
        ("1".to_owned(), "pxe".to_owned())
    );
    site.done(cycle(None)).await;
    site.done(cycle(Some(BootTarget::Cd))).await;
    assert_eq!(sim.file("boots"), "pxe default cdrom");
    site.done(off(false)).await;
    assert_eq!(sim.file("power"), "0");
    site.done(on(None)).await;
    site.done(off(true)).await;
    assert_eq!(site.power().await.state, PowerState::Off);
    // Older than HTTP in firmware.
    let failed = site.failed(on(Some(BootTarget::UefiHttp))).await;
    assert!(failed.why.contains("uefi-http"), "{failed:?}");
}

#[tokio::test]
async fn a_wrong_password_is_told_from_a_bmc_that_is_gone() {
    let sim = Sim::start();
    let site = Site::build().await;
    site.has(sim.known("admin", "secret")).await;
    until_answered(&site).await;
    site.has(sim.known("admin", "wrong")).await;
    let failed = site.failed(on(None)).await;
    assert!(failed.why.contains("does not take user admin"), "{failed:?}");
    site.has(sim.known("nobody", "secret")).await;
    let failed = site.failed(on(None)).await;
    assert!(failed.why.contains("does not take user nobody"), "{failed:?}");
    assert_eq!(sim.file("power"), "0");
    site.has(sim.known("admin", "secret")).await;
    drop(sim);
    site.ask(on(None)).await.unwrap();
    let waiting = site.says("does not answer").await;
    assert_eq!(waiting.state, ActionState::Running);
}

#[tokio::test]
async fn what_it_tells_of_itself_is_taken() {
    let sim = Sim::start();
    let site = Site::build().await;
    site.has(sim.known("admin", "secret")).await;
    until_answered(&site).await;
    let found = site
        .app
        .power
        .hardware_of(&site.by.viewer(), "web-1")
        .await
        .unwrap();
    assert_eq!(
        (found.power, found.bmc_version.as_str()),
        (PowerState::Off, "9.08")
    );
    // It has no record of its unit, and says so.
    assert!(found.missing.iter().any(|what| what.contains("fru")), "{found:?}");
}
