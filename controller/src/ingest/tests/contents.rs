//! Facts, lint and software of what is imported, and what contradicts them.

use serde_json::{Value, json};

use super::{
    disk, manifest, post as upload, restored,
    rig::{controller, debian, get, is_clean, medium},
};
use crate::testing::problem;

#[tokio::test]
async fn row_59_the_system_in_an_image_is_found_and_fills_what_was_not_said() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let debian = debian();
    let image: Value = upload(&server, "name=a", debian.clone())
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&image["os_distribution"], &image["os_version"]),
        (&json!("debian"), &json!("12"))
    );
    // No boot loader, no kernel, a fstab by device name.
    assert!(image["lint"]["errors"].as_u64() >= Some(3), "{}", image["lint"]);

    let facts = get(&server, "/v1/images/a/facts").await;
    let disk = &facts["disks"][0];
    assert_eq!(disk["facts"]["distribution"]["known"]["id"], "debian");
    // The packages are kept apart.
    assert_eq!(
        disk["facts"]["packages"]["known"],
        json!({"manager": "dpkg", "packages": []})
    );
    assert_eq!(disk["package_count"], 2);
    let lint = get(&server, "/v1/images/a/lint").await;
    assert_eq!(lint["summary"], image["lint"]);
    let findings = lint["disks"][0]["findings"].as_array().unwrap();
    assert_eq!(findings[0]["severity"], "error");
    assert!(
        findings
            .iter()
            .any(|finding| finding["code"] == "fstab_by_device_name"),
        "{findings:?}"
    );
    // The same content again, known already: facts are shared, and still compared.
    let again: Value = upload(&server, "name=b&os_version=12", debian)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(manifest(&again), manifest(&image));
    assert_eq!(again["lint"], image["lint"]);
}

#[tokio::test]
async fn row_59_what_was_declared_and_is_not_so_is_refused_with_both_values() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    for (query, declared, detected) in [
        ("os_distribution=ubuntu", "ubuntu", "debian"),
        ("os_version=11", "11", "12"),
        ("boot_modes=uefi", "uefi", "none"),
    ] {
        let refused = upload(&server, &format!("name=a&{query}"), debian()).await;
        let status = refused.status().as_u16();
        let document: Value = refused.json().await.unwrap();
        assert_eq!(
            (status, document["type"].as_str()),
            (422, Some("urn:imprint:problem:image-contradicts")),
            "{document}"
        );
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains(declared) && detail.contains(detected), "{detail}");
        assert!(is_clean(&server).await, "{query}");
    }
}

#[tokio::test]
async fn rows_13_and_16_the_plugins_of_an_image_are_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    upload(&server, "name=a", debian()).await;
    let facts = get(&server, "/v1/images/a/facts").await;
    let plugins = facts["disks"][0]["plugins"].as_array().unwrap();
    let of = |name: &str| plugins.iter().find(|plugin| plugin["name"] == name).unwrap();
    assert_eq!(
        (&of("cloud-init")["state"], &of("cloud-init")["version"]),
        (&json!("present"), &json!("22.4.2-1"))
    );
    assert_eq!(of("imprint-guest")["state"], "absent");
    assert_eq!(of("network")["state"], "absent");
}

#[tokio::test]
async fn row_76_the_software_of_an_image_is_listed_as_spdx() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    upload(&server, "name=a", debian()).await;
    let answer = server
        .client()
        .get(server.url("/v1/images/a/sbom"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-type"], "application/spdx+json");
    let document: Value = answer.json().await.unwrap();
    assert_eq!(
        (&document["spdxVersion"], &document["SPDXID"]),
        (&json!("SPDX-2.3"), &json!("SPDXRef-DOCUMENT"))
    );
    let packages = document["packages"].as_array().unwrap();
    assert_eq!(packages.len(), 3);
    assert_eq!(packages[0]["checksums"][0]["algorithm"], "BLAKE3");
    assert_eq!(packages[1]["name"], "bash");
    assert_eq!(
        packages[1]["externalRefs"][0]["referenceLocator"],
        "pkg:deb/debian/bash@5.2.15-2%2Bb7?arch=amd64"
    );
    let ids: Vec<_> = packages
        .iter()
        .map(|package| package["SPDXID"].as_str().unwrap())
        .collect();
    let relationships = document["relationships"].as_array().unwrap();
    assert_eq!(relationships.len(), 3);
    for relationship in relationships {
        assert!(ids.contains(&relationship["relatedSpdxElement"].as_str().unwrap()));
    }
    let created = document["creationInfo"]["created"].as_str().unwrap();
    assert!(created.len() == 20 && created.ends_with('Z'), "{created}");
    // Found by its software.
    let found = get(&server, "/v1/images?software=bash").await;
    assert_eq!(found["items"][0]["name"], "a");
    let none = get(&server, "/v1/images?software=bash%3D1.0").await;
    assert!(none["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn row_2_a_data_disk_is_not_judged_as_a_system() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |config| config.system_disk_min_bytes = 1 << 30).await;
    let image: Value = upload(&server, "name=a&kind=data-disk", debian())
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&image["kind"], &image["os_distribution"]),
        (&json!("data-disk"), &json!(""))
    );
    assert_eq!(image["lint"], json!({"errors": 0, "warnings": 0, "notes": 0}));
    assert_eq!(image["disks"][0]["role"], "data");
    assert_eq!(
        get(&server, "/v1/images/a/lint").await["disks"][0]["findings"],
        json!([])
    );
    // Facts are there all the same: what is on it can be looked at.
    let facts = get(&server, "/v1/images/a/facts").await;
    assert_eq!(facts["disks"][0]["facts"]["volumes"][0]["kind"], "ext4");
}

#[tokio::test]
async fn row_29_an_installation_medium_is_kept_as_it_is_and_is_no_other_kind() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    for (query, content) in [
        ("name=a", medium()),
        ("name=a&kind=data-disk", medium()),
        ("name=a&format=raw", medium()),
        ("name=a&kind=iso", disk()),
        ("name=a&kind=iso&format=raw", medium()),
        ("name=a&kind=system-disk&format=iso", medium()),
    ] {
        let (status, kind, remedy) = problem(upload(&server, query, content).await).await;
        assert!(
            status == 422 && matches!(kind.as_str(), "kind-contradicts-content" | "bad-image"),
            "{query}: {kind} {remedy}"
        );
        assert!(is_clean(&server).await, "{query}");
    }
    let image: Value = upload(&server, "name=a&kind=iso", medium())
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&image["kind"], &image["source_format"]),
        (&json!("iso"), &json!("iso"))
    );
    assert!(restored(&server, manifest(&image)) == medium());
}

#[tokio::test]
async fn disks_are_bounded_by_their_kind() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |config| {
        config.system_disk_min_bytes = 1 << 20;
        config.system_disk_max_bytes = 8 << 20;
        config.data_disk_max_bytes = 16 << 20;
        config.iso_max_bytes = 64 << 10;
    })
    .await;
    let sized = |bytes: usize| {
        let mut disk = vec![0; bytes];
        disk[0] = 1;
        disk
    };
    for (query, content, kind) in [
        ("name=a", sized(9 << 20), "bad-image"),
        ("name=a", sized(1 << 19), "image-too-small"),
        ("name=a&kind=data-disk", sized(17 << 20), "bad-image"),
        ("name=a&kind=iso", medium(), "bad-image"),
    ] {
        let (status, got, _) = problem(upload(&server, query, content).await).await;
        assert_eq!((status, got.as_str()), (422, kind), "{query}");
        assert!(is_clean(&server).await, "{query}");
    }
    for (query, content) in [
        ("name=a", sized(8 << 20)),
        ("name=b&kind=data-disk", sized(16 << 20)),
        ("name=c&kind=data-disk", sized(512)),
    ] {
        assert_eq!(upload(&server, query, content).await.status(), 201, "{query}");
    }
}
