//! Each oddity that real BMCs have: the server boots from the network, once, all the same.

use std::time::Duration;

use imprint_controller::power::{ActionState, BmcQuirks, BootTarget, NewBmc};
use imprint_tests::redfish::{Etags, Oddities, Overrides, Served};
use jiff::SignedDuration;

use super::site::{Site, bmc, cycle, known, no_session_is_left};

/// Starts a server anew that is on, from the network. What it has booted, and what was worth knowing.
async fn network_boot(oddities: Oddities, quirks: BmcQuirks) -> (Vec<String>, String, Served) {
    let (served, model) = bmc(true, oddities).await;
    let site = Site::build().await;
    let new = known(&served);
    let quirks = quirks.or(&new.quirks);
    site.has(NewBmc { quirks, ..new }).await;
    let done = site.done(cycle(Some(BootTarget::Pxe))).await;
    no_session_is_left(&served).await;
    (model.boots(), done.why, served)
}

async fn boots(oddities: Oddities) {
    let shown = format!("{oddities:?}");
    let (boots, why, _) = network_boot(oddities, BmcQuirks::default()).await;
    assert_eq!(
        (boots.as_slice(), why.as_str()),
        (&["Pxe".to_owned()][..], ""),
        "{shown}"
    );
}

#[tokio::test]
async fn redirects_to_paths_with_a_slash() {
    boots(Oddities {
        redirects: true,
        ..Oddities::default()
    })
    .await;
}

#[tokio::test]
async fn versions_of_all_kinds() {
    for etags in [Etags::Needed, Etags::Weak, Etags::Never, Etags::Secret] {
        boots(Oddities {
            etags,
            ..Oddities::default()
        })
        .await;
    }
}

#[tokio::test]
async fn changes_that_are_tasks() {
    boots(Oddities {
        tasks: Some(2),
        ..Oddities::default()
    })
    .await;
}

#[tokio::test]
async fn power_that_takes_its_time() {
    boots(Oddities {
        slow: 3,
        ..Oddities::default()
    })
    .await;
}

#[tokio::test]
async fn a_service_that_is_busy() {
    boots(Oddities {
        busy: 2,
        ..Oddities::default()
    })
    .await;
}

#[tokio::test]
async fn sessions_that_end_in_the_middle() {
    for life in [1, 2, 3] {
        boots(Oddities {
            session_life: Some(life),
            ..Oddities::default()
        })
        .await;
    }
}

#[tokio::test]
async fn a_service_without_sessions() {
    boots(Oddities {
        no_sessions: true,
        ..Oddities::default()
    })
    .await;
}

#[tokio::test]
async fn resets_of_other_names_and_in_other_places() {
    boots(Oddities {
        resets: Some(vec!["ForceOn", "ForceOff"]),
        ..Oddities::default()
    })
    .await;
    boots(Oddities {
        resets: Some(vec!["PushPowerButton", "ForceOff"]),
        ..Oddities::default()
    })
    .await;
    boots(Oddities {
        action_info: true,
        ..Oddities::default()
    })
    .await;
}

#[tokio::test]
async fn overrides_of_all_kinds() {
    for overrides in [
        Overrides::Continuous,
        Overrides::ContinuousOnly,
        Overrides::WithMode,
        Overrides::WithoutMode,
        Overrides::AtSettings,
    ] {
        boots(Oddities {
            overrides,
            ..Oddities::default()
        })
        .await;
    }
}

#[tokio::test]
async fn an_override_that_is_forgotten_is_told() {
    let oddities = Oddities {
        overrides: Overrides::Forgotten,
        ..Oddities::default()
    };
    let (boots, why, _) = network_boot(oddities, BmcQuirks::default()).await;
    assert_eq!(boots, ["order"]);
    assert!(why.contains("does not show it"), "{why}");
}

#[tokio::test]
async fn a_second_system_is_not_taken_for_the_node() {
    boots(Oddities {
        second_system: true,
        ..Oddities::default()
    })
    .await;
}

#[tokio::test]
async fn answers_that_are_lost() {
    let impatient = BmcQuirks {
        request_seconds: Some(1),
        ..BmcQuirks::default()
    };
    let silent = Oddities {
        silent: 1,
        ..Oddities::default()
    };
    let (boots, _, _) = network_boot(silent, impatient).await;
    assert_eq!(boots, ["Pxe"]);
}

#[tokio::test]
async fn a_reset_that_is_forgotten_is_made_again() {
    let oddities = Oddities {
        forgets_resets: 1,
        ..Oddities::default()
    };
    let (served, model) = bmc(true, oddities).await;
    let site = Site::standing_still().await;
    site.has(known(&served)).await;
    site.ask(cycle(None)).await.unwrap();
    // It looks more than once, and asks no more than once.
    while served.service.count("GET /redfish/v1/Systems/1") < 8 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(served.service.count("ForceOff"), 1);
    site.app.clock.advance(SignedDuration::from_secs(61));
    assert_eq!(site.ended().await.state, ActionState::Done);
    assert_eq!(served.service.count("ForceOff"), 2);
    assert_eq!(model.boots(), ["order"]);
}

#[tokio::test]
async fn a_reset_whose_answer_is_lost_is_not_made_twice() {
    let (served, model) = bmc(false, Oddities::default()).await;
    let mut site = Site::build().await;
    site.stop();
    let new = known(&served);
    let quirks = BmcQuirks {
        request_seconds: Some(1),
        ..new.quirks.clone()
    };
    site.has(NewBmc { quirks, ..new }).await;
    // The last request of switching on: root, session, root, systems, system (look), system (switch), reset.
    let before = {
        let (other, _) = bmc(false, Oddities::default()).await;
        let counting = Site::build().await;
        counting.has(known(&other)).await;
        counting.done(super::site::on(None)).await;
        let log = other.service.log();
        log.iter()
            .position(|line| line.contains("ComputerSystem.Reset"))
            .unwrap()
    };
    served
        .service
        .change(|oddities| oddities.silent_at = Some(u32::try_from(before).unwrap()));
    site.ask(super::site::on(None)).await.unwrap();
    site.start();
    let ended = site.ended().await;
    assert_eq!(ended.state, ActionState::Done, "{ended:?}");
    assert_eq!(model.boots(), ["order"]);
    assert_eq!(served.service.count("ComputerSystem.Reset"), 1);
}
