//! A BMC as the standard has it.

use imprint_controller::power::{
    ActionState, BmcKind, BmcQuirks, BootTarget, Health, Media, NewBmc, PowerError, PowerState, SensorKind,
    set_media,
};
use imprint_tests::redfish::{Oddities, Overrides, PASSWORD};
use jiff::SignedDuration;

use super::site::{NODE, Site, bmc, cycle, known, no_session_is_left, off, on};

#[tokio::test]
async fn a_server_is_switched_on_and_off_and_on_again() {
    let (served, model) = bmc(false, Oddities::default()).await;
    let site = Site::build().await;
    site.has(known(&served)).await;
    assert_eq!(site.power().await.state, PowerState::Off);
    site.done(on(None)).await;
    assert!(model.is_on());
    let again = site.done(on(None)).await;
    assert!(again.why.contains("already"), "{again:?}");
    site.done(cycle(None)).await;
    assert_eq!(model.boots(), ["order", "order"]);
    site.done(off(false)).await;
    assert!(!model.is_on());
    let power = site.power().await;
    assert_eq!((power.state, power.kind), (PowerState::Off, BmcKind::Redfish));
    // Asked once each, and no session is left.
    assert_eq!(served.service.count("ComputerSystem.Reset"), 4);
    no_session_is_left(&served).await;
    let events = site.events().await;
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let of = |kind: &str| kinds.iter().filter(|one| **one == kind).count();
    assert_eq!(
        (of("power.requested"), of("power.done"), of("power.failed")),
        (4, 4, 0)
    );
    let asked = events
        .iter()
        .find(|event| event.kind == "power.requested")
        .unwrap();
    assert!(
        asked.actor.is_some() && asked.node_id.as_deref() == Some(NODE),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_off_has_no_agent() {
    let (served, _model) = bmc(true, Oddities::default()).await;
    let site = Site::build().await;
    site.has(known(&served)).await;
    let hub = site.app.deployments.hub();
    let open = || {
        hub.open(
            NODE,
            tokio::sync::mpsc::channel(1).0,
            &"".into(),
            site.app.clock.now(),
        )
    };
    let seat = open();
    site.done(on(None)).await;
    assert!(!seat.superseded.is_cancelled());
    site.done(off(true)).await;
    assert!(seat.superseded.is_cancelled());
    let seat = open();
    site.done(cycle(None)).await;
    assert!(seat.superseded.is_cancelled());
}

#[tokio::test]
async fn a_boot_from_the_network_is_once() {
    let (served, model) = bmc(true, Oddities::default()).await;
    let site = Site::build().await;
    site.has(known(&served)).await;
    // It is on: to boot something else it has to start anew, which is another wish.
    let already = site.done(on(Some(BootTarget::Pxe))).await;
    assert!(
        already.why.contains("on already") && already.remedy.contains("cycle"),
        "{already:?}"
    );
    assert!(model.boots().is_empty() && served.service.boot().0 == "Disabled");
    site.done(cycle(Some(BootTarget::Pxe))).await;
    assert_eq!(model.boots(), ["Pxe"]);
    assert_eq!(served.service.boot().0, "Disabled");
    site.done(cycle(None)).await;
    site.done(cycle(Some(BootTarget::UefiHttp))).await;
    site.done(cycle(Some(BootTarget::Cd))).await;
    site.done(cycle(Some(BootTarget::Disk))).await;
    assert_eq!(model.boots(), ["Pxe", "order", "UefiHttp", "Cd", "Hdd"]);
}

#[tokio::test]
async fn an_override_that_stays_is_taken_back() {
    let oddities = Oddities {
        overrides: Overrides::Continuous,
        ..Oddities::default()
    };
    let (served, _model) = bmc(false, oddities).await;
    let mut site = Site::standing_still().await;
    site.has(known(&served)).await;
    site.done(on(Some(BootTarget::Pxe))).await;
    assert_eq!(served.service.boot(), ("Continuous".to_owned(), "Pxe".to_owned()));
    // Not before the server has had the time to boot.
    site.app.clock.advance(SignedDuration::from_mins(11));
    site.stop();
    site.start();
    for _ in 0..600 {
        if served.service.boot().0 == "Disabled" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{:?}", served.service.boot());
}

#[tokio::test]
async fn a_controller_that_is_killed_goes_on_from_what_the_server_is() {
    let oddities = Oddities {
        slow: 3,
        ..Oddities::default()
    };
    let (served, model) = bmc(true, oddities).await;
    let mut site = Site::build().await;
    site.has(known(&served)).await;
    site.ask(cycle(Some(BootTarget::Pxe))).await.unwrap();
    while served.service.count("ForceOff") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    site.stop();
    site.start();
    assert_eq!(site.ended().await.state, ActionState::Done);
    assert_eq!(model.boots(), ["Pxe"]);
    assert_eq!(served.service.count("ForceOff"), 1);
}

/// A deployment has its server start anew, and while the BMC does not answer this comes to pass.
async fn meanwhile(change: &'static str) {
    let gone = Oddities {
        silent: 100_000,
        ..Oddities::default()
    };
    let (served, model) = bmc(true, gone).await;
    let site = Site::build().await;
    let mut new = known(&served);
    new.quirks.request_seconds = Some(1);
    site.has(new).await;
    site.deployment_runs("await-agent").await;
    site.set(
        "INSERT INTO power_actions (id, node_id, deployment_id, action, force, boot, state, stage, deadline, why, created_at) \
         SELECT '01JD3Y6N9M1V9S1M6V1M3B3W71', id, ?1, 'cycle', 0, 'pxe', 'running', 'look', 9999999999999, '', 0 FROM nodes",
    )
    .await;
    let waiting = site.says("does not answer").await;
    assert_eq!(waiting.state, ActionState::Running, "{waiting:?}");
    site.set(change).await;
    let ended = site.ended().await;
    assert_eq!(ended.state, ActionState::Failed, "{change}");
    assert!(
        ended.why.contains("does not wait for it any more"),
        "{change}: {ended:?}"
    );
    assert_eq!(served.service.count("ComputerSystem.Reset"), 0, "{change}");
    assert!(model.is_on() && model.boots().is_empty(), "{change}");
}

#[tokio::test]
async fn a_server_is_not_switched_off_for_a_deployment_that_has_ended_meanwhile() {
    tokio::join!(
        meanwhile("UPDATE deployments SET state = 'cancelled' WHERE id = ?1"),
        meanwhile("UPDATE deployments SET phase = 'agent-works' WHERE id = ?1"),
        meanwhile("UPDATE nodes SET deployment_id = NULL WHERE deployment_id = ?1"),
        meanwhile(
            "INSERT INTO node_holds (node_id, taken_at, since) SELECT id, 0, 0 FROM nodes WHERE deployment_id = ?1"
        ),
    );
}

#[tokio::test]
async fn one_thing_at_a_time() {
    let (served, _model) = bmc(false, Oddities::default()).await;
    let mut site = Site::build().await;
    site.stop();
    site.has(known(&served)).await;
    let first = site.ask(on(None)).await.unwrap();
    assert_eq!(site.ask(on(None)).await.unwrap().id, first.id);
    let refused = site.ask(off(true)).await.unwrap_err();
    assert!(matches!(refused, PowerError::Busy { .. }), "{refused}");
    for nonsense in [
        imprint_controller::power::WantedPower {
            boot: Some(BootTarget::Pxe),
            ..off(true)
        },
        imprint_controller::power::WantedPower {
            force: true,
            ..on(None)
        },
    ] {
        let refused = site.ask(nonsense).await.unwrap_err();
        assert!(matches!(refused, PowerError::Invalid(_)), "{refused}");
    }
    site.start();
    assert_eq!(site.ended().await.state, ActionState::Done);
}

#[tokio::test]
async fn a_system_that_does_not_shut_down_is_named_and_switched_off_by_force() {
    let (served, model) = bmc(true, Oddities::default()).await;
    model.make_deaf();
    let site = Site::standing_still().await;
    site.has(known(&served)).await;
    site.ask(off(false)).await.unwrap();
    site.says("asked to shut down").await;
    site.app.clock.advance(SignedDuration::from_hours(1));
    let ended = site.ended().await;
    assert_eq!(ended.state, ActionState::Failed);
    assert!(ended.remedy.contains("--force"), "{ended:?}");
    assert!(model.is_on());
    site.done(off(true)).await;
    assert!(!model.is_on());
}

#[tokio::test]
async fn what_a_server_consists_of_and_how_it_is() {
    let (served, _model) = bmc(true, Oddities::default()).await;
    let site = Site::build().await;
    site.has(known(&served)).await;
    let found = site
        .app
        .power
        .hardware_of(&site.by.viewer(), "web-1")
        .await
        .unwrap();
    assert_eq!(
        (found.vendor.as_str(), found.model.as_str()),
        ("Imprint", "Lab server")
    );
    assert_eq!((found.processors, found.memory_bytes), (2, 64 << 30));
    assert_eq!(
        (found.bmc_version.as_str(), found.health),
        ("1.2.3", Health::Warning)
    );
    let inlet = found
        .sensors
        .iter()
        .find(|sensor| sensor.name == "Inlet")
        .unwrap();
    assert_eq!((inlet.kind, inlet.reading), (SensorKind::Temperature, Some(22.5)));
    let fan = found
        .sensors
        .iter()
        .find(|sensor| sensor.kind == SensorKind::Fan)
        .unwrap();
    assert_eq!(fan.health, Health::Warning);
    assert!(found.missing.is_empty(), "{:?}", found.missing);
    let record = site.app.power.bmc(&site.by.viewer(), "web-1").await.unwrap();
    assert_eq!(
        (record.vendor.as_str(), record.model.as_str()),
        ("Imprint", "Lab server")
    );
    served.service.change(|oddities| oddities.no_sensors = true);
    let found = site
        .app
        .power
        .hardware_of(&site.by.viewer(), "web-1")
        .await
        .unwrap();
    assert!(found.sensors.is_empty());
}

#[tokio::test]
async fn a_virtual_cd_is_put_in_and_taken_out_and_booted() {
    const IMAGE: &str = "https://images.example.net/rescue.iso";
    let (served, model) = bmc(false, Oddities::default()).await;
    let site = Site::build().await;
    site.has(known(&served)).await;
    let set = async |url: Option<&str>| set_media(&site.app, &site.by, "web-1", Media::of(url, false)?).await;
    // Another one takes its place, and the same one twice is one.
    for image in ["https://images.example.net/other.iso", IMAGE, IMAGE] {
        set(Some(image)).await.unwrap();
        assert_eq!(served.service.media().as_deref(), Some(image));
    }
    assert_eq!(served.service.count("InsertMedia"), 2);
    site.done(on(Some(BootTarget::Cd))).await;
    assert_eq!(model.boots(), ["Cd"]);
    set(None).await.unwrap();
    assert_eq!(served.service.media(), None);
    // Without a CD of the ramdisk it says what makes one, and with one the BMC gets an address of the controller's.
    let ramdisk = async || set_media(&site.app, &site.by, "web-1", Media::Ramdisk).await;
    let missing = ramdisk().await.unwrap_err();
    assert!(
        matches!(&missing, PowerError::NoCd { remedy, .. } if remedy.contains("xtask ramdisk")),
        "{missing}"
    );
    assert!(Media::of(Some(IMAGE), true).is_err());
    let refused = set(Some("file:///etc/passwd")).await.unwrap_err();
    assert!(matches!(refused, PowerError::Invalid(_)), "{refused}");
    let events = site.events().await;
    assert_eq!(
        events.iter().filter(|event| event.kind == "node.media").count(),
        4
    );
    no_session_is_left(&served).await;
}

#[tokio::test]
async fn a_password_is_shown_by_nothing_and_gone_when_it_is_forgotten() {
    let (served, _model) = bmc(false, Oddities::default()).await;
    let site = Site::build().await;
    let record = site.has(known(&served)).await;
    site.done(on(None)).await;
    let shown = format!(
        "{} {record:?} {:?} {} {:?}",
        serde_json::to_string(&record).unwrap(),
        known(&served),
        serde_json::to_string(&site.power().await).unwrap(),
        site.events().await
    );
    assert!(!shown.contains(PASSWORD), "{shown}");
    // Nor in any file of the controller.
    let mut looked = 0;
    for entry in std::fs::read_dir(site.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            looked += 1;
            let found = bytes
                .windows(PASSWORD.len())
                .any(|part| part == PASSWORD.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    assert!(looked > 0);
    // It is kept for this address and user alone.
    let without = NewBmc {
        password: None,
        ..known(&served)
    };
    site.has(without.clone()).await;
    site.done(cycle(None)).await;
    for other in [
        NewBmc {
            address: "https://127.0.0.2:1".to_owned(),
            ..without.clone()
        },
        NewBmc {
            user: "somebody".to_owned(),
            ..without.clone()
        },
    ] {
        let refused = site
            .app
            .power
            .set_bmc(&site.by, "web-1", other)
            .await
            .unwrap_err();
        assert!(matches!(refused, PowerError::NoPassword), "{refused}");
    }
    site.app.power.forget_bmc(&site.by, "web-1").await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM bmcs")
        .fetch_one(&site.app.db)
        .await
        .unwrap();
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn a_server_without_a_bmc_is_powered_by_hand_and_says_how() {
    let site = Site::build().await;
    let power = site.power().await;
    assert_eq!((power.kind, power.state), (BmcKind::Manual, PowerState::Unknown));
    assert!(
        power.instructions.contains("imprint node set-bmc web-1"),
        "{power:?}"
    );
    site.has(NewBmc::manual("rack 4, unit 12")).await;
    assert!(site.power().await.instructions.contains("rack 4, unit 12"));
    let refused = site.ask(on(None)).await.unwrap_err();
    assert!(refused.to_string().contains("rack 4, unit 12"), "{refused}");
}

#[tokio::test]
async fn quirks_of_an_operator_come_first() {
    let (served, model) = bmc(false, Oddities::default()).await;
    let site = Site::build().await;
    let new = known(&served);
    site.has(NewBmc {
        quirks: BmcQuirks {
            basic_auth: Some(true),
            boot_continuous: Some(true),
            ..new.quirks.clone()
        },
        ..new
    })
    .await;
    site.done(on(Some(BootTarget::Pxe))).await;
    assert_eq!(served.service.sessions().1, 0);
    assert_eq!(served.service.boot().0, "Continuous");
    assert_eq!(model.boots(), ["Pxe"]);
}
