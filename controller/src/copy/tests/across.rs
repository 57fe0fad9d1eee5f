use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use imprint_image::{Digest, SignedManifest, SigningKey, pack::PackBuilder};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::testing::problem;

/// Rows 44 and 61: to another region, with a new id, the same content and what was said of it. Row 50: nobody it was
/// shared with comes along.
#[tokio::test]
async fn rows_44_50_61_an_image_goes_to_another_region() {
    let dir = tempfile::tempdir().unwrap();
    let regions = Regions::start(dir.path()).await;
    let disk = [noise(1, 3 * MIB), vec![0; 2 * MIB], noise(2, 512)].concat();
    let golden = import(&regions.east, "name=golden&family=debian&tags=a", disk.clone()).await;
    let id = golden["id"].as_str().unwrap();
    sqlx::query("UPDATE images SET visibility = 'shared' WHERE id = ?")
        .bind(id)
        .execute(&regions.east.app.db)
        .await
        .unwrap();
    let team = crate::testing::project(&regions.east.app, "team").await;
    sqlx::query("INSERT INTO image_members (image_id, project_id, state, created_at, updated_at) VALUES (?, ?, 'accepted', 0, 0)")
        .bind(id)
        .bind(team)
        .execute(&regions.east.app.db)
        .await
        .unwrap();

    let job = regions.copy("golden", json!({})).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let there = get(&regions.west, "/v1/images/golden").await;
    assert_eq!(job["result"]["image_id"], there["id"]);
    assert_ne!(there["id"], golden["id"]);
    for key in [
        "image_digest",
        "disk_size_bytes",
        "data_bytes",
        "family",
        "tags",
        "source_format",
    ] {
        assert_eq!(there[key], golden[key], "{key}");
    }
    assert_eq!(
        (&there["visibility"], &there["region"]),
        (&json!("private"), &json!("west"))
    );
    assert_eq!(
        (&there["source"], &there["source_reference"]),
        (&json!("copy"), &json!(format!("east/{id}")))
    );
    let members: i64 = sqlx::query_scalar("SELECT count(*) FROM image_members")
        .fetch_one(&regions.west.app.db)
        .await
        .unwrap();
    assert_eq!(members, 0);
    assert!(raw(&regions.west, "golden").await == disk);
    // It is signed by the region where it is now, and nothing of the transfer is left.
    let key = there["disks"][0]["manifest"].as_str().unwrap();
    let signed = std::fs::read(regions.west.app.config.data_dir.join("store/manifests").join(key)).unwrap();
    SignedManifest::open(&signed, &regions.west.app.authority.manifest_public_keys()).unwrap();
    for table in [
        "transfers",
        "transfer_disks",
        "transfer_chunks",
        "pending_objects",
    ] {
        let left: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&regions.west.app.db)
            .await
            .unwrap();
        assert_eq!(left, 0, "{table}");
    }
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pending_objects")
        .fetch_one(&regions.east.app.db)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn chunks_that_are_there_are_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let regions = Regions::start(dir.path()).await;
    let old = noise(1, 6 * MIB);
    let mut new = old.clone();
    new[4 * MIB..5 * MIB].copy_from_slice(&noise(2, MIB));
    new.extend(noise(2, MIB));
    import(&regions.east, "name=old", old).await;
    import(&regions.east, "name=new", new.clone()).await;
    let first = regions.copy("old", json!({})).await;
    assert_eq!(first["result"]["chunks_sent"], 6, "{first}");
    // One chunk is new, and comes twice on the disk.
    let second = regions.copy("new", json!({})).await;
    assert_eq!(
        (
            &second["result"]["chunks_sent"],
            &second["result"]["chunks_known"]
        ),
        (&json!(1), &json!(6)),
        "{second}"
    );
    assert!(raw(&regions.west, "new").await == new);
    let third = regions.copy("new", json!({"name": "again"})).await;
    assert_eq!(
        (&third["result"]["chunks_sent"], &third["result"]["bytes_sent"]),
        (&json!(0), &json!(0)),
        "{third}"
    );
    let taken = regions.copy("new", json!({})).await;
    assert_eq!(
        taken["problem"]["type"], "urn:imprint:problem:region-refuses",
        "{taken}"
    );
}

/// What other projects have there is sent all the same: nobody learns of it.
#[tokio::test]
async fn chunks_of_other_projects_count_as_missing() {
    let dir = tempfile::tempdir().unwrap();
    let regions = Regions::start(dir.path()).await;
    import(&regions.east, "name=golden", noise(1, 2 * MIB)).await;
    regions.copy("golden", json!({})).await;
    // The same content of another project over there.
    let team = crate::testing::project(&regions.west.app, "team").await;
    for table in ["images", "chunks"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("UPDATE {table} SET project_id = ?")))
            .bind(&team)
            .execute(&regions.west.app.db)
            .await
            .unwrap();
    }
    let job = regions.copy("golden", json!({})).await;
    assert_eq!(job["result"]["chunks_sent"], 2, "{job}");
}

/// A wire between the two that is cut after so many bytes, until it is mended.
struct Wire {
    port: u16,
    left: Arc<AtomicI64>,
}

impl Wire {
    async fn to(server: &TestServer) -> Self {
        let to = server.base.trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicI64::new(i64::MAX));
        let shared = left.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (left, to) = (shared.clone(), to.clone());
                if left.load(Ordering::SeqCst) > 0 {
                    tokio::spawn(
                        async move { carry(near, TcpStream::connect(to).await.unwrap(), &left).await },
                    );
                }
            }
        });
        Self { port, left }
    }
}

/// Carries bytes both ways; those that go out are counted.
async fn carry(near: TcpStream, far: TcpStream, left: &AtomicI64) {
    let (mut near_in, mut near_out) = near.into_split();
    let (mut far_in, mut far_out) = far.into_split();
    let out = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let got = tokio::io::AsyncReadExt::read(&mut near_in, &mut buffer)
                .await
                .unwrap_or(0);
            if got == 0 || left.fetch_sub(got as i64, Ordering::SeqCst) < got as i64 {
                return;
            }
            if far_out.write_all(&buffer[..got]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = out => {}
        _ = tokio::io::copy(&mut far_in, &mut near_out) => {}
    }
}

/// Row 61: a copy that breaks in the middle goes on where it was.
#[tokio::test]
async fn row_61_a_copy_that_breaks_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut regions = Regions::start(dir.path()).await;
    let wire = Wire::to(&regions.west).await;
    let mut config = regions.east.app.config.clone();
    config.regions[0].url = Some(format!("https://127.0.0.1:{}", wire.port).parse().unwrap());
    let clock = regions.east.app.clock.clone();
    regions.east.app.close().await;
    regions.east = TestServer::serve(App::open(config, clock).await.unwrap()).await;

    let disk = noise(1, 20 * MIB);
    import(&regions.east, "name=golden", disk.clone()).await;
    // Enough for the first pack of 8 MiB, and for half of the second.
    wire.left.store(13 << 20, Ordering::SeqCst);
    let broken = regions.copy("golden", json!({})).await;
    assert_eq!(
        broken["problem"]["type"], "urn:imprint:problem:region-unreachable",
        "{broken}"
    );
    assert_eq!(packs(&regions.west), 1);
    let none = regions
        .west
        .client()
        .get(regions.west.url("/v1/images/golden"))
        .send()
        .await
        .unwrap();
    assert_eq!(none.status(), 404);

    wire.left.store(i64::MAX, Ordering::SeqCst);
    let job = regions.copy("golden", json!({})).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(
        (&job["result"]["chunks_sent"], &job["result"]["chunks_known"]),
        (&json!(12), &json!(8)),
        "{job}"
    );
    assert!(raw(&regions.west, "golden").await == disk);
}

pub(super) async fn put(server: &TestServer, path: &str, body: Vec<u8>) -> reqwest::Response {
    server
        .client()
        .put(server.url(path))
        .body(body)
        .send()
        .await
        .unwrap()
}

/// The signed manifest of an image in `east`.
pub(super) fn manifest(regions: &Regions, image: &Value) -> Vec<u8> {
    let key = image["disks"][0]["manifest"].as_str().unwrap();
    std::fs::read(regions.east.app.config.data_dir.join("store/manifests").join(key)).unwrap()
}

#[tokio::test]
async fn what_is_not_the_image_is_refused_on_the_far_side() {
    let dir = tempfile::tempdir().unwrap();
    let regions = Regions::start(dir.path()).await;
    let golden = import(&regions.east, "name=golden", noise(1, 2 * MIB)).await;
    let other = import(&regions.east, "name=other", noise(2, 2 * MIB)).await;
    let west = &regions.west;
    let begun: Value = post(west, "/v1/transfers", &regions.announced(&golden))
        .await
        .json()
        .await
        .unwrap();
    let base = format!("/v1/transfers/{}", begun["id"].as_str().unwrap());
    let at = |rest: &str| format!("{base}/{rest}");
    let refused = async |response: reqwest::Response| problem(response).await.1;

    // Before the manifest nothing can be said or sent.
    let early = west
        .client()
        .get(west.url(&at("disks/0/missing")))
        .send()
        .await
        .unwrap();
    assert_eq!(refused(early).await, "transfer-incomplete");
    let good = manifest(&regions, &golden);
    let mut changed = good.clone();
    let end = changed.len() - 1;
    changed[end] ^= 1;
    let opened = SignedManifest::open_unverified(&good).unwrap();
    let strange = SignedManifest::sign(&opened, &SigningKey::generate().unwrap()).encode();
    for (what, bytes) in [
        ("changed", changed),
        ("strange", strange),
        ("other", manifest(&regions, &other)),
        ("none", b"none".to_vec()),
    ] {
        assert_eq!(
            refused(put(west, &at("disks/0/manifest"), bytes).await).await,
            "content-refused",
            "{what}"
        );
    }
    assert_eq!(
        refused(put(west, &at("disks/1/manifest"), good.clone()).await).await,
        "transfer-not-found"
    );
    assert_eq!(put(west, &at("disks/0/manifest"), good).await.status(), 204);
    let missing = west
        .client()
        .get(west.url(&at("disks/0/missing")))
        .send()
        .await
        .unwrap();
    assert_eq!(missing.bytes().await.unwrap()[..], [0b11]);

    // Packs: one that was changed on the way, one with a frame of another image, one whose index lies, one that is none.
    let pack_of = |image: &Value, lie: bool| {
        let signed = manifest(&regions, image);
        let manifest = SignedManifest::open_unverified(&signed).unwrap();
        let chunk = &manifest.chunks[0];
        let packs = regions.east.app.config.data_dir.join("store/packs");
        let pack = std::fs::read(packs.join(manifest.packs[0].digest.to_string())).unwrap();
        let begin = usize::try_from(chunk.offset).unwrap();
        let mut frame = pack[begin..begin + chunk.frame_bytes as usize].to_vec();
        if lie {
            frame[100] ^= 1;
        }
        let mut builder = PackBuilder::default();
        builder.push(&frame, chunk.plain, chunk.frame, 1 << 20);
        builder.finish()
    };
    let (digest, good_pack) = pack_of(&golden, false);
    let mut tampered = good_pack.clone();
    tampered[1000] ^= 1;
    let none = b"no pack".to_vec();
    let (foreign, lying) = (pack_of(&other, false), pack_of(&golden, true));
    for (what, digest, bytes) in [
        ("tampered", digest, tampered),
        ("foreign", foreign.0, foreign.1),
        ("lying", lying.0, lying.1),
        ("none", Digest::of(&none), none),
    ] {
        let response = put(west, &at(&format!("packs/{digest}")), bytes).await;
        assert_eq!(refused(response).await, "content-refused", "{what}");
    }
    assert_eq!(packs(west), 0);
    assert_eq!(
        put(west, &at(&format!("packs/{digest}")), good_pack)
            .await
            .status(),
        204
    );
    let response = post(west, &at("complete"), &json!({})).await;
    assert_eq!(refused(response).await, "transfer-incomplete");

    // Given up: nothing of it is left.
    assert_eq!(packs(west), 1);
    let gone = west.client().delete(west.url(&base)).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    assert_eq!(packs(west), 0);
    let gone = west.client().get(west.url(&base)).send().await.unwrap();
    assert_eq!(refused(gone).await, "transfer-not-found");
}

#[tokio::test]
async fn images_of_a_stranger_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let regions = Regions::start_with(dir.path(), false).await;
    let golden = import(&regions.east, "name=golden", noise(1, MIB)).await;
    // The name is known, the key is another one.
    let job = regions.copy("golden", json!({})).await;
    assert_eq!(
        job["problem"]["type"], "urn:imprint:problem:region-refuses",
        "{job}"
    );
    let mut announced = regions.announced(&golden);
    announced["source_region"] = "north".into();
    let refused = problem(post(&regions.west, "/v1/transfers", &announced).await).await;
    assert_eq!((refused.0, refused.1.as_str()), (403, "region-not-trusted"));
    assert_eq!(packs(&regions.west), 0);
}

#[tokio::test]
async fn what_is_damaged_here_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let regions = Regions::start(dir.path()).await;
    import(&regions.east, "name=golden", noise(1, 2 * MIB)).await;
    let folder = regions.east.app.config.data_dir.join("store/packs");
    let path = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[MIB + 5000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let job = regions.copy("golden", json!({})).await;
    assert_eq!(
        job["problem"]["type"], "urn:imprint:problem:image-damaged",
        "{job}"
    );
    assert_eq!(packs(&regions.west), 0);
}
