use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::*;
use crate::{
    app::App,
    clock::Clock,
    config::Config,
    db,
    events::{EventQuery, NewEvent},
    setup,
    testing::admin,
};

fn clock() -> Clock {
    Clock::fake(jiff::Timestamp::now())
}

async fn tell(app: &App, kind: &str) -> i64 {
    let event = NewEvent {
        kind,
        node_id: None,
        deployment_id: None,
        message: String::new(),
        details: serde_json::json!({}),
    };
    app.events.append(event).await.unwrap().id
}

async fn node(app: &App, id: &str, state: &str) {
    sqlx::query("INSERT INTO nodes (id, name, state, created_at) VALUES (?1, ?1, ?2, 0)")
        .bind(id)
        .bind(state)
        .execute(&app.db)
        .await
        .unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_controller_is_whole_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("b.backup"));
    let app = App::for_test_with(Config::loopback(&data), clock()).await;
    node(&app, "n1", "available").await;
    sqlx::query(
        "INSERT INTO power_actions (id, node_id, action, force, state, stage, deadline, why, created_at) \
         VALUES ('p1', 'n1', 'cycle', 0, 'running', 'off', ?, '', 0)",
    )
    .bind(i64::MAX)
    .execute(&app.db)
    .await
    .unwrap();
    // Somebody writes all the time.
    let stop = tokio_util::sync::CancellationToken::new();
    let writer = tokio::spawn({
        let (app, stop) = (app.clone(), stop.clone());
        async move {
            while !stop.is_cancelled() {
                tell(&app, "test.written").await;
            }
        }
    });
    let first = tell(&app, "test.before").await;
    let taken = take(&data, &file, &clock()).await.unwrap();
    stop.cancel();
    writer.await.unwrap();
    assert_eq!(mode(&file), 0o600);
    assert_eq!(taken.bytes, fs::metadata(&file).unwrap().len());
    assert_eq!(
        taken.digest,
        blake3::hash(&fs::read(&file).unwrap()).to_hex().to_string()
    );
    assert!(taken.newest_event >= first && taken.newest_event <= app.events.newest().await.unwrap());
    assert!(matches!(
        take(&data, &file, &clock()).await,
        Err(BackupError::Exists { .. })
    ));
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");

    let restored = dir.path().join("restored");
    let done = restore(&file, &restored, &clock()).await.unwrap();
    assert_eq!((done.nodes, done.deployments), (1, 0));
    assert_eq!(mode(&restored), 0o700);
    for entry in fs::read_dir(data.join("identity")).unwrap() {
        let entry = entry.unwrap();
        let other = restored.join("identity").join(entry.file_name());
        assert_eq!(fs::read(entry.path()).unwrap(), fs::read(&other).unwrap());
        assert_eq!(mode(&other), 0o600);
    }
    let again = App::open(Config::loopback(&restored), clock()).await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM events WHERE id <= ?")
        .bind(taken.newest_event)
        .fetch_one(&again.db)
        .await
        .unwrap();
    assert_eq!(kept, taken.newest_event, "no event is missing");
    let later = EventQuery {
        after: taken.newest_event,
        ..EventQuery::default()
    };
    let later = again.events.list(&later).await.unwrap().items;
    let alarm = later.iter().find(|event| event.kind == "alarm.restored").unwrap();
    assert!(
        alarm.id > app.events.newest().await.unwrap() + 1000,
        "its number was never seen by anybody"
    );
    assert!(again.holds.of("n1").await.unwrap().is_some());
    // Nothing is switched because it was to be switched when the backup was made.
    let (state, why): (String, String) =
        sqlx::query_as("SELECT state, why FROM power_actions WHERE id = 'p1'")
            .fetch_one(&again.db)
            .await
            .unwrap();
    assert_eq!(
        (state.as_str(), why.contains("restored")),
        ("failed", true),
        "{why}"
    );
    assert_eq!(alarm.details["power_changes"], 1);
    let failed = later.iter().find(|event| event.kind == "power.failed").unwrap();
    assert!(
        failed.id > alarm.id && failed.message.contains("ask again"),
        "{failed:?}"
    );
    assert_eq!(failed.node_id.as_deref(), Some("n1"));
    let found = again
        .nodes
        .find(&crate::identity::Viewer::All, "n1")
        .await
        .unwrap();
    again.holds.confirm(&admin(), &found).await.unwrap();
    assert!(again.holds.of("n1").await.unwrap().is_none());
}

/// Whether the database was taken for older than the world at the last start.
async fn was_told(app: &App) -> bool {
    let alarms: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM events WHERE kind = 'alarm.restored'")
        .fetch_one(&app.db)
        .await
        .unwrap();
    let held = app.holds.of("n1").await.unwrap().is_some();
    assert_eq!(alarms > 0, held);
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_and_a_missing_witness_are_no_older_database() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let witness = data.join(WITNESS);
    let open = || App::open(Config::loopback(&data), clock());
    let app = App::for_test_with(Config::loopback(&data), clock()).await;
    assert_eq!(mode(&witness), 0o600);
    let at_first = fs::read(&witness).unwrap();
    node(&app, "n1", "available").await;
    tell(&app, "test.told").await;
    // As a kill does: the witness knows less than the database.
    drop(app);
    assert_eq!(fs::read(&witness).unwrap(), at_first);
    let app = open().await.unwrap();
    assert!(!was_told(&app).await);
    tell(&app, "test.told").await;
    let before = fs::read(&witness).unwrap();
    app.close().await;
    assert!(
        before != fs::read(&witness).unwrap(),
        "an orderly end leaves nothing out"
    );
    let app = open().await.unwrap();
    assert!(!was_told(&app).await);
    app.close().await;
    // As after `restore`, or with a version that did not write it.
    fs::remove_file(&witness).unwrap();
    let app = open().await.unwrap();
    assert!(!was_told(&app).await && witness.exists());
    app.close().await;
    // An operator says that all of the folder was put back.
    fs::write(&witness, "restored\n").unwrap();
    let app = open().await.unwrap();
    assert!(was_told(&app).await);
    let hold = app.holds.of("n1").await.unwrap().unwrap();
    assert_eq!(hold.reason, HoldReason::Copied);
    app.close().await;
    let app = open().await.unwrap();
    let alarms: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM restores")
        .fetch_one(&app.db)
        .await
        .unwrap();
    assert_eq!(alarms, 1, "it is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_of_another_controller_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    let app = App::for_test_with(Config::loopback(&one), clock()).await;
    app.close().await;
    let app = App::for_test_with(Config::loopback(&other), clock()).await;
    node(&app, "n1", "available").await;
    for _ in 0..10 {
        tell(&app, "test.told").await;
    }
    app.close().await;
    fs::copy(other.join(db::FILE_NAME), one.join(db::FILE_NAME)).unwrap();
    let app = App::open(Config::loopback(&one), clock()).await.unwrap();
    assert!(was_told(&app).await);
}

#[tokio::test]
async fn a_folder_in_use_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("b.backup"));
    setup::init(&data, &[], &clock()).await.unwrap();
    take(&data, &file, &clock()).await.unwrap();
    let key = fs::read(data.join("identity/ca.key")).unwrap();
    let error = restore(&file, &data, &clock()).await.unwrap_err();
    assert!(matches!(error, BackupError::NotEmpty { .. }), "{error}");
    assert_eq!(fs::read(data.join("identity/ca.key")).unwrap(), key);
    let nobody = take(&dir.path().join("nothing"), &dir.path().join("c"), &clock()).await;
    assert!(matches!(nobody, Err(BackupError::Folder(_))));
}

#[tokio::test]
async fn whatever_is_damaged_is_found_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("b.backup"));
    setup::init(&data, &[], &clock()).await.unwrap();
    take(&data, &file, &clock()).await.unwrap();
    let whole = fs::read(&file).unwrap();
    let target = dir.path().join("target");
    let bad = dir.path().join("bad.backup");
    let mut cases: Vec<Vec<u8>> = vec![Vec::new(), b"not a backup".to_vec()];
    for at in [whole.len() / 4, whole.len() / 2, whole.len() - 2] {
        cases.push(whole[..at].to_vec());
        let mut flipped = whole.clone();
        flipped[at] ^= 0x20;
        cases.push(flipped);
    }
    // A member that is none of a data folder, and one whose bytes are others.
    cases.push(repacked(&whole, |path, _| {
        path.replace("identity/ca.pem", "identity/../evil")
    }));
    cases.push(repacked(&whole, |path, content| {
        if path == "identity/ca.pem" {
            content[0] ^= 1;
        }
        path.to_owned()
    }));
    for (number, case) in cases.into_iter().enumerate() {
        fs::write(&bad, case).unwrap();
        let error = restore(&bad, &target, &clock()).await.unwrap_err();
        assert!(matches!(error, BackupError::Damaged { .. }), "{number}: {error}");
        assert!(!target.exists(), "{number}: {error}");
    }
    fs::create_dir(&target).unwrap();
    restore(&bad, &target, &clock()).await.unwrap_err();
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    restore(&file, &target, &clock()).await.unwrap();
    assert!(setup::is_initialised(&target) && target.join("store/packs").is_dir());
    assert!(!target.join("evil").exists());
}

/// The same archive with other names or other bytes in it; the list is as it was.
fn repacked(whole: &[u8], change: impl Fn(&str, &mut Vec<u8>) -> String) -> Vec<u8> {
    let mut from = tar::Archive::new(zstd::Decoder::new(whole).unwrap());
    let mut to = tar::Builder::new(Vec::new());
    for entry in from.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let path = change(&path, &mut content);
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        // As a forger would write it: the library itself refuses `..`.
        let name = &mut header.as_gnu_mut().unwrap().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        to.append(&header, content.as_slice()).unwrap();
    }
    let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
    packed.write_all(&to.into_inner().unwrap()).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn a_backup_of_a_later_version_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("b.backup"));
    setup::init(&data, &[], &clock()).await.unwrap();
    let pool = db::open(&data, false).await.unwrap();
    let insert = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999999, 'from the future', TRUE, x'00', 0)";
    sqlx::query(insert).execute(&pool).await.unwrap();
    db::close(&pool).await;
    take(&data, &file, &clock()).await.unwrap();
    let target = dir.path().join("target");
    let error = restore(&file, &target, &clock()).await.unwrap_err();
    assert!(
        matches!(error, BackupError::Open(db::DbError::Newer { .. })),
        "{error}"
    );
    assert!(!target.exists());
}
