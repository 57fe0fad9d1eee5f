//! A request becomes a deployment.

use serde_json::json;
use sqlx::SqliteConnection;
use ulid::Ulid;

use super::{
    Deployments,
    batch::Place,
    error::DeployError,
    fit,
    image_rules::ImageRefusal,
    network_config,
    record::{Deployment, load},
    repeated::{Keyed, Made},
    request::{Checked, DeployRequest, Refusal, user_data_of},
    state::{Phase, Purpose, Step, StepState},
    steps::{self, StepChange},
};
use crate::{
    api::rest::problem::chain,
    catalog::{Catalog, CatalogError, Content, Image},
    events::{Change, NewEvent, doing},
    identity::{Caller, Viewer},
    inventory::{self, InventoryError, Node},
    lifecycle::NodeEvent,
};

impl Deployments {
    /// Makes a deployment and begins it. With a key, a repeated request is answered with the same deployment.
    pub async fn create(
        &self,
        by: &Caller,
        request: &DeployRequest,
        key: Option<&str>,
    ) -> Result<Deployment, DeployError> {
        self.create_in(by, request, key, None).await
    }

    /// As [`Self::create`]; one of a batch waits for its turn, and takes its place there.
    pub(super) async fn create_in(
        &self,
        by: &Caller,
        request: &DeployRequest,
        key: Option<&str>,
        place: Option<Place<'_>>,
    ) -> Result<Deployment, DeployError> {
        let keyed = key
            .map(|key| Keyed::new(by, key, request, &self.request_key))
            .transpose()?;
        if let Some(keyed) = &keyed {
            let mut connection = self.db.acquire().await.map_err(doing("look for the request"))?;
            if let Some(id) = keyed.earlier(&mut connection).await? {
                drop(connection);
                self.events.settled().await?;
                return self.get(&by.viewer(), &id).await;
            }
        }
        let request = self.as_before(by, request).await?;
        let (request, target) = self.onto_volume(by, &request).await?;
        let request = request.as_ref();
        let subject = self.subject(by, request, target.as_ref()).await?;

        let mut change = self.events.begin_by(by.author()).await?;
        if let Some(keyed) = &keyed
            && let Some(id) = keyed.earlier(change.connection()).await?
        {
            drop(change);
            self.events.settled().await?;
            return self.get(&by.viewer(), &id).await;
        }
        if let Some(place) = place
            && !place.leave(change.connection()).await?
        {
            // Somebody else has just made what belongs there.
            return Err(DeployError::NoBatch(place.batch_id.to_owned()));
        }
        // Read once more: from here on nobody else can change it.
        let node = inventory::load(change.connection(), &subject.node.id)
            .await?
            .unwrap_or_else(|| subject.node.clone());
        if !by.viewer().sees(&node.project_id) {
            // It was given to another project in between.
            return Err(DeployError::Node(InventoryError::NotFound {
                wanted: node.name,
                near: Vec::new(),
            }));
        }
        let policy = self
            .disk_policy(change.connection(), &node.id, &request.wipe)
            .await?;
        let (image, checked) = subject.check(request, &node, self.catalog.region(), policy)?;
        require_content(change.connection(), image, &checked.disk.manifest).await?;
        let id = Ulid::generate().to_string();
        let batch_id = place.map(|place| place.batch_id);
        self.insert(change.connection(), (&id, batch_id), by, &node, image, &checked)
            .await?;
        if let Some(target) = &target {
            change.about_project(&node.project_id);
            let manifest = &checked.disk.manifest;
            self.take_volume(&mut change, &id, &node, target, manifest)
                .await?;
        }
        fit::keep(change.connection(), &id, subject.fit.as_ref()).await?;
        // Once more as well: it may have been taken back since.
        let viewer = match image.project_id == by.project_id {
            true => by.viewer(),
            false => Viewer::Project(node.project_id.clone()),
        };
        self.catalog
            .admit(change.connection(), &viewer, image, &node.project_id, &id)
            .await?;
        if checked.finish {
            let network = match request.network_config.as_deref() {
                Some(text) if !text.is_empty() => text.to_owned(),
                _ => network_config::default_for(&node.macs, subject.inventory.as_ref()),
            };
            let user_data = user_data_of(request).map_err(|refusal| DeployError::Refused(vec![refusal]))?;
            let meta_data = checked.options.data_source.meta_data(&id, &checked.hostname);
            keep_secrets(change.connection(), &id, &meta_data, &user_data, &network).await?;
        }
        if let Some(keyed) = &keyed {
            let made = Made::Deployment(&id);
            keyed.keep(change.connection(), made, self.clock.now_ms()).await?;
        }
        self.begin(&mut change, &id, by, &node, image, &checked.warnings)
            .await?;
        change.commit().await?;
        if target.is_some() {
            self.volumes.ring();
        }
        self.begin_to_act(&id).await;
        self.read(&id).await
    }

    /// The image that a request names.
    pub(super) async fn image_of(
        &self,
        viewer: &Viewer,
        request: &DeployRequest,
    ) -> Result<Image, DeployError> {
        match request.family.as_deref().filter(|family| !family.is_empty()) {
            None if !request.image.is_empty() => Ok(self.catalog.find(viewer, &request.image).await?),
            Some(family) if request.image.is_empty() => Ok(self.catalog.newest_of(viewer, family).await?),
            _ => Err(DeployError::Refused(vec![Refusal::Image(ImageRefusal::Unnamed)])),
        }
    }

    /// An image that its owner keeps to himself does not come onto a machine of others, though the operator who asks sees
    /// both.
    pub(super) async fn check_shared(
        &self,
        by: &Caller,
        image: &Image,
        node: &Node,
    ) -> Result<(), DeployError> {
        if image.project_id == by.project_id || image.project_id == node.project_id {
            return Ok(());
        }
        let owner = Viewer::Project(node.project_id.clone());
        match self.catalog.find(&owner, &image.id).await {
            Ok(_) => Ok(()),
            Err(CatalogError::NotFound { .. }) => Err(DeployError::NotShared {
                image: image.name.clone(),
                node: node.name.clone(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// The name of the image to use instead, if the caller may use it.
    pub(super) async fn replacement_of(
        &self,
        viewer: &Viewer,
        image: &Image,
    ) -> Result<Option<String>, DeployError> {
        let Some(id) = &image.replacement else {
            return Ok(None);
        };
        match self.catalog.find(viewer, id).await {
            Ok(other) => Ok(Some(other.name)),
            Err(CatalogError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn insert(
        &self,
        connection: &mut SqliteConnection,
        (id, batch_id): (&str, Option<&str>),
        by: &Caller,
        node: &Node,
        image: &Image,
        checked: &Checked,
    ) -> Result<(), DeployError> {
        let now = self.clock.now_ms();
        let task_id = Ulid::generate().to_string();
        sqlx::query(
            "INSERT INTO deployments (id, node_id, state, phase, step, image_id, image_name, image_digest, manifest_digest, \
             disk_size_bytes, logical_sector_bytes, disk_rule, hostname, boot_order, grow_root, finish, task_id, \
             phase_since, moved_at, created_at, manifest, warnings, project_id, requested_by, disk_policy, disk_rule_model, \
             boot_seconds, image_users, finish_options, batch_id) \
             VALUES (?, ?, 'running', ?, 'power', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id)
        .bind(&node.id)
        .bind(if batch_id.is_some() { Phase::Queued } else { Phase::AwaitAgent }.as_str())
        .bind(&image.id)
        .bind(&image.name)
        .bind(&checked.disk.image_digest)
        .bind(&checked.disk.manifest_digest)
        .bind(i64::try_from(checked.disk.disk_size_bytes).unwrap_or(i64::MAX))
        .bind(checked.disk.logical_sector_bytes)
        .bind(&checked.rule.text)
        .bind(&checked.hostname)
        .bind(checked.boot_order)
        .bind(checked.grow_root)
        .bind(checked.finish)
        .bind(&task_id)
        .bind(now)
        .bind(now)
        .bind(now)
        .bind(&checked.disk.manifest)
        .bind(json!(checked.warnings).to_string())
        .bind(&node.project_id)
        .bind(by.author().actor)
        .bind(json!(checked.disk_policy).to_string())
        .bind(&checked.rule_model)
        .bind(checked.boot_seconds)
        .bind(checked.image_users.as_str())
        .bind(json!(checked.options).to_string())
        .bind(batch_id)
        .execute(&mut *connection)
        .await
        .map_err(doing("make the deployment"))?;
        new_task(connection, &task_id, id, &node.id, 1, now).await
    }

    async fn begin(
        &self,
        change: &mut Change,
        id: &str,
        by: &Caller,
        node: &Node,
        image: &Image,
        warnings: &[String],
    ) -> Result<(), DeployError> {
        sqlx::query("UPDATE nodes SET deployment_id = ? WHERE id = ?")
            .bind(id)
            .bind(&node.id)
            .execute(change.connection())
            .await
            .map_err(doing("point the node to its deployment"))?;
        inventory::transit(change.connection(), node, NodeEvent::Deploy, None).await?;
        let waiting = StepChange::new(
            Step::Power,
            StepState::Running,
            self.clock.now(),
            "Waits for the server to boot the ramdisk from the network.",
        );
        steps::set(change.connection(), id, &waiting).await?;
        change
            .append(NewEvent {
                kind: "deployment.created",
                node_id: Some(&node.id),
                deployment_id: Some(id),
                message: format!("Deployment of image {} onto node {} was asked for.", image.name, node.name),
                details: json!({ "image": image.name, "image_id": image.id, "image_digest": image.image_digest, "by": by.name, "warnings": warnings }),
            })
            .await?;
        Ok(())
    }

    /// What was asked for is kept; a fault in acting on it is not the caller's, and the reconciler tries again.
    pub(super) async fn begin_to_act(&self, id: &str) {
        if let Err(error) = self.advance(id).await {
            tracing::error!(deployment.id = id, error = %chain(&error), "a deployment could not go on");
        }
    }

    /// The deployment with this id, if the viewer may see it.
    pub async fn get(&self, viewer: &Viewer, id: &str) -> Result<Deployment, DeployError> {
        let found = self.read(id).await?;
        if viewer.sees(&found.project_id) {
            return Ok(found);
        }
        Err(not_found(id))
    }

    /// The deployment with this id, whoever's it is.
    pub(super) async fn read(&self, id: &str) -> Result<Deployment, DeployError> {
        let mut connection = self.db.acquire().await.map_err(doing("read the deployment"))?;
        let found = load(&mut connection, &id.to_uppercase()).await?;
        found.ok_or_else(|| not_found(id))
    }

    /// Asks a running deployment to stop. It may take until the agent has confirmed it.
    pub async fn cancel(&self, by: &Caller, id: &str) -> Result<Deployment, DeployError> {
        let wanted = self.get(&by.viewer(), id).await?;
        let mut change = self.events.begin_by(by.author()).await?;
        let mut deployment = load(change.connection(), &wanted.id).await?.unwrap_or(wanted);
        match deployment.state {
            super::DeploymentState::Running => {}
            super::DeploymentState::Cancelled => return Ok(deployment),
            state => {
                return Err(DeployError::Ended {
                    id: deployment.id,
                    state,
                });
            }
        }
        if deployment.cancel_requested_at.is_none() {
            deployment.cancel_requested_at = Some(self.clock.now());
            super::record::save(change.connection(), &mut deployment).await?;
            change
                .append(NewEvent {
                    kind: "deployment.cancel-requested",
                    node_id: Some(&deployment.node_id),
                    deployment_id: Some(&deployment.id),
                    message: match deployment.purpose {
                        Purpose::Rescue => format!("{} asked to end the rescue.", by.name),
                        purpose => format!("{} asked to cancel the {}.", by.name, purpose.noun()),
                    },
                    details: json!({}),
                })
                .await?;
        }
        change.commit().await?;
        self.begin_to_act(&deployment.id).await;
        self.read(&deployment.id).await
    }
}

fn not_found(id: &str) -> DeployError {
    DeployError::NotFound(id.chars().take(64).collect())
}

pub(super) async fn new_task(
    connection: &mut SqliteConnection,
    task_id: &str,
    deployment_id: &str,
    node_id: &str,
    attempt: u32,
    now: i64,
) -> Result<(), DeployError> {
    sqlx::query("INSERT INTO deployment_tasks (task_id, deployment_id, node_id, attempt, created_at) VALUES (?, ?, ?, ?, ?)")
        .bind(task_id)
        .bind(deployment_id)
        .bind(node_id)
        .bind(attempt)
        .bind(now)
        .execute(connection)
        .await
        .map_err(doing("make the task"))?;
    Ok(())
}

/// The image's content is there and whole. From here on the deployment keeps it in the store.
async fn require_content(
    connection: &mut SqliteConnection,
    image: &Image,
    manifest: &str,
) -> Result<(), DeployError> {
    let read = doing("look for the image's content");
    match Catalog::content_of(connection, &image.id, manifest)
        .await
        .map_err(read)?
    {
        Content::Whole => Ok(()),
        Content::Damaged => {
            let name = image.name.clone();
            Err(DeployError::Refused(vec![Refusal::Image(
                ImageRefusal::Damaged { name },
            )]))
        }
        Content::Gone => Err(CatalogError::NotFound {
            wanted: image.name.clone(),
            near: Vec::new(),
            any: true,
        }
        .into()),
    }
}

async fn keep_secrets(
    connection: &mut SqliteConnection,
    id: &str,
    meta_data: &str,
    user_data: &[u8],
    network: &str,
) -> Result<(), DeployError> {
    // cloud-init reads a file without user-data as an error of its own kind; an empty cloud-config says nothing.
    let user_data = if user_data.is_empty() {
        b"#cloud-config\n{}\n".as_slice()
    } else {
        user_data
    };
    sqlx::query("INSERT INTO deployment_secrets (deployment_id, user_data, network_config, meta_data) VALUES (?, ?, ?, ?)")
        .bind(id)
        .bind(user_data)
        .bind(network.as_bytes())
        .bind(meta_data.as_bytes())
        .execute(connection)
        .await
        .map_err(doing("keep the seed"))?;
    Ok(())
}
