//! sushy-tools, the Redfish service of the OpenStack project, with its driver of servers that are not there: a BMC that
//! somebody else has written.
//!
//! `cargo xtask python-tools` puts it into `target/python-tools`, as `cargo xtask test` does first. Without it the test says
//! so and passes, except where `CI` is set.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imprint_controller::power::{BmcKind, BmcQuirks, BootTarget, NewBmc, PowerState};
use imprint_tests::sushy::{self, Managed, PASSWORD, Sushy, USER};

use super::site::{Site, cycle, off, on};

const UUID: &str = "4c4c4544-0051-3610-8034-b7c04f4d3233";

/// Where it is, if it is.
fn place() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let place = sushy::place(&target);
    assert!(
        place.is_some() || env::var_os("CI").is_none(),
        "{} has no python-tools; `cargo xtask python-tools` makes them",
        target.display()
    );
    if place.is_none() {
        eprintln!("not tried: `cargo xtask python-tools` installs sushy-tools first");
    }
    place
}

fn known(sushy: &Sushy, password: &str) -> NewBmc {
    NewBmc {
        kind: BmcKind::Redfish,
        address: sushy.address.clone(),
        user: USER.to_owned(),
        password: Some(password.to_owned().into()),
        ca_pem: Some(sushy.certificate_pem.clone()),
        quirks: BmcQuirks {
            request_seconds: Some(10),
            ..BmcQuirks::default()
        },
        ..NewBmc::manual("")
    }
}

#[tokio::test]
async fn a_server_of_sushy_tools_is_switched_and_boots_from_the_network() {
    let Some(place) = place() else { return };
    let folder = tempfile::tempdir().unwrap();
    let managed = Managed {
        name: "web-1",
        uuid: UUID,
        server: None,
    };
    let mut sushy = Sushy::start(&place, folder.path(), managed).unwrap();
    let site = Site::build().await;
    site.has(known(&sushy, PASSWORD)).await;
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
    site.has(known(&sushy, "wrong")).await;
    let failed = site.failed(on(None)).await;
    assert!(failed.why.contains("does not take user root"), "{failed:?}");
}
