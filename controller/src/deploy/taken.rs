//! What takes a node without an image: a release, which wipes its disks, and a rescue, in which somebody works in its
//! ramdisk. Both go the way of a deployment: the same claim, phases, deadlines and events.

use imprint_hardware::disk::DiskRule;
use imprint_proto::agent::v1 as wire;
use serde::{Deserialize, Serialize};
use serde_json::json;
use ulid::Ulid;
use utoipa::ToSchema;

use super::{
    Deployments,
    create::new_task,
    error::DeployError,
    record::{Deployment, running_of},
    request::Refusal,
    rescue::RescueTerms,
    state::{Purpose, Step, StepState},
    steps::{self, StepChange},
};
use crate::{
    backup::hold_of,
    events::{Change, NewEvent, doing},
    identity::Caller,
    inventory::{self, InventoryError, Node, NodeProblem, NodeState},
    lifecycle::Remains,
    words::words,
};

/// Rules of disks that are left alone.
const MAX_LEAVE: usize = 64;

words! {
    /// How disks are wiped; each proves what it can and says so.
    WipeMethod, "way to wipe", {
        /// The best that each disk can do and prove.
        Auto => "auto",
        /// Zeroes by a command that guarantees them.
        Discard => "discard",
        /// Zeroes over every byte that can be addressed.
        Overwrite => "overwrite",
        /// Signatures and both ends only: the rest stays readable.
        Quick => "quick",
    }
}

impl WipeMethod {
    fn to_wire(self) -> wire::WipePolicy {
        match self {
            Self::Auto => wire::WipePolicy::Auto,
            Self::Discard => wire::WipePolicy::Discard,
            Self::Overwrite => wire::WipePolicy::Overwrite,
            Self::Quick => wire::WipePolicy::Quick,
        }
    }
}

/// A release.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// How the disks are wiped; `auto` when it is left out.
    #[serde(default)]
    pub wipe: Option<WipeMethod>,
    /// Disks that stay as they are, each as a disk rule that may name several.
    #[serde(default)]
    pub leave: Vec<String>,
}

/// What the node was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Its state.
    pub state: NodeState,
    /// Why it had failed.
    pub problem: Option<NodeProblem>,
    /// Its deployment.
    pub deployment_id: Option<String>,
}

impl Former {
    /// The node as it is now.
    pub(super) fn of(node: &Node) -> Self {
        Self {
            state: node.state,
            problem: node.problem.clone(),
            deployment_id: node.deployment_id.clone(),
        }
    }

    /// What is on its disks when nothing has been done to them.
    #[must_use]
    pub fn remains(&self) -> Remains {
        match self.state {
            NodeState::Active => Remains::System,
            NodeState::Failed => Remains::Unknown,
            _ => Remains::Nothing,
        }
    }
}

/// What was asked for, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Terms {
    /// A release.
    Release {
        /// How the disks are wiped.
        wipe: WipeMethod,
        /// Rules of disks that stay as they are.
        leave: Vec<String>,
        /// The server had no disk but volumes: then there is nothing to wipe, and nothing to prove.
        #[serde(default)]
        diskless: bool,
        /// The node before.
        former: Former,
    },
    /// A rescue.
    Rescue(RescueTerms),
}

impl Terms {
    /// The node before.
    #[must_use]
    pub fn former(&self) -> &Former {
        match self {
            Self::Release { former, .. } => former,
            Self::Rescue(terms) => &terms.former,
        }
    }

    fn purpose(&self) -> Purpose {
        match self {
            Self::Release { .. } => Purpose::Release,
            Self::Rescue(_) => Purpose::Rescue,
        }
    }
}

impl Deployments {
    /// Wipes the disks of a node, which is nobody's then. While a release runs, another one is the same.
    pub async fn release(
        &self,
        by: &Caller,
        wanted: &str,
        request: &ReleaseRequest,
    ) -> Result<Deployment, DeployError> {
        check_rules(&request.leave)?;
        let diskless = self.is_diskless(by, wanted).await?;
        let terms = |node: &Node| Terms::Release {
            diskless,
            wipe: request.wipe.unwrap_or(WipeMethod::Auto),
            leave: request.leave.clone(),
            former: Former::of(node),
        };
        self.take_node(by, wanted, Purpose::Release, terms).await
    }

    /// Whether all that the server's agent has ever seen are volumes.
    async fn is_diskless(&self, by: &Caller, wanted: &str) -> Result<bool, DeployError> {
        let node = self.nodes.find(&by.viewer(), wanted).await?;
        let Some(inventory) = self.nodes.inventory(&node.id).await? else {
            return Ok(false);
        };
        let inventory = self.with_volumes(&node.id, inventory).await?;
        Ok(inventory.disks.iter().all(|disk| !disk.volume_id.is_empty()))
    }

    /// Takes a node for what `terms` say; while the same runs already, that is the answer.
    pub(super) async fn take_node(
        &self,
        by: &Caller,
        wanted: &str,
        purpose: Purpose,
        terms: impl FnOnce(&Node) -> Terms + Send,
    ) -> Result<Deployment, DeployError> {
        let found = self.nodes.find(&by.viewer(), wanted).await?;
        let mut change = self.events.begin_by(by.author()).await?;
        let node = inventory::load(change.connection(), &found.id)
            .await?
            .unwrap_or(found);
        if let Some(running) = running_of(change.connection(), &node.id).await? {
            if running.purpose == purpose && purpose == Purpose::Release {
                return Ok(running);
            }
            return Err(DeployError::Node(InventoryError::Taken {
                name: node.name,
                state: node.state,
            }));
        }
        if let Some(hold) = hold_of(change.connection(), &node.id).await? {
            let refusal = Refusal::Other(Box::new(hold.problem(&node.name)));
            return Err(DeployError::Refused(vec![refusal]));
        }
        if let Some(maintenance) = node.maintenance.clone().filter(|_| purpose != Purpose::Rescue) {
            return Err(DeployError::Node(InventoryError::InMaintenance {
                name: node.name,
                maintenance,
            }));
        }
        if node.state.after(purpose.takes()).is_none() {
            return Err(DeployError::Node(InventoryError::NotAllowed {
                name: node.name,
                state: node.state,
                what: match purpose {
                    Purpose::Rescue => "rescued",
                    _ => "released",
                },
            }));
        }
        let terms = terms(&node);
        let id = self.insert_taking(&mut change, by, &node, &terms).await?;
        change.commit().await?;
        self.begin_to_act(&id).await;
        self.read(&id).await
    }

    /// The task of a release or a rescue.
    pub(super) async fn task_of_terms(
        &self,
        deployment: &Deployment,
        terms: &Terms,
    ) -> Result<wire::Task, DeployError> {
        let kind = match terms {
            Terms::Release {
                wipe,
                leave,
                diskless,
                ..
            } => wire::task::Kind::Wipe(wire::WipeTask {
                allow_no_disk: *diskless,
                release_id: deployment.id.clone(),
                disks: Vec::new(),
                all_local_disks: true,
                leave: leave.clone(),
                volumes: self.volumes_of(&deployment.node_id).await?,
                policy: wipe.to_wire().into(),
                after: wire::AfterWipe::Unspecified.into(),
            }),
            Terms::Rescue(terms) => wire::task::Kind::Rescue(terms.task(&deployment.id, self.clock.now())),
        };
        Ok(wire::Task {
            task_id: deployment.task_id.clone(),
            kind: Some(kind),
        })
    }

    async fn insert_taking(
        &self,
        change: &mut Change,
        by: &Caller,
        node: &Node,
        terms: &Terms,
    ) -> Result<String, DeployError> {
        let (id, task_id) = (Ulid::generate().to_string(), Ulid::generate().to_string());
        let purpose = terms.purpose();
        let now = self.clock.now_ms();
        let model = self.nodes.inventory(&node.id).await?;
        let model = self.matching.hardware_model(model.as_ref()).await?;
        let boot_seconds = model.and_then(|model| model.quirks.boot_seconds).unwrap_or(0);
        sqlx::query(
            "INSERT INTO deployments (id, node_id, state, phase, step, image_id, image_name, image_digest, manifest_digest, \
             disk_size_bytes, logical_sector_bytes, disk_rule, hostname, boot_order, grow_root, finish, task_id, phase_since, \
             moved_at, created_at, project_id, requested_by, boot_seconds, purpose, terms) \
             VALUES (?, ?, 'running', 'await-agent', 'power', '', '', '', '', 0, 512, '', '', 'network-first', 0, 0, ?, ?, ?, ?, \
             ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(&node.id)
        .bind(&task_id)
        .bind(now)
        .bind(now)
        .bind(now)
        .bind(&node.project_id)
        .bind(by.author().actor)
        .bind(boot_seconds)
        .bind(purpose.as_str())
        .bind(json!(terms).to_string())
        .execute(change.connection())
        .await
        .map_err(doing("take the node"))?;
        new_task(change.connection(), &task_id, &id, &node.id, 1, now).await?;
        point_to(change, &node.id, Some(&id)).await?;
        inventory::transit(change.connection(), node, purpose.takes(), None).await?;
        let waiting = StepChange::new(
            Step::Power,
            StepState::Running,
            self.clock.now(),
            "Waits for the server to boot the ramdisk from the network.",
        );
        steps::set(change.connection(), &id, &waiting).await?;
        let (kind, message, details) = match terms {
            Terms::Release { wipe, leave, .. } => (
                "node.release.begun",
                format!(
                    "The release of node {} was asked for: its disks are to be wiped ({wipe}).",
                    node.name
                ),
                json!({ "wipe": wipe, "leave": leave, "by": by.name, "former_state": node.state }),
            ),
            Terms::Rescue(RescueTerms { until, ssh_keys, .. }) => (
                "node.rescue.begun",
                format!("A rescue of node {} was asked for, until {until}.", node.name),
                json!({ "until": until, "ssh_keys": ssh_keys.len(), "by": by.name, "former_state": node.state }),
            ),
        };
        change
            .append(NewEvent {
                kind,
                node_id: Some(&node.id),
                deployment_id: Some(&id),
                message,
                details,
            })
            .await?;
        Ok(id)
    }
}

/// Points a node to its deployment.
pub(super) async fn point_to(
    change: &mut Change,
    node_id: &str,
    deployment_id: Option<&str>,
) -> Result<(), DeployError> {
    sqlx::query("UPDATE nodes SET deployment_id = ? WHERE id = ?")
        .bind(deployment_id)
        .bind(node_id)
        .execute(change.connection())
        .await
        .map_err(doing("point the node to its deployment"))?;
    Ok(())
}

fn check_rules(rules: &[String]) -> Result<(), DeployError> {
    if rules.len() > MAX_LEAVE {
        return Err(DeployError::BadTerms(format!(
            "{} rules name disks to be left alone, at most {MAX_LEAVE} are taken",
            rules.len()
        )));
    }
    for rule in rules {
        if rule.trim().is_empty() {
            return Err(DeployError::BadTerms(
                "a rule of a disk to be left alone is empty".to_owned(),
            ));
        }
        match rule.parse::<DiskRule>() {
            Ok(read) if read.pick.is_some() => {
                return Err(DeployError::BadTerms(format!(
                    "`{rule}` picks one of several disks; a rule for disks to be left alone means all that it fits"
                )));
            }
            Ok(_) => {}
            Err(error) => return Err(DeployError::BadTerms(format!("`{rule}` names no disk: {error}"))),
        }
    }
    Ok(())
}
