//! What callers ask: how the power is, what the server consists of, and that the power be changed.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;
use serde_json::json;
use sqlx::SqliteConnection;
use ulid::Ulid;
use utoipa::ToSchema;

use super::{
    ActionState, BmcKind, BmcRecord, BootTarget, Hardware, Power, PowerAction, PowerError, PowerState,
    PowerWish, Stage, action,
    decide::{Plan, Reason},
    record,
};
use crate::{
    events::{Change, NewEvent, doing},
    identity::{Caller, Viewer},
    inventory::Node,
};

/// How many changes of power are kept of a node; the event log has all of them.
const KEPT: i64 = 20;

/// How the power of a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NodePower {
    /// The server.
    pub node_id: String,
    /// How it is powered.
    pub kind: BmcKind,
    /// Whether it is on, as its BMC says just now.
    pub state: PowerState,
    /// Why that is not known; else empty.
    pub why: String,
    /// What can be done about it; else empty.
    pub remedy: String,
    /// What is done by hand, where there is no BMC; else empty.
    pub instructions: String,
    /// What is under way, or was last; null: nothing was.
    pub action: Option<PowerAction>,
}

/// A change of power that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedPower {
    /// What is wanted.
    pub action: PowerWish,
    /// With [`PowerWish::Off`]: without asking the system to shut down.
    pub force: bool,
    /// With the others: what it boots this once.
    pub boot: Option<BootTarget>,
}

/// How long a change of power may take, with all its retries.
fn patience(plan: Plan, record: &BmcRecord) -> Duration {
    let quirks = record.all_quirks();
    let soft = plan.wish == PowerWish::Off && !plan.force;
    let changes = quirks.power() * 3;
    let waits = if soft { quirks.shutdown() } else { changes };
    waits + quirks.request() * 4
}

fn words(plan: Plan) -> String {
    let boot = plan.boot.map(|target| format!(", to boot {target} this once"));
    let force = if plan.force { " by force" } else { "" };
    format!("{}{force}{}", plan.wish, boot.unwrap_or_default())
}

impl Power {
    /// Asks the BMC whether the server is on. That it does not answer is part of the answer.
    pub async fn power_of(&self, viewer: &Viewer, wanted: &str) -> Result<NodePower, PowerError> {
        let node = self.nodes.find(viewer, wanted).await?;
        let record = self.bmc_of(&node.id).await?;
        let mut answer = NodePower {
            node_id: node.id.clone(),
            kind: record.kind,
            state: PowerState::Unknown,
            why: String::new(),
            remedy: String::new(),
            instructions: String::new(),
            action: self.newest(&node.id).await?,
        };
        let asked = match self.converse(&node, &record).await {
            Ok(None) => {
                answer.instructions = record.by_hand(&node.name);
                return Ok(answer);
            }
            Ok(Some(bmc)) => {
                let asked = bmc.power().await;
                bmc.close().await;
                asked
            }
            Err(error) => Err(error),
        };
        match asked {
            Ok(state) => answer.state = state,
            Err(error) => (answer.why, answer.remedy) = (error.to_string(), error.remedy()),
        }
        Ok(answer)
    }

    async fn newest(&self, node_id: &str) -> Result<Option<PowerAction>, PowerError> {
        let mut connection = self
            .db
            .acquire()
            .await
            .map_err(doing("read what was done with the power"))?;
        action::newest(&mut connection, node_id).await
    }

    /// Asks the BMC what the server consists of and how it is.
    pub async fn hardware_of(&self, viewer: &Viewer, wanted: &str) -> Result<Hardware, PowerError> {
        let node = self.nodes.find(viewer, wanted).await?;
        let record = self.bmc_of(&node.id).await?;
        let Some(bmc) = self.converse(&node, &record).await? else {
            return Err(PowerError::ByHand(record.by_hand(&node.name)));
        };
        let found = bmc.hardware().await;
        bmc.close().await;
        let found = found?;
        self.note_model(&node.id, &found.vendor, &found.model).await?;
        Ok(found)
    }

    /// Has the power of a node changed; answers at once. Asking again for what is under way is no error.
    pub async fn change(
        &self,
        by: &Caller,
        wanted: &str,
        what: WantedPower,
    ) -> Result<PowerAction, PowerError> {
        let plan = Plan {
            wish: what.action,
            force: what.force,
            boot: what.boot,
        };
        match (plan.wish, plan.force, plan.boot) {
            (PowerWish::Off, _, Some(_)) => {
                return Err(PowerError::Invalid(
                    "a server that is switched off boots nothing".to_owned(),
                ));
            }
            (PowerWish::On | PowerWish::Cycle, true, _) => {
                return Err(PowerError::Invalid(
                    "force is for off; cycle does not ask the system".to_owned(),
                ));
            }
            _ => {}
        }
        let node = self.nodes.find(&by.viewer(), wanted).await?;
        let mut change = self.events.begin_by(by.author()).await?;
        let record = record::load(change.connection(), &node.id).await?;
        let record = record.unwrap_or_else(BmcRecord::none);
        if record.kind == BmcKind::Manual {
            return Err(PowerError::ByHand(record.by_hand(&node.name)));
        }
        if let Some(running) = running(change.connection(), &node.id).await? {
            return if (running.action, running.force, running.boot) == (plan.wish, plan.force, plan.boot) {
                Ok(running)
            } else {
                Err(PowerError::Busy {
                    node: node.name,
                    action: running.action,
                    why: running.why,
                })
            };
        }
        let order = Order {
            plan,
            deployment_id: None,
            requested_by: Some(&by.name),
        };
        let begun = self.begin(&mut change, &node, &record, &order).await?;
        change.commit().await?;
        self.bell.notify_one();
        Ok(begun)
    }

    /// Writes a change of power down, with its event.
    pub(super) async fn begin(
        &self,
        change: &mut Change,
        node: &Node,
        record: &BmcRecord,
        order: &Order<'_>,
    ) -> Result<PowerAction, PowerError> {
        let (id, now) = (Ulid::generate().to_string(), self.clock.now());
        let patience = SignedDuration::try_from(patience(order.plan, record)).unwrap_or(SignedDuration::MAX);
        let deadline = now.checked_add(patience).unwrap_or(jiff::Timestamp::MAX);
        sqlx::query(
            "INSERT INTO power_actions (id, node_id, action, force, boot, state, stage, deadline, why, deployment_id, \
             requested_by, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(&node.id)
        .bind(order.plan.wish.as_str())
        .bind(order.plan.force)
        .bind(order.plan.boot.map(BootTarget::as_str))
        .bind(ActionState::Running.as_str())
        .bind(Stage::Look.as_str())
        .bind(deadline.as_millisecond())
        .bind("the BMC is about to be asked")
        .bind(order.deployment_id)
        .bind(order.requested_by)
        .bind(now.as_millisecond())
        .execute(change.connection())
        .await
        .map_err(doing("keep a change of power"))?;
        sqlx::query(
            "DELETE FROM power_actions WHERE node_id = ?1 AND state <> 'running' AND id NOT IN \
             (SELECT id FROM power_actions WHERE node_id = ?1 ORDER BY id DESC LIMIT ?2)",
        )
        .bind(&node.id)
        .bind(KEPT)
        .execute(change.connection())
        .await
        .map_err(doing("forget old changes of power"))?;
        change
            .append(NewEvent {
                kind: "power.requested",
                node_id: Some(&node.id),
                deployment_id: order.deployment_id,
                message: format!("The BMC of node {} is to switch it: {}.", node.name, words(order.plan)),
                details: json!({ "action": order.plan.wish, "force": order.plan.force, "boot": order.plan.boot, "id": id }),
            })
            .await?;
        let begun = action::load(change.connection(), &id).await?;
        begun.ok_or_else(|| doing("read a change of power")(sqlx::Error::RowNotFound).into())
    }

    /// Writes the end of a change of power down, with its event; nothing when it has ended already.
    pub(super) async fn end(
        &self,
        action: &PowerAction,
        state: ActionState,
        reason: &Reason,
    ) -> Result<(), PowerError> {
        let mut change = self.events.begin().await?;
        if action::end(&mut change, self.clock.now_ms(), action, state, reason).await? {
            change.commit().await?;
        }
        Ok(())
    }
}

/// Who asks for a change of power, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'a> {
    pub plan: Plan,
    pub deployment_id: Option<&'a str>,
    /// `None`: the controller.
    pub requested_by: Option<&'a str>,
}

/// What is under way with a node.
pub(super) async fn running(
    connection: &mut SqliteConnection,
    node_id: &str,
) -> Result<Option<PowerAction>, PowerError> {
    let found = sqlx::query_as("SELECT * FROM power_actions WHERE node_id = ? AND state = 'running'")
        .bind(node_id)
        .fetch_optional(connection)
        .await
        .map_err(doing("look for a change of power"))?;
    Ok(found)
}
