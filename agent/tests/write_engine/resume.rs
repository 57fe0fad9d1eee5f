//! Killed and started again.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::*;

fn start(server: &Server, store: &Store, disk: &DirtyFile, journal: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_imprint-agent"))
        .args(["write", "--json", "--manifest"])
        .arg(server.url(&format!("manifests/{}", store.manifest.image_digest)))
        .arg("--pubkey")
        .arg(store.key.public_key().to_string())
        .arg("--target")
        .arg(&disk.path)
        .arg("--journal")
        .arg(journal)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How many chunks of data the journal has; holes of one chunk look the same in it.
fn chunks_in(journal: &Path, store: &Store) -> usize {
    let text = fs::read_to_string(journal).unwrap_or_default();
    let data = |line: &str| {
        let first = line
            .strip_prefix("done ")?
            .strip_suffix(" 1")?
            .parse::<u64>()
            .ok()?;
        store.manifest.chunks.iter().find(|chunk| chunk.index == first)
    };
    text.lines().filter(|line| data(line).is_some()).count()
}

#[test]
fn a_killed_write_goes_on_and_fetches_only_the_rest() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let server = Server::start(store.dir.path());
    *server.behaviour.pause.lock().unwrap() = Duration::from_millis(30);
    let disk = DirtyFile::new(32 * MIB);
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");

    let mut child = start(&server, &store, &disk, &journal);
    let deadline = Instant::now() + Duration::from_secs(30);
    while chunks_in(&journal, &store) < 5 {
        assert!(Instant::now() < deadline, "the write does not get going");
        assert!(
            child.try_wait().unwrap().is_none(),
            "the write ended before it was killed"
        );
        std::thread::yield_now();
    }
    // SIGKILL: nothing is cleaned up.
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = chunks_in(&journal, &store);
    assert!(
        disk.content()[..MIB].iter().all(|&byte| byte == 0),
        "a killed write left a head"
    );

    // As if it had died in the middle of a line.
    let mut torn = fs::read(&journal).unwrap();
    torn.extend_from_slice(b"done 2");
    fs::write(&journal, torn).unwrap();
    *server.behaviour.pause.lock().unwrap() = Duration::ZERO;
    let served = server.served();
    let output = start(&server, &store, &disk, &journal)
        .wait_with_output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let done = lines.last().unwrap();
    assert_eq!(done["event"], "done");
    assert_eq!(done["chunks_resumed"], kept);
    // What was on the disk and not yet in the journal is found by reading.
    let found = done["chunks_kept"].as_u64().unwrap();
    assert_eq!(
        done["chunks_fetched"],
        (store.manifest.chunks.len() - kept) as u64 - found
    );
    assert_eq!(done["bytes_fetched"], server.served() - served);
    assert!(!journal.exists());
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}

#[test]
fn a_journal_of_another_disk_is_not_believed() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let server = Server::start(store.dir.path());
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let header = serde_json::json!({
        "version": 1,
        "image_digest": store.manifest.image_digest,
        "target": "file 1:2",
        "target_bytes": 32 * MIB,
        "boot_id": boot_id.trim(),
    });
    fs::write(&journal, format!("{header}\nends\ndone 1 24\n")).unwrap();
    let disk = DirtyFile::new(32 * MIB);
    let output = start(&server, &store, &disk, &journal)
        .wait_with_output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(server.served(), store.manifest.fetch_bytes());
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}
