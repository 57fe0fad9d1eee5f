//! A controller with a server, and the lab's BMC of it.

use std::time::Duration;

use imprint_controller::app::App;
use imprint_controller::clock::Clock;
use imprint_controller::config::Config;
use imprint_controller::events::{Event, EventQuery};
use imprint_controller::identity::{Caller, PLATFORM};
use imprint_controller::power::{
    self, ActionState, BmcKind, BmcQuirks, BmcRecord, BootTarget, NewBmc, NodePower, PowerAction, PowerError,
    PowerWish, WantedPower,
};
use imprint_controller::setup;
use imprint_tests::redfish::{Identity, Model, Oddities, PASSWORD, Served, Service, USER, serve};
use tokio::task::JoinHandle;

pub const NODE: &str = "01JD3Y6N9M1V9S1M6V1M3B3W51";

/// A deployment of the node, where there is one.
pub const DEPLOYMENT: &str = "01JD3Y6N9M1V9S1M6V1M3B3W61";

pub struct Site {
    pub app: App,
    pub by: Caller,
    driver: Option<JoinHandle<()>>,
    pub folder: tempfile::TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A BMC of a server that is on, or off.
pub async fn bmc(on: bool, oddities: Oddities) -> (Served, Model) {
    let model = if on { Model::running() } else { Model::default() };
    let service = Service::of(model.clone(), Identity::default(), oddities);
    let served = serve(service, ([127, 0, 0, 1], 0).into()).await.unwrap();
    (served, model)
}

/// What is said of a BMC that is trusted by its fingerprint.
pub fn known(served: &Served) -> NewBmc {
    NewBmc {
        kind: BmcKind::Redfish,
        address: served.address.clone(),
        user: USER.to_owned(),
        password: Some(PASSWORD.to_owned().into()),
        fingerprint: Some(served.fingerprint.clone()),
        quirks: BmcQuirks {
            request_seconds: Some(5),
            ..BmcQuirks::default()
        },
        ..NewBmc::manual("")
    }
}

/// Conversations end right after what they were for.
pub async fn no_session_is_left(served: &Served) {
    for _ in 0..1200 {
        if served.service.sessions().0 == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a session is left: {:?}", served.service.log());
}

pub fn on(boot: Option<BootTarget>) -> WantedPower {
    WantedPower {
        action: PowerWish::On,
        force: false,
        boot,
    }
}

pub fn off(force: bool) -> WantedPower {
    WantedPower {
        action: PowerWish::Off,
        force,
        boot: None,
    }
}

pub fn cycle(boot: Option<BootTarget>) -> WantedPower {
    WantedPower {
        action: PowerWish::Cycle,
        ..on(boot)
    }
}

impl Site {
    /// With the clock of the machine.
    pub async fn build() -> Self {
        Self::with(Clock::system()).await
    }

    /// With a clock that is moved by hand.
    pub async fn standing_still() -> Self {
        Self::with(Clock::fake(jiff::Timestamp::now())).await
    }

    async fn with(clock: Clock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = App::for_test_with(Config::loopback(folder.path()), clock).await;
        let identity = Identity::default();
        sqlx::query(
            "INSERT INTO nodes (id, name, state, created_at, project_id, smbios_uuid, serial) \
             VALUES (?, 'web-1', 'available', 0, ?, ?, ?)",
        )
        .bind(NODE)
        .bind(PLATFORM)
        .bind(identity.uuid)
        .bind(identity.serial)
        .execute(&app.db)
        .await
        .unwrap();
        let token = std::fs::read_to_string(app.config.data_dir.join(setup::ADMIN_TOKEN)).unwrap();
        let mut site = Self {
            by: app.api_tokens.check(token.trim()).await.unwrap(),
            app,
            driver: None,
            folder,
        };
        site.start();
        site
    }

    /// A deployment has the node.
    pub async fn deployment_runs(&self, phase: &str) {
        sqlx::query(
            "INSERT INTO deployments (id, node_id, state, phase, step, image_id, image_name, image_digest, manifest_digest,
                 disk_size_bytes, logical_sector_bytes, disk_rule, hostname, boot_order, grow_root, finish, task_id,
                 phase_since, moved_at, created_at)
             VALUES (?1, ?2, 'running', ?3, 'write', '', '', '', '', 0, 512, '', '', '', 0, 0, ?1, 0, 0, 0)",
        )
        .bind(DEPLOYMENT)
        .bind(NODE)
        .bind(phase)
        .execute(&self.app.db)
        .await
        .unwrap();
        self.set("UPDATE nodes SET deployment_id = ?1").await;
    }

    /// Changes something behind the controller's back; `?1` is the deployment.
    pub async fn set(&self, sql: &'static str) {
        sqlx::query(sql)
            .bind(DEPLOYMENT)
            .execute(&self.app.db)
            .await
            .unwrap();
    }

    /// The task that drives changes of power.
    pub fn start(&mut self) {
        self.driver = Some(tokio::spawn(power::run(self.app.clone())));
    }

    /// Without a farewell, as a controller that is killed.
    pub fn stop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.abort();
        }
    }

    pub async fn has(&self, new: NewBmc) -> BmcRecord {
        self.app.power.set_bmc(&self.by, "web-1", new).await.unwrap()
    }

    pub async fn power(&self) -> NodePower {
        self.app.power.power_of(&self.by.viewer(), "web-1").await.unwrap()
    }

    pub async fn ask(&self, wanted: WantedPower) -> Result<PowerAction, PowerError> {
        self.app.power.change(&self.by, "web-1", wanted).await
    }

    /// What is under way, or was last; the BMC is not asked.
    pub async fn newest(&self) -> PowerAction {
        let id: String = sqlx::query_scalar("SELECT id FROM power_actions ORDER BY id DESC LIMIT 1")
            .fetch_one(&self.app.db)
            .await
            .unwrap();
        self.app.power.action(&id).await.unwrap().unwrap()
    }

    /// Waits for its end, however that is.
    pub async fn ended(&self) -> PowerAction {
        for _ in 0..1200 {
            let action = self.newest().await;
            if action.state != ActionState::Running {
                return action;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not end: {:?}", self.newest().await);
    }

    /// Waits until what is under way says something with these words.
    pub async fn says(&self, words: &str) -> PowerAction {
        for _ in 0..1200 {
            let action = self.newest().await;
            if action.why.contains(words) {
                return action;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not say `{words}`: {:?}", self.newest().await);
    }

    pub async fn done(&self, wanted: WantedPower) -> PowerAction {
        self.ask(wanted).await.unwrap();
        let ended = self.ended().await;
        assert_eq!(ended.state, ActionState::Done, "{ended:?}");
        ended
    }

    pub async fn failed(&self, wanted: WantedPower) -> PowerAction {
        self.ask(wanted).await.unwrap();
        let ended = self.ended().await;
        assert_eq!(ended.state, ActionState::Failed, "{ended:?}");
        assert!(!ended.why.is_empty() && !ended.remedy.is_empty(), "{ended:?}");
        ended
    }

    pub async fn events(&self) -> Vec<Event> {
        let query = EventQuery {
            page_size: 1000,
            ..EventQuery::default()
        };
        self.app.events.list(&query).await.unwrap().items
    }
}
