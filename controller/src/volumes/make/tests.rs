use std::{fs, path::PathBuf};

use crate::{
    app::App,
    clock::Clock,
    config::{Config, VolumesConfig},
    events::EventQuery,
    identity::{Caller, PLATFORM, Viewer},
    testing::admin,
    volumes::{Detaching, DiskKind, WantedSeat},
};

use super::*;

const NODE: &str = "01JD3Y6N9M1V9S1M6V1M3B3W51";

struct Site {
    app: App,
    by: Caller,
    folder: tempfile::TempDir,
}

impl Site {
    /// A server with a card that is gone, and a back-end that nobody serves.
    async fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::loopback(folder.path().join("data"));
        config.volumes = Some(VolumesConfig {
            listen: "127.0.0.1:10809".parse().unwrap(),
            folder: folder.path().join("volumes"),
        });
        let app = App::for_test_with(config, Clock::fake(jiff::Timestamp::now())).await;
        sqlx::query(
            "INSERT INTO nodes (id, name, state, created_at, project_id, card) \
             VALUES (?, 'web-1', 'available', 0, ?, '127.0.0.1:1')",
        )
        .bind(NODE)
        .bind(PLATFORM)
        .execute(&app.db)
        .await
        .unwrap();
        Self {
            app,
            by: admin(),
            folder,
        }
    }

    async fn make(&self, name: &str) -> Result<VolumeRecord, VolumeError> {
        let wanted = WantedVolume {
            name: name.to_owned(),
            project_id: None,
            size_bytes: Some(1 << 30),
            limits: Limits::default(),
            from_image: None,
        };
        self.app.volumes.make(&self.by, &wanted).await
    }

    async fn delete(&self, name: &str) -> Result<VolumeRecord, VolumeError> {
        self.app.volumes.delete(&self.by, name).await
    }

    async fn now(&self, name: &str) -> Result<VolumeRecord, VolumeError> {
        self.app.volumes.find(&Viewer::All, name).await
    }

    fn exports(&self) -> PathBuf {
        self.folder.path().join("volumes/exports")
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.exports()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// As a controller finds it that died before it was done.
    async fn put(&self, volume: &VolumeRecord, state: VolumeState) {
        sqlx::query("UPDATE volumes SET state = ?, version = version + 1 WHERE id = ?")
            .bind(state.as_str())
            .bind(&volume.id)
            .execute(&self.app.db)
            .await
            .unwrap();
    }

    async fn told(&self) -> Vec<String> {
        let events = self.app.events.list(&EventQuery::default()).await.unwrap().items;
        let of_volumes = events
            .into_iter()
            .filter(|event| event.kind.starts_with("volume."));
        of_volumes.map(|event| event.kind).collect()
    }
}

#[tokio::test]
async fn a_volume_is_made_with_its_file_and_goes_with_it() {
    let site = Site::build().await;
    let made = site.make("scratch").await.unwrap();
    assert_eq!(
        (made.state, made.backend, made.why.as_str()),
        (VolumeState::Available, Some(super::super::BackendKind::Files), "")
    );
    let export = made.volume().card_id();
    assert_eq!(made.backing, Backing::Named { name: export.clone() });
    assert_eq!(site.files(), [export.as_str()]);
    let length = fs::metadata(site.exports().join(&export)).unwrap().len();
    assert_eq!(length, made.size_bytes);
    let twice = site.make("Scratch").await.unwrap_err();
    assert!(matches!(twice, VolumeError::NameTaken(_)), "{twice:?}");
    assert_eq!(site.files().len(), 1);
    // A server has it.
    let seat = WantedSeat {
        kind: DiskKind::VirtioBlk,
        function: None,
    };
    let volumes = &site.app.volumes;
    volumes.attach(&site.by, "scratch", "web-1", seat).await.unwrap();
    let kept = site.delete("scratch").await.unwrap_err();
    assert!(matches!(kept, VolumeError::Busy { .. }), "{kept:?}");
    volumes
        .detach(&site.app.guests, &site.by, "scratch", Detaching::Abandoned)
        .await
        .unwrap();
    let deleted = site.delete("scratch").await.unwrap();
    assert_eq!(deleted.state, VolumeState::Available);
    assert!(site.files().is_empty());
    assert!(matches!(site.now("scratch").await, Err(VolumeError::NotFound(_))));
    let told = site.told().await;
    let expected = [
        "volume.created",
        "volume.available",
        "volume.attaching",
        "volume.forced",
        "volume.available",
        "volume.deleting",
        "volume.deleted",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_a_dead_controller_began_is_finished() {
    let site = Site::build().await;
    let [begun, going] = ["begun", "going"];
    let begun = site.make(begun).await.unwrap();
    let going = site.make(going).await.unwrap();
    fs::remove_file(site.exports().join(begun.volume().card_id())).unwrap();
    site.put(&begun, VolumeState::Preparing).await;
    site.put(&going, VolumeState::Deleting).await;
    let unfinished = site.app.volumes.unfinished().await.unwrap();
    assert_eq!(unfinished.len(), 2);
    for record in unfinished {
        site.app.volumes.finish(&record.id).await;
    }
    assert_eq!(site.now("begun").await.unwrap().state, VolumeState::Available);
    assert!(site.now("going").await.is_err());
    assert_eq!(site.files(), [begun.volume().card_id()]);
    assert!(site.app.volumes.unfinished().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_fails_is_said_and_can_be_tried_again() {
    let site = Site::build().await;
    let made = site.make("scratch").await.unwrap();
    let file = site.exports().join(made.volume().card_id());
    // Not even root removes a folder as if it were a file.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let error = site.delete("scratch").await.unwrap_err();
    assert!(matches!(error, VolumeError::Backend(_)), "{error:?}");
    let kept = site.now("scratch").await.unwrap();
    assert_eq!(kept.state, VolumeState::Error);
    assert!(
        kept.why.contains("cannot remove") && !kept.remedy.is_empty(),
        "{kept:?}"
    );
    let seat = WantedSeat {
        kind: DiskKind::VirtioBlk,
        function: None,
    };
    let refused = site.app.volumes.attach(&site.by, "scratch", "web-1", seat).await;
    assert!(matches!(refused, Err(VolumeError::Busy { .. })), "{refused:?}");
    fs::remove_dir(&file).unwrap();
    site.delete("scratch").await.unwrap();
    // The folder is gone: nothing is left of what could not be made.
    fs::remove_dir_all(site.folder.path().join("volumes")).unwrap();
    let error = site.make("scratch").await.unwrap_err();
    assert!(matches!(error, VolumeError::Backend(_)), "{error:?}");
    assert!(matches!(site.now("scratch").await, Err(VolumeError::NotFound(_))));
}

#[tokio::test]
async fn files_without_a_volume_are_orphans() {
    let site = Site::build().await;
    let made = site.make("scratch").await.unwrap();
    let gone = card_id(&Ulid::generate().to_string());
    for name in [gone.as_str(), "notes.txt"] {
        fs::write(site.exports().join(name), "").unwrap();
    }
    let mut found = site.app.volumes.orphans().await.unwrap().stored;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<&str> = found.iter().map(|orphan| orphan.name.as_str()).collect();
    assert_eq!(names, ["notes.txt", gone.as_str()]);
    assert_eq!(found[0].volume_id, None);
    assert_eq!(
        found[1].volume_id.as_deref(),
        Some(gone[1..].to_ascii_uppercase().as_str())
    );
    assert!(!names.contains(&made.volume().card_id().as_str()));
}

#[tokio::test]
async fn without_a_back_end_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::for_test(folder.path()).await;
    let wanted = WantedVolume {
        name: "scratch".to_owned(),
        project_id: None,
        size_bytes: Some(512),
        limits: Limits::default(),
        from_image: None,
    };
    let error = app.volumes.make(&admin(), &wanted).await.unwrap_err();
    assert!(matches!(error, VolumeError::NoBackend), "{error:?}");
    let problem = crate::api::rest::problem::Problem::from(error);
    assert!(problem.remedy.contains("[volumes]"), "{problem:?}");
}
