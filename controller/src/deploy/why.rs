//! What a node does, what it waits for and until when.

use imprint_hardware::matching::Answer;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Deployments,
    advance::{News, task_facts},
    batch::turn_of,
    decide::{Decision, Facts, Waiting, decide},
    error::DeployError,
    record::Deployment,
    rescue::RescueTerms,
    state::{DeploymentState, Purpose},
    taken::Terms,
};
use crate::{
    backup::{Hold, hold_of},
    events::doing,
    identity::Viewer,
    inventory::{Node, NodeProblem, NodeState},
};

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Why {
    /// The node's state.
    pub state: NodeState,
    /// One sentence.
    pub summary: String,
    /// When the controller gives up waiting.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Timestamp>,
    /// What failed, or what keeps it from going on.
    pub problem: Option<NodeProblem>,
    /// What it waits for, if for anything.
    pub waiting_for: Option<String>,
    /// Why the image of its last deployment was thought to fit.
    pub fit: Option<Answer>,
}

impl Deployments {
    /// What the node with this id, name, UUID, serial number or MAC address does.
    pub async fn why(&self, viewer: &Viewer, wanted: &str) -> Result<Why, DeployError> {
        let node = self.nodes.find(viewer, wanted).await?;
        let connected = self.hub.is_connected(&node.id);
        let deployment = match &node.deployment_id {
            // What another project did with it before is not told.
            Some(id) => Some(self.read(id).await?).filter(|deployment| viewer.sees(&deployment.project_id)),
            None => None,
        };
        if let (true, Some(deployment)) = (node.state.is_taken(), &deployment) {
            let (waiting, until) = self.waiting(deployment).await?;
            let explanation = waiting.to_string();
            let held_back = match waiting {
                Waiting::Maintenance => maintenance_of(&node),
                _ => String::new(),
            };
            // The machine that does not come may be the one that is not recognised.
            let problem = self.contradiction(&node.id).await?;
            return Ok(Why {
                state: node.state,
                summary: match deployment.purpose {
                    Purpose::Install => {
                        format!(
                            "{} gets the image {}: {explanation}.{held_back}",
                            node.name, deployment.image_name
                        )
                    }
                    Purpose::Release => {
                        format!("{} is released, its disks are wiped: {explanation}.", node.name)
                    }
                    Purpose::Rescue => {
                        let how = access_of(deployment);
                        format!("{} is rescued: {explanation}.{how}", node.name)
                    }
                },
                deadline: until,
                problem,
                waiting_for: Some(explanation),
                fit: deployment.fit.clone(),
            });
        }
        let fit = deployment.as_ref().and_then(|last| last.fit.clone());
        let (mut summary, waiting_for) = resting(&node, connected);
        summary.push_str(&maintenance_of(&node));
        let mut connection = self
            .db
            .acquire()
            .await
            .map_err(doing("read the hold of a node"))?;
        let hold = hold_of(&mut connection, &node.id).await?;
        drop(connection);
        if let Some(hold) = hold {
            summary.push_str(&format!(" It {}. {}", hold.sentence(), Hold::REMEDY));
        }
        let mut problem = node.problem;
        // A deployment that failed before anything was sent left the node as it was.
        if node.state == NodeState::Active
            && let Some(failed) = deployment
                .filter(|last| last.state == DeploymentState::Failed && last.purpose == Purpose::Install)
        {
            summary.push_str(&format!(
                " Its last deployment ({}) failed before anything was written.",
                failed.image_name
            ));
            problem = failed.problem;
        }
        if problem.is_none()
            && let Some(contradiction) = self.contradiction(&node.id).await?
        {
            summary.push_str(" Another machine contradicts what is known of it.");
            problem = Some(contradiction);
        }
        Ok(Why {
            state: node.state,
            summary,
            deadline: None,
            problem,
            waiting_for,
            fit,
        })
    }

    /// What a running deployment waits for, and until when.
    pub(super) async fn waiting(
        &self,
        deployment: &Deployment,
    ) -> Result<(Waiting, Option<Timestamp>), DeployError> {
        let mut connection = self.db.acquire().await.map_err(doing("read the task"))?;
        let task = task_facts(&mut connection, &deployment.task_id).await?;
        let turn = turn_of(&mut connection, deployment).await?;
        let facts = Facts {
            turn,
            ..self.facts(deployment, task, &News::default())
        };
        Ok(match decide(deployment.phase, &facts) {
            Decision::Stay { waiting_for, until } => (waiting_for, Some(until)),
            // Between two steps of the reconciler.
            Decision::Act(_) | Decision::Go(_) => (Waiting::Work(deployment.step), None),
        })
    }

    /// One sentence about a deployment.
    pub(super) async fn explanation(&self, deployment: &Deployment) -> Result<String, DeployError> {
        Ok(match deployment.state {
            DeploymentState::Running => self.waiting(deployment).await?.0.to_string(),
            DeploymentState::Succeeded if deployment.finish && deployment.first_boot.is_none() => {
                "the system is written and verified; its first boot is not reported".to_owned()
            }
            DeploymentState::Succeeded if deployment.finish => "the installed system has reported".to_owned(),
            DeploymentState::Succeeded if deployment.purpose == Purpose::Release => {
                "the disks are wiped, and that is proven".to_owned()
            }
            DeploymentState::Succeeded if deployment.purpose == Purpose::Rescue => {
                "somebody has worked in its ramdisk; the node is what it was before".to_owned()
            }
            DeploymentState::Succeeded => "the data disk is written and verified".to_owned(),
            DeploymentState::Cancelled => format!("cancelled in step {}", deployment.step),
            DeploymentState::Failed => match &deployment.problem {
                Some(problem) => format!(
                    "failed in step {}: {} {}",
                    problem.step, problem.cause, problem.remedy
                ),
                None => format!("failed in step {}", deployment.step),
            },
        })
    }
}

/// Since when, by whom and why nothing is begun on it; empty: it is not in maintenance.
fn maintenance_of(node: &Node) -> String {
    node.maintenance.as_ref().map_or_else(String::new, |maintenance| {
        format!(
            " It is in maintenance since {}, by {}: {}; nothing is begun on it.",
            maintenance.since, maintenance.by, maintenance.reason
        )
    })
}

/// How to get into a server that is rescued.
fn access_of(deployment: &Deployment) -> String {
    let Some(Terms::Rescue(RescueTerms {
        access: Some(access), ..
    })) = &deployment.terms
    else {
        return String::new();
    };
    let password = if access.password_used {
        "its one-time password is good no more"
    } else {
        "its one-time password was not used yet"
    };
    format!(
        " It listens at {} (ssh, root), its host key is {}; {password}.",
        access.addresses.join(", "),
        access.host_key_fingerprint
    )
}

fn resting(node: &Node, connected: bool) -> (String, Option<String>) {
    let name = &node.name;
    let agent = match (connected, node.last_seen_at) {
        (true, _) => "Its agent is connected.".to_owned(),
        (false, Some(at)) => format!("Its agent is not connected (last heard of at {at})."),
        (false, None) => "Its agent has never called.".to_owned(),
    };
    match node.state {
        NodeState::Discovered => (
            format!(
                "{name} has called and waits for approval (imprint node approve {name}); nothing is written to it. {agent}"
            ),
            Some("approval".to_owned()),
        ),
        NodeState::Enrolled => (
            format!("{name} is announced and waits to boot the ramdisk from the network. {agent}"),
            Some("its first call".to_owned()),
        ),
        NodeState::Retired => (
            format!("{name} is out of service; imprint node approve {name} takes it back."),
            None,
        ),
        NodeState::Available | NodeState::Deploying | NodeState::Releasing | NodeState::Rescue => (
            format!("{name} is available and waits for a deployment. {agent}"),
            Some("a deployment".to_owned()),
        ),
        NodeState::Active => (format!("{name} runs its own system and waits for nothing."), None),
        NodeState::Failed => {
            let problem = node.problem.as_ref().map_or_else(
                || "no reason is kept".to_owned(),
                |problem| format!("in step {}: {} {}", problem.step, problem.cause, problem.remedy),
            );
            (
                format!("{name} failed {problem} {agent}"),
                Some("an operator, and then another deployment".to_owned()),
            )
        }
    }
}
