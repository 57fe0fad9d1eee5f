//! The table of files that are refused, and of those that are not, through the API: a typed problem, and nothing left.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use super::{
    converted, post as upload,
    rig::{controller, ended, get, is_clean, post},
};
use crate::testing::TestServer;

const MIB: usize = 1 << 20;

/// Few bytes on a disk of 4 MiB and some sectors, so that the files are small.
fn sparse() -> Vec<u8> {
    let mut disk = vec![0; 4 * MIB + 3 * 512];
    for at in [0, 70_000, MIB, 3 * MIB] {
        disk[at..at + 600].fill(0xD7);
    }
    disk
}

/// What qemu-img makes when it is told to create something of a MiB.
fn created(dir: &Path, args: &[&str]) -> Vec<u8> {
    let dir = dir.join(args.concat().replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("base.raw"), vec![1; MIB]).unwrap();
    let made = Command::new("qemu-img")
        .current_dir(&dir)
        .args([&["create", "-q"], args, &["made", "1M"]].concat())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read(dir.join("made")).unwrap()
}

fn with(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

fn number(file: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(file[at..at + 8].try_into().unwrap())
}

/// Imports in one request and as an upload in pieces: the answer of both, which must be the same.
async fn refusal(server: &TestServer, format: &str, file: &[u8]) -> String {
    let query = format!("name=a&format={format}");
    let answer = upload(server, &query, file.to_vec()).await;
    let status = answer.status().as_u16();
    let document: Value = answer.json().await.unwrap();
    assert_eq!(
        (status, document["type"].as_str()),
        (422, Some("urn:imprint:problem:bad-image")),
        "{document}"
    );
    assert!(document["remedy"].as_str().unwrap().len() > 10, "{document}");
    assert!(is_clean(server).await, "{document}");

    let begun = post(server, "/v1/uploads", &json!({"name": "a", "format": format})).await;
    let id = begun.json::<Value>().await.unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let piece = server.client().patch(server.url(&format!("/v1/uploads/{id}")));
    let piece = piece
        .header("Upload-Offset", 0)
        .header("Content-Type", "application/offset+octet-stream");
    assert_eq!(piece.body(file.to_vec()).send().await.unwrap().status(), 204);
    let job = post(server, &format!("/v1/uploads/{id}/complete"), &json!({})).await;
    let job = ended(server, &job.json().await.unwrap()).await;
    for field in ["type", "detail", "remedy"] {
        assert_eq!(job["problem"][field], document[field], "{job}");
    }
    assert!(is_clean(server).await, "{job}");
    document["detail"].as_str().unwrap().to_owned()
}

/// Refused in its own words, and nothing hangs.
async fn refused(server: &TestServer, cases: &[(&str, Vec<u8>, &str)]) {
    for (format, file, named) in cases {
        let detail = refusal(server, format, file).await;
        assert!(detail.contains(named), "{format}, {named}: {detail}");
    }
    let jobs = get(server, "/v1/jobs").await;
    let jobs = jobs["items"].as_array().unwrap();
    assert_eq!(jobs.len(), 2 * cases.len());
    assert!(jobs.iter().all(|job| job["state"] == "failed"));
}

#[tokio::test]
async fn row_59_good_files_under_their_own_names_are_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(&dir.path().join("data"), |_| {}).await;
    let disk = sparse();
    for (format, to) in [
        ("qcow2", &["qcow2"][..]),
        ("vmdk", &["vmdk", "-o", "subformat=monolithicSparse"]),
        ("vmdk", &["vmdk", "-o", "subformat=streamOptimized"]),
        ("vhd", &["vpc", "-o", "subformat=dynamic,force_size=on"]),
        ("vhdx", &["vhdx"]),
        ("vdi", &["vdi"]),
        ("qed", &["qed"]),
        ("qcow", &["qcow"]),
    ] {
        let name = to.concat().replace(['=', ','], "_");
        let answer = upload(
            &server,
            &format!("name={name}&format={format}"),
            converted(dir.path(), &disk, to),
        )
        .await;
        assert_eq!(answer.status(), 201, "{to:?}");
        let image: Value = answer.json().await.unwrap();
        assert_eq!(
            (&image["disk_size_bytes"], &image["source_format"]),
            (&json!(disk.len()), &json!(format))
        );
    }
}

#[tokio::test]
async fn row_59_files_that_lead_elsewhere_or_are_locked_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(&dir.path().join("data"), |_| {}).await;
    let dir = dir.path();
    let sound = converted(dir, &sparse(), &["qcow2"]);
    refused(
        &server,
        &[
            (
                "qcow2",
                created(dir, &["-f", "qcow2", "-b", "base.raw", "-F", "raw"]),
                "base.raw",
            ),
            (
                "qcow2",
                created(dir, &["-f", "qcow2", "-o", "data_file=data.raw"]),
                "external data file",
            ),
            ("qcow2", with(&sound, 35, &[2]), "LUKS"),
            (
                "vmdk",
                created(dir, &["-f", "vmdk", "-o", "subformat=monolithicFlat"]),
                "monolithicFlat",
            ),
            (
                "vmdk",
                created(dir, &["-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"]),
                "twoGbMaxExtentSparse",
            ),
            ("auto", [&b"LUKS\xBA\xBE\0\x02"[..], &[0; 4096]].concat(), "luks"),
        ],
    )
    .await;
}

#[tokio::test]
async fn row_59_files_that_are_not_what_they_are_called_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(&dir.path().join("data"), |_| {}).await;
    let dir = dir.path();
    let qcow2 = converted(dir, &sparse(), &["qcow2"]);
    let qed = converted(dir, &sparse(), &["qed"]);
    refused(
        &server,
        &[
            ("raw", qcow2.clone(), "declared as raw, but its content is qcow2"),
            ("qcow2", vec![0; MIB], "declared as qcow2, but its content is raw"),
            ("qcow2", qed, "declared as qcow2, but its content is qed"),
            ("auto", with(&qcow2, 510, &[0x55, 0xAA]), "a raw disk with an MBR"),
            (
                "qcow2",
                with(&qcow2, 510, &[0x55, 0xAA]),
                "a raw disk with an MBR",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn row_59_files_that_are_cut_off_or_contradict_themselves_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(&dir.path().join("data"), |_| {}).await;
    let dir = dir.path();
    let disk = sparse();
    let mut cases = Vec::new();
    for (format, to) in [
        ("qcow2", &["qcow2"][..]),
        ("vmdk", &["vmdk"]),
        ("vhd", &["vpc", "-o", "force_size=on"]),
        ("vhdx", &["vhdx"]),
        ("vdi", &["vdi"]),
        ("qed", &["qed"]),
    ] {
        let file = converted(dir, &disk, to);
        let whole = file.iter().rposition(|byte| *byte != 0).unwrap();
        cases.push((format, file[..whole * 2 / 3].to_vec(), ""));
    }
    let qcow2 = converted(dir, &disk, &["qcow2"]);
    let l1 = usize::try_from(number(&qcow2, 40)).unwrap();
    let copied = 1_u64 << 63;
    // A disk without end, a table behind the end of the file, and tables that are their own content.
    cases.push(("qcow2", with(&qcow2, 24, &u64::MAX.to_be_bytes()), ""));
    cases.push(("qcow2", with(&qcow2, 40, &(1_u64 << 50).to_be_bytes()), ""));
    cases.push(("qcow2", with(&qcow2, l1, &(l1 as u64 | copied).to_be_bytes()), ""));
    let l2 = usize::try_from(number(&qcow2, l1) & !copied).unwrap();
    cases.push(("qcow2", with(&qcow2, l2, &(l2 as u64 | copied).to_be_bytes()), ""));
    refused(&server, &cases).await;
}

#[tokio::test]
async fn row_59_a_protective_mbr_with_odd_chs_is_accepted_with_a_note() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(&dir.path().join("data"), |_| {}).await;
    let mut disk = vec![0; 4 * MIB];
    std::fs::write(dir.path().join("disk"), &disk).unwrap();
    let mut child = Command::new("sfdisk")
        .args(["-q", "--no-reread"])
        .arg(dir.path().join("disk"))
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"label: gpt\nstart=1MiB, size=1MiB\n").unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    disk.copy_from_slice(&std::fs::read(dir.path().join("disk")).unwrap());
    assert_eq!(disk[450], 0xEE);
    disk[447..450].copy_from_slice(&[0xFF, 0, 1]);
    let answer = upload(&server, "name=a&format=raw", disk).await;
    assert_eq!(answer.status(), 201);
    let lint = get(&server, "/v1/images/a/lint").await;
    let findings = lint["disks"][0]["findings"].as_array().unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding["code"] == "odd_partition_table"),
        "{findings:?}"
    );
}
