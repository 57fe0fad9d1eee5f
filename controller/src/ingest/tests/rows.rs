//! What an image is and of which kinds, from its import to what is told of it; the numbers are those of
//! `docs/image-service.md`.

use imprint_proto::v1::{self as wire, images_client::ImagesClient};
use serde_json::{Value, json};
use tonic::Request;

use super::{
    disk, manifest, post as upload, restored,
    rig::{controller, debian, ended, ext4, get, gpt, is_clean, medium, post},
};
use crate::testing::{TestServer, problem};

async fn imported(server: &TestServer, query: &str, content: Vec<u8>) -> Value {
    let answer = upload(server, query, content).await;
    let status = answer.status();
    let image: Value = answer.json().await.unwrap();
    assert_eq!(status, 201, "{query}: {image}");
    image
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|image| image["name"].as_str().unwrap()).collect()
}

async fn grpc_image(server: &TestServer, image: &str) -> wire::Image {
    let mut request = Request::new(wire::GetImageRequest { image: image.into() });
    let bearer = format!("Bearer {}", server.token).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let mut client = ImagesClient::new(server.channel().await);
    client.get_image(request).await.unwrap().into_inner()
}

async fn patched(server: &TestServer, image: &str, change: &Value) -> Value {
    let request = server.client().patch(server.url(&format!("/v1/images/{image}")));
    let answer = request.json(change).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{change}");
    answer.json().await.unwrap()
}

#[tokio::test]
async fn row_3_an_image_is_of_a_runtime_environment_for_bare_metal() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    // Operating system, runtime and an application that was installed beforehand.
    let image = imported(&server, "name=shop", debian()).await;
    assert_eq!(
        (&image["target"], &image["kind"], &image["os_distribution"]),
        (&json!("baremetal"), &json!("system-disk"), &json!("debian"))
    );
    assert_eq!(names(&get(&server, "/v1/images?software=bash").await), ["shop"]);
    for (name, target) in [("virtual", "vm"), ("both", "any"), ("metal", "baremetal")] {
        let image = imported(&server, &format!("name={name}&target={target}"), debian()).await;
        assert_eq!(image["target"], target);
        assert_eq!(grpc_image(&server, name).await.target, target);
    }
    assert_eq!(
        patched(&server, "virtual", &json!({"target": "any"})).await["target"],
        "any"
    );
    let refused = upload(&server, "name=wrong&target=mainframe", debian()).await;
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn row_5_an_image_is_the_whole_disk_with_its_table_and_all_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let disk = gpt(&debian());
    let image = imported(&server, "name=whole", disk.clone()).await;
    assert_eq!(image["disk_size_bytes"], disk.len());
    assert_eq!(image["boot_modes"], json!(["uefi"]));
    let facts = &get(&server, "/v1/images/whole/facts").await["disks"][0]["facts"];
    assert_eq!(facts["partitions"]["table"], "gpt");
    let kinds: Vec<_> = facts["volumes"].as_array().unwrap().iter().collect();
    assert!(
        kinds.len() == 2
            && kinds[0]["kind"].as_str().unwrap().starts_with("fat")
            && kinds[1]["kind"] == "ext4",
        "{kinds:?}"
    );
    assert_eq!(
        facts["firmware"]["uefi"]["known"]["loaders"][0]["path"],
        "EFI/BOOT/BOOTX64.EFI"
    );
    // Byte for byte: table, EFI system partition, root, backup table.
    assert!(restored(&server, manifest(&image)) == disk);
    let content = server
        .client()
        .get(server.url("/v1/images/whole/content?format=raw"));
    let content = content.send().await.unwrap().bytes().await.unwrap();
    assert!(content == disk);
}

#[tokio::test]
async fn row_12_the_usual_systems_are_imported_and_found_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let system = |release: &str| {
        ext4(&[
            ("etc/os-release", release),
            ("etc/fstab", "UUID=1 / ext4 defaults 0 1\n"),
        ])
    };
    let with_magic = |at: usize, magic: &[u8]| {
        let mut part = vec![0; 2 << 20];
        part[at..at + magic.len()].copy_from_slice(magic);
        gpt(&part)
    };
    let ntfs = with_magic(3, b"NTFS    ");
    for (name, more, content, os, version, found) in [
        ("debian", "", debian(), "debian", "12", true),
        (
            "ubuntu",
            "",
            system("ID=ubuntu\nVERSION_ID=\"24.04\"\n"),
            "ubuntu",
            "24.04",
            true,
        ),
        (
            "centos",
            "",
            system("ID=\"centos\"\nVERSION_ID=\"9\"\n"),
            "centos",
            "9",
            true,
        ),
        // As its makers have it, on XFS, which is not read: what is said of it holds.
        (
            "stream",
            "&os_distribution=centos&os_version=9",
            with_magic(0, b"XFSB"),
            "centos",
            "9",
            false,
        ),
        (
            "server",
            "&os_distribution=windows&os_version=2022",
            ntfs,
            "windows",
            "2022",
            false,
        ),
    ] {
        let query = format!("name={name}&family={name}{more}");
        let image = imported(&server, &query, content).await;
        assert_eq!(
            (&image["os_distribution"], &image["os_version"]),
            (&json!(os), &json!(version)),
            "{name}"
        );
        let facts = &get(&server, &format!("/v1/images/{name}/facts")).await["disks"][0]["facts"];
        assert_eq!(
            facts["distribution"]["known"].is_object(),
            found,
            "{name}: {facts}"
        );
        let listed = get(&server, &format!("/v1/images?os={os}&family={name}")).await;
        assert_eq!(names(&listed), [name]);
    }
    // A Windows is a whole disk of which nothing is guessed, and nothing that is unknown counts against it.
    let facts = &get(&server, "/v1/images/server/facts").await["disks"][0]["facts"];
    assert_eq!(facts["volumes"][1]["kind"], "ntfs");
    for unknown in ["distribution", "cloud_init", "kernels", "packages", "used_bytes"] {
        assert!(
            facts[unknown]["unknown"].is_string(),
            "{unknown}: {}",
            facts[unknown]
        );
    }
    let lint = get(&server, "/v1/images/server/lint").await;
    assert_eq!(lint["summary"]["errors"], 0, "{lint}");
    let findings = lint["disks"][0]["findings"].as_array().unwrap();
    let about = findings
        .iter()
        .find(|finding| finding["code"] == "windows_not_read");
    let about = about.unwrap_or_else(|| panic!("{findings:?}"));
    assert_eq!(about["severity"], "info");
    assert!(about["remedy"].as_str().unwrap().contains("cloudbase-init"));
}

#[tokio::test]
async fn row_19_licence_and_provenance_are_told_of_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let base = imported(&server, "name=base", debian()).await;
    let own =
        json!({"name": "RHEL", "included": false, "required": true, "reference": "https://example.net/eula"});
    let image = server
        .client()
        .post(server.url("/v1/images"))
        .query(&[
            ("name", "rhel"),
            ("license", &own.to_string()),
            ("parent", "base"),
        ])
        .body(disk())
        .send()
        .await
        .unwrap();
    assert_eq!(image.status(), 201);
    let image: Value = image.json().await.unwrap();
    assert_eq!(image["license"], own);
    // Where it comes from, by whom, of what, and what its content is.
    assert_eq!(
        (&image["source"], &image["source_format"], &image["parent_id"]),
        (&json!("upload"), &json!("raw"), &base["id"])
    );
    assert!(!image["created_by"].as_str().unwrap().is_empty());
    assert_eq!(image["image_digest"].as_str().unwrap().len(), 64);
    let shown = grpc_image(&server, "rhel").await;
    let license = shown.license.unwrap();
    assert_eq!(
        (license.name.as_str(), license.included, license.required),
        ("RHEL", false, true)
    );
    assert_eq!(
        (shown.source.as_str(), &shown.parent_id),
        ("upload", &base["id"].as_str().unwrap().to_owned())
    );
    // The terms change, where the image comes from does not.
    let included = json!({"name": "RHEL", "included": true, "required": false, "reference": ""});
    assert_eq!(
        patched(&server, "rhel", &json!({"license": included})).await["license"],
        included
    );
    for field in ["source", "source_reference", "parent_id", "created_by"] {
        let request = server.client().patch(server.url("/v1/images/rhel"));
        let refused = problem(request.json(&json!({field: "x"})).send().await.unwrap()).await;
        assert_eq!(refused.0 / 100, 4, "{field}");
    }
    let refused = upload(&server, "name=wrong&license=%7B%22name%22:%22%22%7D", debian()).await;
    assert_eq!(problem(refused).await.1, "bad-image-field");
}

#[tokio::test]
async fn row_26_an_image_is_of_one_of_four_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    imported(&server, "name=system", debian()).await;
    imported(&server, "name=data&kind=data-disk", disk()).await;
    imported(&server, "name=installer&kind=iso", medium()).await;
    let parts = json!({"name": "machine", "disks": [{"role": "system", "image": "system"}, {"role": "db", "image": "data"}]});
    assert_eq!(post(&server, "/v1/images/compose", &parts).await.status(), 201);
    for (kind, name, roles) in [
        ("system-disk", "system", &["system"][..]),
        ("data-disk", "data", &["data"]),
        ("iso", "installer", &["system"]),
        ("full-machine", "machine", &["system", "db"]),
    ] {
        let found = get(&server, &format!("/v1/images?kind={kind}")).await;
        assert_eq!(names(&found), [name]);
        let disks = found["items"][0]["disks"].as_array().unwrap();
        let got: Vec<_> = disks.iter().map(|disk| disk["role"].as_str().unwrap()).collect();
        assert_eq!(got, roles);
        assert_eq!(grpc_image(&server, name).await.kind, kind);
        let request = server.client().patch(server.url(&format!("/v1/images/{name}")));
        let refused = problem(request.json(&json!({"kind": "iso"})).send().await.unwrap()).await;
        assert_eq!(refused.1, "image-immutable");
    }
    // A full machine is made of images; a file is one disk.
    let refused = upload(&server, "name=whole&kind=full-machine", debian()).await;
    assert_eq!(refused.status().as_u16() / 100, 4);
    assert_eq!(
        upload(&server, "name=x&kind=floppy", debian()).await.status(),
        400
    );
}

#[tokio::test]
async fn row_75_what_an_image_costs_is_told_wherever_it_is_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let price = json!({"amount": "0.05", "currency": "EUR", "per": "hour"});
    let query = format!(
        "name=sold&family=shop&price={}",
        "%7B%22amount%22:%220.05%22,%22currency%22:%22EUR%22,%22per%22:%22hour%22%7D"
    );
    let sold = imported(&server, &query, debian()).await;
    imported(&server, "name=free", debian()).await;
    let listed = get(&server, "/v1/images?family=shop").await;
    assert_eq!((&sold["price"], &listed["items"][0]["price"]), (&price, &price));
    for path in [
        "/v1/images/sold",
        "/v1/families/shop",
        "/v1/images/sold/preflight",
    ] {
        assert_eq!(get(&server, path).await["price"], price, "{path}");
    }
    let preflight = get(&server, "/v1/images/sold/preflight").await;
    let of = |preflight: &Value| {
        let all = preflight["conditions"].as_array().unwrap().clone();
        let paid = all
            .into_iter()
            .find(|condition| condition["condition"] == "entitlement");
        paid.unwrap()["detail"].as_str().unwrap().to_owned()
    };
    assert!(of(&preflight).contains("0.05 EUR per hour"), "{preflight}");
    let free = get(&server, "/v1/images/free/preflight").await;
    assert!(
        free["price"].is_null() && of(&free).contains("costs nothing"),
        "{free}"
    );
    assert_eq!(grpc_image(&server, "sold").await.price.unwrap().amount, "0.05");
}

#[tokio::test]
async fn row_15_a_family_tells_when_its_newest_image_was_built_and_when_the_next_one_comes() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    imported(&server, "name=debian-1&family=debian&version=1", debian()).await;
    let family = async || get(&server, "/v1/families").await["items"][0].clone();
    let first = family().await;
    assert_eq!(first["newest_version"], "1");
    assert!(first["newest_created_at"].is_string() && first["update_policy"].is_null());
    let query = "name=debian-2&family=debian&version=2&properties=\
                 %7B%22build_date%22:%222026-11-02%22,%22update_policy%22:%22monthly%22%7D";
    imported(&server, query, debian()).await;
    let second = family().await;
    assert_eq!(
        (
            &second["newest_version"],
            &second["newest_build_date"],
            &second["update_policy"]
        ),
        (&json!("2"), &json!("2026-11-02"), &json!("monthly"))
    );
    assert_eq!(second["images"], 2);
}

#[tokio::test]
async fn rows_10_and_94_an_import_is_public_only_if_it_could_be_published() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let query = "name=golden&visibility=public&certified_for=PowerEdge%20R650";
    let answer = upload(&server, query, debian()).await;
    let status = answer.status();
    let document: Value = answer.json().await.unwrap();
    assert_eq!(
        (status.as_u16(), document["type"].as_str()),
        (409, Some("urn:imprint:problem:image-not-publishable")),
        "{document}"
    );
    // Everything at once: what the lint report finds, and what a public image brings along.
    let detail = document["detail"].as_str().unwrap();
    for part in ["fstab_by_device_name", "password reset", "volume driver"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert!(is_clean(&server).await);
    for (query, part) in [
        ("name=a&visibility=public&kind=iso", "ISO image"),
        (
            "name=a&visibility=public&kind=data-disk&encrypt=true",
            "encrypted",
        ),
    ] {
        let content = if query.contains("iso") { medium() } else { disk() };
        let refused: Value = upload(&server, query, content).await.json().await.unwrap();
        assert!(refused["detail"].as_str().unwrap().contains(part), "{refused}");
        assert!(is_clean(&server).await, "{query}");
    }
    // An import as a job goes through the same gate.
    let begun = json!({"name": "piece", "length": 8 << 20, "visibility": "public"});
    let begun: Value = post(&server, "/v1/uploads", &begun).await.json().await.unwrap();
    let id = begun["id"].as_str().unwrap();
    let sent = server
        .client()
        .patch(server.url(&format!("/v1/uploads/{id}")))
        .header("upload-offset", "0")
        .header("content-type", "application/offset+octet-stream")
        .body(debian())
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 204);
    let job: Value = post(&server, &format!("/v1/uploads/{id}/complete"), &json!({}))
        .await
        .json()
        .await
        .unwrap();
    let job = ended(&server, &job).await;
    assert_eq!(
        job["problem"]["type"], "urn:imprint:problem:image-not-publishable",
        "{job}"
    );
    // What is fit for it is public at once.
    for (name, more) in [("data", "&kind=data-disk"), ("known", "&kind=data-disk")] {
        let query = format!("name={name}&visibility=public{more}&certified_for=a,b");
        let image = imported(&server, &query, disk()).await;
        assert_eq!(
            (&image["visibility"], &image["certified_for"]),
            (&json!("public"), &json!(["a", "b"]))
        );
    }
    let composed = json!({"name": "machine", "visibility": "public",
        "disks": [{"role": "system", "image": "data"}, {"role": "db", "image": "data"}]});
    assert_eq!(
        problem(post(&server, "/v1/images/compose", &composed).await)
            .await
            .1,
        "bad-image-field"
    );
}

#[tokio::test]
async fn an_image_tells_that_its_stored_content_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let image = imported(&server, "name=a", disk()).await;
    assert_eq!(image["damaged"], false);
    let packs = server.app.config.data_dir.join("store/packs");
    for pack in std::fs::read_dir(packs).unwrap() {
        std::fs::remove_file(pack.unwrap().path()).unwrap();
    }
    let job: Value = post(&server, "/v1/store/verify", &json!({}))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(ended(&server, &job).await["state"], "succeeded");
    assert_eq!(get(&server, "/v1/images/a").await["damaged"], true);
    assert_eq!(get(&server, "/v1/images").await["items"][0]["damaged"], true);
    assert!(grpc_image(&server, "a").await.damaged);
}
