//! Volumes in the books, with cards that are not there. Those that are there are in `tests/tests/card`.

use jiff::SignedDuration;

use super::*;
use crate::{
    app::App,
    events::EventQuery,
    identity::{Caller, PLATFORM, Viewer},
    inventory::InventoryError,
};

const NODE: &str = "01JD3Y6N9M1V9S1M6V1M3B3W51";
const OTHER: &str = "01JD3Y6N9M1V9S1M6V1M3B3W52";
/// Nobody listens there.
const GONE: &str = "127.0.0.1:1";

struct Site {
    app: App,
    by: Caller,
    _folder: tempfile::TempDir,
}

impl Site {
    /// Two servers, the first with a card that is gone.
    async fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = App::for_test(folder.path()).await;
        for (id, name, card) in [(NODE, "web-1", Some(GONE)), (OTHER, "web-2", None)] {
            sqlx::query(
                "INSERT INTO nodes (id, name, state, created_at, project_id, card) VALUES (?, ?, 'available', 0, ?, ?)",
            )
            .bind(id)
            .bind(name)
            .bind(PLATFORM)
            .bind(card)
            .execute(&app.db)
            .await
            .unwrap();
        }
        let token = std::fs::read_to_string(app.config.data_dir.join(crate::setup::ADMIN_TOKEN)).unwrap();
        Self {
            by: app.api_tokens.check(token.trim()).await.unwrap(),
            app,
            _folder: folder,
        }
    }

    async fn make(&self, name: &str, backing: Backing) -> VolumeRecord {
        let new = NewVolume {
            name: name.to_owned(),
            project_id: None,
            size_bytes: 1 << 30,
            backing,
            limits: Limits::default(),
        };
        self.app.volumes.create(&self.by, &new).await.unwrap()
    }

    async fn attach(&self, volume: &str, node: &str) -> Result<VolumeRecord, VolumeError> {
        self.attach_at(volume, node, None).await
    }

    async fn attach_at(
        &self,
        volume: &str,
        node: &str,
        function: Option<PciFunction>,
    ) -> Result<VolumeRecord, VolumeError> {
        let kind = DiskKind::VirtioBlk;
        let seat = WantedSeat { kind, function };
        self.app.volumes.attach(&self.by, volume, node, seat).await
    }

    async fn detach(&self, volume: &str, how: Detaching) -> VolumeRecord {
        let volumes = &self.app.volumes;
        volumes
            .detach(&self.app.guests, &self.by, volume, how)
            .await
            .unwrap()
    }

    async fn now(&self, volume: &str) -> VolumeRecord {
        self.app.volumes.find(&Viewer::All, volume).await.unwrap()
    }

    /// As the task does it.
    async fn advance(&self, volume: &str) -> VolumeRecord {
        self.app
            .volumes
            .advance(self.now(volume).await, None)
            .await
            .unwrap();
        self.now(volume).await
    }

    /// As the task finds them, for who cannot wait.
    async fn put(&self, volume: &str, state: VolumeState) {
        sqlx::query("UPDATE volumes SET state = ?, version = version + 1 WHERE name = ?")
            .bind(state.as_str())
            .bind(volume)
            .execute(&self.app.db)
            .await
            .unwrap();
    }

    async fn told(&self, volume: &VolumeRecord) -> Vec<String> {
        let events = self.app.events.list(&EventQuery::default()).await.unwrap().items;
        let of_volume = events
            .into_iter()
            .filter(|event| event.details["volume_id"] == volume.id.as_str());
        of_volume.map(|event| event.kind).collect()
    }
}

fn named() -> Backing {
    Backing::Named {
        name: "export".into(),
    }
}

fn presented(serial: &str) -> Backing {
    Backing::Static {
        serial: Some(serial.into()),
        wwn: None,
    }
}

#[tokio::test]
async fn a_silent_card_is_waited_for_until_the_deadline() {
    let site = Site::build().await;
    site.make("data", named()).await;
    for (state, again) in [
        (VolumeState::Attaching, false),
        (VolumeState::Detaching, false),
        (VolumeState::Attaching, true),
    ] {
        match state {
            VolumeState::Detaching => site.detach("data", Detaching::Unused).await,
            _ => site.attach("data", "web-1").await.unwrap(),
        };
        let asked = site.now("data").await;
        assert!(
            asked.state == state && !asked.why.is_empty(),
            "{again}: {asked:?}"
        );
        let waits = site.advance("data").await;
        assert_eq!((waits.state, waits.deadline), (state, asked.deadline));
        assert!(
            waits.why.contains("does not answer") && !waits.remedy.is_empty(),
            "{waits:?}"
        );
        site.app.clock.advance(SignedDuration::from_mins(10));
        let given_up = site.advance("data").await;
        assert_eq!((given_up.state, given_up.deadline), (VolumeState::Error, None));
        assert!(
            given_up.why.contains("does not answer") && !given_up.remedy.is_empty(),
            "{given_up:?}"
        );
        // Nothing more is tried, and what may be on the card is not forgotten.
        assert_eq!(site.advance("data").await, given_up);
        assert!(given_up.attachment.is_some());
    }
}

#[tokio::test]
async fn a_silent_card_takes_nothing_from_a_server() {
    let site = Site::build().await;
    site.make("data", named()).await;
    site.attach("data", "web-1").await.unwrap();
    site.put("data", VolumeState::Attached).await;
    let stays = site.advance("data").await;
    assert_eq!(stays.state, VolumeState::Attached);
    assert!(
        stays.why.contains("does not answer") && !stays.remedy.is_empty(),
        "{stays:?}"
    );
}

#[tokio::test]
async fn an_answer_to_an_older_question_changes_nothing() {
    let site = Site::build().await;
    site.make("data", named()).await;
    let asked = site.attach("data", "web-1").await.unwrap();
    site.app.clock.advance(SignedDuration::from_mins(10));
    let detaching = site.detach("data", Detaching::Unused).await;
    site.app.volumes.advance(asked.clone(), None).await.unwrap();
    assert_eq!(site.now("data").await, detaching);
    let available = site.detach("data", Detaching::Abandoned).await;
    site.app.volumes.delete(&site.by, "data").await.unwrap();
    site.app.volumes.advance(detaching, None).await.unwrap();
    let gone = site.app.volumes.find(&Viewer::All, "data").await;
    assert!(matches!(gone, Err(VolumeError::NotFound(_))), "{gone:?}");
    assert_eq!(available.attachment, None);
}

#[tokio::test]
async fn for_what_is_abandoned_no_card_is_asked_and_it_is_told() {
    let site = Site::build().await;
    let volume = site.make("data", named()).await;
    for state in [
        VolumeState::Attaching,
        VolumeState::Attached,
        VolumeState::Detaching,
        VolumeState::Error,
    ] {
        site.attach("data", "web-1").await.unwrap();
        site.put("data", state).await;
        let free = site.detach("data", Detaching::Abandoned).await;
        assert_eq!((free.state, free.attachment), (VolumeState::Available, None));
    }
    let told = site.told(&volume).await;
    assert_eq!(
        told.iter().filter(|kind| *kind == "volume.forced").count(),
        4,
        "{told:?}"
    );
    // Where it is nowhere, there is nothing to tell.
    site.detach("data", Detaching::Abandoned).await;
    assert_eq!(site.told(&volume).await, told);
}

#[tokio::test]
async fn a_disk_that_is_presented_already_needs_no_card() {
    let site = Site::build().await;
    let volume = site.make("lun", presented("S 1")).await;
    let attached = site.attach("lun", "web-2").await.unwrap();
    assert_eq!((attached.state, attached.deadline), (VolumeState::Attached, None));
    let there = attached.attachment.clone().unwrap();
    assert_eq!((there.serial.as_str(), there.seat()), ("S 1", None));
    assert_eq!(site.attach("lun", "web-2").await.unwrap(), attached);
    // The task leaves it alone.
    assert_eq!(site.advance("lun").await, attached);
    let moved = site.attach("lun", "web-1").await;
    assert!(matches!(moved, Err(VolumeError::Busy { .. })), "{moved:?}");
    site.make("same", presented("S 1")).await;
    let same = site.attach("same", "web-2").await;
    assert!(matches!(same, Err(VolumeError::DiskTaken { .. })), "{same:?}");
    let function = site
        .attach_at("same", "web-1", Some(PciFunction::default()))
        .await;
    assert!(
        matches!(function, Err(VolumeError::NoFunction(_))),
        "{function:?}"
    );
    // Another server's disk may say the same.
    site.attach("same", "web-1").await.unwrap();
    let kept = site.app.nodes.find(&Viewer::All, "web-2").await.unwrap();
    let kept = site
        .app
        .deployments
        .delete_node(&site.by, &kept.id)
        .await
        .unwrap_err();
    assert!(kept.to_string().contains("lun"), "{kept}");
    assert_eq!(
        site.detach("lun", Detaching::Unused).await.state,
        VolumeState::Available
    );
    let told = ["volume.created", "volume.attached", "volume.available"];
    assert_eq!(site.told(&volume).await, told);
}

#[tokio::test]
async fn a_card_is_one_servers_and_stays_while_it_has_volumes() {
    let site = Site::build().await;
    let set = async |node, card| site.app.volumes.set_card(&site.by, node, card).await;
    let taken = set("web-2", Some(GONE)).await;
    assert!(matches!(taken, Err(VolumeError::CardTaken { .. })), "{taken:?}");
    let bad = set("web-2", Some("here")).await;
    assert!(matches!(bad, Err(VolumeError::Provider(_))), "{bad:?}");
    site.make("data", named()).await;
    site.attach("data", "web-1").await.unwrap();
    let used = set("web-1", None).await;
    assert!(matches!(used, Err(VolumeError::CardInUse { .. })), "{used:?}");
    // It may move: the volume is looked for at the new address.
    set("web-1", Some("127.0.0.1:2")).await.unwrap();
    assert!(site.advance("data").await.why.contains("127.0.0.1:2"));
    site.detach("data", Detaching::Abandoned).await;
    set("web-1", None).await.unwrap();
    set("web-2", Some(GONE)).await.unwrap();
    assert_eq!(site.app.volumes.card_of(NODE).await.unwrap(), None);
}

#[tokio::test]
async fn a_volume_and_its_server_are_of_one_project() {
    let site = Site::build().await;
    site.make("data", named()).await;
    let web = site
        .app
        .tenants
        .create_project(&site.by, "web", &Default::default())
        .await
        .unwrap();
    let theirs = NewVolume {
        name: "theirs".to_owned(),
        project_id: Some(web.id.clone()),
        size_bytes: 512,
        backing: named(),
        limits: Limits::default(),
    };
    site.app.volumes.create(&site.by, &theirs).await.unwrap();
    let other = site.attach("theirs", "web-1").await;
    assert!(
        matches!(other, Err(VolumeError::OtherProject { .. })),
        "{other:?}"
    );
    let seen = site
        .app
        .volumes
        .list(&Viewer::Project(web.id.clone()), "", 0)
        .await
        .unwrap();
    let seen: Vec<_> = seen.items.into_iter().map(|volume| volume.name).collect();
    assert_eq!(seen, ["theirs"]);
    let hidden = site
        .app
        .volumes
        .find(&Viewer::Project(web.id.clone()), "data")
        .await;
    assert!(matches!(hidden, Err(VolumeError::NotFound(_))), "{hidden:?}");
    // A server that has volumes doesn't change hands.
    site.attach("data", "web-1").await.unwrap();
    let stays = site.app.nodes.assign(&site.by, "web-1", &web).await;
    assert!(
        matches!(stays, Err(InventoryError::HasVolumes { .. })),
        "{stays:?}"
    );
}

#[tokio::test]
async fn pages_are_bounded_and_lead_on() {
    let site = Site::build().await;
    for number in 0..3 {
        site.make(&format!("v{number}"), named()).await;
    }
    let first = site.app.volumes.list(&Viewer::All, "", 2).await.unwrap();
    assert_eq!(first.items.len(), 2);
    let after = first.next.unwrap();
    let last = site
        .app
        .volumes
        .list(&Viewer::All, &after, u32::MAX)
        .await
        .unwrap();
    assert_eq!((last.items.len(), last.next), (1, None));
    let twice = NewVolume {
        name: "V0".to_owned(),
        project_id: None,
        size_bytes: 512,
        backing: named(),
        limits: Limits::default(),
    };
    let twice = site.app.volumes.create(&site.by, &twice).await;
    assert!(matches!(twice, Err(VolumeError::NameTaken(_))), "{twice:?}");
}
