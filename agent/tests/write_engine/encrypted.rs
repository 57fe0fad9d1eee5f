//! Images that are encrypted at rest: the whole path with a key, and nothing without it.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use imprint_agent::{
    source::{ManifestKeys, PackSource, SourceError},
    stream::{Delta, WriteNote, WriteOptions},
};
use imprint_image::{ManifestError, seal::DataKey};

use crate::support::*;

const SECRET: [u8; 32] = [0xA7; 32];

fn key() -> DataKey {
    DataKey::from_bytes(SECRET)
}

/// The secret as it would show: as hex, and as a list of numbers.
fn shows_the_key(text: &str) -> bool {
    text.contains("a7a7a7") || text.contains("167, 167") || text.contains("167,167")
}

fn key_file(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("image.key");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_image_is_written_with_its_key_over_a_bad_network() {
    let content = disk_content();
    let store = Store::encrypted(&content, 512, &key());
    let server = Server::start(store.dir.path());
    let name = store.manifest_path.file_name().unwrap().to_str().unwrap();
    let url = server.url(&format!("manifests/{name}"));
    let keys = ManifestKeys::Trusted(vec![store.key.public_key()]);
    let manifest = encrypted_manifest_from(&url, &keys, Some(&key())).await.unwrap();
    assert_eq!(manifest, *store.manifest);

    server.behaviour.next.lock().unwrap().extend([
        Fault::Flip(700),
        Fault::CutAfter(1_500_000),
        Fault::Status(503),
    ]);
    let disk = DirtyFile::new(32 * MIB);
    // One request after the other, so that the first one is for the first byte.
    let with = WriteOptions {
        read_back: true,
        connections: 1,
        delta: Delta::Off,
        ..options()
    };
    let told = write(&Arc::new(manifest), server.packs(), &disk.target(512), with).await;
    let written = told.result.unwrap();
    assert_eq!(
        written.verified.image_digest().to_string(),
        Store::new(&content, 512).manifest.image_digest.to_string(),
        "the identity is that of the same image without encryption"
    );
    let corrupt = |note: &&WriteNote| matches!(note, WriteNote::Corrupt { .. });
    assert_eq!(told.notes.iter().filter(corrupt).count(), 1, "{:?}", told.notes);
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_holds_of_an_encrypted_image_is_not_fetched() {
    let content = disk_content();
    let store = Store::encrypted(&content, 512, &key());
    let server = Server::start(store.dir.path());
    *server.behaviour.pause.lock().unwrap() = Duration::from_millis(50);
    let disk = DirtyFile::new(32 * MIB);
    let mut older = content.clone();
    older[10 * MIB + 5000] ^= 1;
    let file = fs::OpenOptions::new().write(true).open(&disk.path).unwrap();
    file.write_all_at(&older, 0).unwrap();
    let told = write(&store.manifest, server.packs(), &disk.target(512), options()).await;
    let figures = told.result.unwrap().figures;
    assert!(figures.chunks_kept >= 10, "{figures:?}");
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}

#[tokio::test]
async fn without_its_key_nothing_of_an_encrypted_image_is_read() {
    let store = Store::encrypted(&disk_content(), 512, &key());
    let plain = Store::new(&disk_content(), 512);
    let load = async |store: &Store, given: Option<DataKey>| {
        let keys = ManifestKeys::Trusted(vec![store.key.public_key()]);
        let place = store.manifest_path.to_str().unwrap();
        let error = encrypted_manifest_from(place, &keys, given.as_ref())
            .await
            .unwrap_err();
        assert!(error.is_permanent());
        error
    };
    let error = load(&store, None).await;
    assert!(error.remedy().contains("--key-file"), "{}", error.remedy());
    let SourceError::Manifest { source, .. } = error else {
        panic!("{error}")
    };
    assert!(matches!(source, ManifestError::Encrypted { key_id } if key_id == key().id()));
    let error = load(&store, Some(DataKey::from_bytes([1; 32]))).await;
    assert!(
        matches!(
            &error,
            SourceError::Manifest {
                source: ManifestError::WrongKey { .. },
                ..
            }
        ),
        "{error}"
    );
    let error = load(&plain, Some(key())).await;
    assert!(
        matches!(
            &error,
            SourceError::Manifest {
                source: ManifestError::NotEncrypted,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error.remedy().contains("without a data key"),
        "{}",
        error.remedy()
    );
}

/// Another key that somebody has put under the right name: all chunks are refused, and none is written.
#[tokio::test(flavor = "multi_thread")]
async fn frames_that_do_not_open_never_reach_the_disk() {
    let store = Store::encrypted(&disk_content(), 512, &key());
    let mut manifest = (*store.manifest).clone();
    let strange = DataKey::from_bytes([1; 32]);
    manifest.seal = Some(imprint_image::seal::Seal::new(&strange, Default::default()));
    let disk = DirtyFile::new(32 * MIB);
    let packs = PackSource::dir(store.dir.path());
    let told = write(&Arc::new(manifest), packs, &disk.target(512), options()).await;
    let failure = told.result.unwrap_err();
    assert!(failure.cause.contains("cannot be decrypted"), "{}", failure.cause);
    assert!(failure.head_cleared);
    let content = disk.content();
    let untouched = |chunk: usize| {
        content[chunk * MIB..][..MIB]
            .iter()
            .all(|&byte| matches!(byte, 0 | 0xA5))
    };
    assert!(
        (0..24).all(untouched),
        "bytes of a frame that was refused are on the disk"
    );
}

fn by_hand(store: &Store, disk: &DirtyFile, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_imprint-agent"))
        .args(["write", "--json", "--manifest"])
        .arg(&store.manifest_path)
        .args(["--pubkey", &store.key.public_key().to_string()])
        .arg("--target")
        .arg(&disk.path)
        .args(more)
        .env("RUST_LOG", "trace")
        .output()
        .unwrap()
}

#[test]
fn by_hand_the_key_comes_from_a_private_file_and_shows_nowhere() {
    let content = disk_content();
    let store = Store::encrypted(&content, 512, &key());
    let dir = tempfile::tempdir().unwrap();
    let disk = DirtyFile::new(32 * MIB);
    let said = |output: &Output| {
        let all = [&output.stdout[..], &output.stderr].concat();
        let all = String::from_utf8(all).unwrap();
        assert!(!shows_the_key(&all), "{all}");
        all
    };
    let output = by_hand(&store, &disk, &[]);
    assert!(!output.status.success());
    assert!(said(&output).contains("is encrypted"), "{}", said(&output));
    let wrong = key_file(dir.path(), &"11".repeat(32));
    let output = by_hand(&store, &disk, &["--key-file", wrong.to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(
        said(&output).contains(&key().id().to_string()),
        "{}",
        said(&output)
    );
    assert_same(&disk.content(), &vec![0xA5; 32 * MIB]);

    let right = key_file(dir.path(), &format!("{}\n", hex::encode(SECRET)));
    fs::set_permissions(&right, Permissions::from_mode(0o644)).unwrap();
    let output = by_hand(&store, &disk, &["--key-file", right.to_str().unwrap()]);
    assert!(said(&output).contains("chmod 600"), "{}", said(&output));
    fs::set_permissions(&right, Permissions::from_mode(0o600)).unwrap();
    let output = by_hand(
        &store,
        &disk,
        &["--read-back", "--key-file", right.to_str().unwrap()],
    );
    assert!(output.status.success(), "{}", said(&output));
    said(&output);
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}

/// Killed in the middle: the journal has no key, and with the key the write goes on.
#[test]
fn a_killed_write_of_an_encrypted_image_goes_on_with_the_key() {
    let content = disk_content();
    let store = Store::encrypted(&content, 512, &key());
    let server = Server::start(store.dir.path());
    *server.behaviour.pause.lock().unwrap() = Duration::from_millis(30);
    let (disk, dir) = (DirtyFile::new(32 * MIB), tempfile::tempdir().unwrap());
    let journal = dir.path().join("journal");
    let secret = key_file(dir.path(), &hex::encode(SECRET));
    let name = store.manifest_path.file_name().unwrap().to_str().unwrap();
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_imprint-agent"))
            .args([
                "write",
                "--json",
                "--manifest",
                &server.url(&format!("manifests/{name}")),
            ])
            .args(["--pubkey", &store.key.public_key().to_string()])
            .arg("--key-file")
            .arg(&secret)
            .arg("--journal")
            .arg(&journal)
            .arg("--target")
            .arg(&disk.path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut child = start();
    // Lines of progress come while it writes; some chunks are in the journal after a few of them.
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let under_way = |line: String| {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["bytes_written"]
            .as_u64()
            .is_some_and(|bytes| bytes > 4 << 20)
    };
    assert!(
        lines.map(Result::unwrap).any(under_way),
        "the write does not get going"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let noted = fs::read_to_string(&journal).unwrap();
    assert!(noted.contains("done ") && !shows_the_key(&noted), "{noted}");

    *server.behaviour.pause.lock().unwrap() = Duration::ZERO;
    let output = start().wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !shows_the_key(&said), "{said}");
    let done: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert!(done["chunks_resumed"].as_u64().unwrap() > 0, "{done}");
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}
