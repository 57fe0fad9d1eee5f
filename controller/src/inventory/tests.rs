use imprint_proto::agent::v1::Fingerprint;
use jiff::SignedDuration;

use super::*;
use crate::{
    app::App,
    boot::{BootAction, BootFacts},
    events::EventQuery,
    identity::Viewer,
    testing::admin,
};

const UUID_A: &str = "11111111-2222-4333-8444-000000000001";
const UUID_B: &str = "11111111-2222-4333-8444-000000000002";

fn known(id: &str, uuid: Option<&str>, serial: Option<&str>, macs: &[&str]) -> Known {
    Known {
        node_id: id.to_owned(),
        name: id.to_owned(),
        uuid: uuid.map(ToOwned::to_owned),
        serial: serial.map(ToOwned::to_owned),
        macs: macs.iter().map(|mac| (*mac).to_owned()).collect(),
    }
}

fn shown(uuid: Option<&str>, serial: Option<&str>, macs: &[&str]) -> Shown {
    let known = known("", uuid, serial, macs);
    Shown {
        uuid: known.uuid,
        serial: known.serial,
        macs: known.macs,
    }
}

fn fingerprint(uuid: &str, serial: &str, macs: &[&str]) -> Fingerprint {
    Fingerprint {
        smbios_uuid: uuid.to_owned(),
        smbios_serial: serial.to_owned(),
        macs: macs.iter().map(|mac| (*mac).to_owned()).collect(),
    }
}

#[test]
fn identity_table() {
    let nodes = [
        known(
            "a",
            Some(UUID_A),
            Some("SN-A"),
            &["02:00:00:00:00:01", "02:00:00:00:00:02"],
        ),
        known("b", Some(UUID_B), Some("SN-B"), &["02:00:00:00:00:03"]),
        known("bare", None, None, &["02:00:00:00:00:04"]),
        known("serial", None, Some("SN-C"), &["02:00:00:00:00:05"]),
    ];
    let rows = [
        (
            "all the same",
            shown(Some(UUID_A), Some("SN-A"), &["02:00:00:00:00:01"]),
            "same a",
        ),
        (
            "a NIC more",
            shown(Some(UUID_A), None, &["02:00:00:00:00:02", "02:00:00:00:00:99"]),
            "same a",
        ),
        (
            "all NICs replaced, serial tells",
            shown(Some(UUID_A), Some("SN-A"), &["02:00:00:00:00:98"]),
            "same a",
        ),
        (
            "same UUID, nothing else",
            shown(Some(UUID_A), None, &["02:00:00:00:00:98"]),
            "conflict a",
        ),
        (
            "same UUID, other serial",
            shown(Some(UUID_A), Some("SN-X"), &["02:00:00:00:00:98"]),
            "conflict a",
        ),
        (
            "UUID of one, MAC of another",
            shown(Some(UUID_A), None, &["02:00:00:00:00:03"]),
            "conflict",
        ),
        (
            "NIC in another machine",
            shown(
                Some("11111111-2222-4333-8444-000000000003"),
                None,
                &["02:00:00:00:00:03"],
            ),
            "conflict b",
        ),
        (
            "MACs of two",
            shown(None, None, &["02:00:00:00:00:01", "02:00:00:00:00:03"]),
            "conflict",
        ),
        (
            "only a MAC is known",
            shown(None, None, &["02:00:00:00:00:04"]),
            "same bare",
        ),
        (
            "UUID appears later",
            shown(
                Some("11111111-2222-4333-8444-000000000009"),
                None,
                &["02:00:00:00:00:04"],
            ),
            "same bare",
        ),
        (
            "MAC the same, serial differs",
            shown(None, Some("SN-X"), &["02:00:00:00:00:05"]),
            "conflict serial",
        ),
        (
            "nothing in common",
            shown(
                Some("11111111-2222-4333-8444-000000000009"),
                Some("SN-Z"),
                &["02:00:00:00:00:77"],
            ),
            "new",
        ),
        (
            "serial alone is too little",
            shown(None, Some("SN-C"), &["02:00:00:00:00:77"]),
            "new",
        ),
    ];
    for (name, shown, expected) in rows {
        let answer = match identify(&shown, &nodes) {
            Identity::New => "new".to_owned(),
            Identity::Same(id) => format!("same {id}"),
            Identity::Conflict(conflict) => {
                assert!(!conflict.reason.is_empty() && !conflict.node_ids.is_empty());
                if conflict.node_ids.len() == 1 {
                    format!("conflict {}", conflict.node_ids[0])
                } else {
                    "conflict".to_owned()
                }
            }
        };
        assert_eq!(answer, expected, "{name}");
    }
}

#[test]
fn placeholders_identify_nobody() {
    for uuid in [
        "",
        "no",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "11111111-1111-1111-1111-111111111111",
        "03000200-0400-0500-0006-000700080009",
    ] {
        assert_eq!(Shown::by_agent(&fingerprint(uuid, "", &[])).uuid, None, "{uuid}");
    }
    for serial in [
        "",
        "To be filled by O.E.M.",
        "Default string",
        "0000000",
        "xxxx",
        "Not Specified",
        "unknown",
    ] {
        assert_eq!(
            Shown::by_agent(&fingerprint("", serial, &[])).serial,
            None,
            "{serial}"
        );
    }
    let macs = [
        "52:54:00:AB:cd:01",
        "52:54:00:ab:cd:01",
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "bad",
        "01:00:5e:00:00:01",
    ];
    let shown = Shown::by_agent(&fingerprint(&UUID_A.to_uppercase(), " SN-1 ", &macs));
    assert_eq!(
        shown,
        super::tests::shown(Some(UUID_A), Some("SN-1"), &["52:54:00:ab:cd:01"])
    );
}

#[tokio::test]
async fn a_machine_becomes_known_once_and_is_found_by_everything() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let print = fingerprint(UUID_A, "SN-A", &["52:54:00:ab:cd:01", "52:54:00:ab:cd:02"]);
    let node = app.nodes.enroll(&print, "0.1.0").await.unwrap();
    assert_eq!(
        (node.name.as_str(), node.state),
        ("node-abcd01", NodeState::Discovered)
    );
    assert_eq!(app.nodes.enroll(&print, "0.1.0").await.unwrap().id, node.id);
    for wanted in [
        &node.id,
        "NODE-ABCD01",
        "node-abcd01",
        UUID_A,
        "SN-A",
        "52:54:00:AB:CD:02",
        "52-54-00-ab-cd-01",
    ] {
        assert_eq!(
            app.nodes.find(&Viewer::All, wanted).await.unwrap().id,
            node.id,
            "{wanted}"
        );
    }
    let error = app.nodes.find(&Viewer::All, "node-zzz").await.unwrap_err();
    assert!(error.to_string().contains("there is node-abcd01"), "{error}");

    // Another vendor's NIC may end in the same six digits.
    let twin = app
        .nodes
        .enroll(&fingerprint(UUID_B, "SN-B", &["52:54:11:ab:cd:01"]), "0.1.0")
        .await
        .unwrap();
    assert_eq!(twin.name, "node-525411abcd01");

    let facts = BootFacts::parse("52:54:00:ab:cd:02", UUID_A, "SN-A", "efi").unwrap();
    let known = app.nodes.find_for_boot(&facts).await.unwrap();
    assert!(
        matches!(&known, Recognised::Known(found) if found.id == node.id),
        "{known:?}"
    );
    let stranger = BootFacts::parse("52:54:00:ab:cd:02", UUID_B, "", "efi").unwrap();
    let contradiction = app.nodes.find_for_boot(&stranger).await.unwrap();
    assert!(
        matches!(contradiction, Recognised::Contradiction(_)),
        "{contradiction:?}"
    );
    assert!(
        matches!(
            app.deployments.boot_action(&stranger).await.unwrap(),
            BootAction::LocalDisk { .. }
        ),
        "a server in service whose hardware changed keeps its system"
    );

    let kinds: Vec<_> = app.events.list(&EventQuery::default()).await.unwrap().items;
    assert_eq!(
        kinds
            .iter()
            .filter(|event| event.kind == "node.discovered")
            .count(),
        2
    );
}

#[tokio::test]
async fn a_machine_that_contradicts_itself_is_refused_with_an_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let a = app
        .nodes
        .enroll(&fingerprint(UUID_A, "SN-A", &["52:54:00:ab:cd:01"]), "1")
        .await
        .unwrap();
    let b = app
        .nodes
        .enroll(&fingerprint(UUID_B, "SN-B", &["52:54:00:ab:cd:02"]), "1")
        .await
        .unwrap();
    let error = app
        .nodes
        .enroll(&fingerprint(UUID_A, "", &["52:54:00:ab:cd:02"]), "1")
        .await
        .unwrap_err();
    let EnrollError::Conflict(conflict) = error else {
        panic!("{error}")
    };
    assert!(
        conflict.reason.contains(&a.name) && conflict.reason.contains(&b.name),
        "{conflict}"
    );
    let events = app.events.list(&EventQuery::default()).await.unwrap().items;
    assert_eq!(events.last().unwrap().kind, "alarm.identity-conflict");
    assert_eq!(app.nodes.get(&b.id).await.unwrap().macs, ["52:54:00:ab:cd:02"]);
    let error = app
        .nodes
        .enroll(&fingerprint(UUID_A, "SN-A", &["nonsense"]), "1")
        .await
        .unwrap_err();
    assert!(matches!(error, EnrollError::Anonymous));
}

#[tokio::test]
async fn approval_names_and_happens_once() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let a = app
        .nodes
        .enroll(&fingerprint(UUID_A, "SN-A", &["52:54:00:ab:cd:01"]), "1")
        .await
        .unwrap();
    let b = app
        .nodes
        .enroll(&fingerprint(UUID_B, "SN-B", &["52:54:00:ab:cd:02"]), "1")
        .await
        .unwrap();
    assert!(matches!(
        app.nodes.approve(&admin(), &a.id, Some("web 1")).await,
        Err(InventoryError::BadName(_))
    ));
    let node = app.nodes.approve(&admin(), &a.id, Some("web-1")).await.unwrap();
    assert_eq!((node.name.as_str(), node.state), ("web-1", NodeState::Available));
    assert_eq!(
        app.nodes.approve(&admin(), "web-1", None).await.unwrap().version,
        node.version
    );
    assert!(matches!(
        app.nodes.approve(&admin(), &b.id, Some("WEB-1")).await,
        Err(InventoryError::NameTaken(_))
    ));
    assert!(matches!(
        app.nodes.approve(&admin(), &a.id, Some("web-2")).await,
        Err(InventoryError::NotDiscovered { .. })
    ));
    let available = NodeQuery {
        state: Some(NodeState::Available),
        ..NodeQuery::default()
    };
    assert_eq!(
        app.nodes
            .list(&Viewer::All, &available)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}

#[tokio::test]
async fn what_is_learned_beside_a_session_is_kept_and_is_no_event() {
    use imprint_hardware::facts::{DiskHealth, LldpNeighbour};

    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let print = fingerprint(UUID_A, "SN-A", &["52:54:00:ab:cd:01"]);
    let node = app.nodes.enroll(&print, "1").await.unwrap();
    let read = Inventory {
        disks: vec![Disk::default()],
        nics: vec![Nic::default()],
        ..Inventory::default()
    };
    let mut learned = read.clone();
    learned.disks[0].health = Some(DiskHealth::default());
    learned.nics[0].lldp = Some(LldpNeighbour::default());
    let mut grown = learned.clone();
    grown.disks.push(Disk::default());

    for (inventory, events) in [(&read, 1), (&learned, 1), (&read, 1), (&grown, 2)] {
        app.nodes.record_inventory(&node.id, inventory).await.unwrap();
        assert_eq!(
            app.nodes.inventory(&node.id).await.unwrap().as_ref(),
            Some(inventory)
        );
        let kept = app.events.list(&EventQuery::default()).await.unwrap().items;
        let told = kept
            .iter()
            .filter(|event| event.kind.starts_with("node.inventory."));
        assert_eq!(told.count(), events);
    }
}

#[tokio::test]
async fn what_is_known_needs_no_change_and_signs_of_life_are_kept_together() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let print = fingerprint(UUID_A, "SN-A", &["52:54:00:ab:cd:01"]);
    let node = app.nodes.enroll(&print, "1").await.unwrap();
    let inventory = Inventory {
        disks: vec![Disk::default()],
        ..Inventory::default()
    };
    app.nodes.record_inventory(&node.id, &inventory).await.unwrap();
    let last_seen = || async {
        let found = app.nodes.get(&node.id).await.unwrap();
        found.last_seen_at.unwrap()
    };
    let before = last_seen().await;

    // Somebody has the line, for as long as this takes.
    let change = app.events.begin().await.unwrap();
    app.clock.advance(SignedDuration::from_secs(30));
    app.nodes.record_inventory(&node.id, &inventory).await.unwrap();
    drop(change);
    assert_eq!(last_seen().await, before, "in memory alone so far");

    let read_only = |on: bool| {
        let line = app.events.writer().line().clone();
        let pragma = sqlx::AssertSqlSafe(format!("PRAGMA query_only = {on}"));
        async move { sqlx::query(pragma).execute(&line).await.unwrap() }
    };
    read_only(true).await;
    app.nodes.keep_seen().await;
    assert_eq!(last_seen().await, before, "the database took nothing");
    read_only(false).await;
    app.nodes.keep_seen().await;
    assert_eq!(last_seen().await, before + SignedDuration::from_secs(30));

    // What is older than what is known is left aside.
    app.nodes.seen(&node.id);
    app.clock.advance(SignedDuration::from_secs(5));
    let mut change = app.events.begin().await.unwrap();
    app.nodes
        .record_seen(change.connection(), &node.id)
        .await
        .unwrap();
    change.commit().await.unwrap();
    app.nodes.keep_seen().await;
    assert_eq!(last_seen().await, before + SignedDuration::from_secs(35));
    app.nodes.seen(&node.id);
    app.clock.advance(SignedDuration::from_secs(5));
    app.nodes.seen(&node.id);
    let db = app.db.clone();
    app.close().await;
    assert!(db.is_closed());
    let kept = crate::db::open(dir.path(), false).await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT last_seen_at FROM nodes WHERE id = ?")
        .bind(&node.id)
        .fetch_one(&kept)
        .await
        .unwrap();
    assert_eq!(
        kept,
        (before + SignedDuration::from_secs(40)).as_millisecond(),
        "the end of the controller keeps them"
    );
}
