//! What a BMC does not do is named, with what can be done; and nothing else is done in its stead.

use imprint_controller::power::{ActionState, BmcQuirks, BootTarget, NewBmc, PowerState};
use imprint_tests::redfish::{Oddities, Overrides};
use jiff::SignedDuration;

use super::site::{Site, bmc, cycle, known, on};

/// Switches a server on that is off; why that fails.
async fn why_not(oddities: Oddities) -> (String, String) {
    let (served, model) = bmc(false, oddities).await;
    let site = Site::build().await;
    site.has(known(&served)).await;
    let failed = site.failed(on(None)).await;
    assert!(!model.is_on());
    let told = site.events().await;
    let told = told.iter().find(|event| event.kind == "power.failed").unwrap();
    assert!(told.message.contains(&failed.why), "{told:?}");
    (failed.why, failed.remedy)
}

#[tokio::test]
async fn a_wrong_password_is_said_once_and_locks_nobody_out() {
    let (served, _model) = bmc(false, Oddities::default()).await;
    let site = Site::build().await;
    site.has(NewBmc {
        password: Some("wrong".to_owned().into()),
        ..known(&served)
    })
    .await;
    let failed = site.failed(on(None)).await;
    assert!(failed.why.contains("does not take user root"), "{failed:?}");
    assert!(!format!("{failed:?}").contains("wrong\""), "{failed:?}");
    assert_eq!(served.service.count("POST"), 1);
    let power = site.power().await;
    assert_eq!(power.state, PowerState::Unknown);
    assert!(power.why.contains("does not take user root"), "{power:?}");
}

#[tokio::test]
async fn a_certificate_is_trusted_by_whoever_has_seen_it() {
    let (served, _model) = bmc(true, Oddities::default()).await;
    let site = Site::build().await;
    let new = known(&served);
    for fingerprint in [None, Some("ab".repeat(32))] {
        site.has(NewBmc {
            fingerprint,
            ..new.clone()
        })
        .await;
        let power = site.power().await;
        assert_eq!(power.state, PowerState::Unknown);
        assert!(power.why.contains(&served.fingerprint), "{power:?}");
        assert!(power.remedy.contains("--fingerprint"), "{power:?}");
    }
    // Nobody has heard the password.
    assert!(served.service.log().is_empty(), "{:?}", served.service.log());
    site.has(NewBmc {
        fingerprint: None,
        ca_pem: Some(served.certificate_pem.clone()),
        ..new.clone()
    })
    .await;
    let power = site.power().await;
    assert_eq!(power.state, PowerState::On, "{power:?}");
    // Of another server, by the same CA.
    let (other, _model) = bmc(true, Oddities::default()).await;
    site.has(NewBmc {
        address: other.address.clone(),
        fingerprint: None,
        ca_pem: Some(served.certificate_pem.clone()),
        ..new
    })
    .await;
    assert_eq!(site.power().await.state, PowerState::Unknown);
    assert!(other.service.log().is_empty());
}

#[tokio::test]
async fn another_server_is_not_switched() {
    let (served, model) = bmc(true, Oddities::default()).await;
    let site = Site::build().await;
    sqlx::query("UPDATE nodes SET smbios_uuid = '11111111-2222-4333-8444-555555555555', serial = 'OTHER-1'")
        .execute(&site.app.db)
        .await
        .unwrap();
    let new = known(&served);
    site.has(new.clone()).await;
    let failed = site.failed(cycle(None)).await;
    assert!(
        failed.why.contains("another server") && failed.why.contains("LAB-7X2M3"),
        "{failed:?}"
    );
    assert!(model.is_on() && model.boots().is_empty());
    site.has(NewBmc {
        quirks: BmcQuirks {
            other_identity: Some(true),
            ..new.quirks.clone()
        },
        ..new
    })
    .await;
    site.done(cycle(None)).await;
    assert_eq!(model.boots(), ["order"]);
}

#[tokio::test]
async fn a_server_that_cannot_boot_what_is_asked_for_is_left_as_it_is() {
    for oddities in [
        Oddities {
            targets: Some(vec!["None", "Hdd"]),
            ..Oddities::default()
        },
        Oddities {
            overrides: Overrides::None,
            ..Oddities::default()
        },
    ] {
        let (served, model) = bmc(true, oddities).await;
        let site = Site::build().await;
        site.has(known(&served)).await;
        let failed = site.failed(cycle(Some(BootTarget::Pxe))).await;
        assert!(failed.why.contains("boot pxe once"), "{failed:?}");
        assert!(model.is_on() && model.boots().is_empty());
    }
}

#[tokio::test]
async fn what_the_bmc_says_reaches_the_operator() {
    let (why, _) = why_not(Oddities {
        tasks: Some(1),
        tasks_fail: true,
        ..Oddities::default()
    })
    .await;
    assert!(why.contains("A fuse has blown."), "{why}");
    let (why, remedy) = why_not(Oddities {
        read_only: true,
        ..Oddities::default()
    })
    .await;
    assert!(why.contains("does not let user root"), "{why}");
    assert!(remedy.contains("role"), "{remedy}");
    let (why, _) = why_not(Oddities {
        resets: Some(vec!["ForceOff", "Nmi"]),
        ..Oddities::default()
    })
    .await;
    assert!(why.contains("cannot power on") && why.contains("Nmi"), "{why}");
}

#[tokio::test]
async fn a_password_goes_nowhere_else() {
    let (why, _) = why_not(Oddities {
        redirects_to: Some("https://192.0.2.1/redfish/v1/".to_owned()),
        ..Oddities::default()
    })
    .await;
    assert!(why.contains("192.0.2.1"), "{why}");
}

#[tokio::test]
async fn what_is_no_redfish_is_said() {
    let (why, remedy) = why_not(Oddities {
        garbage: true,
        ..Oddities::default()
    })
    .await;
    assert!(why.contains("no JSON"), "{why}");
    assert!(remedy.contains("ipmi"), "{remedy}");
}

#[tokio::test]
async fn a_bmc_that_is_gone_is_waited_for_until_the_deadline_and_no_longer() {
    let (served, model) = bmc(false, Oddities::default()).await;
    let site = Site::standing_still().await;
    let new = known(&served);
    drop(served);
    site.has(new).await;
    site.ask(on(None)).await.unwrap();
    let waiting = site.says("does not answer").await;
    assert_eq!(waiting.state, ActionState::Running);
    site.app.clock.advance(SignedDuration::from_hours(1));
    let ended = site.ended().await;
    assert_eq!(ended.state, ActionState::Failed);
    assert!(
        ended.why.contains("does not answer") && !ended.remedy.is_empty(),
        "{ended:?}"
    );
    assert!(!model.is_on());
}

#[tokio::test]
async fn an_answer_without_an_end_is_none() {
    let (served, _model) = bmc(
        false,
        Oddities {
            endless: true,
            ..Oddities::default()
        },
    )
    .await;
    let site = Site::build().await;
    site.has(known(&served)).await;
    let power = site.power().await;
    assert!(power.why.contains("longer than"), "{power:?}");
}
