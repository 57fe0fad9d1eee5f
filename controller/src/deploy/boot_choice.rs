//! What a machine boots, by its node's state.

use imprint_hardware::model::{HardwareModel, LocalBoot};
use serde_json::json;

use super::{
    Deployments,
    advance::tell,
    error::DeployError,
    history,
    record::{Deployment, load, save},
    state::{DiskState, Phase, Step, StepState},
    steps::{self, StepChange},
};
use crate::{
    api::rest::problem::chain,
    backup::hold_of,
    boot::{BootAction, BootFacts, RESCUE_ARGUMENT},
    config::UnknownPolicy,
    events::doing,
    inventory::{Node, NodeState, Recognised},
};

impl Deployments {
    /// What the machine is to boot now, and why.
    pub async fn boot_action(&self, facts: &BootFacts) -> Result<BootAction, DeployError> {
        let node = match self.nodes.find_for_boot(facts).await? {
            Recognised::Known(node) => *node,
            Recognised::Unknown => return Ok(unknown(self.unknown)),
            // It may be a server in service with a new mainboard: its system comes first, and no agent could enrol.
            Recognised::Contradiction(conflict) => {
                tracing::warn!(mac = %facts.mac, reason = %conflict, "a booting machine contradicts what is known");
                // The machine gets its answer whether or not this can be kept.
                if let Err(error) = self.note_contradiction(facts, &conflict).await {
                    tracing::error!(mac = %facts.mac, error = %chain(&error), "a contradiction could not be kept");
                }
                return Ok(local(
                    "this machine contradicts what is known of the servers (a moved NIC, a new mainboard or doubled SMBIOS data); it is left alone",
                ));
            }
        };
        if let Err(error) = self.forget_contradictions(facts).await {
            tracing::error!(mac = %facts.mac, error = %chain(&error), "a contradiction could not be forgotten");
        }
        let mut connection = self
            .db
            .acquire()
            .await
            .map_err(doing("read the hold of a node"))?;
        let hold = hold_of(&mut connection, &node.id).await?;
        drop(connection);
        if let Some(hold) = hold {
            return self
                .in_its_way(&node, local(format!("{} {}", node.name, hold.sentence())))
                .await;
        }
        let deployment = match &node.deployment_id {
            Some(id) => Some(self.read(id).await?),
            None => None,
        };
        if let Some(deployment) = &deployment
            && deployment.phase == Phase::AwaitAgent
            && deployment.step == Step::Power
        {
            self.note_power(&deployment.id).await?;
        }
        let action = match &deployment {
            Some(deployment) if deployment.phase == Phase::Queued => {
                self.choose_queued(&node, deployment).await?
            }
            deployment => choose(&node, deployment.as_ref()),
        };
        self.in_its_way(&node, action).await
    }

    /// The same, in the way of the node's hardware model.
    async fn in_its_way(&self, node: &Node, action: BootAction) -> Result<BootAction, DeployError> {
        // The machine gets its answer whether or not its model can be told.
        match self.model_at_boot(node).await {
            Ok(Some(model)) => Ok(as_model(action, &model)),
            Ok(None) => Ok(action),
            Err(error) => {
                tracing::error!(node.id = node.id, error = %chain(&error), "the hardware model of a booting machine could not be told; it boots as others do");
                Ok(action)
            }
        }
    }

    /// A node whose turn has not come goes on with what it has.
    async fn choose_queued(&self, node: &Node, deployment: &Deployment) -> Result<BootAction, DeployError> {
        let mut connection = self
            .db
            .acquire()
            .await
            .map_err(doing("look for the node's system"))?;
        let name = &node.name;
        Ok(if history::has_system(&mut connection, deployment).await? {
            local(format!(
                "{name} waits for its turn in its batch and runs its own system meanwhile"
            ))
        } else {
            ramdisk(format!("{name} waits for its turn in its batch"))
        })
    }

    async fn model_at_boot(&self, node: &Node) -> Result<Option<HardwareModel>, DeployError> {
        let inventory = self.nodes.inventory(&node.id).await?;
        Ok(self.matching.hardware_model(inventory.as_ref()).await?)
    }

    /// What a ramdisk is bound to that a server does not ask for by itself, and what its kernel needs besides. `None`: no
    /// address of it is known.
    pub(crate) async fn ramdisk_facts(
        &self,
        node: &Node,
    ) -> Result<(Option<BootFacts>, Vec<String>), DeployError> {
        let word = |text: &Option<String>| text.clone().unwrap_or_default();
        let (uuid, serial) = (word(&node.smbios_uuid), word(&node.serial));
        let mac = node.macs.first();
        let facts = mac.and_then(|mac| BootFacts::parse(mac, &uuid, &serial, "").ok());
        let model = self.model_at_boot(node).await?;
        let mut arguments = model.map(|model| model.boot_arguments()).unwrap_or_default();
        if node.state == NodeState::Rescue {
            arguments.push(RESCUE_ARGUMENT.to_owned());
        }
        Ok((facts, arguments))
    }

    /// The machine has asked what to boot: it has power.
    async fn note_power(&self, id: &str) -> Result<(), DeployError> {
        let mut change = self.events.begin().await?;
        let Some(mut deployment) = load(change.connection(), id).await? else {
            return Ok(());
        };
        if deployment.phase != Phase::AwaitAgent || deployment.step != Step::Power {
            return Ok(());
        }
        let now = self.clock.now();
        deployment.step = Step::Boot;
        deployment.moved_at = now;
        let detail = "The server asked what to boot.";
        steps::set(
            change.connection(),
            id,
            &StepChange::new(Step::Power, StepState::Finished, now, detail),
        )
        .await?;
        let detail = "The ramdisk was handed out; waits for the agent to call.";
        steps::set(
            change.connection(),
            id,
            &StepChange::new(Step::Boot, StepState::Running, now, detail),
        )
        .await?;
        save(change.connection(), &mut deployment).await?;
        let message = "power: the server has power and boots the ramdisk from the network.".to_owned();
        tell(
            &mut change,
            &deployment,
            "deployment.step.finished",
            message,
            json!({ "step": Step::Power }),
        )
        .await?;
        change.commit().await?;
        Ok(())
    }
}

fn ramdisk(reason: impl Into<String>) -> BootAction {
    BootAction::Ramdisk {
        reason: reason.into(),
        kernel_arguments: Vec::new(),
        rescue: false,
    }
}

fn local(reason: impl Into<String>) -> BootAction {
    BootAction::LocalDisk {
        reason: reason.into(),
        how: LocalBoot::Exit,
    }
}

/// The same, in the way of a model.
fn as_model(action: BootAction, model: &HardwareModel) -> BootAction {
    match action {
        BootAction::Ramdisk { reason, rescue, .. } => BootAction::Ramdisk {
            reason,
            kernel_arguments: model.boot_arguments(),
            rescue,
        },
        BootAction::LocalDisk { reason, how } => BootAction::LocalDisk {
            reason,
            how: model.quirks.local_boot.unwrap_or(how),
        },
    }
}

fn unknown(policy: UnknownPolicy) -> BootAction {
    match policy {
        UnknownPolicy::Discover => {
            ramdisk("this machine is not known yet: it is discovered, nothing is written")
        }
        UnknownPolicy::Ignore => local("this machine is not known, and unknown machines are left alone"),
    }
}

fn choose(node: &Node, deployment: Option<&Deployment>) -> BootAction {
    let name = &node.name;
    match (node.state, deployment) {
        (NodeState::Discovered, _) => ramdisk(format!("{name} waits for approval")),
        (NodeState::Enrolled, _) => ramdisk(format!("{name} is to take its inventory")),
        (NodeState::Available, _) => ramdisk(format!("{name} is available and waits for a deployment")),
        (NodeState::Active, _) => local(format!("{name} is active and runs its own system")),
        (NodeState::Deploying, Some(deployment)) if deployment.phase == Phase::AwaitReport => {
            local(format!("{name} starts its new system for the first time"))
        }
        (NodeState::Deploying, _) => ramdisk(format!("{name} is to get its system")),
        (NodeState::Releasing, _) => ramdisk(format!("{name} is released: its disks are to be wiped")),
        (NodeState::Rescue, _) => BootAction::Ramdisk {
            reason: format!("{name} is to be rescued: somebody works in the ramdisk"),
            kernel_arguments: Vec::new(),
            rescue: true,
        },
        (NodeState::Retired, _) => local(format!("{name} is out of service and is left alone")),
        (NodeState::Failed, Some(deployment)) if deployment.disk_state == DiskState::Written => {
            local(format!(
                "{name} failed after its disk was written: its system may still come up; deploy again to replace it"
            ))
        }
        (NodeState::Failed, _) => ramdisk(format!(
            "{name} failed before its disk was complete: the agent waits for another deployment"
        )),
    }
}
