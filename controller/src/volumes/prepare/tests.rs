use std::{fs, path::Path, time::Duration};

use tokio::task::JoinHandle;

use super::*;
use crate::{
    app::App,
    clock::Clock,
    config::{Config, VolumesConfig},
    testing::{
        TestServer, admin,
        garbage::{deleted_and_collected, held},
        project,
    },
    volumes::{FromImage, Limits, WantedVolume, content::in_use, run},
};

const MIB: usize = 1 << 20;

/// Data, holes, and an end that is no whole chunk.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 9 * MIB + 4096];
    blake3::Hasher::new()
        .update(b"disk")
        .finalize_xof()
        .fill(&mut disk[..2 * MIB]);
    disk[5 * MIB + 17] = 1;
    disk[9 * MIB..].fill(b'x');
    disk
}

struct Site {
    server: TestServer,
    driver: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

impl Site {
    /// A controller with the image `golden`, whose task does not run yet.
    async fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::loopback(folder.path().join("data"));
        config.volumes = Some(VolumesConfig {
            listen: "127.0.0.1:10809".parse().unwrap(),
            folder: folder.path().join("volumes"),
        });
        let app = App::for_test_with(config, Clock::fake(Timestamp::now())).await;
        let site = Self {
            server: TestServer::serve(app).await,
            driver: None,
            folder,
        };
        site.import("name=golden").await;
        site
    }

    fn app(&self) -> &App {
        &self.server.app
    }

    async fn import(&self, query: &str) -> String {
        let url = self.server.url(&format!("/v1/images?{query}"));
        let response = self.server.client().post(url).body(disk()).send().await.unwrap();
        assert_eq!(response.status(), 201);
        let image: serde_json::Value = response.json().await.unwrap();
        image["id"].as_str().unwrap().to_owned()
    }

    fn drive(&mut self) {
        self.driver = Some(tokio::spawn(run(self.app().clone())));
    }

    async fn make(
        &self,
        name: &str,
        image: &str,
        size_bytes: Option<u64>,
    ) -> Result<VolumeRecord, VolumeError> {
        self.make_for(None, name, image, size_bytes).await
    }

    async fn make_for(
        &self,
        project_id: Option<String>,
        name: &str,
        image: &str,
        size_bytes: Option<u64>,
    ) -> Result<VolumeRecord, VolumeError> {
        let wanted = WantedVolume {
            name: name.to_owned(),
            project_id,
            size_bytes,
            limits: Limits::default(),
            from_image: Some(FromImage {
                image: image.to_owned(),
                role: None,
            }),
        };
        self.app().volumes.make(&admin(), &wanted).await
    }

    async fn now(&self, name: &str) -> VolumeRecord {
        self.app().volumes.find(&Viewer::All, name).await.unwrap()
    }

    async fn until(&self, name: &str, state: VolumeState) -> VolumeRecord {
        for _ in 0..600 {
            let now = self.now(name).await;
            if now.state == state {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it stays {:?}", self.now(name).await);
    }

    fn content(&self, volume: &VolumeRecord) -> Vec<u8> {
        let exports = self.folder.path().join("volumes/exports");
        fs::read(exports.join(volume.volume().card_id())).unwrap()
    }

    fn files(&self, folder: &str) -> Vec<String> {
        files_in(&self.folder.path().join("volumes").join(folder))
    }
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_begin_with_the_disk_of_their_image() {
    let mut site = Site::build().await;
    let asked = site.make("same", "golden", None).await.unwrap();
    assert_eq!(asked.state, VolumeState::Preparing);
    assert!(asked.holds().is_none() && !asked.why.is_empty());
    for number in 0..3 {
        let size = Some(64 << 20);
        site.make(&format!("root-{number}"), "golden", size)
            .await
            .unwrap();
    }
    site.drive();
    let same = site.until("same", VolumeState::Available).await;
    assert_eq!(same.size_bytes, disk().len() as u64);
    assert!(site.content(&same) == disk());
    let image = site.app().catalog.find(&Viewer::All, "golden").await.unwrap();
    let holds = same.holds().unwrap();
    assert_eq!(
        (
            &holds.image_id,
            &holds.image,
            &holds.image_digest,
            &holds.manifest
        ),
        (
            &image.id,
            &image.name,
            &image.image_digest,
            &image.disks[0].manifest
        )
    );
    assert_eq!(holds.logical_sector_bytes, image.logical_sector_bytes);
    for number in 0..3 {
        let root = site
            .until(&format!("root-{number}"), VolumeState::Available)
            .await;
        let content = site.content(&root);
        assert_eq!(content.len(), 64 << 20);
        assert!(content.starts_with(&disk()) && imprint_image::zero::is_zero(&content[disk().len()..]));
    }
    assert_eq!(site.files("bases"), [format!("{}.raw", holds.manifest)]);
    assert!(site.files("parts").is_empty());
    assert_eq!(held(site.app()).await, 0);
    // The base goes with the image, and the volumes stay.
    deleted_and_collected(site.app(), &image.id).await;
    for _ in 0..600 {
        if site.files("bases").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(site.files("bases").is_empty());
    assert!(site.content(&same) == disk());
    // Whoever writes to it notes so, and the image stays known.
    let mut connection = site.app().db.acquire().await.unwrap();
    in_use(&mut connection, &same.id).await.unwrap();
    drop(connection);
    let spent = site.now("same").await;
    assert!(spent.holds().is_none() && spent.prepared.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_at_once() {
    let site = Site::build().await;
    let sealed = site.import("name=sealed&encrypt=true").await;
    site.import("name=data&kind=data-disk").await;
    let small = site.make("small", "golden", Some(1 << 20)).await.unwrap_err();
    assert!(
        matches!(&small, VolumeError::Invalid(why) if why.contains("fit")),
        "{small}"
    );
    for (image, word) in [(sealed.as_str(), "encrypted"), ("data", "system")] {
        let error = site.make("root", image, None).await.unwrap_err();
        assert!(matches!(error, VolumeError::Image { .. }), "{error:?}");
        let problem = Problem::from(error);
        assert!(
            problem.detail.contains(word) && !problem.remedy.is_empty(),
            "{problem:?}"
        );
    }
    let none = site.make("root", "none", None).await.unwrap_err();
    assert!(matches!(none, VolumeError::Catalog(_)), "{none:?}");
    // An image that its owner keeps to himself does not come into a volume of others.
    let (owner, other) = (
        project(site.app(), "owner").await,
        project(site.app(), "other").await,
    );
    let private = site.import("name=private").await;
    sqlx::query("UPDATE images SET project_id = ?, visibility = 'private' WHERE id = ?")
        .bind(&owner)
        .bind(&private)
        .execute(&site.app().db)
        .await
        .unwrap();
    let error = site
        .make_for(Some(other), "root", &private, None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not shared"), "{error}");
    site.make_for(Some(owner), "root", &private, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_gone_becomes_an_error_that_can_be_deleted() {
    let mut site = Site::build().await;
    let gone = site.import("name=gone").await;
    site.make("damaged", "golden", None).await.unwrap();
    site.make("gone", "gone", None).await.unwrap();
    site.app().catalog.delete(&admin(), &gone).await.unwrap();
    let packs = site.app().config.data_dir.join("store/packs");
    damage(&packs);
    site.drive();
    for name in ["damaged", "gone"] {
        let failed = site.until(name, VolumeState::Error).await;
        assert!(
            !failed.why.is_empty() && failed.remedy.contains("delete"),
            "{failed:?}"
        );
        assert!(failed.holds().is_none() && failed.progress.is_none());
        site.app().volumes.delete(&admin(), name).await.unwrap();
    }
    for folder in ["exports", "bases", "parts"] {
        assert!(site.files(folder).is_empty(), "{folder}");
    }
}

/// Turns a byte of each pack around.
fn damage(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damage(&path);
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_controller_begins_anew() {
    let mut site = Site::build().await;
    site.make("root", "golden", None).await.unwrap();
    let parts = site.folder.path().join("volumes/parts");
    fs::write(parts.join("half"), "half").unwrap();
    let (config, clock) = (site.app().config.clone(), site.app().clock.clone());
    site.app().close().await;
    site.server = TestServer::serve(App::open(config, clock).await.unwrap()).await;
    assert!(site.files("parts").is_empty());
    site.drive();
    let root = site.until("root", VolumeState::Available).await;
    assert!(site.content(&root) == disk());
}
