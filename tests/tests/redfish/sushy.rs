//! sushy-tools, the Redfish service of the OpenStack project, with its driver of servers that are not there: a BMC that
//! somebody else has written.
//!
//! `cargo xtask python-tools` puts it into `target/python-tools`, as `cargo xtask test` does first. Without it the test says
//! so and passes, except where `CI` is set.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use imprint_controller::power::{BmcKind, BmcQuirks, BootTarget, NewBmc, PowerState};
use imprint_tests::process::Service;
use rcgen::CertifiedKey;

use super::site::{Site, cycle, off, on};

const UUID: &str = "4c4c4544-0051-3610-8034-b7c04f4d3233";

/// Where it is, if it is.
fn place() -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python-tools");
    // Written when all is installed.
    if place.join("complete").exists() {
        return Some(place);
    }
    assert!(
        env::var_os("CI").is_none(),
        "{} is missing; `cargo xtask python-tools` makes it",
        place.display()
    );
    eprintln!("not tried: `cargo xtask python-tools` installs sushy-tools first");
    None
}

struct Sushy {
    certificate_pem: String,
    port: u16,
    service: Service,
    _folder: tempfile::TempDir,
}

impl Sushy {
    fn start(place: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        fs::write(own.join("cert.pem"), cert.pem()).unwrap();
        fs::write(own.join("key.pem"), signing_key.serialize_pem()).unwrap();
        let hash = Command::new(place.join("bin/python"))
            .args([
                "-c",
                "import bcrypt; print(bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode())",
            ])
            .output()
            .unwrap();
        assert!(hash.status.success(), "{}", String::from_utf8_lossy(&hash.stderr));
        let hash = String::from_utf8(hash.stdout).unwrap();
        fs::write(own.join("users"), format!("root:{hash}")).unwrap();
        let shown = own.display();
        fs::write(
            own.join("conf"),
            format!(
                "SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\nSUSHY_EMULATOR_LISTEN_PORT = {port}\n\
                 SUSHY_EMULATOR_SSL_CERT = '{shown}/cert.pem'\nSUSHY_EMULATOR_SSL_KEY = '{shown}/key.pem'\n\
                 SUSHY_EMULATOR_AUTH_FILE = '{shown}/users'\nSUSHY_EMULATOR_FAKE_DRIVER = True\n\
                 SUSHY_EMULATOR_STATE_DIR = '{shown}'\n\
                 SUSHY_EMULATOR_FAKE_SYSTEMS = [{{'uuid': '{UUID}', 'name': 'web-1', 'power_state': 'Off', \
                 'external_notifier': False, 'nics': []}}]\n"
            ),
        )
        .unwrap();
        let mut command = Command::new(place.join("bin/sushy-emulator"));
        command
            .arg("--config")
            .arg(own.join("conf"))
            .current_dir(own)
            .stdin(Stdio::null());
        let service = Service::start("sushy-emulator", &mut command, &own.join("log")).unwrap();
        Self {
            certificate_pem: cert.pem(),
            port,
            service,
            _folder: folder,
        }
    }

    fn known(&self, password: &str) -> NewBmc {
        NewBmc {
            kind: BmcKind::Redfish,
            address: format!("https://127.0.0.1:{}", self.port),
            user: "root".to_owned(),
            password: Some(password.to_owned().into()),
            ca_pem: Some(self.certificate_pem.clone()),
            quirks: BmcQuirks {
                request_seconds: Some(10),
                ..BmcQuirks::default()
            },
            ..NewBmc::manual("")
        }
    }
}

#[tokio::test]
async fn a_server_of_sushy_tools_is_switched_and_boots_from_the_network() {
    let Some(place) = place() else { return };
    let mut sushy = Sushy::start(&place);
    let site = Site::build().await;
    site.has(sushy.known("secret")).await;
    for turn in 0.. {
        let power = site.power().await;
        if power.state == PowerState::Off {
            break;
        }
        sushy.service.expect_running().unwrap();
        assert!(turn < 60, "{power:?}\n{}", sushy.service.log_tail(20));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // It takes Once for what stays, and a few seconds for each change.
    let done = site.done(on(Some(BootTarget::Pxe))).await;
    assert_eq!(done.remedy, "", "{done:?}");
    assert_eq!(site.power().await.state, PowerState::On);
    site.done(cycle(Some(BootTarget::Disk))).await;
    site.done(off(true)).await;
    let found = site
        .app
        .power
        .hardware_of(&site.by.viewer(), "web-1")
        .await
        .unwrap();
    assert_eq!((found.power, found.uuid.as_str()), (PowerState::Off, UUID));
    site.has(sushy.known("wrong")).await;
    let failed = site.failed(on(None)).await;
    assert!(failed.why.contains("does not take user root"), "{failed:?}");
}
