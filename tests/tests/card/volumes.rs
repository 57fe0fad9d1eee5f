//! Volumes of the controller, with its task that drives them and the card of the lab.

use std::time::Duration;

use imprint_controller::app::App;
use imprint_controller::events::EventQuery;
use imprint_controller::identity::{Caller, PLATFORM};
use imprint_controller::setup;
use imprint_controller::volumes::{
    self, Backing, Detaching, DiskKind, Limits, NewVolume, PciFunction, VolumeError, VolumeRecord,
    VolumeState, WantedSeat,
};
use imprint_tests::card::{CardOptions, Served, control, serve};
use tokio::task::JoinHandle;

use super::options;

const NODE: &str = "01JD3Y6N9M1V9S1M6V1M3B3W51";
const OTHER: &str = "01JD3Y6N9M1V9S1M6V1M3B3W52";

/// A controller with two nodes, and the card of the first.
struct Site {
    app: App,
    by: Caller,
    driver: JoinHandle<()>,
    folder: tempfile::TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Site {
    async fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = App::for_test(folder.path()).await;
        for (id, name) in [(NODE, "web-1"), (OTHER, "web-2")] {
            sqlx::query("INSERT INTO nodes (id, name, state, created_at, project_id) VALUES (?, ?, 'available', 0, ?)")
                .bind(id)
                .bind(name)
                .bind(PLATFORM)
                .execute(&app.db)
                .await
                .unwrap();
        }
        let token = std::fs::read_to_string(app.config.data_dir.join(setup::ADMIN_TOKEN)).unwrap();
        Self {
            by: app.api_tokens.check(token.trim()).await.unwrap(),
            driver: tokio::spawn(volumes::run(app.clone())),
            app,
            folder,
        }
    }

    async fn volume(&self, name: &str) -> VolumeRecord {
        let new = NewVolume {
            name: name.to_owned(),
            project_id: None,
            size_bytes: 1 << 30,
            backing: Backing::Named {
                name: "export".to_owned(),
            },
            limits: Limits::default(),
        };
        self.app.volumes.create(&self.by, &new).await.unwrap()
    }

    async fn has_card(&self, node: &str, card: &Served) {
        let address = card.address.to_string();
        self.app
            .volumes
            .set_card(&self.by, node, Some(&address))
            .await
            .unwrap();
    }

    async fn attach(&self, volume: &str, node: &str) -> Result<VolumeRecord, VolumeError> {
        let seat = WantedSeat {
            kind: DiskKind::VirtioBlk,
            function: None,
        };
        self.app.volumes.attach(&self.by, volume, node, seat).await
    }

    async fn detach(&self, volume: &str, how: Detaching) -> VolumeRecord {
        let app = &self.app;
        app.volumes
            .detach(&app.guests, &self.by, volume, how)
            .await
            .unwrap()
    }

    async fn until(&self, volume: &str, state: VolumeState) -> VolumeRecord {
        self.when(volume, |record| record.state == state).await
    }

    async fn when(&self, volume: &str, is: impl Fn(&VolumeRecord) -> bool) -> VolumeRecord {
        let mut last = None;
        for _ in 0..400 {
            let record = self.app.volumes.find(&self.by.viewer(), volume).await.unwrap();
            if is(&record) {
                return record;
            }
            last = Some(record);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it stays {last:?}");
    }

    /// Another controller over the same data, as after a crash.
    async fn restart(mut self) -> Self {
        self.driver.abort();
        self.app.close().await;
        self.app = App::open(self.app.config.clone(), self.app.clock.clone())
            .await
            .unwrap();
        self.driver = tokio::spawn(volumes::run(self.app.clone()));
        self
    }
}

async fn card_at(listen: Option<std::net::SocketAddr>, state: Option<std::path::PathBuf>) -> Served {
    let mut options = CardOptions { state, ..options() };
    if let Some(listen) = listen {
        options.listen = listen;
    }
    serve(&options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_goes_to_a_server_and_comes_back() {
    let site = Site::build().await;
    let card = card_at(None, None).await;
    let volume = site.volume("data-1").await;
    assert!(matches!(
        site.attach("data-1", "web-1").await,
        Err(VolumeError::NoCard(_))
    ));
    site.has_card("web-1", &card).await;

    let asked = site.attach("data-1", "web-1").await.unwrap();
    assert_eq!(asked.state, VolumeState::Attaching);
    assert!(asked.deadline.is_some() && !asked.why.is_empty());
    let attached = site.until("data-1", VolumeState::Attached).await;
    let there = attached.attachment.clone().unwrap();
    assert_eq!(there.function, Some(PciFunction::default()));
    assert!(there.card_name.starts_with("virtioBlks/v"), "{there:?}");
    // Asked again, it is the same.
    assert_eq!(site.attach("DATA-1", "web-1").await.unwrap(), attached);
    let elsewhere = site.attach("data-1", "web-2").await;
    assert!(
        matches!(elsewhere, Err(VolumeError::Busy { .. })),
        "{elsewhere:?}"
    );
    let delete = site.app.volumes.delete(&site.by, "data-1").await;
    assert!(matches!(delete, Err(VolumeError::Busy { .. })), "{delete:?}");
    // Its node stays as long.
    let node = site
        .app
        .deployments
        .delete_node(&site.by, "web-1")
        .await
        .unwrap_err();
    assert!(node.to_string().contains("data-1"), "{node}");

    // The next one gets the next function; the one after that asks for one that is taken.
    site.volume("data-2").await;
    site.attach("data-2", "web-1").await.unwrap();
    let second = site.until("data-2", VolumeState::Attached).await;
    assert_eq!(second.attachment.unwrap().function.unwrap().physical, 1);
    site.volume("data-3").await;
    let seat = WantedSeat {
        kind: DiskKind::Nvme,
        function: Some(PciFunction::default()),
    };
    let taken = site.app.volumes.attach(&site.by, "data-3", "web-1", seat).await;
    assert!(
        matches!(taken, Err(VolumeError::FunctionTaken { .. })),
        "{taken:?}"
    );

    site.detach("data-1", Detaching::Unused).await;
    let free = site.until("data-1", VolumeState::Available).await;
    assert_eq!(free.attachment, None);
    site.app.volumes.delete(&site.by, &volume.id).await.unwrap();
    let events = site.app.events.list(&EventQuery::default()).await.unwrap().items;
    let of_volume =
        |event: &&imprint_controller::events::Event| event.details["volume_id"] == volume.id.as_str();
    let told: Vec<&str> = events
        .iter()
        .filter(of_volume)
        .map(|event| event.kind.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "volume.created",
            "volume.attaching",
            "volume.attached",
            "volume.detaching",
            "volume.available",
            "volume.deleted"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_card_refuses_is_said_and_tried_again() {
    let site = Site::build().await;
    let card = card_at(None, None).await;
    site.has_card("web-1", &card).await;
    site.volume("data-1").await;
    card.faults
        .put(control::parse("fail 9 RESOURCE_EXHAUSTED").unwrap());
    site.attach("data-1", "web-1").await.unwrap();
    let failed = site.until("data-1", VolumeState::Error).await;
    assert!(
        failed.why.contains("refuses") && !failed.remedy.is_empty(),
        "{failed:?}"
    );
    card.faults
        .put(control::parse("fail 0 RESOURCE_EXHAUSTED").unwrap());
    site.attach("data-1", "web-1").await.unwrap();
    let attached = site.until("data-1", VolumeState::Attached).await;
    assert_eq!(attached.why, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_does_not_answer_is_waited_for() {
    let site = Site::build().await;
    let card = card_at(None, None).await;
    site.has_card("web-1", &card).await;
    let address = card.address;
    card.stop().await;
    site.volume("data-1").await;
    site.attach("data-1", "web-1").await.unwrap();
    let waiting = site
        .when("data-1", |record| record.why.contains("does not answer"))
        .await;
    assert_eq!(waiting.state, VolumeState::Attaching);
    let _card = card_at(Some(address), None).await;
    site.until("data-1", VolumeState::Attached).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_dies_goes_on_and_orphans_are_named() {
    let site = Site::build().await;
    let card = card_at(None, None).await;
    site.has_card("web-1", &card).await;
    site.volume("data-1").await;
    // It dies while the card is busy with it.
    card.faults.put(control::parse("slow 1000").unwrap());
    site.attach("data-1", "web-1").await.unwrap();
    let site = site.restart().await;
    card.faults.put(control::parse("slow 0").unwrap());
    let attached = site.until("data-1", VolumeState::Attached).await;
    assert_eq!(
        site.app.volumes.orphans().await.unwrap(),
        volumes::Orphans::default()
    );
    // The books lose it; the card does not.
    sqlx::query("DELETE FROM volumes")
        .execute(&site.app.db)
        .await
        .unwrap();
    let orphans = site.app.volumes.orphans().await.unwrap();
    assert_eq!(orphans.items.len(), 1, "{orphans:?}");
    assert_eq!(orphans.items[0].volume_id.as_ref(), Some(&attached.id));
    assert_eq!(orphans.items[0].node, "web-1");
    card.stop().await;
    let orphans = site.app.volumes.orphans().await.unwrap();
    assert!(orphans.unanswered[0].starts_with("web-1: "), "{orphans:?}");
    assert!(site.folder.path().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_dies_goes_on_taking_away() {
    let site = Site::build().await;
    let card = card_at(None, None).await;
    site.has_card("web-1", &card).await;
    site.volume("data-1").await;
    site.attach("data-1", "web-1").await.unwrap();
    site.until("data-1", VolumeState::Attached).await;
    card.faults.put(control::parse("slow 1000").unwrap());
    site.detach("data-1", Detaching::Unused).await;
    let site = site.restart().await;
    card.faults.put(control::parse("slow 0").unwrap());
    site.until("data-1", VolumeState::Available).await;
    assert_eq!(
        site.app.volumes.orphans().await.unwrap(),
        volumes::Orphans::default()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_by_force_is_an_orphan_until_it_is_asked_for_again() {
    let site = Site::build().await;
    let card = card_at(None, None).await;
    site.has_card("web-1", &card).await;
    let volume = site.volume("data-1").await;
    site.attach("data-1", "web-1").await.unwrap();
    site.until("data-1", VolumeState::Attached).await;
    let free = site.detach("data-1", Detaching::Abandoned).await;
    assert_eq!(free.state, VolumeState::Available);
    let orphans = site.app.volumes.orphans().await.unwrap();
    assert_eq!(orphans.items[0].volume_id.as_ref(), Some(&volume.id));
    site.attach("data-1", "web-1").await.unwrap();
    site.until("data-1", VolumeState::Attached).await;
    site.detach("data-1", Detaching::Unused).await;
    site.until("data-1", VolumeState::Available).await;
    assert_eq!(
        site.app.volumes.orphans().await.unwrap(),
        volumes::Orphans::default()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_card_shows_is_the_truth() {
    let site = Site::build().await;
    let folder = tempfile::tempdir().unwrap();
    let card = card_at(None, Some(folder.path().join("books.json"))).await;
    site.has_card("web-1", &card).await;
    site.volume("data-1").await;
    site.attach("data-1", "web-1").await.unwrap();
    site.until("data-1", VolumeState::Attached).await;
    // The card loses its books while no controller runs; the next one looks first of all.
    let address = card.address;
    card.stop().await;
    let _empty = card_at(Some(address), None).await;
    let site = site.restart().await;
    let lost = site.until("data-1", VolumeState::Error).await;
    assert!(lost.why.contains("does not show"), "{lost:?}");
    site.attach("data-1", "web-1").await.unwrap();
    site.until("data-1", VolumeState::Attached).await;
}
