//! What connects the concerns: one value, cheap to clone, handed to every task and every API handler.

use std::{ops::Deref, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    api::rest::problem::chain,
    backup::{Holds, Witness},
    boot::BootTokens,
    catalog::Catalog,
    clock::Clock,
    config::Config,
    copy::{Copies, transfer::Transfers},
    db,
    deploy::{Deployments, Hub, Secrets},
    events::EventLog,
    export::Exports,
    guests::Guests,
    identity::{ApiTokens, Authority, ImageKeys, RequestKey, Tenants},
    ingest::{self, Ingest},
    inventory::Nodes,
    jobs::{Interrupted, Jobs},
    metrics::Metrics,
    power::Power,
    setup::{self, OpenError},
    store::Store,
    telemetry::Telemetry,
    upkeep::Upkeep,
    volumes::{self, FilesBackend, VolumeBackend, Volumes},
    webhooks::Webhooks,
};

/// The running controller.
#[derive(Debug, Clone)]
pub struct App(Arc<AppInner>);

/// The concerns of the running controller.
#[derive(Debug)]
pub struct AppInner {
    /// The configuration.
    pub config: Config,
    /// The database.
    pub db: sqlx::SqlitePool,
    /// CA and manifest signing key.
    pub authority: Authority,
    /// Data keys of encrypted images.
    pub image_keys: ImageKeys,
    /// Tokens of callers.
    pub api_tokens: ApiTokens,
    /// Projects, users and what makes tokens.
    pub tenants: Tenants,
    /// Known images.
    pub catalog: Catalog,
    /// Manifests and packs.
    pub store: Store,
    /// Care for the store: garbage, verification.
    pub upkeep: Upkeep,
    /// Imports of images.
    pub ingest: Ingest,
    /// Images as files.
    pub exports: Exports,
    /// Copies of images.
    pub copies: Copies,
    /// Images that come from other regions.
    pub transfers: Transfers,
    /// Long work.
    pub jobs: Jobs,
    /// All that happened.
    pub events: EventLog,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// Traces for OpenTelemetry.
    pub telemetry: Telemetry,
    /// Known machines.
    pub nodes: Nodes,
    /// Deployments.
    pub deployments: Deployments,
    /// Guest plugins of installed systems.
    pub guests: Guests,
    /// Network volumes, and the cards that show them.
    pub volumes: Volumes,
    /// Events, sent to where somebody waits for them.
    pub webhooks: Webhooks,
    /// Nodes on hold since the database is older than the world.
    pub holds: Holds,
    /// What the database is held against at the next start.
    pub witness: Witness,
    /// Power of servers, by their BMCs.
    pub power: Power,
    /// One-time boot tokens.
    pub boot_tokens: BootTokens,
    /// The time.
    pub clock: Clock,
    /// Cancelled when the controller ends.
    pub shutdown: CancellationToken,
}

impl Deref for App {
    type Target = AppInner;

    fn deref(&self) -> &AppInner {
        &self.0
    }
}

impl App {
    /// Opens the data folder that [`setup::init`] made and puts the concerns together.
    pub async fn open(config: Config, clock: Clock) -> Result<Self, OpenError> {
        let authority = setup::open_authority(&config, &clock)?;
        let request_key = RequestKey::obtain(&config.data_dir)?;
        let db = setup::open_database(&config).await?;
        let owners = authority
            .manifest_public_keys()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        // What the operator of another region needs who is to take images from here.
        tracing::info!(
            region = config.region,
            keys = owners.join(" "),
            "manifests are signed with"
        );
        let store = Store::open(&config.data_dir, &config.store, &owners).await?;
        let events = EventLog::new(db.clone(), clock.clone());
        events.load_gone().await?;
        // Before anything is written, and long before anything is driven.
        let witness = Witness::open(&config.data_dir, &db, &events, &clock).await?;
        let catalog = Catalog::new(db.clone(), clock.clone(), events.clone(), &config);
        catalog.settle().await?;
        catalog.settle_usage().await?;
        let shutdown = CancellationToken::new();
        let jobs = Jobs::new(db.clone(), events.clone(), clock.clone(), shutdown.clone());
        let image_keys = ImageKeys::open_folder(db.clone(), &config.data_dir)?;
        setup::tell_missing_wrappers(&image_keys).await;
        let exports = Exports::new(
            db.clone(),
            catalog.clone(),
            store.clone(),
            authority.clone(),
            image_keys.clone(),
            events.clone(),
            clock.clone(),
            config.destinations.clone(),
        );
        let ingest = Ingest::new(ingest::Parts {
            data_dir: config.data_dir.clone(),
            config: config.ingest.clone(),
            encryption: config.encryption,
            image_keys: image_keys.clone(),
            authority: authority.clone(),
            catalog: catalog.clone(),
            store: store.clone(),
            exports: exports.clone(),
            jobs: jobs.clone(),
            events: events.clone(),
            clock: clock.clone(),
            db: db.clone(),
            shutdown: shutdown.clone(),
        })
        .map_err(|source| OpenError::Folder {
            path: config.data_dir.clone(),
            source,
        })?;
        let copies = Copies::new(
            catalog.clone(),
            store.clone(),
            events.clone(),
            exports.clone(),
            authority.clone(),
            image_keys.clone(),
            &config,
        );
        let transfers = Transfers::new(
            db.clone(),
            catalog.clone(),
            store.clone(),
            authority.clone(),
            events.clone(),
            clock.clone(),
            &config,
        );
        ingest.recover().await?;
        jobs.recover(|_| Interrupted::Fail).await?;
        let upkeep = Upkeep::new(
            store.clone(),
            catalog.clone(),
            events.clone(),
            clock.clone(),
            &authority,
            image_keys.clone(),
            &config.store,
        );
        let nodes = Nodes::new(db.clone(), clock.clone(), events.clone());
        let backend: Option<Arc<dyn VolumeBackend>> = match &config.volumes {
            Some(volumes) => Some(Arc::new(FilesBackend::open(&volumes.folder)?)),
            None => None,
        };
        let volumes = Volumes::new(
            db.clone(),
            clock.clone(),
            events.clone(),
            nodes.clone(),
            volumes::Images {
                catalog: catalog.clone(),
                exports: exports.clone(),
                region: config.region.clone(),
            },
            backend,
        );
        let hub = Hub::default();
        let power = Power::new(
            db.clone(),
            clock.clone(),
            events.clone(),
            nodes.clone(),
            image_keys.clone(),
            hub.clone(),
        );
        let deployments = Deployments::new(
            db.clone(),
            clock.clone(),
            events.clone(),
            nodes.clone(),
            catalog.clone(),
            volumes.clone(),
            power.clone(),
            hub,
            Secrets {
                request_key,
                image_keys: image_keys.clone(),
                order_keys: authority
                    .manifest_public_keys()
                    .iter()
                    .map(|key| key.as_bytes().to_vec())
                    .collect(),
            },
            &config,
        );
        let guests = Guests::new(db.clone(), clock.clone(), events.clone(), authority.clone());
        let api_tokens = ApiTokens::new(db.clone(), clock.clone());
        let metrics = Metrics::new(&clock);
        let webhooks = Webhooks::new(
            db.clone(),
            clock.clone(),
            events.clone(),
            image_keys.clone(),
            metrics.clone(),
            config.webhooks.clone(),
            config.public_url.clone(),
        )
        .map_err(|source| OpenError::Folder {
            path: config.webhooks.ca_file.clone().unwrap_or_default(),
            source,
        })?;
        Ok(Self(Arc::new(AppInner {
            tenants: Tenants::new(
                db.clone(),
                clock.clone(),
                events.clone(),
                api_tokens.clone(),
                config.tokens.clone(),
            ),
            api_tokens,
            boot_tokens: BootTokens::new(db.clone(), events.writer().clone(), clock.clone(), &config),
            authority,
            image_keys,
            catalog,
            store,
            upkeep,
            ingest,
            exports,
            copies,
            transfers,
            jobs,
            holds: Holds::new(db.clone(), events.clone()),
            witness,
            events,
            telemetry: Telemetry::new(&config.telemetry),
            metrics,
            webhooks,
            nodes,
            deployments,
            guests,
            volumes,
            power,
            clock,
            shutdown,
            db,
            config,
        })))
    }

    /// A controller in `dir` for tests: initialised, on loopback, with a clock that stands still.
    pub async fn for_test(dir: &std::path::Path) -> Self {
        Self::for_test_with(Config::loopback(dir), Clock::fake(jiff::Timestamp::now())).await
    }

    /// As [`App::for_test`], with the configuration and clock of the caller's choice.
    ///
    /// # Panics
    /// When the folder cannot be initialised.
    pub async fn for_test_with(config: Config, clock: Clock) -> Self {
        let dir = config.data_dir.clone();
        setup::init(&dir, &[], &clock)
            .await
            .expect("the test's folder can be initialised");
        Self::open(config, clock)
            .await
            .expect("a fresh data folder opens")
    }

    /// Ends the database cleanly; the last thing a controller does.
    pub async fn close(&self) {
        self.nodes.keep_seen().await;
        if let Err(error) = self.witness.keep().await {
            tracing::warn!(error = %chain(&error), "the witness of the database was not written at the end");
        }
        self.events.close().await;
        db::close(&self.db).await;
    }
}
