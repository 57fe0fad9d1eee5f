//! The command itself: exit codes, messages, signals.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sha2::{Digest, Sha256};

use crate::support::*;

fn write(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_imprint-agent"))
        .arg("write")
        .args(args)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_manifest_file_is_written_to_a_disk_and_its_partitions_appear() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let key = store.dir.path().join("key");
    fs::write(&key, format!("{}\n", store.key.public_key())).unwrap();
    let disk = DirtyLoop::new(32 * MIB, 512);
    let output = write(&[
        "--manifest",
        store.manifest_path.to_str().unwrap(),
        "--target",
        disk.path.to_str().unwrap(),
        "--pubkey",
        key.to_str().unwrap(),
        "--read-back",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("written in "), "{}", stderr(&output));
    assert_same(&disk.file.content(), &expected_disk(&content, 32 * MIB));
}

#[test]
fn a_mounted_disk_is_refused_with_the_place_where_it_is_mounted() {
    let disk = DirtyLoop::new(8 * MIB, 512);
    let made = Command::new("mkfs.ext4").arg("-q").arg(&disk.path).status();
    assert!(made.unwrap().success());
    let point = tempfile::tempdir().unwrap();
    assert!(
        Command::new("mount")
            .arg(&disk.path)
            .arg(point.path())
            .status()
            .unwrap()
            .success()
    );
    let store = Store::new(&vec![1; 2 * MIB], 512);
    let output = write(&[
        "--manifest",
        store.manifest_path.to_str().unwrap(),
        "--target",
        disk.path.to_str().unwrap(),
    ]);
    assert!(
        Command::new("umount")
            .arg(point.path())
            .status()
            .unwrap()
            .success()
    );
    assert!(!output.status.success());
    let expected = format!(
        "{} is in use: mounted at {}",
        disk.path.display(),
        point.path().display()
    );
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
}

#[test]
fn nothing_is_written_that_nothing_proves() {
    let content = disk_content();
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("raw");
    fs::write(&image, &content).unwrap();
    let disk = DirtyFile::new(32 * MIB);
    let base = [
        "--image",
        image.to_str().unwrap(),
        "--target",
        disk.path.to_str().unwrap(),
    ];
    let output = write(&base);
    assert!(!output.status.success());
    assert!(
        stderr(&output).contains("nothing proves the image"),
        "{}",
        stderr(&output)
    );
    assert_same(&disk.content(), &vec![0xA5; 32 * MIB]);

    let right = hex::encode(Sha256::digest(&content));
    for (with, works) in [(vec!["--sha256", &right], true), (vec!["--unverified"], true)] {
        let output = write(&[&base[..], &with].concat());
        assert_eq!(output.status.success(), works, "{}", stderr(&output));
        assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
    }
    let wrong = "ab".repeat(32);
    let output = write(&[&base[..], &["--sha256", &wrong, "--json"]].concat());
    assert!(!output.status.success());
    let last = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .last()
        .unwrap()
        .to_owned();
    let failed: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(failed["event"], "failed");
    assert_eq!(failed["head_cleared"], true);
    assert!(failed["cause"].as_str().unwrap().contains("SHA-256"), "{failed}");
    assert!(!failed["remedy"].as_str().unwrap().is_empty());
}

#[test]
fn a_manifest_of_a_stranger_is_refused_before_the_disk_is_touched() {
    let store = Store::new(&disk_content(), 512);
    let disk = DirtyFile::new(32 * MIB);
    let strange = imprint_image::SigningKey::generate()
        .unwrap()
        .public_key()
        .to_string();
    let manifest = store.manifest_path.to_str().unwrap();
    let output = write(&[
        "--manifest",
        manifest,
        "--target",
        disk.path.to_str().unwrap(),
        "--pubkey",
        &strange,
    ]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("is refused"), "{}", stderr(&output));
    assert_same(&disk.content(), &vec![0xA5; 32 * MIB]);
}

#[test]
fn a_store_that_cannot_be_reached_is_told_and_the_wait_for_it_ends_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody listens where a listener has just been.
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut child = Command::new(env!("CARGO_BIN_EXE_imprint-agent"))
        .args(["write", "--manifest", &format!("http://{address}/manifests/ab")])
        .args(["--patience", "600", "--target"])
        .arg(dir.path().join("disk"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let retry = said
        .find(|line| line.contains("trying again"))
        .expect("a retry is told");
    assert!(retry.contains(&address.to_string()), "{retry}");
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    // The lines end with the process: without an answer to the signal, with its patience.
    let rest: Vec<String> = said.collect();
    assert!(rest.iter().any(|line| line.contains("was cancelled")), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(!dir.path().join("disk").exists());
}
