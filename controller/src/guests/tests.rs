//! The real plugin against a real controller, over TLS, in one process.

use std::{fs, path::Path, process::Command, time::Duration};

use http::StatusCode;
use imprint_guest::{
    config::GuestConfig,
    events::{Event, Spool},
    identity::Identity,
    session::{self, Pace, Place, SessionError},
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};

use super::*;
use crate::{
    events::EventQuery,
    identity::{PLATFORM, Viewer},
    testing::{TestServer, admin, problem},
    volumes::{Backing, Detaching, Limits, NewVolume, VolumeState},
};

const NODE: &str = "01JD3Y6N9M1V9S1M6V1M3B3W51";
const FIRST: &str = "01JD3Y6N9M1V9S1M6V1M3B3W5A";
const SECOND: &str = "01JD3Y6N9M1V9S1M6V1M3B3W5B";
const QUICK: Pace = Pace {
    first_pause: Duration::from_millis(20),
    longest_pause: Duration::from_millis(100),
    attempt: Duration::from_secs(20),
    wait_for_identity: Duration::from_millis(10),
};

/// An installed system: a folder with what the agent leaves in it.
struct System {
    root: tempfile::TempDir,
    place: Place,
    deployment: &'static str,
}

impl System {
    fn installed(server: &TestServer, deployment: &'static str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in ["etc/imprint", "proc/sys/kernel/random"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        fs::write(at("etc/shadow"), "root:*:19000:0:99999:7:::\n").unwrap();
        fs::write(at("proc/sys/kernel/random/boot_id"), "boot-1\n").unwrap();
        let keys: Vec<String> = server
            .app
            .authority
            .manifest_public_keys()
            .iter()
            .map(ToString::to_string)
            .collect();
        let config = json!({
            "version": 1, "deployment_id": deployment, "controller_url": server.base,
            "ca_pem": server.app.authority.ca_pem(), "order_keys": keys,
        });
        fs::write(at("etc/imprint/guest.json"), config.to_string()).unwrap();
        let place = Place {
            config: at("etc/imprint/guest.json"),
            root: root.path().to_owned(),
        };
        Self {
            root,
            place,
            deployment,
        }
    }

    /// As after the first-boot report.
    async fn adopt(&self, server: &TestServer) -> Adopted {
        let path = Identity::path_beside(&self.place.config);
        let mut identity = Identity::obtain(&path, self.deployment).unwrap();
        let request = identity.request_der().unwrap();
        let adopted = server.app.guests.adopt(self.deployment, &request).await.unwrap();
        if !adopted.chain_der.is_empty() {
            identity.adopt(&adopted.node_id, &adopted.chain_der).unwrap();
        }
        adopted
    }

    fn run(&self) -> JoinHandle<Result<(), SessionError>> {
        let place = self.place.clone();
        tokio::spawn(async move { session::run(&place, QUICK).await })
    }

    fn hash_of_root(&self) -> String {
        let shadow = fs::read_to_string(self.root.path().join("etc/shadow")).unwrap();
        shadow.split(':').nth(1).unwrap().to_owned()
    }
}

async fn rig(dir: &Path) -> TestServer {
    let server = TestServer::start(dir).await;
    sqlx::query(
        "INSERT INTO nodes (id, name, state, created_at, project_id) VALUES (?, 'web-07', 'active', 0, ?)",
    )
    .bind(NODE)
    .bind(PLATFORM)
    .execute(&server.app.db)
    .await
    .unwrap();
    for deployment in [FIRST, SECOND] {
        sqlx::query(
            "INSERT INTO deployments (id, node_id, state, phase, step, image_id, image_name, image_digest, \
             manifest_digest, disk_size_bytes, logical_sector_bytes, disk_rule, hostname, boot_order, grow_root, finish, \
             task_id, phase_since, moved_at, created_at, project_id, manifest) VALUES (?1, ?2, 'succeeded', 'done', \
             'first-boot-report', '', 'i', '', '', 1, 512, '', 'h', 'network-first', 1, 1, ?1, 0, 0, 0, ?3, '')",
        )
        .bind(deployment)
        .bind(NODE)
        .bind(PLATFORM)
        .execute(&server.app.db)
        .await
        .unwrap();
    }
    server
}

async fn connected(server: &TestServer, wanted: bool) {
    while server.app.guests.hub.is_connected(NODE) != wanted {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn told(server: &TestServer, kind: &str) -> Vec<crate::events::Event> {
    let query = EventQuery {
        page_size: 1000,
        ..EventQuery::default()
    };
    let page = server.app.events.list(&query).await.unwrap();
    page.items
        .into_iter()
        .filter(|event| event.kind == kind)
        .collect()
}

async fn ask(server: &TestServer, body: Value) -> reqwest::Response {
    let url = server.url("/v1/nodes/web-07/password-resets");
    server.client().post(url).json(&body).send().await.unwrap()
}

/// crypt(3) of the C library, through perl.
fn crypt(password: &str, hash: &str) -> String {
    let output = Command::new("perl")
        .args(["-e", "print crypt($ARGV[0], $ARGV[1])", password, hash])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_password_is_made_set_and_kept_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let server = rig(dir.path()).await;
    let system = System::installed(&server, FIRST);
    system.adopt(&server).await;
    let answer = ask(&server, json!({"user": "root"})).await;
    assert_eq!(problem(answer).await.0, StatusCode::CONFLICT, "not connected yet");

    let session = system.run();
    connected(&server, true).await;
    let answer = ask(&server, json!({"user": "root"})).await;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(
        (&answer["state"], &answer["reason"]),
        (&json!("done"), &json!(""))
    );
    let password = answer["password"].as_str().unwrap();
    assert_eq!(password.len(), 20);
    let hash = system.hash_of_root();
    assert_eq!(crypt(password, &hash), hash);

    let given = "a passphrase of my own";
    let answer = ask(&server, json!({"user": "root", "password": given})).await;
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(
        (&answer["state"], &answer["password"]),
        (&json!("done"), &Value::Null)
    );
    let hash = system.hash_of_root();
    assert_eq!(crypt(given, &hash), hash);

    let answer: Value = ask(&server, json!({"user": "nobody-here"}))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(answer["state"], "refused");
    assert!(
        answer["reason"].as_str().unwrap().contains("no user nobody-here"),
        "{answer}"
    );
    assert_eq!(system.hash_of_root(), hash);

    for (body, status) in [
        (json!({"user": "root", "password": "short"}), 422),
        (
            json!({"user": "root", "password": "two lines\nare too many"}),
            422,
        ),
        (json!({"user": "a:b"}), 422),
        (json!({"user": "root", "life_seconds": 5}), 400),
        (json!({"user": "root", "pasword": "misspelt"}), 400),
    ] {
        assert_eq!(ask(&server, body.clone()).await.status(), status, "{body}");
    }
    let orders: Value = server
        .client()
        .get(server.url("/v1/nodes/web-07/password-resets"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let states: Vec<_> = orders["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|order| order["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["refused", "done", "done"]);
    assert_eq!(told(&server, "guest.password-reset.requested").await.len(), 3);
    assert_eq!(told(&server, "guest.password-reset.done").await.len(), 2);
    assert_eq!(told(&server, "guest.password-reset.refused").await.len(), 1);
    session.abort();
    // Neither in the database nor in its log.
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            for secret in [password, given] {
                let found = bytes
                    .windows(secret.len())
                    .any(|piece| piece == secret.as_bytes());
                assert!(!found, "{} holds a password", path.display());
            }
        }
    }
}

#[tokio::test]
async fn events_are_told_once_and_forgotten_by_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let server = rig(dir.path()).await;
    let system = System::installed(&server, FIRST);
    system.adopt(&server).await;
    let spool = Spool::below(system.root.path());
    for diff in ["-a", "-b"] {
        let event = Event {
            kind: "network.restored".into(),
            message: "The network was restored.".into(),
            diff: diff.into(),
        };
        assert!(spool.put(&event).unwrap());
    }
    let (_, again) = spool.next(None).unwrap().unwrap();
    let session = system.run();
    while spool.next(None).unwrap().is_some() {
        sleep(Duration::from_millis(5)).await;
    }
    let events = told(&server, "guest.network.restored").await;
    let diffs: Vec<_> = events
        .iter()
        .map(|event| event.details["diff"].as_str().unwrap())
        .collect();
    assert_eq!(diffs, ["-a", "-b"]);
    assert!(events.iter().all(|event| event.node_id.as_deref() == Some(NODE)));
    // An acknowledgement that was lost: the event comes again.
    let seat = server.app.guests.hub.seat_for_test(NODE, FIRST);
    server.app.guests.take_event(&seat, &again).await.unwrap();
    assert_eq!(told(&server, "guest.network.restored").await.len(), 2);
    // The list of files was not installed in this system.
    assert_eq!(told(&server, "guest.drift").await.len(), 1);
    let guest = server.app.guests.of_node(NODE).await.unwrap().unwrap();
    assert!(
        guest.connected && guest.boot_id == "boot-1" && guest.drift.len() == 1,
        "{guest:?}"
    );
    session.abort();
    connected(&server, false).await;
}

#[tokio::test]
async fn a_certificate_is_for_one_key_and_ends_with_the_next_system() {
    let dir = tempfile::tempdir().unwrap();
    let server = rig(dir.path()).await;
    let system = System::installed(&server, FIRST);
    assert!(!system.adopt(&server).await.chain_der.is_empty());
    assert!(
        !system.adopt(&server).await.chain_der.is_empty(),
        "the answer was lost"
    );
    let session = system.run();
    connected(&server, true).await;

    let thief = System::installed(&server, FIRST);
    assert!(thief.adopt(&server).await.chain_der.is_empty());
    assert_eq!(told(&server, "alarm.guest-key-changed").await.len(), 1);

    let next = System::installed(&server, SECOND);
    assert!(!next.adopt(&server).await.chain_der.is_empty());
    let ended = session.await.unwrap();
    assert!(matches!(ended, Err(SessionError::Refused(_))), "{ended:?}");
    let session = next.run();
    connected(&server, true).await;
    assert_eq!(
        server
            .app
            .guests
            .of_node(NODE)
            .await
            .unwrap()
            .unwrap()
            .deployment_id,
        SECOND
    );
    // A node that is forgotten takes everything with it.
    let admin = server.client();
    let deleted = admin.delete(server.url("/v1/nodes/web-07")).send().await.unwrap();
    assert_eq!(deleted.status(), 200);
    assert_eq!(server.app.guests.of_node(NODE).await.unwrap(), None);
    session.abort();
}

#[tokio::test]
async fn an_order_without_an_answer_expires() {
    let dir = tempfile::tempdir().unwrap();
    let server = rig(dir.path()).await;
    let app = &server.app;
    let now = app.clock.now_ms();
    sqlx::query(
        "INSERT INTO password_resets (id, node_id, deployment_id, user, state, requested_by, created_at, expires_at) \
         VALUES ('A', ?1, ?2, 'root', 'sent', 'me', ?3, ?3 + 10000)",
    )
    .bind(NODE)
    .bind(FIRST)
    .bind(now)
    .execute(&app.db)
    .await
    .unwrap();
    app.guests.expire().await.unwrap();
    assert_eq!(app.guests.resets(NODE).await.unwrap()[0].state, ResetState::Sent);
    app.clock.advance(SignedDuration::from_secs(10));
    for _ in 0..2 {
        app.guests.expire().await.unwrap();
    }
    let order = &app.guests.resets(NODE).await.unwrap()[0];
    assert_eq!(order.state, ResetState::Expired);
    assert_eq!(told(&server, "guest.password-reset.expired").await.len(), 1);
    assert!(app.nodes.find(&Viewer::All, "web-07").await.is_ok());
}

#[tokio::test]
async fn a_system_tells_what_works_with_its_disks() {
    let dir = tempfile::tempdir().unwrap();
    let server = rig(dir.path()).await;
    let guests = &server.app.guests;
    assert_eq!(guests.disks(NODE).await, None, "nobody is there to be asked");
    let system = System::installed(&server, FIRST);
    system.adopt(&server).await;
    for (path, text) in [
        ("sys/block/vda/device/x", ""),
        ("sys/block/vda/dev", "254:0"),
        ("sys/block/vda/serial", "v01jd3y6n9m1v9s1m6v1"),
        ("proc/self/mountinfo", "29 1 254:0 / /srv rw - ext4 /dev/vda rw\n"),
    ] {
        let path = system.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let running = system.run();
    connected(&server, true).await;
    let disks = guests.disks(NODE).await.unwrap();
    assert_eq!(disks.len(), 1);
    assert_eq!(disks[0].serial, "v01jd3y6n9m1v9s1m6v1");
    assert_eq!(disks[0].used_by, ["mounted at /srv"]);
    // What nobody has asked for is nobody's answer.
    let unasked = imprint_proto::agent::v1::GuestDisks {
        order_id: "X".to_owned(),
        disks,
    };
    guests.take_disks(&guests.hub.seat_for_test(NODE, FIRST), unasked);
    running.abort();
}

#[tokio::test]
async fn a_volume_that_is_mounted_is_not_taken_from_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = rig(dir.path()).await;
    let app = &server.app;
    let by = admin();
    let new = NewVolume {
        name: "data".to_owned(),
        project_id: None,
        size_bytes: 1 << 20,
        backing: Backing::Named {
            name: "export".to_owned(),
        },
        limits: Limits::default(),
    };
    let volume = app.volumes.create(&by, &new).await.unwrap();
    sqlx::query("UPDATE volumes SET state = 'attached', node_id = ?, port = 0, physical = 0, virtual = 0, kind = 'nvme'")
        .bind(NODE)
        .execute(&app.db)
        .await
        .unwrap();
    let system = System::installed(&server, FIRST);
    system.adopt(&server).await;
    let put = |path: &str, text: &str| {
        let path = system.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("sys/block/nvme0n1/device/serial", &volume.volume().serial());
    put("sys/block/nvme0n1/dev", "259:0");
    put(
        "proc/self/mountinfo",
        "29 1 259:0 / /srv rw - ext4 /dev/nvme0n1 rw\n",
    );
    let running = system.run();
    connected(&server, true).await;
    let detach = async |how| app.volumes.detach(&app.guests, &by, "data", how).await;
    let refused = detach(Detaching::Unused).await.unwrap_err().to_string();
    assert!(refused.contains("mounted at /srv in node web-07"), "{refused}");
    assert!(told(&server, "volume.forced").await.is_empty());
    put("proc/self/mountinfo", "");
    assert_eq!(
        detach(Detaching::Unused).await.unwrap().state,
        VolumeState::Detaching
    );

    // Forced, it goes, and that is written down.
    sqlx::query("UPDATE volumes SET state = 'attached'")
        .execute(&app.db)
        .await
        .unwrap();
    put(
        "proc/self/mountinfo",
        "29 1 259:0 / /srv rw - ext4 /dev/nvme0n1 rw\n",
    );
    assert_eq!(
        detach(Detaching::Forced).await.unwrap().state,
        VolumeState::Detaching
    );
    assert_eq!(told(&server, "volume.forced").await.len(), 1);
    running.abort();
}

#[tokio::test]
async fn only_the_right_certificate_opens_a_session() {
    let dir = tempfile::tempdir().unwrap();
    let server = rig(dir.path()).await;
    let system = System::installed(&server, FIRST);
    system.adopt(&server).await;
    // The certificate of a node is none of a guest, and the other way round.
    let config = GuestConfig::load(&system.place.config).unwrap();
    let mut identity = Identity::load(
        &Identity::path_beside(&system.place.config),
        &config.deployment_id,
    )
    .unwrap()
    .unwrap();
    let request = identity.request_der().unwrap();
    let issued = server
        .app
        .authority
        .issue_node_certificate(&request, NODE)
        .unwrap();
    identity.adopt(NODE, &issued.chain_der).unwrap();
    let ended = system.run().await.unwrap();
    assert!(matches!(ended, Err(SessionError::Refused(_))), "{ended:?}");
}
